"""``antiphon caption``: a text about each sound file of a folder, resumable, with the bad ones named."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from antiphon.cli.ask import load_listener, model_name
from antiphon.cli.caption_progress import CaptionProgress
from antiphon.cli.interruption import Interruption
from antiphon.cli.model_choice import MODEL_VARIABLE
from antiphon.cli.terminal import put_path, say

if TYPE_CHECKING:
    from antiphon.tasks.caption_file import CaptionFile
    from antiphon.tasks.captioner import Caption, Failure


def caption(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Holds sound files, also in folders below.")],
    output: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="JSON lines, one a recording.")] = Path(
        "captions.jsonl"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on behind what the file has.")] = False,
    question: Annotated[str | None, typer.Option(metavar="TEXT", help="What to say of each; unless told, all.")] = None,
    sidecars: Annotated[
        bool, typer.Option("--sidecars", help="Also song.json beside song.mp3; one of others is kept.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help=f"A folder, or a name on the Hub; else the variable {MODEL_VARIABLE}.")
    ] = None,
    together: Annotated[int, typer.Option(help="Recordings that are described at once.")] = 4,
    workers: Annotated[
        int | None, typer.Option("--ray", metavar="WORKERS", help="Through Ray, with so many listeners.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="The longest text.")] = 500,
    temperature: Annotated[float, typer.Option(help="Chance of the words; 0 is none.")] = 0.0,
    strict: Annotated[bool, typer.Option("--strict", help="Leave out recordings too long to be heard whole.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best unless told.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16; as stored unless told.")] = None,
    quantize: Annotated[
        Literal["int8", "int4"] | None, typer.Option(help="Smaller and faster weights, a little less exact.")
    ] = None,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="What goes on, on stderr.")] = True,
) -> None:
    """Describe all recordings in a folder.

    Each line is on the disk before the next batch begins: after an interruption of any kind the same call with
    --resume makes the rest. A file that cannot be read is named and left out.

    antiphon caption ~/Music -o captions.jsonl --resume
    """
    asked: dict[str, Any] = {"max_new_tokens": max_tokens, "temperature": temperature, "strict": strict}
    _check(asked, question, together, workers)
    name = model_name(model)
    from antiphon.tasks.caption_file import CaptionFile
    from antiphon.tasks.captioner import QUESTION, sound_files

    question = QUESTION if question is None else question
    files = sound_files(folder)
    with CaptionFile(output, resume=resume) as captions:
        _check_same(captions, model=name, question=question)
        todo = [file for file in files if _named(file, output) not in captions.done]
        if len(todo) < len(files):
            say(f"{len(files) - len(todo)} of {len(files)} recordings have their caption already")
        loading = {"dtype": dtype, "device": device, "quantize": quantize}
        work = _Work(captions, output, sidecars=sidecars, total=len(todo), progress=progress)
        with Interruption() as stop:
            if todo:
                made = _captions(todo, name, loading, question, together, asked, workers, stop)
                work.write(made, stop)
    if stop.asked:
        raise KeyboardInterrupt
    put_path(output)
    if work.failed:
        raise typer.Exit(1)


def _captions(
    files: list[Path],
    model: str,
    loading: dict[str, Any],
    question: str,
    together: int,
    asked: dict[str, Any],
    workers: int | None,
    stop: Interruption,
) -> Iterator[Caption | Failure]:
    if workers is not None:
        from antiphon.tasks.ray_captions import ray_captions

        return ray_captions(
            files, model, workers=workers, loading=loading, question=question, together=together, asked=asked
        )
    from antiphon.tasks.captioner import Captioner

    listener = load_listener(model, **loading)
    return Captioner(listener, question=question, together=together, stop_when=stop, **asked).captions(files)


class _Work:
    """The captions while they are made."""

    def __init__(self, captions: CaptionFile, output: Path, *, sidecars: bool, total: int, progress: bool) -> None:
        self._captions, self._output, self._sidecars = captions, output, sidecars
        self._total, self._progress = total, progress
        self._made = 0
        self.failed = 0

    def write(self, made: Any, stop: Interruption) -> None:
        """Writes each as it comes, and tells at the end how many there are."""
        started = time.monotonic()
        try:
            with closing(made), CaptionProgress(self._total, wanted=self._progress) as progress:
                for one in made:
                    self._write(one)
                    progress.tell(self._made, self.failed)
                    if stop():
                        break
        finally:
            minutes = max(time.monotonic() - started, 1e-9) / 60
            left = f", {self.failed} left out" if self.failed else ""
            say(f"{self._made} of {self._total} recordings described{left}, {self._made / minutes:.1f} a minute")
            if self._made + self.failed < self._total:
                say("the same call with --resume makes the rest")

    def _write(self, one: Caption | Failure) -> None:
        from antiphon.errors import AntiphonError
        from antiphon.tasks.captioner import Caption
        from antiphon.tasks.sidecar import write_sidecar

        if not isinstance(one, Caption):
            self._fail(one.path, one.reason)
            return
        if self._sidecars:  # before the line, which says that all is done
            try:
                write_sidecar(one)
            except AntiphonError as error:
                self._fail(one.path, str(error))
                return
        self._captions.add({"path": _named(one.path, self._output), **one.told})
        self._made += 1

    def _fail(self, path: Path, reason: str) -> None:
        self.failed += 1
        say(f"{path}: {reason}")


def _check(asked: dict[str, Any], question: str | None, together: int, workers: int | None) -> None:
    """Finds values out of range before anything is loaded."""
    from antiphon.errors import ParamError
    from antiphon.tasks.listening_request import ListeningRequest
    from antiphon.tasks.listening_settings import checked_question

    for name, value in (("--together", together), ("--ray", workers)):
        if value is not None and not value >= 1:
            raise typer.BadParameter(f"{value} is too few: give 1 or more.", param_hint=name)
    try:
        ListeningRequest(float("inf"), asked)
        if question is not None:
            checked_question(question)
    except ParamError as error:
        raise typer.BadParameter(str(error)) from error


def _check_same(captions: CaptionFile, **now: str) -> None:
    """Refuses to go on with a file that was made otherwise: its lines would not belong together.

    Raises:
        ParamError: naming what is other.
    """
    from antiphon.errors import ParamError

    for name, value in now.items():
        before = (captions.first or {}).get(name, value)
        if before != value:
            raise ParamError(
                f"{captions.path} was made with the {name} {before!r}, and this is {value!r}",
                fix="Ask for the same, or name another file",
            )


def _named(file: Path, output: Path) -> str:
    """What a recording is called: its path as seen from the captions, which may be moved together with it."""
    return Path(os.path.relpath(file, output.parent)).as_posix()
