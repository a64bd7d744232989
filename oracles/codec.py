"""What audiocraft's EnCodec makes of a sound: writes goldens/codec.safetensors.

One set of random weights in a tiny codec of the 32 kHz kind, run with padding by reflection and with zeros; the codes
of two sounds and the sound of two rows of codes.
"""

from __future__ import annotations

import re
from typing import Any

import tiny_audiocraft as tiny
import torch
from torch import Tensor

PAD_MODES = ("reflect", "constant")
SAMPLES = 16_123  # no multiple of a frame's 640
FRAMES = 23
CLEAR = 1e-4  # how much nearer the nearest codeword must be than the next, relative to its distance
EVERY_SAMPLE = 20  # sounds of codes are kept of so many

_NAMES = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"\.conv\.conv\.", ".conv."),
    (r"\.convtr\.convtr\.", ".conv."),
    (r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook."),
)


def published_names(model: Any) -> dict[str, Tensor]:
    """The weights under the names of published checkpoints; layers as float16, which is exact here."""
    found = {}
    for name, tensor in model.state_dict().items():
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)
        found[name] = (tensor if "codebook" in name else tensor.half()).contiguous()
    return found


def spread(model: Any) -> None:
    """Codewords of the latents' own size, layer by layer, and a decoder that is heard."""
    with torch.no_grad():
        latents = model.encoder(torch.randn(1, 1, 32_000) * 0.3)
        for number, layer in enumerate(model.quantizer.vq.layers):
            words = latents[0].t()[torch.randperm(latents.shape[-1])[: tiny.CODES // 2]]
            others = torch.randn(tiny.CODES - len(words), words.shape[-1]) * words.std() + words.mean(0)
            layer._codebook.embed.copy_(torch.cat([words, others]) * 0.5**number)


def clearest(model: Any, latents: Tensor) -> float:
    """The least relative gap between the nearest codeword and the next, over every choice that encoding makes."""
    gap = float("inf")
    for layer in model.quantizer.vq.layers:
        distances = torch.cdist(latents.transpose(1, 2).double(), layer._codebook.embed.double()[None])
        near = distances.topk(2, largest=False).values
        gap = min(gap, float(((near[..., 1] - near[..., 0]) / near[..., 1]).min()))
        latents = latents - layer.decode(layer.encode(latents))
    return gap


def golden(seed: int) -> tuple[dict[str, Tensor], float]:
    """The tensors, and how clear the least clear choice of a codeword was."""
    torch.manual_seed(seed)
    model = tiny.codec(pad_mode=PAD_MODES[0])
    spread(model)
    tiny.half_exact(model)
    time = torch.arange(SAMPLES) / 32_000
    sounds = torch.stack([torch.sin(2 * torch.pi * 440 * time), torch.randn(SAMPLES)])[:, None] * 0.3
    codes = torch.randint(tiny.CODES, (2, 4, FRAMES))
    tensors = published_names(model)
    tensors |= {"sounds": sounds.clone(), "codes": codes.to(torch.uint8)}
    clear = float("inf")
    for pad_mode in PAD_MODES:
        other = tiny.codec(pad_mode=pad_mode)
        other.load_state_dict(model.state_dict())
        with torch.no_grad():
            latents = other.encoder(sounds)
            tensors[f"{pad_mode}.latents"] = latents.contiguous()
            tensors[f"{pad_mode}.encoded"] = other.encode(sounds)[0].to(torch.uint8).contiguous()
            tensors[f"{pad_mode}.decoded"] = other.decode(codes)[..., ::EVERY_SAMPLE].contiguous()
            clear = min(clear, clearest(other, latents))
    return tensors, clear


def main() -> None:
    """Writes the golden of the first seed whose choices are clear."""
    for seed in range(1, 100):
        tensors, clear = golden(seed)
        if clear >= CLEAR:
            break
    else:
        raise SystemExit("no seed whose choices of codewords are clear")
    level = float(tensors["reflect.decoded"].std())
    print(f"codec: seed {seed}, least clear choice {clear:.1e}, level of the decoded sound {level:.3f}")
    tiny.save("codec", tensors, {"seed": seed, "clear": clear})


if __name__ == "__main__":
    main()
