"""``antiphon quantize``: a checkpoint in 8 or 4 bits, to be loaded without rounding it each time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.terminal import put_path, say


def quantize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder, or a name on the Hub.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write; made if missing.")],
    bits: Annotated[int, typer.Option(help="8 or 4.")] = 8,
    group_size: Annotated[int, typer.Option(help="Inputs that share a scale.")] = 64,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that holds something.")] = False,
) -> None:
    """Write a checkpoint with its linear layers in 8 or 4 bits, and print its folder."""
    if bits not in (4, 8):
        raise typer.BadParameter(f"{bits} is neither 8 nor 4", param_hint="--bits")
    if group_size < 1:
        raise typer.BadParameter(f"{group_size} is not positive", param_hint="--group-size")
    from antiphon.models.quantization import Quantization
    from antiphon.tasks.rounded_checkpoint import write_rounded

    sizes = write_rounded(model, folder, Quantization(bits, group_size), force=force)
    say(f"weights: {sizes.before / 2**20:.1f} MiB before, {sizes.after / 2**20:.1f} MiB after")
    put_path(folder)
