"""One measurement of starting up in a process of its own: import and load; prints one JSON object.

Run by ``benchmarks/loading.py``; the library to measure is the first argument, so that both go through the same lines.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from typing import Any


def memory_mib() -> dict[str, float]:
    """Resident memory now and at its highest, in MiB."""
    with open("/proc/self/status", encoding="ascii") as file:
        status = dict(line.split(":", 1) for line in file if ":" in line)
    return {name: int(status[key].split()[0]) / 1024 for name, key in (("now", "VmRSS"), ("peak", "VmHWM"))}


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("library", choices=["antiphon", "transformers"])
    parser.add_argument("checkpoint")
    parser.add_argument("--model-class", default="MusicgenForConditionalGeneration")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache-dir")
    return parser.parse_args()


def main() -> None:
    """Measures and prints."""
    args = parsed()
    start = time.perf_counter()
    import torch

    torch.set_num_threads(args.threads)
    torch_s = time.perf_counter() - start
    model_class = getattr(importlib.import_module(args.library), args.model_class)
    result: dict[str, Any] = {"import_torch_s": torch_s, "import_s": time.perf_counter() - start}
    access = {"cache_dir": args.cache_dir, "local_files_only": True} if args.cache_dir else {}
    begun = time.perf_counter()
    model = model_class.from_pretrained(args.checkpoint, dtype=getattr(torch, args.dtype), **access)
    result["load_s"] = time.perf_counter() - begun
    sum(float(p.detach().flatten()[::512].double().sum()) for p in model.parameters())  # reads every page
    result["touched_s"] = time.perf_counter() - begun
    result["ready_s"] = time.perf_counter() - start
    result["loaded"] = memory_mib()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
