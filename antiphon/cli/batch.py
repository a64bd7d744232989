"""``--prompts``: many pieces from a file, of which a bad one stops no other, and which go on after an interruption."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import typer

from antiphon.cli.commission import together
from antiphon.cli.interruption import Interruption
from antiphon.cli.prompt_file import BadRow, numbers, read_rows
from antiphon.cli.terminal import put_json, say

if TYPE_CHECKING:
    from antiphon.cli.batch_plan import Planned
    from antiphon.cli.commission import Commission, Finished
    from antiphon.cli.output_files import OutputFiles


def compose_batch(
    commission: Commission, prompt_file: str, outputs: OutputFiles, *, seed: int | None, resume: bool
) -> None:
    """Makes the pieces of a file of prompts and tells at the end how many were made.

    Raises:
        Exit: status 1, because rows were bad or could not be made. KeyboardInterrupt: it was stopped.
        BadParameter: no file, or ``-o`` names a file instead of a folder.
    """
    if not outputs.is_folder:
        raise typer.BadParameter("the pieces of --prompts go to a folder: name one", param_hint="-o")
    settings = {name: value for name, value in commission.settings.items() if name != "n"}
    rows, bad = read_rows(prompt_file, settings, seed=seed, recording=commission.recording, melody=commission.melody)
    batch = _Batch(commission, outputs, bad, as_json=commission.as_json)
    from antiphon.cli.batch_plan import planned

    made_with = {"model": commission.model, "dtype": commission.dtype, "quantize": commission.quantize}
    shared: dict[str, Any] = {**made_with, "loudness": commission.loudness}
    shared |= {"separate": True} if commission.separate else {}
    shared |= {"adapters": list(commission.adapters)} if commission.adapters else {}
    todo, finished = planned(rows, outputs, shared, resume=resume)
    if finished:
        say(f"{finished} of {len(rows) + len(bad)} pieces are finished already")
    try:
        if todo:
            batch.run(todo)
    except KeyboardInterrupt:
        say("the same call with --resume makes the rest")
        raise
    finally:
        if todo or bad:
            say(batch.report(len(todo) + len(bad)))
    if batch.bad:
        raise typer.Exit(1)


class _Batch:
    """The pieces of a file while they are made."""

    def __init__(self, commission: Commission, outputs: OutputFiles, bad: list[BadRow], *, as_json: bool) -> None:
        self._commission = commission
        self._outputs = outputs
        self._as_json = as_json
        self._made = 0
        self.bad: list[BadRow] = []
        for row in bad:
            self._fail(row.number, row.reason)

    def run(self, todo: list[Planned]) -> None:
        """Makes the pieces, those of equal settings together."""
        composer = self._commission.load(melody=self._commission.melody)
        with Interruption() as stop:
            for group in _groups(todo):
                self._run_group(composer, group, stop, of=len(todo))
                if stop.asked:
                    raise KeyboardInterrupt

    def report(self, asked: int) -> str:
        """One line: how many were made, and which were not."""
        line = f"{self._made} of {asked} pieces made"
        if self.bad:
            line += f"; failed: {'row' if len(self.bad) == 1 else 'rows'} {numbers(self.bad)}"
        return line

    def _run_group(self, composer: Any, group: list[Planned], stop: Interruption, *, of: int) -> None:
        from antiphon.errors import AntiphonError

        first = group[0].row
        settings = {**first.settings, "n": 1, "continue_from": _recordings(group)}
        settings["melody"] = [piece.row.melody for piece in group]
        settings["seed"] = None if first.seed is None else [piece.row.seed for piece in group]
        title = f"row {first.number}: {first.prompt}" if len(group) == 1 else f"rows {first.number}.. of {of}"
        try:
            made = self._commission.compose(composer, [p.row.prompt for p in group], stop, title=title, **settings)
        except AntiphonError as error:
            if len(group) == 1:
                self._fail(first.number, str(error))
                return
            for piece in group:  # one of them is bad: by itself it stops no other
                if not stop.asked:
                    self._run_group(composer, [piece], stop, of=of)
            return
        left = list(group)
        for finished in made:  # a stop leaves out those that had not begun
            piece = next(p for p in left if _is_of(finished, p))
            left.remove(piece)
            try:
                self._save(piece, finished)
            except AntiphonError as error:
                self._fail(piece.row.number, str(error))

    def _save(self, piece: Planned, finished: Finished) -> None:
        name = piece.path.relative_to(self._outputs.folder).as_posix()
        if finished.is_partial:
            path = self._outputs.path_for("", None, name=name, partial=True)
        else:
            path = self._outputs.claim(piece.path)
        self._commission.save(finished, path, self._outputs, piece.row.melody)
        self._made += not finished.is_partial

    def _fail(self, number: int, reason: str) -> None:
        self.bad.append(BadRow(number, reason))
        say(f"row {number}: {reason}")
        if self._as_json:
            put_json({"row": number, "error": reason})


def _groups(todo: list[Planned]) -> Iterator[list[Planned]]:
    """Neighbours with equal settings, as many as are computed together."""

    def kind(piece: Planned) -> tuple[Any, ...]:
        row = piece.row
        return (tuple(row.settings.items()), row.seed is None, row.recording is None)

    for _, alike in groupby(todo, kind):
        pieces = list(alike)
        size = together(pieces[0].row.settings["seconds"])
        yield from (pieces[i : i + size] for i in range(0, len(pieces), size))


def _is_of(finished: Finished, piece: Planned) -> bool:
    return (finished.piece.prompt, finished.piece.seed) == (piece.row.prompt, piece.row.seed)


def _recordings(group: list[Planned]) -> list[str | None] | None:
    recordings = [piece.row.recording for piece in group]
    return None if recordings[0] is None else recordings
