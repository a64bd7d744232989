"""Tiny random checkpoints, built and written by transformers, the oracle of these tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

CODES = 64  # of a codebook; the same number is the token before and after the codes
HOP = 640  # samples of a frame
TEXTS = ["80s pop track with bassy drums and synth", "blues groovy saxophone"]
_WORDS = ("80s", "pop", "track", "with", "bassy", "drums", "and", "synth", "blues", "groovy", "saxophone")
_WORDS += ("90s", "rock", "song", "loud", "guitars", "heavy")


def tokenizer() -> Any:
    """A T5 tokenizer that knows the words of the documented prompts and single characters."""
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    vocabulary += [("\u2581" + word, -3.0) for word in _WORDS]
    vocabulary += [(letter, -5.0) for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    return transformers.T5Tokenizer(vocab=vocabulary, extra_ids=0)


def encodec_config(**changes: Any) -> Any:
    """A 32 kHz centred codec, as MusicGen's, with four codebooks."""
    settings: dict[str, Any] = {
        "num_filters": 2,
        "hidden_size": 16,
        "codebook_size": CODES,
        "upsampling_ratios": [8, 5, 4, 4],
        "target_bandwidths": [1.2],
        "sampling_rate": 32000,
        "use_causal_conv": False,
        "use_conv_shortcut": False,
    }
    return transformers.EncodecConfig(**{**settings, **changes})


def fill_codebooks(codec: Any) -> None:
    """Random codewords where a new codec has zeros."""
    with torch.no_grad():
        for name, buffer in codec.named_buffers():
            if name.endswith("embed"):
                buffer.normal_()


def musicgen(channels: int = 1, **settings: Any) -> Any:
    """A MusicGen of the oracle; settings as ``composite`` takes them."""
    return composite(
        transformers.MusicgenForConditionalGeneration, transformers.MusicgenDecoderConfig, channels, **settings
    )


def composite(
    model_class: Any,
    decoder_class: Any,
    channels: int,
    *,
    seed: int = 0,
    text: dict[str, Any] | None = None,
    fields: dict[str, Any] | None = None,
    **decoder: Any,
) -> Any:
    """A composite of the oracle whose logits are spread, so that greedy choices are no ties.

    ``text``, ``fields`` and ``decoder`` are fields of the text encoder's, the composite's and the decoder's
    configuration.
    """
    torch.manual_seed(seed)
    text_config = {"vocab_size": 100, "d_model": 24, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    settings: dict[str, Any] = {
        "vocab_size": CODES,
        "hidden_size": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_codebooks": 4 * channels,
        "audio_channels": channels,
        "pad_token_id": CODES,
        "bos_token_id": CODES,
    }
    config = model_class.config_class(
        text_encoder=transformers.T5Config(**{**text_config, **(text or {})}),
        audio_encoder=encodec_config(),
        decoder=decoder_class(**{**settings, **decoder}),
        **(fields or {}),
    )
    model = model_class(config).eval()
    spread(model)
    fill_codebooks(model.audio_encoder)
    model.generation_config.update(
        do_sample=True,
        guidance_scale=3.0,
        max_length=30,
        pad_token_id=CODES,
        bos_token_id=CODES,
        decoder_start_token_id=CODES,
    )
    return model


def spread(model: Any) -> None:
    """Eight times the decoder's matrices, tokens and a projection of text that are felt."""
    with torch.no_grad():
        for name, parameter in model.decoder.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(50 if "embed_tokens" in name else 8)
        if hasattr(model, "enc_to_dec_proj"):
            model.enc_to_dec_proj.weight.mul_(2)
            model.enc_to_dec_proj.bias.normal_(std=0.3)  # what pads would show if they were not masked


def processor(channels: int = 1) -> Any:
    """The oracle's processor, padding on the left as published checkpoints do."""
    features = transformers.EncodecFeatureExtractor(sampling_rate=32000, feature_size=channels, padding_side="left")
    return transformers.MusicgenProcessor(features, tokenizer())


def write(model: Any, folder: Path, channels: int = 1, **saving: Any) -> Path:
    """Saves model and processor as the oracle does."""
    model.save_pretrained(folder, **saving)
    processor(channels).save_pretrained(folder)
    return folder


def distance(one: Any, other: Any) -> float:
    """The largest absolute difference of two tensors of one shape."""
    assert one.shape == other.shape, (one.shape, other.shape)
    return float((one.detach().double() - other.detach().double()).abs().max()) if one.numel() else 0.0


def column_ids(rows: int, columns: int, *, seed: int = 1, codebooks: int = 4) -> Tensor:
    """Random codes (rows * codebooks, columns) behind the start token."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, CODES, (rows * codebooks, columns), generator=generator)
    ids[:, 0] = CODES
    return ids


def sound(*shape: int, seed: int = 2) -> Tensor:
    """Noise."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.3


def generated(model: Any, **arguments: Any) -> tuple[Tensor, Any]:
    """The codes (B, K, F) that reach the codec, and what ``generate`` returns."""
    seen: list[Tensor] = []
    codec = model.audio_encoder
    original = codec.decode

    def decode(audio_codes: Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(audio_codes[0])
        return original(audio_codes, *args, **kwargs)

    codec.decode = decode
    try:
        output = model.generate(**arguments)
    finally:
        del codec.decode
    if model.decoder.config.audio_channels == 1:
        return seen[0], output
    left, right = seen
    return torch.stack([left, right], dim=2).flatten(1, 2), output
