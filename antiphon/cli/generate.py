"""``antiphon generate``: prompts to sound files."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antiphon.cli.terminal import put_json, put_path

if TYPE_CHECKING:
    from antiphon.audio.clip import Audio

MODEL_VARIABLE = "ANTIPHON_MODEL"
_BATCH = 8  # pieces that are computed together


def generate(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT", help="What to compose; one file for each.")],
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE|FOLDER", help="Where to; suffixes: wav flac ogg opus mp3."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Length of a piece, the continued recording included.")] = 8.0,
    seed: Annotated[
        int | None, typer.Option(help="Of the first piece; the others count on. Drawn unless told.")
    ] = None,
    recording: Annotated[
        str | None, typer.Option("--continue", metavar="FILE", help="A recording to go on from.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help=f"A folder, or a name on the Hub; else the variable {MODEL_VARIABLE}.")
    ] = None,
    guidance: Annotated[float, typer.Option(help="How strictly the prompt is followed; 1 is off.")] = 3.0,
    temperature: Annotated[float, typer.Option(help="Chance: 0 none, 1 the model's own.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Choose among the k likeliest; 0 is off.")] = 250,
    top_p: Annotated[float, typer.Option(help="Choose among the likeliest with this share; 0 is off.")] = 0.0,
    n: Annotated[int, typer.Option("--n", help="Variations of each prompt.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best unless told.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16; as stored unless told.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each file on stdout.")] = False,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="A bar on stderr.")] = True,
) -> None:
    """Compose music from words into sound files; their paths are printed.

    Without -o the files are called after the prompt and the seed. An existing file is kept: the new one gets a number.
    """
    prompts = [_as_text(prompt) for prompt in prompts]
    settings = {
        "seconds": seconds,
        "guidance": guidance,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "n": n,
    }
    _check(prompts, settings, seed)
    name = _model_name(model)
    from antiphon.cli.output_files import OutputFiles

    if output == "-":
        raise typer.BadParameter("sound is written to files, not to the terminal: name one", param_hint="-o")
    outputs = OutputFiles(output, force=force)
    composer = _load(name, recording, dtype=dtype, device=device)
    for batch, own_seeds in _batches(prompts, seed, settings):
        started = time.monotonic()
        pieces = _compose(composer, batch, recording, {**settings, "seed": own_seeds}, progress)
        factor = (time.monotonic() - started) / sum(piece.seconds for piece in pieces)
        for piece in pieces:
            _write(piece, outputs, factor, as_json)


def _as_text(argument: str) -> str:
    """An argument as text in UTF-8, whatever the locale took it for; bytes that are none stay marked."""
    return os.fsencode(argument).decode("utf-8", "surrogateescape")


def _check(prompts: list[str], settings: dict[str, Any], seed: int | None) -> None:
    """Ends with a usage error where a value is out of range, before anything is loaded."""
    from antiphon.errors import AntiphonError
    from antiphon.tasks.settings import Settings, checked_prompts, checked_seed

    try:
        checked_prompts(prompts)
        checked_seed(seed, Settings(**settings))
    except AntiphonError as error:
        raise typer.BadParameter(str(error)) from error


def _model_name(model: str | None) -> str:
    name = model or os.environ.get(MODEL_VARIABLE)
    if not name:
        raise typer.BadParameter(
            f"no model was named and none is built in yet. Pass --model or set {MODEL_VARIABLE}: a folder, or a name "
            "on the Hub such as facebook/musicgen-small (its weights are CC-BY-NC-4.0)."
        )
    return name


def _load(name: str, recording: str | None, *, dtype: str | None, device: str | None) -> Any:
    from antiphon.audio.clip import Audio
    from antiphon.tasks.load import load

    if recording is not None:
        Audio.load(recording)  # a recording that cannot be read is told before minutes are spent on loading
    return load(name, dtype=dtype, device=device)


def _batches(prompts: list[str], seed: int | None, settings: dict[str, Any]) -> list[tuple[list[str], Any]]:
    """The prompts in groups, each with the seeds of its pieces: piece i of the whole call has the first seed plus i."""
    from antiphon.generation.philox import item_seeds
    from antiphon.tasks.settings import Settings

    n, size = settings["n"], max(1, _BATCH // settings["n"])
    seeds: list[int] | None = item_seeds(seed, len(prompts) * n) if Settings(**settings).samples else None
    return [
        (prompts[i : i + size], None if seeds is None else seeds[i * n : (i + size) * n])
        for i in range(0, len(prompts), size)
    ]


def _compose(
    composer: Any, batch: list[str], recording: str | None, settings: dict[str, Any], progress: bool
) -> list[Audio]:
    from antiphon.cli.progress import progress_bar

    title = batch[0] if len(batch) == 1 else f"{len(batch)} prompts"
    pieces = len(batch) * settings["n"]
    with progress_bar(title, pieces=pieces, seconds=settings["seconds"], wanted=progress) as on_progress:
        made: list[Audio] = composer.compose(batch, continue_from=recording, on_progress=on_progress, **settings)
        return made


def _write(piece: Audio, outputs: Any, factor: float, as_json: bool) -> None:
    path: Path = outputs.path_for(piece.prompt or "", piece.seed)
    piece.save(path)
    if not as_json:
        put_path(path)
        return
    put_json(
        {
            "path": os.fspath(path),
            "prompt": piece.prompt,
            "seed": piece.seed,
            "seconds": piece.seconds,
            "sampling_rate": piece.sampling_rate,
            "realtime_factor": round(factor, 4),
        }
    )
