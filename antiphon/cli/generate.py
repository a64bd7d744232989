"""``antiphon generate``: prompts to sound files, or to a pipe."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from antiphon.cli.commission import Commission, Loudness, check_settings, together
from antiphon.cli.interruption import Interruption
from antiphon.cli.model_choice import MODEL_VARIABLE, model_name

if TYPE_CHECKING:
    from antiphon.cli.output_files import OutputFiles


def generate(
    prompts: Annotated[
        list[str] | None, typer.Argument(metavar="PROMPT", help="What to compose; one file for each.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|FOLDER|-",
            help="Where to; suffixes: wav flac ogg opus mp3 m4a aac webm. - is WAV to stdout while it is made.",
        ),
    ] = None,
    prompt_file: Annotated[
        str | None,
        typer.Option("--prompts", metavar="FILE", help="A prompt a line, or .jsonl with settings; - is stdin."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="With --prompts: leave out what is finished.")] = False,
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
    window: Annotated[float, typer.Option(help="Seconds that the model sees at once.")] = 30.0,
    stride: Annotated[float, typer.Option(help="Seconds by which the window moves on in longer pieces.")] = 18.0,
    n: Annotated[int, typer.Option("--n", help="Variations of each prompt.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best unless told.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16; as stored unless told.")] = None,
    quantize: Annotated[
        Literal["int8", "int4"] | None, typer.Option(help="Smaller and faster weights, a little less exact.")
    ] = None,
    loudness: Annotated[
        Loudness, typer.Option(help="Bring files to a level; none keeps the samples that the model made.")
    ] = "none",
    format: Annotated[str | None, typer.Option(help="Of the files in a folder; wav unless told.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each file on stdout.")] = False,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="A bar on stderr.")] = True,
) -> None:
    """Compose music from words into sound files; their paths are printed.

    Without -o the files are called after the prompt and the seed. An existing file is kept: the new one gets a number.
    Ctrl-C ends the pieces where they are and keeps them as NAME-partial.
    """
    texts = [_as_text(prompt) for prompt in prompts or []]
    settings = {
        "seconds": seconds,
        "guidance": guidance,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "n": n,
    }
    settings |= {"window_seconds": window, "stride_seconds": stride}
    _check_ways(texts, prompt_file, output, resume=resume, n=n, loudness=loudness, as_json=as_json, format=format)
    check_settings(settings, texts, seed)
    commission = Commission(
        model=model_name(model),
        dtype=dtype,
        device=device,
        quantize=quantize,
        settings=settings,
        recording=recording,
        loudness=loudness,
        format=format or "wav",
        as_json=as_json,
        progress=progress,
    )
    if output == "-":
        from antiphon.cli.pipe import compose_to_pipe

        compose_to_pipe(commission, texts[0], seed)
        return
    from antiphon.cli.output_files import OutputFiles

    outputs = OutputFiles(output, force=force, format=format or "wav")
    if prompt_file is not None:
        from antiphon.cli.batch import compose_batch

        compose_batch(commission, prompt_file, outputs, seed=seed, resume=resume)
    else:
        _compose_files(commission, texts, outputs, seed)


def _as_text(argument: str) -> str:
    """An argument as text in UTF-8, whatever the locale took it for; bytes that are none stay marked."""
    return os.fsencode(argument).decode("utf-8", "surrogateescape")


def _check_ways(
    texts: list[str],
    prompt_file: str | None,
    output: str | None,
    *,
    resume: bool,
    n: int,
    loudness: Loudness,
    as_json: bool,
    format: str | None,
) -> None:
    """Refuses options that do not go together."""
    if not texts and prompt_file is None:
        raise typer.BadParameter("there is nothing to compose: give a PROMPT, or --prompts FILE.")
    if prompt_file is not None and (texts or n > 1):
        raise typer.BadParameter("--prompts brings all the pieces: leave out PROMPT and --n.")
    if resume and prompt_file is None:
        raise typer.BadParameter("--resume goes on with the prompts of a file: name it with --prompts.")
    if output == "-":
        _check_pipe(texts, n=n, loudness=loudness, as_json=as_json, format=format)


def _check_pipe(texts: list[str], *, n: int, loudness: Loudness, as_json: bool, format: str | None) -> None:
    from antiphon.cli.pipe import check_reader

    check_reader()
    if len(texts) != 1 or n > 1:
        raise typer.BadParameter("a pipe takes one piece: give one PROMPT, without --n.", param_hint="-o")
    if as_json or loudness != "none" or (format or "wav").lower() != "wav":
        raise typer.BadParameter(
            "sound that is written while it is made is WAV at its own level: leave out --json, --loudness, --format.",
            param_hint="-o",
        )


def _compose_files(commission: Commission, texts: list[str], outputs: OutputFiles, seed: int | None) -> None:
    composer = commission.load([commission.recording] if commission.recording is not None else [])
    with Interruption() as stop:
        for group, seeds in _groups(texts, seed, commission.settings):
            for finished in commission.compose(composer, group, stop, seed=seeds):
                piece = finished.piece
                path = outputs.path_for(piece.prompt or "", piece.seed, partial=finished.is_partial)
                commission.save(finished, path)
            if stop.asked:
                raise KeyboardInterrupt


def _groups(texts: list[str], seed: int | None, settings: dict[str, Any]) -> list[tuple[list[str], Any]]:
    """The prompts in groups, each with the seeds of its pieces: piece i of the whole call has the first seed plus i."""
    from antiphon.generation.philox import item_seeds

    n = settings["n"]
    size = max(1, together(settings["seconds"]) // n)
    seeds: list[int] | None = item_seeds(seed, len(texts) * n) if settings["temperature"] > 0 else None
    return [
        (texts[i : i + size], None if seeds is None else seeds[i * n : (i + size) * n])
        for i in range(0, len(texts), size)
    ]
