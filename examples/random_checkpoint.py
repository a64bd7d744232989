"""Makes a small MusicGen or MusicGen Melody checkpoint with random weights: the real architecture, texture for music.

Run it as ``python examples/random_checkpoint.py FOLDER [--seed 0] [--stereo] [--melody]``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch

from antiphon import (
    EncodecConfig,
    EncodecFeatureExtractor,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyFeatureExtractor,
    MusicgenMelodyForConditionalGeneration,
    MusicgenMelodyProcessor,
    MusicgenProcessor,
    T5Config,
    T5Tokenizer,
)

_WORDS = """a and with the of in on for to 80s 90s pop rock folk jazz blues techno house ambient track song tune beat
bassy bass drum drums synth synths guitar guitars piano organ strings choir voice flute saxophone brass bells percussion
loud soft slow fast calm warm dark bright heavy light groovy dreamy happy sad melody rhythm chords noise rain wind sea
night day morning city forest deep high low old new wide rolling"""
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'-/<>"
_CODEBOOK_SIZE = 512
_LAST_LAYER, _LAST_NAMES = 15, ("parametrizations.weight.original0", "bias")
_SMOOTHED = {9: 4, 12: 4}  # upsampling layers and their strides: taps at random would put most of the sound at 8 kHz
_RMS = 0.1  # of the sound of random codes; its peaks then stay below full scale
_SPREAD = 0.9  # standard deviation of the logits: a choice, not a certainty


Model = MusicgenForConditionalGeneration | MusicgenMelodyForConditionalGeneration


def make(folder: str | os.PathLike[str], *, seed: int = 0, channels: int = 1, melody: bool = False) -> Path:
    """Writes the checkpoint (about 8 MB) and gives its folder; the same seed gives the same checkpoint.

    Args:
        folder: made if missing. channels: 1, or 2 for a stereo model. melody: one that hears melodies.
    """
    kind = MusicgenMelodyForConditionalGeneration if melody else MusicgenForConditionalGeneration
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = _tokenizer()
        model: Model = kind(_config(len(tokenizer), channels, melody=melody)).eval()
        with torch.no_grad():
            _shape_text_encoder(model)
            _shape_decoder(model)
            _shape_codec(model)
    start = _CODEBOOK_SIZE
    model.generation_config.update(
        do_sample=True, guidance_scale=3.0, max_length=1500, pad_token_id=start, bos_token_id=start
    )
    model.generation_config.decoder_start_token_id = start
    model.save_pretrained(folder)
    if melody:
        MusicgenMelodyProcessor(MusicgenMelodyFeatureExtractor(), tokenizer).save_pretrained(folder)
    else:
        features = EncodecFeatureExtractor(feature_size=channels, sampling_rate=32_000, padding_side="left")
        MusicgenProcessor(features, tokenizer).save_pretrained(folder)
    (Path(folder) / "README.md").write_text("---\nlicense: apache-2.0\n---\nRandom weights: texture, not music.\n")
    return Path(folder)


def _tokenizer() -> T5Tokenizer:
    """Whole words where it knows them, letters where not."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    pieces += [("▁" + word, -3.0) for word in dict.fromkeys(_WORDS.split())]
    pieces += [(character, -6.0) for character in _CHARACTERS]
    return T5Tokenizer(vocab=pieces, extra_ids=0)


def _config(vocabulary: int, channels: int, *, melody: bool) -> MusicgenConfig | MusicgenMelodyConfig:
    parts: dict[str, Any] = {
        "text_encoder": T5Config(vocab_size=vocabulary, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4),
        "audio_encoder": EncodecConfig(
            sampling_rate=32_000,
            target_bandwidths=[1.8],  # 4 codebooks of 9 bits at 50 frames a second
            upsampling_ratios=[8, 5, 4, 4],
            codebook_size=_CODEBOOK_SIZE,
            hidden_size=64,
            num_filters=4,
            use_causal_conv=False,
            use_conv_shortcut=False,
        ),
        "decoder": (MusicgenMelodyDecoderConfig if melody else MusicgenDecoderConfig)(
            vocab_size=_CODEBOOK_SIZE,
            hidden_size=128,
            ffn_dim=512,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_codebooks=4 * channels,
            audio_channels=channels,
            pad_token_id=_CODEBOOK_SIZE,
            bos_token_id=_CODEBOOK_SIZE,
        ),
    }
    return MusicgenMelodyConfig(**parts) if melody else MusicgenConfig(**parts)


