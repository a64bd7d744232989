"""Prompts with sound: what the documented arguments of ``generate`` come to for a language model."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from antiphon.errors import ParamError
from antiphon.models.text_generation import check_ids
from antiphon.models.text_steps import held_columns

_OF_SOUND = ("input_features", "input_features_mask", "window_indices", "audio_features")


def with_sound(model: Any, inputs: Tensor | None, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call with the sound's frames among the prompt's embeddings, and without the sound.

    The sound is encoded once for each prompt, however many texts or beams go on from it, and not at all where a cache
    of the caller's holds it already.

    Args:
        kwargs: as ``generate`` takes them; left as they are.

    Raises:
        ParamError: placeholders without sound, sound without placeholders or given twice, or embeddings beside it.
    """
    given = dict(kwargs)
    sound = {name: given.pop(name) for name in _OF_SOUND if name in given}
    sound = {name: value for name, value in sound.items() if value is not None}
    has_sound = "input_features" in sound or "audio_features" in sound
    if sound and not has_sound:
        raise ParamError(f"{' and '.join(sound)} without sound", fix="Give input_features or audio_features too")
    ids = given.get("input_ids") if inputs is None else inputs
    if ids is None:
        if has_sound:
            raise ParamError("sound without input_ids", fix="Give the ids, which say where the sound stands")
        return given
    if given.get("inputs_embeds") is not None:
        if has_sound:
            raise ParamError("sound beside inputs_embeds", fix="Leave one of them out")
        return given
    check_ids(ids, model.get_input_embeddings().num_embeddings - 1)
    placeholders = ids == model.config.audio_token_id
    use_cache = given.get("use_cache") is not False
    held = held_columns(given.get("past_key_values"), ids.shape[1], use_cache=use_cache)
    open_places = bool(placeholders[:, held:].any())
    if open_places and not has_sound:
        raise ParamError(
            f"{int(placeholders[:, held:].sum())} placeholders for sound and no sound",
            expected="input_features, as the processor gives them, or audio_features",
        )
    if has_sound and (open_places or not held):
        ids = ids.to(model.device)
        given["inputs_embeds"], _ = model.model.heard(ids, **sound)
    return given
