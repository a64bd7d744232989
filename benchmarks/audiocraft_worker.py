"""One measurement of audiocraft at musicgen-small's sizes with random weights; prints one JSON object.

Run by ``benchmarks/making.py`` in audiocraft's own environment (``make oracles`` makes it), with the same names of
figures as ``antiphon.tasks.measurement``. The states of the text are given, so no text encoder is counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "oracles"))

import tiny_audiocraft  # puts stand-ins before audiocraft's imports
import torch
from audiocraft.modules.conditioners import ConditioningAttributes

DELAYS = [0, 1, 2, 3]
TEXT_PLACES, TEXT_WIDTH = 16, 768
CODES = 2048


def memory_mib(name: str) -> float:
    """What this process holds now (VmRSS) or held at most (VmHWM)."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))


def making(model: Any, codec: Any, steps: int) -> dict[str, float]:
    """Seconds and memory of ``steps`` columns with guidance, and of the sound after them."""
    asked = [ConditioningAttributes(text={"description": "a text"})]
    settings = {"use_sampling": True, "top_k": 250, "cfg_coef": 3.0}
    model.generate(None, asked, max_gen_len=8, **settings)
    begun = time.perf_counter()
    codes = model.generate(None, asked, max_gen_len=steps - DELAYS[-1], **settings)
    stepped = time.perf_counter() - begun
    sound = codec.decode(codes)
    took = time.perf_counter() - begun
    found = {"ms_per_step": 1000 * stepped / steps, "generate_s": took, "first_sound_s": took}
    return found | {"sound_s": sound.shape[-1] / 32_000, "peak_mib": memory_mib("VmHWM")}


def decoding(codec: Any, seconds: float) -> dict[str, float]:
    """Seconds and additional memory of decoding so many seconds of codes."""
    codes = torch.randint(CODES, (1, 4, round(seconds * 50)))
    codec.decode(codes[..., :50])
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, begun = memory_mib("VmRSS"), time.perf_counter()
    codec.decode(codes)
    return {"decode_s": time.perf_counter() - begun, "decode_mib": memory_mib("VmHWM") - before}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--codec-s", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=24)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    found: dict[str, Any] = {}
    with torch.no_grad():
        codec = tiny_audiocraft.codec(pad_mode="reflect", filters=64, width=128, codes=CODES)
        if args.steps:
            states = {"a text": torch.randn(TEXT_PLACES, TEXT_WIDTH)}
            sizes = {"codes": CODES, "width": args.width, "layers": args.layers, "heads": 16}
            model = tiny_audiocraft.language_model(states, delays=DELAYS, **sizes)
            found |= making(model, codec, args.steps)
        if args.codec_s:
            found |= decoding(codec, args.codec_s)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
