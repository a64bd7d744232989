"""musicgen-small's published size beside transformers: loading, memory, steps, the codec; prints Markdown.

The two libraries take turns, each time in a fresh process, so that a machine whose speed drifts treats both alike;
figures are medians and ratios of medians. Weights are random: the cost does not depend on their values.

    python benchmarks/run.py [--rounds 3] [--steps 256] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("worker.py")
LIBRARIES = ("antiphon", "transformers")


def published_small(folder: Path) -> None:
    """Writes a checkpoint of musicgen-small's sizes with random weights, once."""
    if (folder / "model.safetensors").exists():
        return
    import torch

    import antiphon

    config = antiphon.MusicgenConfig(
        text_encoder=antiphon.T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12),
        audio_encoder=antiphon.EncodecConfig(
            sampling_rate=32000,
            target_bandwidths=[2.2],
            num_filters=64,
            upsampling_ratios=[8, 5, 4, 4],
            codebook_size=2048,
            use_causal_conv=False,
            use_conv_shortcut=False,
        ),
        decoder=antiphon.MusicgenDecoderConfig(),
    )
    torch.manual_seed(0)
    model = antiphon.MusicgenForConditionalGeneration(config)
    for codebook in model.audio_encoder.codec.quantizer.codebooks:
        codebook.vectors.normal_()
    model.generation_config.update(decoder_start_token_id=2048, max_length=1500, do_sample=True, guidance_scale=3.0)
    model.save_pretrained(folder)


def as_cache(folder: Path) -> tuple[str, str]:
    """The folder as it lies in the Hub's cache after a download: a name, and the cache's folder."""
    revision, name = "0" * 40, "example/musicgen-small"
    home = folder.parent / "cache" / f"models--{name.replace('/', '--')}"
    snapshot = home / "snapshots" / revision
    if not snapshot.exists():
        snapshot.mkdir(parents=True)
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / "main").write_text(revision)
        for file in folder.iterdir():
            os.link(file, snapshot / file.name)
    return name, str(home.parent)


def measured(library: str, checkpoint: str, *options: str) -> dict[str, Any]:
    """One run of the worker."""
    quiet = {**os.environ, "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(
        [sys.executable, str(WORKER), library, checkpoint, *options], capture_output=True, text=True, env=quiet
    )
    if done.returncode:
        raise SystemExit(f"{library} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def in_turn(rounds: int, checkpoint: str, *options: str) -> dict[str, list[dict[str, Any]]]:
    """Both libraries in turn; the first round only warms the page cache and is left out."""
    runs: dict[str, list[dict[str, Any]]] = {library: [] for library in LIBRARIES}
    for number in range(rounds + 1):
        for library in LIBRARIES:
            result = measured(library, checkpoint, *options)
            if number:
                runs[library].append(result)
    return runs


def median(runs: list[dict[str, Any]], *path: str) -> float:
    """The median of a figure over the runs."""
    values = []
    for run in runs:
        value: Any = run
        for key in path:
            value = value[key]
        values.append(float(value))
    return statistics.median(values)


def row(what: str, runs: dict[str, list[dict[str, Any]]], path: tuple[str, ...], unit: str, *, less: bool) -> str:
    """A line of the table; ``less``: the ratio as a share (memory), else as a factor of speed."""
    ours, theirs = (median(runs[library], *path) for library in LIBRARIES)
    ratio = f"{ours / theirs:.2f}x" if less else f"{theirs / ours:.2f}x faster"
    return f"| {what} | {ours:.2f} {unit} | {theirs:.2f} {unit} | {ratio} |"


def bandwidth_gb_s() -> float:
    """What two threads read of a gigabyte of float32, the best of five."""
    import torch

    torch.set_num_threads(2)
    block = torch.ones(256 * 2**20)
    best = 0.0
    for _ in range(5):
        begun = time.perf_counter()
        block.sum()
        best = max(best, block.numel() * 4 / (time.perf_counter() - begun) / 1e9)
    return best


def new_memory(folder: Path) -> dict[str, Any]:
    """Seconds in which a new process gets as much memory as the checkpoint has: a bound on loading by copying."""
    size = (folder / "model.safetensors").stat().st_size
    code = (
        f"import numpy, time; t = time.perf_counter(); a = numpy.empty({size}, 'u1'); a[::4096] = 1; "
        "print(time.perf_counter() - t)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {"s": float(done.stdout)}


def processor() -> str:
    """The processor's name."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "antiphon-benchmarks")
    args = parser.parse_args()
    folder = args.folder / "musicgen-small"
    published_small(folder)
    name, cache = as_cache(folder)
    print(f"{processor()}, 2 threads, {platform.python_version()}, torch {version('torch')}, transformers", end=" ")
    print(f"{version('transformers')}; medians of {args.rounds} rounds, the libraries in turn, a process each.\n")
    print("| | Antiphon | transformers | ratio |\n|---|---|---|---|")
    local = in_turn(args.rounds, str(folder), "--touch")
    print(row("import of the classes, torch counted", local, ("import_s",), "s", less=False))
    print(row("load a folder, float32, every weight in memory", local, ("touched_s",), "s", less=False))
    print(row("process start to weights in memory, folder", local, ("ready_s",), "s", less=False))
    print(row("peak memory of loading, float32", local, ("loaded", "peak"), "MiB", less=True))
    half = in_turn(args.rounds, str(folder), "--touch", "--dtype", "bfloat16")
    print(row("load float32 files as bfloat16", half, ("touched_s",), "s", less=False))
    print(row("peak memory of that", half, ("loaded", "peak"), "MiB", less=True))
    cached = in_turn(args.rounds, name, "--cache-dir", cache, "--touch")
    print(row("load by name from the Hub's cache, float32", cached, ("load_s",), "s", less=False))
    print(row("the same, every weight in memory", cached, ("touched_s",), "s", less=False))
    print(row("process start to weights in memory, by name", cached, ("ready_s",), "s", less=False), flush=True)
    steps = in_turn(args.rounds, str(folder), "--touch", "--steps", str(args.steps))
    print(row(f"a step of {args.steps}, guidance, codec counted", steps, ("ms_per_step",), "ms", less=False))
    print(row("peak memory of the process", steps, ("generated", "peak"), "MiB", less=True))
    for runs in steps.values():
        for run in runs:
            run["added"] = run["generated"]["peak"] - run["loaded"]["now"]
    print(row("memory that generating adds to the loaded model", steps, ("added",), "MiB", less=True))
    by_name = in_turn(args.rounds, name, "--cache-dir", cache, "--steps", str(args.steps))
    print(row("a step, by name", by_name, ("ms_per_step",), "ms", less=False))
    print(row("peak memory of the process, by name", by_name, ("generated", "peak"), "MiB", less=True))
    fresh = median([new_memory(folder) for _ in range(3)], "s")
    print(f"\nA new process needs {fresh:.2f} s to touch as much new memory as the checkpoint has, without reading it.")
    weights_gb = (14 * 1024**2 * 24 + 4 * 2048 * 1024) * 4 / 1e9
    speed = bandwidth_gb_s()
    print(f"Memory reads at {speed:.1f} GB/s; a step reads {weights_gb:.2f} GB of weights: the limit is ", end="")
    print(f"{1000 * weights_gb / speed:.0f} ms.")


if __name__ == "__main__":
    main()
