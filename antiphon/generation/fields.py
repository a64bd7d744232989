"""The fields of a generation config: which are honoured, which only kept, their defaults, and what each may hold."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

from antiphon.errors import ParamError
from antiphon.generation.philox import check_seed
from antiphon.generation.stopping import check_stop_strings

LENGTH_LIMIT = 2**31 - 1  # columns of a sequence; more could not be numbered by the int32 positions of the devices

Check = Callable[[str, Any], Any]


def _refuse(name: str, value: Any, expected: str) -> ParamError:
    # Python refuses to print an int of more than a few thousand digits
    huge = isinstance(value, int) and value.bit_length() > 256
    shown = f"an int of {value.bit_length()} bits" if huge else repr(value)
    return ParamError(f"{name}={shown if len(shown) <= 80 else shown[:77] + '...'}", expected=expected)


def _whole(low: int, high: int, expected: str) -> Check:
    def check(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not low <= int(value) <= high:
            raise _refuse(name, value, expected)
        return int(value)

    return check


def _real(low: float, high: float, expected: str, *, open_low: bool = False) -> Check:
    def check(name: str, value: Any) -> int | float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise _refuse(name, value, expected)
        try:
            number = int(value) if isinstance(value, numbers.Integral) else float(value)
            finite = math.isfinite(number)
        except OverflowError:  # an int beyond every float
            raise _refuse(name, value, expected) from None
        # written so that NaN fails
        if not finite or not (low < number if open_low else low <= number) or not number <= high:
            raise _refuse(name, value, expected)
        return number

    return check


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refuse(name, value, "True or False")
    return value


_id = _whole(0, LENGTH_LIMIT, "a token id: an int, 0 or more")
_any_id = _whole(-LENGTH_LIMIT, LENGTH_LIMIT, "a token id: an int")
_length = _whole(1, LENGTH_LIMIT, f"an int from 1 to {LENGTH_LIMIT}")
_count = _whole(0, LENGTH_LIMIT, f"an int from 0 to {LENGTH_LIMIT}")


def _ids(name: str, value: Any) -> list[int]:
    if not isinstance(value, (list, tuple)):
        raise _refuse(name, value, "a list of token ids")
    return [_any_id(f"{name}[{i}]", one) for i, one in enumerate(value)]


def _id_or_ids(name: str, value: Any) -> int | list[int]:
    if isinstance(value, (list, tuple)) and value:
        return [_any_id(f"{name}[{i}]", one) for i, one in enumerate(value)]
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(_any_id(name, value))
    raise _refuse(name, value, "a token id or a list of them, not empty")


def _words(name: str, value: Any) -> list[list[int]]:
    several = isinstance(value, (list, tuple)) and len(value) > 0
    if not several or not all(isinstance(word, (list, tuple)) and len(word) > 0 for word in value):
        raise _refuse(name, value, "a list of lists of token ids, none of them empty")
    return [[_id(f"{name}[{i}]", token) for token in word] for i, word in enumerate(value)]


def _seed(name: str, value: Any) -> int | list[int]:
    if isinstance(value, (list, tuple)):
        return [check_seed(one, f"{name}[{i}]") for i, one in enumerate(value)]
    return check_seed(value, name)


def _store(name: str, value: Any) -> str:
    known = ("float32", "bfloat16", "float16", "int8")
    if value not in known:
        raise _refuse(name, value, f"one of {known}")
    return str(value)


def _early(name: str, value: Any) -> bool | str:
    if not isinstance(value, bool) and value != "never":
        raise _refuse(name, value, 'True, False or "never"')
    return bool(value) if isinstance(value, bool) else "never"


def _strings(name: str, value: Any) -> str | list[str]:
    strings = check_stop_strings(value)
    return value if isinstance(value, str) else list(strings)


# what each honoured field may hold beside None, which leaves it unset
HONOURED: dict[str, Check] = {
    "max_length": _length,
    "max_new_tokens": _length,
    "min_length": _count,
    "min_new_tokens": _count,
    "max_time": _real(0, math.inf, "a finite number of seconds above 0", open_low=True),
    "stop_strings": _strings,
    "do_sample": _flag,
    "num_beams": _whole(1, LENGTH_LIMIT, "an int, 1 or more"),
    "length_penalty": _real(-10, 10, "a number from -10 to 10; above 0 prefers longer texts"),
    "early_stopping": _early,
    "use_cache": _flag,
    "temperature": _real(0, math.inf, "a finite number, 0 (greedy) or more"),
    "top_k": _whole(0, 2**63 - 1, "an int, 0 (off) or more"),
    "top_p": _real(0, 1, "a number from 0 to 1, where 0 and 1 switch it off"),
    "min_p": _real(0, 1, "a number from 0 to 1"),
    "typical_p": _real(0, 1, "a number above 0, at most 1", open_low=True),
    "repetition_penalty": _real(0, math.inf, "a finite number above 0", open_low=True),
    "no_repeat_ngram_size": _count,
    "bad_words_ids": _words,
    "suppress_tokens": _ids,
    "guidance_scale": _real(-math.inf, math.inf, "a finite number; guidance is on above 1"),
    "num_return_sequences": _whole(1, LENGTH_LIMIT, "an int, 1 or more"),
    "output_attentions": _flag,
    "output_hidden_states": _flag,
    "output_scores": _flag,
    "output_logits": _flag,
    "return_dict_in_generate": _flag,
    "pad_token_id": _any_id,
    "bos_token_id": _any_id,
    "eos_token_id": _id_or_ids,
    "decoder_start_token_id": _any_id,
    # ours
    "seed": _seed,
    "independent_rows": _flag,
    "batch_invariant": _flag,
    "window_seconds": _real(0, math.inf, "a finite number of seconds above 0", open_low=True),
    "cache_dtype": _store,
    "stride_seconds": _real(0, math.inf, "a finite number of seconds above 0", open_low=True),
}

# kept so that a checkpoint's file survives a round trip; a call that asks for one of them is refused
KEPT: tuple[str, ...] = (
    *("use_mtp", "cache_implementation", "cache_config", "max_cache_len", "top_h"),
    *("epsilon_cutoff", "eta_cutoff", "encoder_repetition_penalty", "renormalize_logits"),
    *("forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty"),
    *("begin_suppress_tokens", "sequence_bias", "token_healing", "watermarking_config"),
    *("encoder_no_repeat_ngram_size", "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule"),
    *("assistant_confidence_threshold", "prompt_lookup_num_tokens", "max_matching_ngram_size"),
    *("assistant_early_exit", "assistant_lookbehind", "target_lookbehind", "assistant_ensemble_weight"),
    *("speculation_type", "compile_config", "disable_compile", "continuous_batching_config", "low_memory"),
    *("penalty_alpha", "dola_layers", "diversity_penalty", "num_beam_groups", "constraints", "force_words_ids"),
    "prefill_chunk_size",
)

# where these and the file they came from leave a field unset, a call uses these values
GLOBAL_DEFAULTS: dict[str, Any] = {
    "max_length": 20,
    "min_length": 0,
    "do_sample": False,
    "use_cache": True,
    "num_beams": 1,
    "length_penalty": 1.0,
    "early_stopping": False,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "num_return_sequences": 1,
    "output_scores": False,
    "return_dict_in_generate": False,
}

# the values of kept fields that change nothing, beside None and False
NEUTRAL: dict[str, Any] = {
    "encoder_no_repeat_ngram_size": 0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "encoder_repetition_penalty": 1.0,
    "num_assistant_tokens": 20,
    "num_assistant_tokens_schedule": "constant",
    "assistant_confidence_threshold": 0.4,
    "assistant_lookbehind": 10,
    "target_lookbehind": 10,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
}

# where a config came from: no setting, and no part of its value
METADATA: tuple[str, ...] = ("_from_model_config", "transformers_version")

# arguments of ``generate`` itself, which a config must not carry
CALL_ONLY: tuple[str, ...] = (
    *("logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn", "synced_gpus", "assistant_model"),
    *("streamer", "negative_prompt_ids", "negative_prompt_attention_mask"),
)


def check_field(name: str, value: Any) -> Any:
    """``value`` for the field ``name``, as plain Python numbers and lists; ``ParamError`` when it may not hold it."""
    if name in CALL_ONLY:
        raise ParamError(
            f"a generation config got {name}", expected="settings only", fix=f"Pass {name} to generate() itself"
        )
    if value is None or name not in HONOURED:
        return value
    return HONOURED[name](name, value)


def asks_for_something(name: str, value: Any) -> bool:
    """Whether a kept field's value would change a generation that knew the field."""
    return name in KEPT and value is not None and value is not False and value != NEUTRAL.get(name)
