"""The numbers that audiocraft gave, and our models with the weights that it had; see docs/oracles.md."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

import antiphon

FOLDER = Path(__file__).parents[2] / "oracles" / "goldens"


@dataclass
class Golden:
    """A file of tensors with facts about them."""

    tensors: dict[str, Tensor]
    facts: dict[str, str]

    def weights(self, *prefixes: str) -> dict[str, Tensor]:
        """The tensors under some names, as float32."""
        return {name: tensor.float() for name, tensor in self.tensors.items() if name.startswith(prefixes)}

    def __getitem__(self, name: str) -> Tensor:
        """A tensor; codes, which are kept in a byte, as int64."""
        tensor = self.tensors[name]
        return tensor.long() if tensor.dtype == torch.uint8 else tensor


def golden(name: str) -> Golden:
    """A golden by its name."""
    with safe_open(FOLDER / f"{name}.safetensors", framework="pt") as file:
        return Golden({key: file.get_tensor(key) for key in file.keys()}, file.metadata())  # noqa: SIM118


def facts(name: str) -> Any:
    """A golden that is only numbers."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def codec_config(pad_mode: str = "reflect") -> antiphon.EncodecConfig:
    """The tiny codec's."""
    return antiphon.EncodecConfig(
        num_filters=2,
        hidden_size=16,
        codebook_size=64,
        upsampling_ratios=[8, 5, 4, 4],
        target_bandwidths=[1.2],
        sampling_rate=32000,
        use_causal_conv=False,
        use_conv_shortcut=False,
        pad_mode=pad_mode,
    )


def musicgen(source: Golden, channels: int) -> antiphon.MusicgenForConditionalGeneration:
    """The tiny model with audiocraft's decoder and projection; its text encoder and its codec are not compared."""
    codes, width = source["decoder.lm_heads.0.weight"].shape
    config = antiphon.MusicgenConfig(
        text_encoder=antiphon.T5Config(
            vocab_size=10, d_model=source["text_states"].shape[-1], d_kv=4, d_ff=8, num_layers=1, num_heads=2
        ),
        audio_encoder=codec_config(),
        decoder=antiphon.MusicgenDecoderConfig(
            vocab_size=codes,
            hidden_size=width,
            ffn_dim=4 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_codebooks=4 * channels,
            audio_channels=channels,
            pad_token_id=codes,
            bos_token_id=codes,
        ),
    )
    torch.manual_seed(0)
    model = antiphon.MusicgenForConditionalGeneration(config).eval()
    compared = source.weights("decoder.", "enc_to_dec_proj.")
    # positions are computed, not stored, and what belongs to the other two parts stays as it is
    left = model.load_state_dict(compared, strict=False)
    assert not left.unexpected_keys
    assert not [name for name in left.missing_keys if name.startswith(("decoder.", "enc_to_dec_proj."))]
    model.generation_config.update(decoder_start_token_id=codes, pad_token_id=codes, bos_token_id=codes)
    return model
