"""What a piece of music is asked to be: the checked prompts and settings of one call."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from antiphon.errors import ParamError, ParamTypeError
from antiphon.generation.fields import HONOURED

MOST_SECONDS = 3600
MOST_PROMPT_CHARACTERS = 4000  # a megabyte of text would need terabytes of attention
_MOST_VARIATIONS = 64

# the short way's name of a setting -> the field of the generation configuration that knows its range
_FIELDS = {
    "guidance": "guidance_scale",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "window_seconds": "window_seconds",
    "stride_seconds": "stride_seconds",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a call, checked.

    Args:
        seconds: length of a piece, above 0, at most ``MOST_SECONDS``.
        guidance: how strictly the prompt is followed; 1 and less: not enforced.
        temperature: 0 (always the likeliest) or more. top_k: 0 (off) or more. top_p: 0 to 1, both off.
        window_seconds, stride_seconds: of a long piece, what the model sees at once, and how far the windows lie apart;
            ``None``: what the model was trained on, and three fifths of the window.
        n: variations of each prompt. greedy: always the likeliest, no chance involved.

    Raises:
        ParamError: a value out of range; NaN never is in one.
    """

    seconds: float = 8.0
    guidance: float = 3.0
    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 0.0
    window_seconds: float | None = None
    stride_seconds: float | None = None
    n: int = 1
    greedy: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", _checked_seconds(self.seconds))
        for name, field in _FIELDS.items():
            if getattr(self, name) is not None or name not in ("window_seconds", "stride_seconds"):
                object.__setattr__(self, name, HONOURED[field](name, getattr(self, name)))
        if isinstance(self.n, bool) or not isinstance(self.n, numbers.Integral) or not 1 <= self.n <= _MOST_VARIATIONS:
            raise ParamError(f"n={_short(self.n)}", expected=f"a whole number from 1 to {_MOST_VARIATIONS}")
        if not isinstance(self.greedy, bool):
            raise ParamError(f"greedy={_short(self.greedy)}", expected="True or False")
        if self.n > 1 and not self.samples:
            raise ParamError(
                f"n={self.n} without chance: all variations would be equal",
                expected="n=1 with greedy=True or temperature=0",
            )

    @property
    def samples(self) -> bool:
        """Whether chance is involved."""
        return not self.greedy and self.temperature > 0

    def generation_kwargs(self) -> dict[str, Any]:
        """The settings as the documented ``generate`` calls them."""
        chance: dict[str, Any] = {"do_sample": False}
        if self.samples:
            chance = {"do_sample": True, "temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        return {
            **chance,
            "guidance_scale": self.guidance,
            "num_return_sequences": self.n,
            "window_seconds": self.window_seconds,
            "stride_seconds": self.stride_seconds,
        }

    def record(self) -> dict[str, Any]:
        """The settings that one piece depends on."""
        return {name: value for name, value in asdict(self).items() if name != "n"}


SETTINGS = tuple(field.name for field in fields(Settings))


def checked_prompts(prompt: Any) -> list[str]:
    """The prompts of a call as texts, ``""`` where there is none.

    Raises:
        ParamTypeError: something else than text, ``None`` or a list of them.
        ParamError: an empty list, or a text of more than ``MOST_PROMPT_CHARACTERS``.
    """
    given = list(prompt) if isinstance(prompt, (list, tuple)) else [prompt]
    if not given:
        raise ParamError("prompt=[]", expected="at least one text", fix="Pass None to compose without a text")
    for number, text in enumerate(given):
        where = f"prompt[{number}]" if isinstance(prompt, (list, tuple)) else "prompt"
        if text is not None and not isinstance(text, str):
            raise ParamTypeError(f"{where} is of type {type(text).__name__}", expected="text, None or a list of them")
        if text is not None and len(text) > MOST_PROMPT_CHARACTERS:
            raise ParamError(f"{where} has {len(text)} characters", expected=f"at most {MOST_PROMPT_CHARACTERS}")
    return [text or "" for text in given]


def checked_seed(seed: Any, settings: Settings) -> int | Sequence[int] | None:
    """``seed``, where chance is involved; refused where it could change nothing."""
    if seed is not None and not settings.samples:
        raise ParamError(
            "a seed was given and no chance is involved", fix="Leave out seed, or greedy=True and temperature=0"
        )
    checked: int | list[int] | None = None if seed is None else HONOURED["seed"]("seed", seed)
    return checked


def _checked_seconds(seconds: Any) -> float:
    expected = f"a number of seconds above 0, at most {MOST_SECONDS}"
    if isinstance(seconds, bool) or not isinstance(seconds, numbers.Real):
        raise ParamError(f"seconds={_short(seconds)}", expected=expected)
    try:
        value = float(seconds)
    except OverflowError:
        value = math.inf
    if not 0 < value <= MOST_SECONDS:  # written so that NaN fails
        raise ParamError(f"seconds={_short(seconds)}", expected=expected)
    return value


def _short(value: Any) -> str:
    # Python refuses to print an int of more than a few thousand digits
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an int of {value.bit_length()} bits"
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
