"""``antiphon info``: what is in a checkpoint, how large it is, what it needs and what its licence says."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.terminal import put, put_json

if TYPE_CHECKING:
    from antiphon.tasks.adapter_summary import AdapterSummary
    from antiphon.tasks.summary import Summary

_LABEL_CHARACTERS = 14


def info(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A folder, or a name on the Hub.")],
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object.")] = False,
) -> None:
    """Show what a checkpoint holds: parts, sizes, licence, memory it needs; or what an adapter is."""
    from antiphon.checkpoints.peft_files import is_adapter
    from antiphon.tasks.adapter_summary import AdapterSummary
    from antiphon.tasks.summary import summarise

    if is_adapter(checkpoint):
        adapter = AdapterSummary.of(checkpoint)
        if as_json:
            put_json(asdict(adapter))
        else:
            _put_lines(_adapter_lines(adapter))
        return
    summary = summarise(checkpoint)
    if as_json:
        put_json(summary.to_dict())
        return
    _put_lines(_lines(summary))


def _put_lines(lines: list[tuple[str, str]]) -> None:
    for label, text in lines:
        put(f"{label:<{_LABEL_CHARACTERS}}{text}")


def _adapter_lines(adapter: AdapterSummary) -> list[tuple[str, str]]:
    ranks = (
        " to ".join(str(rank) for rank in sorted({min(adapter.ranks), max(adapter.ranks)})) if adapter.ranks else "0"
    )
    lines = [
        ("adapter", adapter.name),
        ("kind", f"LoRA of rank {ranks}, alpha {adapter.alpha:g}" + (" over the root" if adapter.use_rslora else "")),
        ("made for", adapter.base or "a model that it does not name"),
        ("layers", f"{adapter.layers}: {', '.join(adapter.targets)}"),
    ]
    if adapter.whole:
        lines.append(("whole", ", ".join(adapter.whole)))
    lines.append(("size", f"{adapter.parameters:,} parameters, {_size(adapter.bytes)}"))
    lines.append(("use", f"antiphon generate ... --adapter {adapter.name}[:SCALE]"))
    return lines


def _lines(summary: Summary) -> list[tuple[str, str]]:
    lines = [("checkpoint", summary.name), ("model", summary.model_type), ("licence", summary.licence)]
    for label, part in zip(("parts", *[""] * len(summary.parts)), summary.parts, strict=False):
        lines.append((label, f"{part.name:<15}{part.parameters:>15,} parameters"))
    if len(summary.parts) > 1:
        lines.append(("", f"{'all':<15}{summary.parameters:>15,} parameters"))
    lines.append(("stored as", ", ".join(summary.dtypes) or f"not on this machine (antiphon pull {summary.name})"))
    if summary.rounding:
        lines.append(("rounded", summary.rounding))
    files = [f"{name} {_size(size)}" for name, size in summary.files.items()]
    if files:
        total = f", {_size(sum(summary.files.values()))} in all" if len(files) > 1 else ""
        lines.append(("on disk", ", ".join(files[:3]) + (" ..." if len(files) > 3 else "") + total))
    if summary.sampling_rate:
        channels = {1: "mono", 2: "stereo"}.get(summary.channels, f"{summary.channels} channels")
        lines.append(("sound", f"{summary.sampling_rate} Hz, {channels}"))
        lines.append(
            (
                "codes",
                f"{summary.codebooks} codebooks at {summary.frame_rate_hz:g} frames a second: "
                f"{summary.tokens_per_second:g} tokens a second of sound",
            )
        )
    if summary.melody_frames:
        lines.append(
            (
                "melody",
                f"takes one (--melody FILE): {summary.pitch_classes} pitch classes, {summary.melody_frames} frames",
            )
        )
    lines.append(("memory", "weights " + _by_kind(summary.weights_bytes)))
    if summary.cache_bytes:
        from antiphon.tasks.summary import FORECAST_SECONDS

        lines.append(("", f"cache of {FORECAST_SECONDS} s, with guidance, " + _by_kind(summary.cache_bytes)))
    return lines


def _by_kind(sizes: dict[str, int]) -> str:
    return ", ".join(f"{kind} {_size(size)}" for kind, size in sizes.items())


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.2f} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.1f} MiB"
