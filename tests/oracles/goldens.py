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

    @property
    def about(self) -> Any:
        """What the script that made it says of it."""
        return json.loads(self.facts["about"])

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


def _sizes(source: Golden, channels: int) -> dict[str, Any]:
    """The configurations of the parts, but for the decoder's class."""
    codes, width = source["decoder.lm_heads.0.weight"].shape
    text_width = source["enc_to_dec_proj.weight"].shape[1]
    return {
        "text_encoder": antiphon.T5Config(vocab_size=20, d_model=text_width, d_kv=4, d_ff=8, num_layers=1, num_heads=2),
        "audio_encoder": codec_config(),
        "decoder": {
            "vocab_size": codes,
            "hidden_size": width,
            "ffn_dim": 4 * width,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_codebooks": 4 * channels,
            "audio_channels": channels,
            "pad_token_id": codes,
            "bos_token_id": codes,
        },
    }


def _loaded(model: Any, source: Golden) -> Any:
    """The model with audiocraft's decoder and projections; its text encoder and its codec are not compared."""
    compared = ("decoder.", "enc_to_dec_proj.", "audio_enc_to_dec_proj.")
    left = model.load_state_dict(source.weights(*compared), strict=False)
    # positions are computed, not stored, and what belongs to the other two parts stays as it is
    assert not left.unexpected_keys
    assert not [name for name in left.missing_keys if name.startswith(compared)]
    codes = model.config.decoder.vocab_size
    model.generation_config.update(decoder_start_token_id=codes, pad_token_id=codes, bos_token_id=codes)
    return model.eval()


def musicgen(source: Golden, channels: int) -> antiphon.MusicgenForConditionalGeneration:
    """The tiny MusicGen."""
    sizes = _sizes(source, channels)
    config = antiphon.MusicgenConfig(**sizes | {"decoder": antiphon.MusicgenDecoderConfig(**sizes["decoder"])})
    torch.manual_seed(0)
    return _loaded(antiphon.MusicgenForConditionalGeneration(config), source)


def musicgen_melody(source: Golden, channels: int) -> antiphon.MusicgenMelodyForConditionalGeneration:
    """The tiny MusicGen Melody, whose windows have as many frames of chroma as the golden's."""
    sizes = _sizes(source, channels)
    decoder = antiphon.MusicgenMelodyDecoderConfig(**sizes["decoder"])
    frames = source["chroma"].shape[-1]
    config = antiphon.MusicgenMelodyConfig(**sizes | {"decoder": decoder}, chroma_length=frames)
    torch.manual_seed(0)
    return _loaded(antiphon.MusicgenMelodyForConditionalGeneration(config), source)
