"""How a listener chooses its words: the checked settings of a question."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from antiphon.errors import ParamError, ParamTypeError
from antiphon.generation import precedence
from antiphon.generation.config import GenerationConfig
from antiphon.generation.fields import HONOURED

MOST_QUESTION_CHARACTERS = 100_000


@dataclass(frozen=True, kw_only=True)
class ListeningSettings:
    """The settings of a question, checked.

    Args:
        max_new_tokens: the longest answer, 1 or more. temperature: 0 (always the likeliest) or more.
        top_k, top_p: shape the chance; 0 is off.

    Raises:
        ParamError: a value out of range, or a shape for a chance that there is not.
    """

    max_new_tokens: int = 500
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 0.0

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "temperature", "top_k", "top_p"):
            object.__setattr__(self, name, HONOURED[name](name, getattr(self, name)))
        if not self.samples and (self.top_k or self.top_p):
            raise ParamError(
                f"top_k={self.top_k}, top_p={self.top_p} without chance", fix="Raise temperature, or leave them out"
            )

    @property
    def samples(self) -> bool:
        """Whether chance is involved."""
        return self.temperature > 0

    def resolved(self, own: GenerationConfig) -> GenerationConfig:
        """The settings of a generation: these, and else what the checkpoint says."""
        chance: dict[str, Any] = {"do_sample": False}
        if self.samples:
            chance = {"do_sample": True, "temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        one = {"num_beams": 1, "num_return_sequences": 1, "return_dict_in_generate": False, "use_cache": True}
        return precedence.resolve(None, own, {**chance, **one, "max_new_tokens": self.max_new_tokens})[0]

    def record(self) -> dict[str, Any]:
        """What an answer says of how it was made."""
        return asdict(self)


def checked_question(question: Any) -> str:
    """A question with something in it.

    Raises:
        ParamTypeError: no text. ParamError: a blank one, or one of more than ``MOST_QUESTION_CHARACTERS``.
    """
    if not isinstance(question, str):
        raise ParamTypeError(f"question is of type {type(question).__name__}", expected="text")
    if not question.strip():
        raise ParamError("a blank question", expected="words")
    if len(question) > MOST_QUESTION_CHARACTERS:
        raise ParamError(f"a question of {len(question)} characters", expected=f"up to {MOST_QUESTION_CHARACTERS}")
    return question


def checked_seed(seed: Any, settings: ListeningSettings) -> Any:
    """``seed``, where chance is involved; refused where it could change nothing."""
    if seed is not None and not settings.samples:
        raise ParamError("a seed was given and no chance is involved", fix="Leave it out, or raise temperature above 0")
    return None if seed is None else HONOURED["seed"]("seed", seed)
