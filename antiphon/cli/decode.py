"""``antiphon decode``: codes to a sound."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.terminal import put_json, put_path


def decode(
    codes: Annotated[str, typer.Argument(metavar="CODES", help="A file that antiphon encode made.")],
    output: Annotated[
        str,
        typer.Option("-o", "--output", metavar="FILE", help="Where to; suffixes: wav flac ogg opus mp3 m4a aac webm."),
    ],
    model: Annotated[str | None, typer.Option(help="The checkpoint; else the one that the codes name.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best unless told.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Turn codes into the sound they stand for, as long as the one they were made of."""
    from antiphon.cli.output_files import OutputFiles
    from antiphon.errors import AudioError
    from antiphon.tasks.codes_file import Codes, described
    from antiphon.tasks.transcoder import Transcoder

    held = Codes.load(codes)
    name = model or held.model
    if not name:
        raise AudioError(f"{codes[:200]!r} does not say which codec made it", fix="Name its checkpoint with --model")
    path = OutputFiles(output, force=force).path_for(Path(codes).stem, None)
    Transcoder.load(name, device=device).decode(held).save(path)
    if as_json:
        put_json({"path": os.fspath(path), **described(held)})
    else:
        put_path(path)
