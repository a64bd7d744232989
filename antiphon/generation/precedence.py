"""Which setting wins: a call's keywords, its config, the model's, the global defaults; and the length they come to."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from antiphon.errors import ParamError, unknown_argument
from antiphon.generation import fields
from antiphon.generation.beams import Beams

if TYPE_CHECKING:
    from antiphon.generation.config import GenerationConfig

logger = logging.getLogger(__name__)

_SAMPLING_ONLY = ("temperature", "top_k", "top_p", "min_p", "typical_p")
_BEAMS_ONLY = ("length_penalty", "early_stopping")
# None would mean nothing for these: it stands for "not given"
_NEVER_UNSET = ("max_length", "num_return_sequences", "num_beams", "use_cache", "do_sample", *_BEAMS_ONLY)


def resolve(
    call_config: GenerationConfig | None, model_config: GenerationConfig, overrides: Mapping[str, Any]
) -> tuple[GenerationConfig, dict[str, Any]]:
    """What a call goes by: its keywords, then its ``generation_config``, then the model's, then the global defaults.

    Args:
        call_config: the ``generation_config`` argument of the call.
        model_config: the model's own.
        overrides: the call's keywords. ``None`` switches a sampler off that the model's config or a default sets;
            for lengths and counts it means not given.

    Returns:
        A config of its own, neither argument is changed; and the keywords that are no setting, which are then the
        model's or unknown (``refuse_unknown``).

    Raises:
        ParamError: a value is refused, two contradict each other, or a field that is only kept is asked for.
    """
    config = type(model_config)() if call_config is None else call_config.copy()
    for layer in (model_config.to_dict(), fields.GLOBAL_DEFAULTS):
        for name, value in layer.items():
            if vars(config).get(name) is None and name not in fields.METADATA:
                setattr(config, name, copy.copy(value))
    asked = {name: value for name, value in overrides.items() if value is not None or name not in _NEVER_UNSET}
    _refuse_kept(asked, call_config, model_config)
    leftover = config.update(**asked)
    ignored = [name for name in _SAMPLING_ONLY if overrides.get(name) is not None]
    if ignored and config.do_sample is not True:
        logger.warning("%s have no effect without do_sample=True: tokens are not drawn", ignored)
    ignored = [name for name in _BEAMS_ONLY if overrides.get(name) not in (None, fields.GLOBAL_DEFAULTS[name])]
    if ignored and config.num_beams == 1:
        logger.warning("%s have no effect without beams: num_beams=1", ignored)
    return config, leftover


def _refuse_kept(
    asked: Mapping[str, Any], call_config: GenerationConfig | None, model_config: GenerationConfig
) -> None:
    theirs = {} if call_config is None else vars(call_config)
    # what a call's config took over from the model's file was not asked for by the call
    changed = {name: value for name, value in theirs.items() if value != vars(model_config).get(name)}
    for name, value in {**changed, **asked}.items():
        if fields.asks_for_something(name, value):
            raise ParamError(
                f"{name}={value!r} is not supported",
                expected="it unset: this field is kept in files, not followed",
                fix=f"Leave out {name}",
            )


def refuse_unknown(leftover: Iterable[str], accepted: Iterable[str], *, where: str = "generate") -> None:
    """Raises for the first of the keywords ``leftover`` by ``resolve`` that the model does not accept either.

    Raises:
        ParamTypeError: naming the keyword, and the nearest setting or accepted name.
    """
    accepted = set(accepted)
    for name in leftover:
        if name not in accepted:
            raise unknown_argument(name, sorted(accepted | set(fields.HONOURED)), where=where)


def beams_of(config: GenerationConfig, filler: Sequence[int]) -> Beams | None:
    """The search that ``config`` asks for, with a token of each stream that stands behind an end; ``None`` without."""
    if config.num_beams is None or config.num_beams == 1:
        return None
    return Beams(
        config.num_beams,
        config.num_return_sequences or 1,
        filler,
        length_penalty=1.0 if config.length_penalty is None else config.length_penalty,
        early_stopping=config.early_stopping or False,
    )


def require_single_beam(config: GenerationConfig) -> None:
    """Raises ``ParamError`` where ``config`` asks for beam search."""
    if config.num_beams is not None and config.num_beams > 1:
        raise ParamError(
            f"num_beams={config.num_beams}: Got incompatible mode for generation, should be one of greedy or sampling",
            expected="greedy decoding or sampling",
            fix="Ensure that beam search is de-activated by setting num_beams=1: a beam over sound has no meaning",
        )


def resolve_length(
    config: GenerationConfig, prompt_columns: int, *, max_length_is_default: bool, ceiling: int | None = None
) -> int:
    """The columns a call ends with, its prompt's included.

    Args:
        config: resolved. ``max_new_tokens`` wins over ``max_length``.
        prompt_columns: columns before the first new one.
        max_length_is_default: no keyword of the call gave ``max_length``. A quirk of the reference, kept: a configured
            ``max_length`` counts new columns, only the keyword counts all of them.
        ceiling: the most columns the model has positions for; caps a configured ``max_length`` only, as the reference.

    Raises:
        ParamError: nothing is left to generate, or no length is given at all.

    Source: transformers 5.23, ``generate`` of the MusicGen classes.
    """
    if config.max_new_tokens is not None:
        if not max_length_is_default and config.max_length is not None:
            logger.warning(
                "both max_new_tokens=%d and max_length=%d are given: max_new_tokens counts",
                config.max_new_tokens,
                config.max_length,
            )
        return config.max_new_tokens + prompt_columns
    if config.max_length is None:
        raise ParamError("neither max_new_tokens nor max_length is given", expected="one of them")
    length = config.max_length
    if max_length_is_default:
        length = length + prompt_columns if ceiling is None else min(length + prompt_columns, ceiling)
    if prompt_columns >= length:
        raise ParamError(
            f"the prompt has {prompt_columns} columns and the sequence may have {length}: nothing is left to generate",
            expected="a max_length above the prompt's columns",
            fix="Pass max_new_tokens, or a shorter prompt",
        )
    return length
