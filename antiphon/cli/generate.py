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
    melody: Annotated[
        str | None,
        typer.Option("--melody", metavar="FILE", help="A tune to follow, hummed or played; needs a melody model."),
    ] = None,
    separate: Annotated[
        bool, typer.Option("--separate", help="With --melody: take drums and bass out of it first (Demucs).")
    ] = False,
    picture: Annotated[
        bool,
        typer.Option("--picture", help="A PNG beside each sound; with --melody, what was heard and what was made."),
    ] = False,
    model: Annotated[
        str | None, typer.Option(help=f"A folder, or a name on the Hub; else the variable {MODEL_VARIABLE}.")
    ] = None,
    guidance: Annotated[float, typer.Option(help="How strictly the prompt is followed; 1 is off.")] = 3.0,
    temperature: Annotated[float, typer.Option(help="Chance: 0 none, 1 the model's own.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Choose among the k likeliest; 0 is off.")] = 250,
    top_p: Annotated[float, typer.Option(help="Choose among the likeliest with this share; 0 is off.")] = 0.0,
    window: Annotated[
        float | None, typer.Option(help="Seconds that the model sees at once; what it was trained on unless told.")
    ] = None,
    stride: Annotated[
        float | None, typer.Option(help="Seconds by which the window moves on in longer pieces; 3/5 of it unless told.")
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Variations of each prompt.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best unless told.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16; as stored unless told.")] = None,
    quantize: Annotated[
        Literal["int8", "int4"] | None, typer.Option(help="Smaller and faster weights, a little less exact.")
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER[:SCALE]", help="A LoRA adapter on the model; several times for several."),
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

    antiphon generate "80s pop with bassy drums" --seconds 12 --seed 7 -o pop.wav

    antiphon generate "the same as a string quartet" --melody hum.wav --picture -o quartet.wav
    """
    texts = _texts(prompts or [], wordless=melody is not None and prompt_file is None)
    settings: dict[str, Any] = {
        "seconds": seconds,
        "guidance": guidance,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
    }
    settings |= {"window_seconds": window, "stride_seconds": stride, "n": n}
    _check_ways(texts, prompt_file, resume=resume, n=n, idle=separate and melody is None)
    plain = loudness == "none" and (format or "wav").lower() == "wav" and not (as_json or picture)
    _check_pipe(output, texts, n=n, plain=plain)
    check_settings(settings, texts, seed)
    commission = Commission(
        model=model_name(model, melody=melody is not None),
        dtype=dtype,
        device=device,
        quantize=quantize,
        adapters=tuple(adapter or ()),
        settings=settings,
        recording=recording,
        melody=melody,
        separate=separate,
        picture=picture,
        loudness=loudness,
        format=format or "wav",
        as_json=as_json,
        progress=progress,
    )
    if output == "-":
        from antiphon.cli.pipe import compose_to_pipe

        compose_to_pipe(commission, texts[0], seed)
        return
    outputs = _outputs(commission, output, force=force)
    if prompt_file is not None:
        from antiphon.cli.batch import compose_batch

        compose_batch(commission, prompt_file, outputs, seed=seed, resume=resume)
    else:
        _compose_files(commission, texts, outputs, seed)


def _texts(arguments: list[str], *, wordless: bool) -> list[str]:
    """Arguments as texts in UTF-8, whatever the locale took them for; bytes that are none stay marked.

    Args:
        wordless: no argument at all is one empty text.
    """
    texts = [os.fsencode(argument).decode("utf-8", "surrogateescape") for argument in arguments]
    return texts or [""] * wordless


def _check_ways(texts: list[str], prompt_file: str | None, *, resume: bool, n: int, idle: bool) -> None:
    """Refuses options that do not go together; ``idle`` is a separation without a melody."""
    if not texts and prompt_file is None:
        raise typer.BadParameter("there is nothing to compose: give a PROMPT, a --melody, or --prompts FILE.")
    if prompt_file is not None and (texts or n > 1):
        raise typer.BadParameter("--prompts brings all the pieces: leave out PROMPT and --n.")
    if resume and prompt_file is None:
        raise typer.BadParameter("--resume goes on with the prompts of a file: name it with --prompts.")
    if idle and prompt_file is None:
        raise typer.BadParameter("--separate is about a melody: name one with --melody.")


def _check_pipe(output: str | None, texts: list[str], *, n: int, plain: bool) -> None:
    """Refuses what cannot go into a pipe, where the output is one."""
    if output != "-":
        return
    from antiphon.cli.pipe import check_reader

    check_reader()
    if len(texts) != 1 or n > 1:
        raise typer.BadParameter("a pipe takes one piece: give one PROMPT, without --n.", param_hint="-o")
    if not plain:
        raise typer.BadParameter(
            "sound that is written while it is made is WAV at its own level: leave out --json, --loudness, --format, "
            "--picture.",
            param_hint="-o",
        )


def _outputs(commission: Commission, output: str | None, *, force: bool) -> OutputFiles:
    from antiphon.cli.output_files import OutputFiles

    outputs = OutputFiles(output, force=force, format=commission.format)
    if commission.picture and outputs.is_device:
        raise typer.BadParameter("a picture lies beside a file, and -o names none.", param_hint="--picture")
    return outputs


def _compose_files(commission: Commission, texts: list[str], outputs: OutputFiles, seed: int | None) -> None:
    composer = commission.load(commission.recording, commission.melody)
    with Interruption() as stop:
        for group, seeds in _groups(texts, seed, commission.settings):
            for finished in commission.compose(composer, group, stop, seed=seeds):
                piece = finished.piece
                path = outputs.path_for(piece.prompt or "", piece.seed, partial=finished.is_partial)
                commission.save(finished, path, outputs, commission.melody)
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
