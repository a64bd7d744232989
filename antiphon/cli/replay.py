"""``antiphon replay``: a piece made again from what its file says of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antiphon.cli.interruption import Interruption
from antiphon.cli.terminal import put, put_json, put_path, say

if TYPE_CHECKING:
    from antiphon.audio.clip import Audio
    from antiphon.tasks.replay import Likeness, Recipe

_DIFFERENT = 1


def replay(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A sound that Antiphon made, with its tags.")],
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE|FOLDER", help="Where to; else beside FILE.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Where the model lies now; else the one in the tags.")] = None,
    recording: Annotated[
        str | None, typer.Option("--continue", metavar="RECORDING", help="The recording that FILE goes on from.")
    ] = None,
    melody: Annotated[
        str | None, typer.Option("--melody", metavar="RECORDING", help="The melody that FILE follows.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare with FILE, write nothing unless -o is given; status 1 if different."),
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best unless told.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="A bar on stderr.")] = True,
) -> None:
    """Make a piece again: the same model, seed and settings as its tags say, the same samples on the same machine."""
    from antiphon.audio.clip import Audio
    from antiphon.cli.output_files import OutputFiles, shown
    from antiphon.tasks.replay import Recipe, compare

    recipe = Recipe.of(Audio.load(file), shown(Path(file)))
    recording = recording or _beside(file, recipe.recording)
    melody = melody or _beside(file, recipe.melody)
    path = None
    if output is not None or not check:
        path = OutputFiles(output or _default(file), force=force, format=Path(file).suffix.lstrip(".")).path_for(
            recipe.prompt or "", recipe.seed
        )
    piece = _made(recipe, recipe.load(model, device=device), recording, melody, progress)
    if path is not None:
        piece.save(path, loudness=recipe.loudness)
    _tell(path, compare(piece, file, loudness=recipe.loudness) if check else None, as_json)


def _beside(file: str, recorded: dict[str, Any] | None) -> str | None:
    """A recording or melody, where it lies beside the file under the name that it had."""
    name = (recorded or {}).get("name")
    if not isinstance(name, str) or os.path.basename(name) != name:
        return None
    path = Path(file).with_name(name) if name not in ("", ".", "..") else None
    return os.fspath(path) if path is not None and path.is_file() else None


def _default(file: str) -> str:
    path = Path(file)
    return os.fspath(path.with_name(f"{path.stem}-replay{path.suffix}"))


def _made(recipe: Recipe, composer: Any, recording: str | None, melody: str | None, progress: bool) -> Audio:
    from antiphon.cli.progress import progress_bar
    from antiphon.errors import Cancelled

    seconds = recipe.settings.get("seconds", 0.0)
    with (
        Interruption() as stop,
        progress_bar(recipe.prompt or "replay", pieces=1, seconds=seconds, wanted=progress) as on_progress,
    ):
        try:
            piece = recipe.make(composer, recording, melody, on_progress=on_progress, stop_when=stop)
        except Cancelled:
            raise KeyboardInterrupt from None
    if stop.asked:
        raise KeyboardInterrupt  # half of a piece says nothing about the whole
    return piece


def _tell(path: Path | None, likeness: Likeness | None, as_json: bool) -> None:
    if as_json:
        record: dict[str, Any] = {"path": None if path is None else os.fspath(path)}
        if likeness is not None:
            record |= {
                "same": likeness.is_same,
                "verdict": likeness.verdict,
                "correlation": likeness.correlation,
                "difference": likeness.difference,
            }
        put_json(record)
    elif path is not None:
        put_path(path)
    if likeness is None:
        return
    sentence = {
        "equal": "the same: every sample is equal",
        "alike": f"the same, as far as lossy coding can tell: correlation {likeness.correlation:.4f}",
        "different": f"different: correlation {likeness.correlation:.4f}",
    }[likeness.verdict]
    if not as_json:
        (put if path is None else say)(sentence)
    if not likeness.is_same:
        raise typer.Exit(_DIFFERENT)
