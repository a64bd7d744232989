"""Makes a small Moshi checkpoint with random weights: the real architecture, babble for speech.

Run it as ``python examples/random_moshi.py FOLDER [--seed 0]``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from antiphon import EncodecFeatureExtractor, MoshiConfig, MoshiForConditionalGeneration, PreTrainedTokenizer

_WORDS = """a and the of in on for to you i we it is are was not what how who where yes no well hello good day morning
evening thank please know think like want go come see hear say speak listen time music song sea rain wind night city"""
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'-"
_UNKNOWN, _SPECIAL = "<unk>", ("<s>", "</s>", "<pad>")
_CODEBOOK_SIZE = 64
_RMS = 0.05  # of the sound of random codes
_SPREAD = 0.9  # standard deviation of the logits: a choice, not a certainty
_FRAMES = 4 * _CODEBOOK_SIZE


def make(folder: str | os.PathLike[str], *, seed: int = 0) -> Path:
    """Writes the checkpoint (about 2 MB) and gives its folder; the same seed gives the same checkpoint."""
    tokenizer = _tokenizer()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = MoshiForConditionalGeneration(_config(len(tokenizer))).eval()
        _shape_decoders(model)
        model.decoder.lm_head.weight[_bytes(tokenizer)] = 0  # which is never among the likeliest
        _shape_codec(model)
    start = model.config.vocab_size
    model.generation_config.update(
        do_sample=True,
        temperature=0.7,
        top_k=25,
        pad_token_id=start,
        bos_token_id=start,
        depth_decoder_config={"do_sample": True, "temperature": 0.8, "top_k": 250},
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    EncodecFeatureExtractor(feature_size=1, sampling_rate=model.config.sampling_rate).save_pretrained(folder)
    (Path(folder) / "README.md").write_text("---\nlicense: apache-2.0\n---\nRandom weights: babble, not speech.\n")
    return Path(folder)


def _tokenizer() -> PreTrainedTokenizer:
    """Whole words where it knows them, letters where not, and bytes for the rest; 0 and 3 stand between words."""
    pieces = [(_UNKNOWN, 0.0), *((token, 0.0) for token in _SPECIAL)]
    pieces += [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
    pieces += [("\u2581", -4.0), *(("\u2581" + word, -3.0) for word in dict.fromkeys(_WORDS.split()))]
    pieces += [(character, -6.0) for character in _CHARACTERS]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Replace(" ", "\u2581")])
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first", split=False)
    undo = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(undo)
    backend.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in (_UNKNOWN, *_SPECIAL)])
    named = dict(zip(("bos_token", "eos_token", "pad_token"), _SPECIAL, strict=True))
    return PreTrainedTokenizer(tokenizer_object=backend, unk_token=_UNKNOWN, **named)


def _bytes(tokenizer: PreTrainedTokenizer) -> list[int]:
    """The tokens of single bytes, of which chance makes no characters."""
    return [tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in range(256)]


def _config(vocabulary: int) -> MoshiConfig:
    codec: dict[str, Any] = {
        "model_type": "mimi",
        **{"num_filters": 2, "hidden_size": 32, "codebook_dim": 16, "vector_quantization_hidden_dimension": 16},
        **{"codebook_size": _CODEBOOK_SIZE, "num_quantizers": 4, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 64, "upsample_groups": 32},
    }
    depth = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 64}
    return MoshiConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=128,
        num_codebooks=4,
        max_position_embeddings=3000,
        sliding_window=250,
        audio_encoder_config=codec,
        depth_decoder_config=depth,
    )


def _shape_decoders(model: MoshiForConditionalGeneration) -> None:
    """Weights at the scale of their inputs' width, so that attention has something to say, and a spread."""
    for name, weight in model.named_parameters():
        if name.startswith("audio_encoder.") or weight.ndim < 2:
            continue
        weight.normal_(std=1.0 if "embed_tokens" in name else 1.5 * weight.shape[-1] ** -0.5)
    ids = torch.randint(0, model.config.vocab_size, (1, 64))
    codes = torch.randint(0, _CODEBOOK_SIZE, (1, model.num_codebooks, 64))
    logits = model(input_ids=ids, moshi_audio_codes=codes, user_audio_codes=codes).logits
    model.decoder.lm_head.weight *= _SPREAD / logits.std()


def _shape_codec(model: MoshiForConditionalGeneration) -> None:
    """Codebooks of what the random encoder makes of noise that swells and fades, and a decoder at a fair level."""
    codec = model.audio_encoder.codec
    swell = torch.rand(_FRAMES).repeat_interleave(codec.frame_samples) ** 3
    latents = codec.encoder(0.3 * torch.randn(1, 1, len(swell)) * swell)
    for side in (codec.quantizer.semantic, codec.quantizer.acoustic):
        points = side.project_in(latents)[0].T  # (frames, width)
        for book in side.codebooks:
            table = points[torch.randperm(len(points))[:_CODEBOOK_SIZE]]
            book.vector_sums.copy_(table)
            book.cluster_size.fill_(1.0)
            points = points - table[torch.cdist(points, table).argmin(dim=-1)]
    sound = codec.decode(torch.randint(0, _CODEBOOK_SIZE, (1, len(codec.quantizer), 60)))
    last = codec.decoder.convolutions.layers[-1]
    gain = _RMS / (sound - sound.mean()).square().mean().sqrt()
    last.bias.copy_((last.bias - sound.mean()) * gain)
    last.weight *= gain


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a small Moshi checkpoint with random weights.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = make(arguments.folder, seed=arguments.seed)
    print(f"{folder}: a Moshi checkpoint with random weights (babble, not speech)")


if __name__ == "__main__":
    main()
