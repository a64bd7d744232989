"""What a melody model hears in 30 s of sound: our feature extractor beside transformers' and audiocraft's chroma.

transformers' needs torchaudio, of which it uses Python code only: that of audiocraft's environment.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from functools import partial
from typing import Any

from making import AUDIOCRAFT, audiocraft, left_out
from turns import heading, in_turn, median, row

SECONDS = 30.0
_RATE_HZ = 32_000
_TIMES = 5


def measured(library: str, threads: int) -> dict[str, Any]:
    """One run of this file."""
    command = [sys.executable, __file__, library, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{library} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def chroma_table(*, rounds: int, threads: int) -> str:
    """Milliseconds and ratios; as Markdown."""
    taking = {"Antiphon": partial(measured, "antiphon", threads)}
    if AUDIOCRAFT.exists():
        taking["transformers"] = partial(measured, "transformers", threads)
        taking["audiocraft"] = partial(audiocraft, f"--chroma-s={SECONDS}", f"--threads={threads}")
    found = in_turn(taking, rounds)
    ours = median(found["Antiphon"], "chroma_s")
    lines = [heading(f"chroma of {SECONDS:.0f} s", "time", "ours beside it")]
    for name, runs in found.items():
        seconds = median(runs, "chroma_s")
        lines.append(row(name, f"{1000 * seconds:.1f} ms", f"{ours / seconds:.2f}x"))
    return "\n".join(lines) + "\n" + left_out()


def main() -> None:
    """Measures the library that the first argument names."""
    import numpy as np
    import torch

    library, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    if library == "transformers":
        sys.path.extend(str(path) for path in AUDIOCRAFT.parents[1].glob("lib/python3*/site-packages"))
    extractor = importlib.import_module(library).MusicgenMelodyFeatureExtractor()
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, round(SECONDS * _RATE_HZ)).astype(np.float32)
    took = []
    for _ in range(_TIMES + 1):  # the first makes what is kept
        begun = time.perf_counter()
        extractor(sound, sampling_rate=_RATE_HZ, return_tensors="pt")
        took.append(time.perf_counter() - begun)
    print(json.dumps({"chroma_s": min(took[1:])}))


if __name__ == "__main__":
    main()
