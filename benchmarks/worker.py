"""One measurement in a process of its own: import, load, generate; prints one JSON object.

Run by ``benchmarks/run.py``; the library to measure is the first argument, so that both go through the same lines.
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
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--touch", action="store_true", help="read every weight once after loading")
    parser.add_argument("--cache-dir")
    return parser.parse_args()


def generated(model: Any, steps: int) -> dict[str, Any]:
    """A call of ``steps`` new tokens with guidance, after a short one that pays for what is made once."""
    import torch

    torch.manual_seed(0)
    tokens = torch.randint(3, 30000, (1, 16))
    call = {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "do_sample": True,
        "top_k": 250,
        "guidance_scale": 3.0,
    }
    model.generate(**call, max_new_tokens=8)
    begun = time.perf_counter()
    audio = model.generate(**call, max_new_tokens=steps)
    took = time.perf_counter() - begun
    return {
        "generate_s": took,
        "ms_per_step": 1000 * took / steps,
        "samples": audio.shape[-1],
        "generated": memory_mib(),
    }


def main() -> None:
    """Measures and prints."""
    args = parsed()
    start = time.perf_counter()
    import torch

    torch.set_num_threads(args.threads)
    torch_s = time.perf_counter() - start
    model_class = importlib.import_module(args.library).MusicgenForConditionalGeneration
    result: dict[str, Any] = {"import_torch_s": torch_s, "import_s": time.perf_counter() - start}
    access = {"cache_dir": args.cache_dir, "local_files_only": True} if args.cache_dir else {}
    begun = time.perf_counter()
    model = model_class.from_pretrained(args.checkpoint, dtype=getattr(torch, args.dtype), **access)
    result["load_s"] = time.perf_counter() - begun
    if args.touch:
        sum(float(p.detach().flatten()[::512].double().sum()) for p in model.parameters())
    result["touched_s"] = time.perf_counter() - begun
    result["ready_s"] = time.perf_counter() - start
    result["loaded"] = memory_mib()
    if args.steps:
        result |= generated(model, args.steps)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
