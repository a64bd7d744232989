"""``antiphon eval``: what pieces are like, heard from their sound alone, beside what was asked."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from antiphon.cli.terminal import put, put_json, put_path, say

if TYPE_CHECKING:
    from antiphon.evaluation.asked import Asked
    from antiphon.evaluation.copies import TrainingCodes
    from antiphon.evaluation.hearing import Ear
    from antiphon.evaluation.pieces import Making
    from antiphon.evaluation.report import Report
    from antiphon.tasks.transcoder import Transcoder

_CLASSIFIERS = {"style": "style.safetensors", "lead": "lead.safetensors"}


def evaluate(
    prompts: Annotated[
        Path, typer.Option("--prompts", metavar="FILE", help="JSON lines: text, and what is to be heard.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="For the report and the pieces.")],
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="A folder, or a name on the Hub.")] = None,
    sounds: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Judge these files, one a prompt by name, and make none.")
    ] = None,
    classifiers: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help=f"Holds {' or '.join(_CLASSIFIERS.values())}.")
    ] = None,
    training: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Coded music; pieces are compared with it, as copies.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Of new music in each piece; 8 unless told.")] = None,
    prompt_seconds: Annotated[float, typer.Option(help="Of a recording that is gone on from.")] = 4.0,
    seed: Annotated[int | None, typer.Option(help="Of the first piece; the others count on. 1 unless told.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How strictly the text is followed; 3 unless told.")] = None,
    batch: Annotated[int | None, typer.Option(help="Pieces that are made together; 8 unless told.")] = None,
    quantize: Annotated[Literal["int8", "int4"] | None, typer.Option(help="Weights in 8 or 4 bits.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Of the weights: float32, bfloat16, ...")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best unless told.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON on stdout.")] = False,
) -> None:
    """Make a piece for each prompt, listen to it, and report how often it is what was asked.

    Every figure stands beside chance and beside what the real pieces score that the prompts name as their reference,
    before and after the codec. Pieces that are in the folder already are not made again.
    """
    given = {"seconds": seconds, "seed": seed, "guidance": guidance, "together": batch}
    how: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    loading = {"dtype": dtype, "device": device, "quantize": quantize}
    _check(model, sounds, [*how, *(name for name in ("dtype", "quantize") if loading[name] is not None)])
    from antiphon.audio.clip import Audio
    from antiphon.evaluation.asked import read_asked
    from antiphon.evaluation.examination import Examination
    from antiphon.evaluation.pieces import Making, found_pieces

    asked = read_asked(prompts)
    at_hand: dict[str, Any] = {
        "ear": _ear(classifiers),
        "training": _codes(training),
        "transcoder": _transcoder(model, device),
    }
    facts: dict[str, Any] = {"prompts from": prompts.name}
    unled: dict[int, Path] = {}
    if sounds is None:
        making = Making(prompt_s=prompt_seconds, **how)
        made, unled = _made(str(model), asked, output, making, loading)
        facts |= {"model": model, "weights": quantize or dtype or "as stored", **asdict(making)}
    else:
        made = dict(enumerate(found_pieces(sounds, asked)))
        facts["sounds"] = str(sounds)
    examination = Examination(asked=asked, prompt_s=prompt_seconds, on_step=_tell, **at_hand)
    report = examination.report(
        [Audio.load(made[place]) for place in range(len(asked))],
        output,
        title=f"Evaluation of {model or sounds}",
        facts=facts,
        unled={place: Audio.load(file) for place, file in unled.items()},
    )
    _put(report, report.write(output), as_json=as_json)


def _check(model: str | None, sounds: Path | None, of_making: list[str]) -> None:
    if model is None and sounds is None:
        raise typer.BadParameter("neither MODEL nor --sounds: there is nothing to judge")
    if sounds is not None and of_making:
        raise typer.BadParameter(f"{', '.join(of_making)} beside --sounds, with which nothing is made")
    if sounds is not None and not sounds.is_dir():
        raise typer.BadParameter(f"{str(sounds)[:200]!r} is no folder", param_hint="--sounds")


def _made(
    model: str, asked: list[Asked], output: Path, making: Making, loading: dict[str, Any]
) -> tuple[dict[int, Path], dict[int, Path]]:
    """The files of all pieces, and of those with a melody made without it, by the places of their prompts."""
    from antiphon.cli.model_choice import load_composer
    from antiphon.evaluation.pieces import make_pieces

    composer = load_composer(model, **loading)

    def tell(done: int, of: int) -> None:
        _tell(f"{done} of {of} pieces made")

    pieces = make_pieces(composer, asked, output / "pieces", making, on_piece=tell)
    places = [place for place, wanted in enumerate(asked) if wanted.melody is not None]
    if not (places and composer.takes_melody):
        return pieces, {}
    folder = output / "without-melody"
    return pieces, make_pieces(composer, asked, folder, making, melodies=False, places=places, on_piece=tell)


def _ear(folder: Path | None) -> Ear:
    """What hears; with the classifiers that the folder holds.

    Raises:
        BadParameter: it holds none.
    """
    from antiphon.evaluation.classifier import Classifier
    from antiphon.evaluation.hearing import Ear

    if folder is None:
        return Ear()
    found = {name: folder / file for name, file in _CLASSIFIERS.items() if (folder / file).is_file()}
    if not found:
        wanted = " nor ".join(_CLASSIFIERS.values())
        raise typer.BadParameter(f"{str(folder)[:200]!r} holds neither {wanted}", param_hint="--classifiers")
    return Ear(**{name: Classifier.load(file) for name, file in found.items()})


def _codes(folder: Path | None) -> TrainingCodes | None:
    if folder is None:
        return None
    from antiphon.evaluation.copies import TrainingCodes
    from antiphon.training.coded_folder import CodedFolder

    coded = CodedFolder(folder)
    return TrainingCodes(coded.codes(place)[0] for place in range(len(coded)))


def _transcoder(model: str | None, device: str | None) -> Transcoder | None:
    from antiphon.tasks.transcoder import Transcoder

    return None if model is None else Transcoder.load(model, device=device)


def _tell(line: str) -> None:
    say(f"{line} ...")


def _put(report: Report, page: Path, *, as_json: bool) -> None:
    if as_json:
        put_json(report.to_dict())
        return
    for line in report.markdown().splitlines():
        put(line)
    put_path(page)
