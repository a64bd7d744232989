"""Items computed one by one: no rounding of an item depends on its neighbours, nor on their padding."""

from __future__ import annotations

from typing import Any

import torch

from antiphon.generation.philox import item_seeds
from antiphon.generation.sampling import is_sampling
from antiphon.models.music_composite import as_encoder_outputs
from antiphon.models.musicgen_compose import Asked
from antiphon.models.musicgen_prompts import item_count
from antiphon.outputs import GenerateEncoderDecoderOutput

# What of the inputs has one row an item.
_PER_ITEM = (
    "input_ids",
    "attention_mask",
    "inputs_embeds",
    "input_values",
    "padding_mask",
    "decoder_attention_mask",
    "input_features",
    "input_features_mask",
)


def one_by_one(model: Any, asked: Asked) -> Any:
    """What ``generate`` gives, each item computed by itself."""
    config, given, callers = asked.config, asked.inputs, asked.callers
    texts = as_encoder_outputs(given.get("encoder_outputs"))
    items = item_count(given, texts, model.decoder.num_codebooks)
    times = config.num_return_sequences or 1
    seeds = item_seeds(config.seed, items * times) if is_sampling(config) else [None] * (items * times)
    outputs = []
    for number in range(items * times):
        item = number // times
        own = {k: v[item : item + 1] if k in _PER_ITEM else v for k, v in given.items()}
        own = _without_pads(own)
        if "decoder_input_ids" in own:
            books = model.decoder.num_codebooks
            own["decoder_input_ids"] = own["decoder_input_ids"].view(items, books, -1)[item]
        if "encoder_outputs" in own:
            own["encoder_outputs"] = (own["encoder_outputs"][0][item : item + 1],)
        single = config.copy()
        single.update(
            batch_invariant=False, num_return_sequences=1, return_dict_in_generate=True, independent_rows=True
        )
        single.seed = seeds[number]
        length = {"max_length": config.max_length} if not asked.left_open and config.max_new_tokens is None else {}
        outputs.append(
            model.generate(
                generation_config=single,
                logits_processor=callers.logits_processor,
                stopping_criteria=callers.stopping_criteria,
                streamer=callers.streamer,
                **own,
                **length,
            )
        )
    return _joined(outputs, [s for s in seeds if s is not None], bool(config.return_dict_in_generate))


def _without_pads(own: dict[str, Any]) -> dict[str, Any]:
    """One item's inputs cut to what is real, as it would come alone."""
    for names, mask_name in ((("input_ids", "inputs_embeds"), "attention_mask"), (("input_values",), "padding_mask")):
        mask = own.get(mask_name)
        if mask is None or not bool(mask.any()) or bool(mask.bool().all()):
            continue
        real = mask.reshape(-1, mask.shape[-1])[0].bool().nonzero().flatten()
        span = slice(int(real[0]), int(real[-1]) + 1)
        for name in names:
            if name in own:
                own[name] = own[name][:, span] if name != "input_values" else own[name][..., span]
        own[mask_name] = mask[..., span]
    return own


def _joined(outputs: list[GenerateEncoderDecoderOutput], seeds: list[int], as_output: bool) -> Any:
    sounds = [out.sequences for out in outputs if out.sequences is not None]
    lengths = [sound.shape[-1] for sound in sounds]
    audio = torch.cat([torch.nn.functional.pad(s, (0, max(lengths) - s.shape[-1])) for s in sounds])
    if not as_output:
        return audio
    codes = [out.audio_codes for out in outputs if out.audio_codes is not None]
    frames = max(c.shape[-1] for c in codes)
    return GenerateEncoderDecoderOutput(
        sequences=audio,
        audio_codes=torch.cat([torch.nn.functional.pad(c, (0, frames - c.shape[-1])) for c in codes]),
        audio_lengths=lengths,
        seeds=seeds or None,
    )