def _shape_text_encoder(model: Model) -> None:
    """Embeddings apart enough that every word counts, and every pitch class of a melody."""
    model.text_encoder.get_input_embeddings().weight.normal_()
    model.enc_to_dec_proj.weight.normal_(std=0.3)
    if hasattr(model, "audio_enc_to_dec_proj"):
        model.audio_enc_to_dec_proj.weight.normal_()


def _shape_decoder(model: Model) -> None:
    """Weights at the scale of their inputs' width, so that attention has something to say; then heads with a spread."""
    decoder = model.decoder
    for name, weight in decoder.named_parameters():
        if weight.ndim == 2:
            weight.normal_(std=1.0 if "embed" in name else 1.5 * weight.shape[1] ** -0.5)
    logits = decoder(input_ids=torch.randint(0, _CODEBOOK_SIZE, (decoder.num_codebooks, 64))).logits
    for name, weight in decoder.named_parameters():
        if "head" in name:
            weight *= _SPREAD / logits.std()


def _shape_codec(model: Model) -> None:
    """Codebooks of what the random encoder makes of noise that swells and fades, so that loud stays loud; and a decoder
    whose upsampling interpolates, at a fair level.
    """
    codec = model.audio_encoder
    tensors = codec.state_dict()  # by the documents' names; changed in place
    books = codec.config.num_quantizers
    frames = 2 * _CODEBOOK_SIZE
    swell = torch.rand(frames // 4).repeat_interleave(4 * codec.config.hop_length) ** 3
    noise = (torch.randn(swell.shape) * swell).cumsum(-1)
    noise = (noise - torch.nn.functional.avg_pool1d(noise[None], 641, 1, 320)[0])[None, None]
    _level(tensors, "encoder", codec.encoder(noise / noise.abs().max()), rms=1.0)
    latents = codec.encoder(noise / noise.abs().max())[0].T  # (frames, width)
    for number in range(books):
        table = latents[torch.randperm(len(latents))[:_CODEBOOK_SIZE]]
        for name in ("embed", "embed_avg"):
            tensors[f"quantizer.layers.{number}.codebook.{name}"].copy_(table)
        latents = latents - table[torch.cdist(latents, table).argmin(dim=-1)] + 0.05 * torch.randn_like(latents)
    for layer, stride in _SMOOTHED.items():
        kernel = tensors[f"decoder.layers.{layer}.conv.parametrizations.weight.original1"]  # (in, out, 2 * stride)
        ramp = (torch.arange(2 * stride) + 0.5) / stride
        kernel.copy_(kernel[..., :1] * torch.minimum(ramp, 2 - ramp))
    codes = torch.randint(0, _CODEBOOK_SIZE, (1, 1, books, 400))
    _level(tensors, "decoder", codec.decode(codes, [None]).audio_values, rms=_RMS)


def _level(tensors: dict[str, torch.Tensor], part: str, output: torch.Tensor, *, rms: float) -> None:
    """Changes the last layer of a part so that its ``output`` (1, C, N) would have no mean and this level."""
    scale, bias = (tensors[f"{part}.layers.{_LAST_LAYER}.conv.{name}"] for name in _LAST_NAMES)
    gain = rms / (output - output.mean(-1, keepdim=True)).square().mean().sqrt()
    bias.copy_((bias - output.mean(-1)[0]) * gain)
    scale *= gain


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a small MusicGen checkpoint with random weights.")
    parser.add_argument("--melody", action="store_true", help="of MusicGen Melody, which also hears a melody")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stereo", action="store_true")
    arguments = parser.parse_args()
    channels = 2 if arguments.stereo else 1
    folder = make(arguments.folder, seed=arguments.seed, channels=channels, melody=arguments.melody)
    print(f"{folder}: a MusicGen checkpoint with random weights (texture, not music)")


if __name__ == "__main__":
    main()
