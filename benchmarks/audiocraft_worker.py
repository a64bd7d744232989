"""One measurement of audiocraft at a published size with random weights; prints one JSON object.

Run in audiocraft's own environment (``make oracles`` makes it), with the same names of figures as
``antiphon.tasks.measurement``. The states of the text are given, so no text encoder is counted, and a melody's sound
goes to its chroma as it is. What is loaded are the language model and the codec, out of files like audiocraft's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "oracles"))

import tiny_audiocraft  # puts stand-ins before audiocraft's imports
import torch
from audiocraft.modules.conditioners import ConditioningAttributes, WavCondition
from torch import Tensor

DELAYS = [0, 1, 2, 3]
TEXT_PLACES, TEXT_WIDTH = 16, 768
CODES = 2048
CHROMA_S = 30.0  # of a melody, as the published models hear it
TIMES = 5


def memory_mib(name: str) -> float:
    """What this process holds now (VmRSS) or held at most (VmHWM)."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))


def noise(seconds: float) -> Tensor:
    """A sound (1, 1, N)."""
    return torch.rand(1, 1, round(seconds * tiny_audiocraft.RATE_HZ)) - 0.5


def built(args: argparse.Namespace) -> tuple[Any, Any]:
    """A language model and a codec of these sizes."""
    states = {"a text": torch.randn(TEXT_PLACES, TEXT_WIDTH)}
    sizes = {"codes": CODES, "width": args.width, "layers": args.layers, "heads": args.heads}
    melody_s = CHROMA_S if args.melody else None
    model = tiny_audiocraft.language_model(states, delays=DELAYS, melody_s=melody_s, **sizes)
    return model, tiny_audiocraft.codec(pad_mode="reflect", filters=64, width=128, codes=CODES)


def loaded(args: argparse.Namespace) -> tuple[Any, Any, float]:
    """Both out of a file, and how many seconds that took; the file is written by a process before this one."""
    if not args.weights.exists():
        torch.save([part.state_dict() for part in built(args)], args.weights)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    begun = time.perf_counter()
    kept = torch.load(args.weights, weights_only=True)
    parts = built(args)
    for part, own in zip(parts, kept, strict=True):
        part.load_state_dict(own)
    return *parts, time.perf_counter() - begun


def making(model: Any, codec: Any, steps: int) -> dict[str, float]:
    """Seconds and memory of ``steps`` columns with guidance, and of the sound after them."""
    melody = noise(CHROMA_S)
    rate_hz, length = [tiny_audiocraft.RATE_HZ], torch.tensor([melody.shape[-1]])
    wav = {
        name: WavCondition(melody, length, rate_hz, [None], [None]) for name in model.condition_provider.wav_conditions
    }
    asked = [ConditioningAttributes(text={"description": "a text"}, wav=wav)]
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


def chroma(seconds: float) -> dict[str, float]:
    """Seconds of the chroma of so many seconds of sound."""
    extractor, sound = tiny_audiocraft.chroma_conditioner(8, CHROMA_S).chroma, noise(seconds)
    took = []
    for _ in range(TIMES + 1):  # the first makes what is kept
        begun = time.perf_counter()
        extractor(sound)
        took.append(time.perf_counter() - begun)
    return {"chroma_s": min(took[1:])}


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--codec-s", type=float, default=0.0)
    parser.add_argument("--chroma-s", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--melody", action="store_true")
    parser.add_argument("--weights", type=Path, help="a file, written if it is not there")
    return parser.parse_args()


def main() -> None:
    """Measures and prints."""
    args = parsed()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    found: dict[str, Any] = {}
    with torch.no_grad():
        if args.steps or args.codec_s:
            model, codec, found["load_s"] = loaded(args)
        if args.steps:
            found |= making(model, codec, args.steps)
        if args.codec_s:
            found |= decoding(codec, args.codec_s)
        if args.chroma_s:
            found |= chroma(args.chroma_s)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
