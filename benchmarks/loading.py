"""Starting up beside transformers: imports, loading a folder and out of the Hub's cache, memory; as Markdown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from turns import heading, in_turn, median, row

WORKER = Path(__file__).with_name("worker.py")
LIBRARIES = ("antiphon", "transformers")


def as_cache(folder: Path) -> tuple[str, str]:
    """The folder as it lies in the Hub's cache after a download: a name, and the cache's folder."""
    revision, name = "0" * 40, f"example/{folder.name}"
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


def both(rounds: int, checkpoint: str, *options: str) -> dict[str, list[dict[str, Any]]]:
    """The runs of both libraries, the page cache warm."""
    runs: dict[str, list[dict[str, Any]]] = in_turn(
        {library: partial(measured, library, checkpoint, *options) for library in LIBRARIES}, rounds, warm=True
    )
    return runs


def compared(what: str, runs: dict[str, list[dict[str, Any]]], *path: str, unit: str) -> str:
    """A line of the table: a factor of speed for seconds, a share for memory."""
    ours, theirs = (median(runs[library], *path) for library in LIBRARIES)
    ratio = f"{theirs / ours:.2f}x faster" if unit == "s" else f"{ours / theirs:.2f}x"
    return row(what, f"{ours:.2f} {unit}", f"{theirs:.2f} {unit}", ratio)


def fresh_memory_s(folder: Path) -> float:
    """Seconds in which a new process gets as much memory as the checkpoint has: a bound on loading by copying."""
    size = (folder / "model.safetensors").stat().st_size
    code = (
        f"import numpy, time; t = time.perf_counter(); a = numpy.empty({size}, 'u1'); a[::4096] = 1; "
        "print(time.perf_counter() - t)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def loading_table(folder: Path, *, rounds: int, threads: int) -> str:
    """All rows."""
    name, cache = as_cache(folder)
    (model_class,) = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]
    same = (f"--threads={threads}", f"--model-class={model_class}")
    local = both(rounds, str(folder), *same)
    half = both(rounds, str(folder), *same, "--dtype", "bfloat16")
    cached = both(rounds, name, *same, "--cache-dir", cache)
    bound = median([{"s": fresh_memory_s(folder)} for _ in range(3)], "s")
    lines = [
        heading("", "Antiphon", "transformers", "ratio"),
        compared("import of the classes, torch counted", local, "import_s", unit="s"),
        compared("load a folder, float32, every weight in memory", local, "touched_s", unit="s"),
        compared("process start to weights in memory, folder", local, "ready_s", unit="s"),
        compared("peak memory of loading, float32", local, "loaded", "peak", unit="MiB"),
        compared("load float32 files as bfloat16", half, "touched_s", unit="s"),
        compared("peak memory of that", half, "loaded", "peak", unit="MiB"),
        compared("load by name from the Hub's cache, float32", cached, "load_s", unit="s"),
        compared("the same, every weight in memory", cached, "touched_s", unit="s"),
        compared("process start to weights in memory, by name", cached, "ready_s", unit="s"),
        f"\nA new process needs {bound:.2f} s to touch as much new memory as the checkpoint has, without reading it.\n",
    ]
    return "\n".join(lines)
