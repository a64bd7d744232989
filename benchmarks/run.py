"""A model of a published size beside transformers and audiocraft; prints Markdown.

Libraries take turns, each time in a fresh process; figures are medians. Weights are random: the cost does not depend on
their values. audiocraft takes part when ``make oracles`` has made its environment.

    python benchmarks/run.py [--model musicgen-small] [--only steps,codec,long,loading,chroma] [--rounds 3]
                             [--steps 256] [--threads 2] [--folder FOLDER]
    python benchmarks/run.py --model musicgen-melody --layers 12 --only steps,loading,chroma

``steps`` and ``codec`` run unless told otherwise; ``long`` is 1500 steps (30 s), once; ``loading`` is starting up;
``chroma`` is what a melody model hears in 30 s of sound. ``--layers`` takes the first layers of the melody model, whose
48 are 6 GB.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from chroma import chroma_table
from loading import loading_table
from making import codec_table, steps_table

from antiphon.tasks.machine import Machine
from antiphon.tasks.measurement import LOADING
from antiphon.tasks.random_checkpoint import published_melody, published_small, write_random

SECTIONS = ("steps", "codec", "long", "loading", "chroma")
MODELS = ("musicgen-small", "musicgen-melody")
MELODY_LAYERS = 48
LONG = 1500


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODELS[0], choices=MODELS)
    parser.add_argument("--layers", type=int, default=MELODY_LAYERS, help="of the melody model")
    parser.add_argument("--only", default="steps,codec", help=f"some of {', '.join(SECTIONS)}")
    parser.add_argument("--kinds", default=",".join(LOADING), help="ways to keep the weights")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "antiphon-benchmarks")
    args = parser.parse_args()
    args.only, args.kinds = args.only.split(","), args.kinds.split(",")
    for given, known in ((args.only, SECTIONS), (args.kinds, LOADING)):
        if not set(given) <= set(known):
            parser.error(f"{', '.join(given)}: some of {', '.join(known)} are expected")
    if not 1 <= args.layers <= MELODY_LAYERS or (args.model != "musicgen-melody" and args.layers != MELODY_LAYERS):
        parser.error(f"--layers: 1 to {MELODY_LAYERS}, of musicgen-melody")
    return args


def checkpoint(args: argparse.Namespace) -> Path:
    """The folder of the model, written where it is not there yet."""
    if args.model == "musicgen-small":
        return write_random(args.folder / args.model, published_small())
    return write_random(args.folder / f"{args.model}-{args.layers}", published_melody(args.layers))


def main() -> None:
    """Measures and prints."""
    args = parsed()
    folder = checkpoint(args)
    machine = Machine.here(args.threads)
    print(
        f"{machine.processor}, {args.threads} threads of {machine.cores}, memory read at {machine.read_gb_s:.1f} GB/s;"
    )
    print(f"Python {platform.python_version()}, torch {version('torch')}, transformers {version('transformers')};")
    print(f"`python benchmarks/run.py {' '.join(sys.argv[1:])}`\n", flush=True)
    pace = {"rounds": args.rounds, "threads": args.threads}
    for section in args.only:
        if section == "loading":
            table = loading_table(folder, **pace)
        elif section == "chroma":
            table = chroma_table(**pace)
        elif section == "codec":
            table = codec_table(folder, **pace)
        elif section == "long":
            once = {**pace, "rounds": 1}
            table = steps_table(folder, LONG, kinds=args.kinds, read_gb_s=machine.read_gb_s, **once)
        else:
            table = steps_table(folder, args.steps, kinds=args.kinds, read_gb_s=machine.read_gb_s, **pace)
        print(table, flush=True)


if __name__ == "__main__":
    main()
