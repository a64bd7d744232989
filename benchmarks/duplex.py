"""Moshi and Mimi at the published sizes beside kyutai's package and transformers; prints Markdown.

Libraries take turns, each time in a fresh process; figures are medians. Weights are random: the cost does not depend on
their values. kyutai's package takes part when ``make oracles`` has made its environment.

    python benchmarks/duplex.py [--only mimi,parts,full,drift] [--layers 4] [--rounds 3] [--times 10] [--threads 2]
                                [--kinds bfloat16,int8,int4] [--libraries antiphon,kyutai,transformers]

``mimi`` is a frame of 80 ms to codes and back, in float32; ``parts`` are a step of the main decoder with its first
``--layers`` layers, a frame of the depth decoder, and both with sampling; ``full`` is ours with all 32 layers;
``drift`` is how far logits move from those of float32, with two layers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from turns import Measured, chosen, heading, in_turn, median, on_this_machine, row, told_by

ROOT = Path(__file__).parents[1]
KYUTAI = ROOT / ".oracles" / "kyutai" / "bin" / "python"
WORKER = Path(__file__).parent / "moshi_worker.py"
SECTIONS = ("mimi", "parts", "full", "drift")
LIBRARIES = ("antiphon", "kyutai", "transformers")
KINDS = ("bfloat16", "int8", "int4")
ALL_LAYERS, DRIFT_LAYERS, DRIFT_STEPS = 32, 2, 24
FRAME_MS = 80.0


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="mimi,parts", help=f"some of {', '.join(SECTIONS)}")
    parser.add_argument("--kinds", default=",".join(KINDS), help="ways to keep our weights")
    parser.add_argument("--libraries", default=",".join(LIBRARIES))
    parser.add_argument("--layers", type=int, default=4, help="of the main decoder, in `parts`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, default=10, help="calls of a part in a round")
    parser.add_argument("--threads", type=int, default=2)
    return chosen(parser, {"only": SECTIONS, "kinds": KINDS, "libraries": LIBRARIES}, layers=ALL_LAYERS)


def worked(library: str, *asked: str) -> dict[str, Any]:
    """What the worker found of a library, in a process of its own."""
    python = str(KYUTAI) if library == "kyutai" else sys.executable
    return told_by([python, "-W", "ignore", str(WORKER), library, *asked], library)


def contestants(args: argparse.Namespace, *asked: str, kinds: Sequence[str] = ()) -> dict[str, Any]:
    """The libraries that take part, ours once for each of its kinds."""
    pace = "--threads", str(args.threads), "--times", str(args.times)
    found: dict[str, Callable[[], dict[str, Any]]] = {}
    for library in args.libraries:
        if library == "kyutai" and not KYUTAI.exists():
            print("kyutai's package does not take part: `make oracles` makes its environment", file=sys.stderr)
        elif library == "antiphon" and kinds:
            for kind in kinds:
                found[f"antiphon {kind}"] = partial(worked, library, *asked, *pace, "--kind", kind)
        else:
            found[library] = partial(worked, library, *asked, *pace)
    return found


def mimi_table(args: argparse.Namespace, read_gb_s: float) -> str:
    """A frame to codes and back."""
    found = in_turn(contestants(args, "mimi"), args.rounds)
    lines = [heading("a frame of 80 ms, float32", "encode", "decode", "both", "both, of ours", "peak memory")]
    ours = _both(found.get("antiphon", []))
    for name, runs in found.items():
        ways = [median(runs, "ms", way) for way in ("encode", "decode")]
        peak = f"{median(runs, 'peak_mib'):.0f} MiB"
        lines.append(row(name, *(f"{ms:.1f} ms" for ms in ways), f"{sum(ways):.1f} ms", _times(sum(ways), ours), peak))
    if "antiphon" in found:
        limit = median(found["antiphon"], "weight_bytes") / read_gb_s / 1e6
        lines.append(
            row("limit: the weights of both sides read once", "", "", f"{limit:.1f} ms", _times(limit, ours), "")
        )
    return "\n".join(lines) + "\n"


def _both(runs: Measured) -> float:
    return median(runs, "ms", "encode") + median(runs, "ms", "decode")


def _times(ms: float, ours: float) -> str:
    return f"{ms / ours:.2f}x"


def parts_table(args: argparse.Namespace, read_gb_s: float) -> str:
    """The main decoder's first layers, the depth decoder, and both."""
    found = in_turn(contestants(args, "moshi", "--layers", str(args.layers), kinds=args.kinds), args.rounds)
    parts = ("main", "depth", "frame")
    named = f"{args.layers} layers of {ALL_LAYERS}"
    lines = [heading(named, "main step", "depth frame", "frame", "its limit", "of it", "peak memory")]
    for name, runs in found.items():
        limit = median(runs, "weight_bytes") / read_gb_s / 1e6
        took = [median(runs, "ms", part) for part in parts]
        peak = f"{median(runs, 'peak_mib'):.0f} MiB"
        cells = [*(f"{ms:.1f} ms" for ms in took), f"{limit:.1f} ms", f"{100 * limit / took[-1]:.0f} %", peak]
        lines.append(row(name, *cells))
    ours = f"antiphon {args.kinds[0]}"
    if ours in found:
        for name in set(found) & {"kyutai", "transformers"}:
            ratios = [median(found[name], "ms", part) / median(found[ours], "ms", part) for part in parts]
            lines.append(row(f"{name} / {ours}", *(f"{ratio:.1f}x" for ratio in ratios), "", "", ""))
    return "\n".join(lines) + "\n"


