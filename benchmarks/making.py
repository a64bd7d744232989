"""Making music: steps, loading, first sound and the codec, beside transformers and audiocraft."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from turns import Measured, heading, in_turn, median, row

from antiphon.tasks.comparison import bytes_per_step, decoder_sizes, hears_melodies
from antiphon.tasks.measurement import LOADING, PEER_KINDS, Request, measure

AUDIOCRAFT = Path(__file__).parents[1] / ".oracles" / "audiocraft" / "bin" / "python"
BASE = "transformers fp32"
CODEC_SECONDS = 30.0

Contestants = dict[str, Callable[[], dict[str, Any]]]


def audiocraft(*options: str) -> dict[str, Any]:
    """The figures of audiocraft, from its own environment."""
    command = [str(AUDIOCRAFT), "-W", "ignore", str(Path(__file__).with_name("audiocraft_worker.py")), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"audiocraft failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def contestants(request: Request, kinds: Sequence[str]) -> Contestants:
    """Who takes part, by name: every kind of ours, and what the others have of them."""
    taking: Contestants = {}
    for kind in kinds:
        own = replace(request, kind=kind)
        taking[f"Antiphon {kind}"] = partial(measure, "antiphon", own)
        if kind in PEER_KINDS:
            taking[f"transformers {kind}"] = partial(measure, "transformers", own)
    if "fp32" in kinds and AUDIOCRAFT.exists():
        options = [f"--threads={request.threads}", f"--steps={request.steps}", f"--codec-s={request.codec_s}"]
        taking["audiocraft fp32"] = partial(audiocraft, *options, *audiocraft_sizes(Path(request.model)))
    return taking


def audiocraft_sizes(folder: Path) -> list[str]:
    """The options that give audiocraft a model of the checkpoint's sizes, kept in a file beside it."""
    decoder = decoder_sizes(folder)
    names = {"width": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads"}
    sizes = [f"--{option}={decoder[name]}" for option, name in names.items()]
    melody = ["--melody"] if hears_melodies(decoder) else []
    return [*sizes, *melody, f"--weights={folder.parent / folder.name}.th"]


def left_out() -> str:
    """A line about who is not here."""
    return "" if AUDIOCRAFT.exists() else "audiocraft is left out: make oracles makes its environment.\n"


def steps_table(
    folder: Path, steps: int, *, rounds: int, threads: int, read_gb_s: float, kinds: Sequence[str] = tuple(LOADING)
) -> str:
    """Milliseconds a step, ratios, the share of the limit, the first sound, loading, memory; as Markdown.

    Ratios are speeds, transformers' in fp32 being 1, and beside it transformers' own of the same kind.
    """
    found = in_turn(contestants(Request(model=str(folder), threads=threads, steps=steps), kinds), rounds)
    decoder = decoder_sizes(folder)
    names = ("", "a step", "beside fp32", "beside the same kind", "limit", "of the limit")
    after = ("first column", "each later one", "beside fp32", "first sound", "loading", "peak memory")
    heard = "a melody of 30 s and 16 places of text" if hears_melodies(decoder) else "16 places of text"
    layers = f"{decoder['num_hidden_layers']} layers of {decoder['hidden_size']}"
    lines = [f"{layers}, {steps} steps, guidance, {heard}, top-k 250, {threads} threads.\n"]
    lines.append(heading(*names, *after))
    for name, runs in found.items():
        kind = name.split()[-1]
        ms, limit = median(runs, "ms_per_step"), bytes_per_step(decoder, kind) / read_gb_s / 1e6
        peer = found.get(f"transformers {kind}", [])
        lines.append(
            row(
                name,
                f"{ms:.1f} ms",
                _ratio(median(found.get(BASE, []), "ms_per_step"), ms),
                _ratio(median(peer, "ms_per_step"), ms),
                f"{limit:.1f} ms",
                f"{limit / ms:.0%}",
                *_columns(runs, found.get(BASE, [])),
                f"{median(runs, 'first_sound_s'):.2f} s",
                f"{median(runs, 'load_s'):.2f} s",
                f"{median(runs, 'peak_mib'):.0f} MiB",
            )
        )
    return "\n".join(lines) + "\n" + left_out()


def _columns(runs: Measured, base: Measured) -> tuple[str, str, str]:
    """The first column, each later one, and its ratio; dashes for who does not tell them apart."""
    first_s, later_ms = median(runs, "first_column_s"), median(runs, "ms_per_later_step")
    if later_ms != later_ms:
        return "-", "-", "-"
    return f"{first_s:.2f} s", f"{later_ms:.1f} ms", _ratio(median(base, "ms_per_later_step"), later_ms)


def codec_table(folder: Path, *, rounds: int, threads: int) -> str:
    """Seconds and additional memory of decoding; as Markdown."""
    asked = Request(model=str(folder), threads=threads, codec_s=CODEC_SECONDS)
    found = in_turn(contestants(asked, ["fp32"]), rounds)
    theirs = median(found[BASE], "decode_s"), median(found[BASE], "decode_mib")
    lines = [heading(f"decoding {CODEC_SECONDS:.0f} s", "time", "faster", "memory beside the model", "of theirs")]
    for name, runs in found.items():
        seconds, extra = median(runs, "decode_s"), median(runs, "decode_mib")
        cells = (f"{seconds:.2f} s", _ratio(theirs[0], seconds), f"{extra:.0f} MiB", f"{extra / theirs[1]:.2f}x")
        lines.append(row(name, *cells))
    return "\n".join(lines) + "\n" + left_out()


def _ratio(theirs: float, ours: float) -> str:
    """How many times faster; a dash where there is nothing to compare with."""
    return f"{theirs / ours:.2f}x" if theirs == theirs else "-"
