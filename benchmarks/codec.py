"""The 32 kHz codec of published size beside transformers, both ways and frame by frame; prints Markdown.

The libraries take turns, each time in a fresh process, and the best of the runs counts, because other work on a machine
only ever adds. Weights are random: the cost does not depend on their values. Memory is the peak that a first call adds
to the loaded model.

    python benchmarks/codec.py [--rounds 3] [--seconds 30] [--encodec]

``--encodec`` adds the ``encodec`` package's own model, where that package is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

SIZES = {
    "sampling_rate": 32000,
    "target_bandwidths": [2.2],
    "num_filters": 64,
    "upsampling_ratios": [8, 5, 4, 4],
    "codebook_size": 2048,
    "use_causal_conv": False,
    "use_conv_shortcut": False,
}
WORKS = ("decode", "encode")
FRAMES_A_PUSH = (1, 5, 25, 50)


def resident_mib(key: str) -> float:
    """Resident memory in MiB: ``VmRSS`` now, ``VmHWM`` at its highest."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) / 1024


def made(library: str) -> tuple[Callable[[Any], Any], Callable[[Any], Any], Any]:
    """Functions that decode codes (1, 1, 4, T) and encode samples (1, 1, N), and the model."""
    import torch

    torch.manual_seed(0)
    if library == "encodec":
        from encodec.modules import SEANetDecoder, SEANetEncoder
        from encodec.quantization import ResidualVectorQuantizer

        sizes = {"dimension": 128, "n_filters": 64, "ratios": [8, 5, 4, 4], "causal": False, "norm": "weight_norm"}
        encoder, decoder = SEANetEncoder(**sizes).eval(), SEANetDecoder(**sizes).eval()
        quantizer = ResidualVectorQuantizer(dimension=128, n_q=4, bins=2048, kmeans_init=False).eval()
        return (
            lambda codes: decoder(quantizer.decode(codes[0].transpose(0, 1))),
            lambda sound: quantizer.encode(encoder(sound), 50),
            None,
        )
    module = __import__(library)
    model = module.EncodecModel(module.EncodecConfig(**SIZES)).eval()
    return lambda codes: model.decode(codes, [None]), lambda sound: model.encode(sound), model


def measure(library: str, work: str, seconds: int, threads: int) -> dict[str, float]:
    """The figures of one run: seconds and added MiB, or for ``stream`` milliseconds a frame."""
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    decode, encode, model = made(library)
    codes, sound = torch.randint(0, 2048, (1, 1, 4, seconds * 50)), torch.randn(1, 1, seconds * 32000)
    if work == "stream":
        stream, figures = model.decoder_stream(), {}
        for frames in FRAMES_A_PUSH:
            took = [timed(lambda n=frames: stream.push(codes[0, ..., :n])) for _ in range(6 + 60 // frames)]
            figures[str(frames)] = 1000 * min(took[4:]) / frames
        return figures
    before = resident_mib("VmRSS")
    took = [timed(lambda: decode(codes) if work == "decode" else encode(sound))]
    added = resident_mib("VmHWM") - before
    took += [timed(lambda: decode(codes) if work == "decode" else encode(sound)) for _ in range(2)]
    return {"s": min(took), "MiB": added}


def timed(call: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def run(library: str, work: str, args: argparse.Namespace) -> dict[str, float]:
    """``measure`` in a process of its own."""
    command = [sys.executable, __file__, "--worker", library, work, "--seconds", str(args.seconds)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run([*command, "--threads", str(args.threads)], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{library} failed:\n{done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--encodec", action="store_true", help="also the encodec package's own model")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(measure(*args.worker, args.seconds, args.threads)))
        return
    libraries = ["antiphon", "transformers"] + ["encodec"] * args.encodec
    print(f"{args.seconds} s, {args.threads} threads, the best of {args.rounds} rounds in turn\n")
    print(f"| | {' | '.join(libraries)} | ratio to transformers |\n|---|{'---|' * (len(libraries) + 1)}")
    for work in WORKS:
        rounds = [[run(library, work, args) for library in libraries] for _ in range(args.rounds)]
        seconds, memory = ([min(r[i][key] for r in rounds) for i in range(len(libraries))] for key in ("s", "MiB"))
        print(f"| {work} | {' | '.join(f'{s:.2f} s' for s in seconds)} | {seconds[1] / seconds[0]:.2f}x faster |")
        print(f"| its memory | {' | '.join(f'{m:.0f} MiB' for m in memory)} | {memory[1] / memory[0]:.1f}x less |")
    pushes = [run("antiphon", "stream", args) for _ in range(args.rounds)]
    print("\n| frames a push | ms a frame |\n|---|---|")
    for frames in pushes[0]:
        print(f"| {frames} | {min(figures[frames] for figures in pushes):.2f} |")


if __name__ == "__main__":
    main()