def full_table(args: argparse.Namespace, read_gb_s: float) -> str:
    """Ours with all layers."""
    lines = [heading("all 32 layers", "main step", "depth frame", "frame", "its limit", "of it", "peak memory")]
    for kind in args.kinds:
        pace = "--threads", str(args.threads), "--times", str(args.times)
        found = worked("antiphon", "moshi", "--kind", kind, *pace)
        limit, ms = found["weight_bytes"] / read_gb_s / 1e6, found["ms"]
        cells = [*(f"{ms[part]:.0f} ms" for part in ("main", "depth", "frame")), f"{limit:.0f} ms"]
        lines.append(row(kind, *cells, f"{100 * limit / ms['frame']:.0f} %", f"{found['peak_mib']:.0f} MiB"))
    return "\n".join(lines) + f"\n\nA frame has {FRAME_MS:.0f} ms of sound.\n"


def drift_table(threads: int) -> str:
    """How far logits of text and of codes move from those of float32 over the same columns."""
    import torch
    from moshi_worker import antiphon_model, drifting
    from quantized import compared

    torch.set_num_threads(threads)
    lines = [heading(f"{DRIFT_LAYERS} layers, random weights", "logit error, RMS", "largest", "same likeliest token")]
    wide = antiphon_model(DRIFT_LAYERS, "float32", torch.float32)
    wanted = drifting(wide, DRIFT_STEPS)
    del wide
    for kind in KINDS:
        near = drifting(antiphon_model(DRIFT_LAYERS, kind, torch.bfloat16, rounds=True), DRIFT_STEPS)
        for name in ("text", "codes"):
            apart = compared(near[name].float(), wanted[name])
            cells = f"{100 * apart['rms']:.2f} %", f"{apart['max']:.3f}", f"{100 * apart['agree']:.1f} %"
            lines.append(row(f"{kind}, {name}", *cells))
    return "\n".join(lines) + "\n\nErrors are in parts of the spread of the float32 logits over the vocabulary.\n"


def main() -> None:
    """Measures and prints."""
    args = parsed()
    machine = on_this_machine(args.threads)
    for section in args.only:
        if section == "mimi":
            table = mimi_table(args, machine.read_gb_s)
        elif section == "parts":
            table = parts_table(args, machine.read_gb_s)
        elif section == "full":
            table = full_table(args, machine.read_gb_s)
        else:
            table = drift_table(args.threads)
        print(table, flush=True)


if __name__ == "__main__":
    main()
