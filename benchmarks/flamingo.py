"""Music Flamingo at the published sizes beside transformers; prints Markdown.

Libraries take turns, each time in a fresh process; figures are medians. Weights are random: the cost does not depend on
their values.

    python benchmarks/flamingo.py [--only mel,encoder,clips,lm] [--layers 28] [--rounds 2] [--times 3] [--threads 2]
                                  [--kinds bfloat16,int8,int4] [--libraries antiphon,transformers]

``mel`` is ten minutes of sound to log-mel windows; ``encoder`` a window of 30 s, in bfloat16; ``clips`` 20 clips of 3
to 19.5 s in a batch to the frames that the language model takes; ``lm`` a prompt of 1024 tokens to its first token, and
each token after it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from flamingo_worker import KINDS, LIBRARIES, LM_LAYERS, PARTS
from turns import Measured, chosen, heading, in_turn, median, on_this_machine, row, told_by

WORKER = Path(__file__).parent / "flamingo_worker.py"
OURS, PEER = LIBRARIES


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--kinds", default=",".join(KINDS), help="ways to keep the language model's weights")
    parser.add_argument("--libraries", default=",".join(LIBRARIES))
    parser.add_argument("--layers", type=int, default=LM_LAYERS, help="of the language model")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--times", type=int, default=3, help="calls of a part in a round")
    parser.add_argument("--threads", type=int, default=2)
    return chosen(parser, {"only": PARTS, "kinds": KINDS, "libraries": LIBRARIES}, layers=LM_LAYERS)


def worked(library: str, part: str, *asked: str) -> dict[str, Any]:
    """What the worker found of a library, in a process of its own."""
    return told_by([sys.executable, "-W", "ignore", str(WORKER), library, part, *asked], library)


def measured(args: argparse.Namespace, part: str) -> dict[str, Measured]:
    """What each library needs for a part; of the language model ours once for each of its kinds."""
    pace = "--threads", str(args.threads), "--times", str(args.times), "--layers", str(args.layers)
    contestants: dict[str, Callable[[], dict[str, Any]]] = {}
    for library in args.libraries:
        if part == "lm" and library == OURS:
            for kind in args.kinds:
                contestants[f"{OURS} {kind}"] = partial(worked, library, part, *pace, "--kind", kind)
        else:
            contestants[library] = partial(worked, library, part, *pace)
    found: dict[str, Measured] = in_turn(contestants, args.rounds)
    return found


def sound_table(args: argparse.Namespace, part: str) -> str:
    """A part that hears."""
    found = measured(args, part)
    peers = median(found.get(PEER, []), "ms", part)
    lines = [heading(part, "time", f"beside {PEER}", "extra memory")]
    for name, runs in found.items():
        took, extra = median(runs, "ms", part), median(runs, "extra_mib")
        cells = f"{took:.0f} ms", f"{peers / took:.2f}x", "" if part != "mel" else f"{extra:.1f} MiB"
        lines.append(row(name, *cells))
    return "\n".join(lines) + "\n"


def lm_table(args: argparse.Namespace, read_gb_s: float) -> str:
    """A prompt, and the tokens after it."""
    found = measured(args, "lm")
    peers = {part: median(found.get(PEER, []), "ms", part) for part in ("prefill", "decode")}
    named = f"{args.layers} layers of {LM_LAYERS}"
    columns = "1024 tokens", f"beside {PEER}", "each later one", f"beside {PEER}", "its limit", "of it", "peak memory"
    lines = [heading(named, *columns)]
    for name, runs in found.items():
        prefill, decode = median(runs, "ms", "prefill"), median(runs, "ms", "decode")
        limit = median(runs, "weight_bytes") / read_gb_s / 1e6
        cells = [f"{prefill / 1000:.2f} s", f"{peers['prefill'] / prefill:.2f}x"]
        cells += [f"{decode:.0f} ms", f"{peers['decode'] / decode:.2f}x", f"{limit:.0f} ms"]
        lines.append(row(name, *cells, f"{100 * limit / decode:.0f} %", f"{median(runs, 'peak_mib'):.0f} MiB"))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures and prints."""
    args = parsed()
    machine = on_this_machine(args.threads)
    for part in args.only:
        table = lm_table(args, machine.read_gb_s) if part == "lm" else sound_table(args, part)
        print(table, flush=True)


if __name__ == "__main__":
    main()
