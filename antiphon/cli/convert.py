"""``antiphon convert``: audiocraft's or kyutai's own files to the documents' layout, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.terminal import put_path, say

_FORMATS = ("hf", "audiocraft", "kyutai")


def convert(
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="A folder, a file, a name on the Hub, or such as 'small'.")
    ] = None,
    destination: Annotated[
        Path | None, typer.Argument(metavar="DESTINATION", help="Where to write; made if missing.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="hf, audiocraft or kyutai; the other one than SOURCE's by default.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="Of the weights; as they are stored by default.")] = None,
    text_encoder: Annotated[
        str | None, typer.Option(help="The T5, a folder or a name; with --to audiocraft the name to be stored.")
    ] = None,
    codec: Annotated[str | None, typer.Option(help="The codec where SOURCE only names it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that holds something.")] = False,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", help="SOURCE, as the conversion scripts spell it.")
    ] = None,
    dump_folder: Annotated[
        Path | None, typer.Option("--pytorch_dump_folder", help="DESTINATION, as the conversion scripts spell it.")
    ] = None,
    safe_serialization: Annotated[
        bool,
        typer.Option("--safe_serialization/--no_safe_serialization", help="Weights as safetensors, or as a pickle."),
    ] = True,
) -> None:
    """Write a MusicGen or a Moshi in the other format, bit for bit the same weights, and print its folder."""
    if checkpoint is not None:
        # with the source in its option, the only word left is the destination
        if destination is not None or (source is not None and dump_folder is not None):
            raise typer.BadParameter("SOURCE was given twice", param_hint="--checkpoint")
        source, destination = checkpoint, Path(source) if source is not None else None
    if dump_folder is not None:
        if destination is not None:
            raise typer.BadParameter("DESTINATION was given twice", param_hint="--pytorch_dump_folder")
        destination = dump_folder
    if source is None or destination is None:
        raise typer.BadParameter("both are needed: what to convert, and where to", param_hint="SOURCE DESTINATION")
    if to not in (None, *_FORMATS):
        raise typer.BadParameter(f"{to} is none of {', '.join(_FORMATS)}", param_hint="--to")
    from antiphon.tasks import conversion

    done = conversion.convert(
        source,
        destination,
        to=to,
        dtype=dtype,
        text_encoder=text_encoder,
        codec=codec,
        safe_serialization=safe_serialization,
        force=force,
        tell=say,
    )
    say(f"{done.to}: {done.tensors} tensors, {done.weights_bytes / 2**20:.1f} MiB")
    put_path(destination)
