"""``antiphon bench``: how fast a checkpoint makes music on this machine, beside another library and the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.terminal import put, put_json, say

if TYPE_CHECKING:
    from antiphon.tasks.comparison import Comparison, Figures

_KINDS = "fp32,bf16,int8,int4"
_COLUMNS = ("weights", "library", "step", "of the limit", "a second takes", "first sound", "memory", "ratio")
_WIDTHS = (9, 14, 11, 14, 16, 13, 11, 7)


def bench(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="A folder, or a name on the Hub; random weights of musicgen-small's sizes."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Tokens of a measurement; 50 are a second of sound.")] = 128,
    kinds: Annotated[str, typer.Option(metavar="LIST", help="Ways to keep the weights, with commas.")] = _KINDS,
    beside: Annotated[
        str | None, typer.Option(metavar="LIBRARY", help="Run the same script with this library too: transformers.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="How often; medians are shown.")] = 1,
    threads: Annotated[int | None, typer.Option(help="As many as torch takes unless told.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object.")] = False,
) -> None:
    """Measure speed and memory on this machine's processor: steps, the first sound, the codec. Takes minutes.

    Every measurement is a fresh process that runs one script written against the documented classes. The limit is how
    long the memory takes to read a step's weights once. Ratios are speeds, the other library's in fp32 being 1.
    """
    from antiphon.tasks.comparison import compare

    comparison = compare(
        model,
        steps=steps,
        kinds=[kind.strip() for kind in kinds.split(",")],
        beside=beside,
        rounds=rounds,
        threads=threads,
        on_measure=lambda line: say(f"{line} ..."),
    )
    if as_json:
        put_json(comparison.to_dict())
        return
    for line in _lines(comparison):
        put(line)


def _lines(comparison: Comparison) -> list[str]:
    machine = comparison.machine
    versions = ", ".join(f"{library} {version}" for library, version in comparison.versions.items())
    lines = [
        f"{machine.processor}, {machine.threads} of {machine.cores} threads, {machine.system}; {versions}",
        f"memory reads at {machine.read_gb_s:.1f} GB/s; {comparison.model}; {comparison.steps} steps with guidance",
        "",
        _row(_COLUMNS),
        *(_row(_cells(comparison, figures)) for figures in comparison.figures),
        "",
    ]
    for codec in comparison.codecs:
        memory = "" if codec.decode_mib is None else f", {codec.decode_mib:.0f} MiB beside the model"
        lines.append(f"codec, {codec.library}: {codec.seconds:.0f} s decoded in {codec.decode_s:.2f} s{memory}")
    return lines


def _cells(comparison: Comparison, figures: Figures) -> tuple[str, ...]:
    peers = [f for f in comparison.figures if f.kind == "fp32" and f.library != "antiphon"]
    return (
        figures.kind,
        figures.library,
        f"{figures.ms_per_step:.1f} ms",
        f"{figures.share_of_limit:.0%}",
        f"{figures.whole_s:.2f} s",
        f"{figures.first_sound_s:.2f} s",
        "?" if figures.peak_mib is None else f"{figures.peak_mib:.0f} MiB",
        f"{peers[0].ms_per_step / figures.ms_per_step:.2f}x" if peers else "",
    )


def _row(cells: tuple[str, ...]) -> str:
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()
