"""The plan of a batch: which row becomes which file with which seed, written down before anything is computed.

Sounds appear under their names whole or not at all. So a file of the plan that is there is finished, one that is not
is still to do, and a batch that was killed goes on where it was.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any

from antiphon.checkpoints.atomic_files import atomic_write
from antiphon.cli.output_files import OutputFiles, shown
from antiphon.cli.prompt_file import Row, checked_output
from antiphon.errors import AntiphonError, AudioError
from antiphon.generation.philox import item_seeds

PLAN_NAME = "antiphon-batch.jsonl"
_MOST_BYTES = 1 << 30
_PROMPT_CHARACTERS = 2000  # that tags always hold


@dataclass(frozen=True)
class Planned:
    """A row, its seed drawn where it had none, and the file it becomes."""

    row: Row
    path: Path


def planned(
    rows: Sequence[Row], outputs: OutputFiles, made_with: dict[str, Any], *, resume: bool
) -> tuple[list[Planned], int]:
    """The pieces that are still to be made, and how many rows are finished. The plan is in the folder then.

    Args:
        made_with: what all rows share (the model, ..): an earlier plan counts only for rows that were asked for in
            exactly the same way.
        resume: keep the seeds and names of an earlier plan.

    Raises:
        AudioError: the earlier plan is damaged, or no name is free. CheckpointError: the plan cannot be written.
    """
    file = outputs.folder / PLAN_NAME
    former = _read(file) if resume else []
    by_key: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in former:
        by_key[_key(line["asked"])].append(line)
        outputs.reserve(outputs.folder / line["output"])
    lines, todo, finished = [], [], 0
    for row in rows:
        asked = {**made_with, **_asked(row)}
        known = by_key[_key(asked)]
        line = known.pop(0) if known else _new_line(row, asked, outputs)
        lines.append(line)
        piece = Planned(replace(row, seed=line["seed"]), outputs.folder / line["output"])
        if resume and is_made(piece, made_with["model"]):
            finished += 1
        else:
            todo.append(piece)
    lines += [line for left in by_key.values() for line in left]  # rows that are not asked for this time
    with atomic_write(file) as part:
        part.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return todo, finished


def is_made(piece: Planned, model: str) -> bool:
    """Whether the file of a row is there and says in its tags that it is this piece, since others may have its name."""
    from antiphon.audio import files

    try:
        record = json.loads(files.read_tags(piece.path).get("comment", ""))
        made = (record["prompt"] or "", record["seed"], record["model"])
        parameters = record["parameters"] or {}
    except (AntiphonError, ValueError, TypeError, KeyError, RecursionError):
        return False
    wanted = (piece.row.prompt[:_PROMPT_CHARACTERS], piece.row.seed, model)
    if (made[0][:_PROMPT_CHARACTERS], *made[1:]) != wanted:
        return False
    # what a row leaves to the model is whatever the model chose
    asked = {name: value for name, value in piece.row.settings.items() if value is not None}
    return all(parameters.get(name, value) == value for name, value in asked.items())


def _asked(row: Row) -> dict[str, Any]:
    return {
        "prompt": row.prompt,
        "seed": row.seed,
        "output": row.output,
        "continue": row.recording,
        **({} if row.melody is None else {"melody": row.melody}),  # plans of earlier versions have no such name
        **row.settings,
    }


def _key(asked: dict[str, Any]) -> str:
    return json.dumps(asked, sort_keys=True)


def _new_line(row: Row, asked: dict[str, Any], outputs: OutputFiles) -> dict[str, Any]:
    seed = row.seed if row.settings["temperature"] <= 0 else item_seeds(row.seed, 1)[0]
    path = outputs.path_for(row.prompt, seed, name=row.output)
    return {"output": path.relative_to(outputs.folder).as_posix(), "seed": seed, "asked": asked}


def _read(file: Path) -> list[dict[str, Any]]:
    """The lines of an earlier plan, none where there is none."""
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError("it is larger than 1 GiB")
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        if not all(_is_line(line) for line in lines):
            raise ValueError("it holds something else")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise AudioError(
            f"the plan {shown(file)} cannot be read: {error}", fix="Remove it, or start without --resume"
        ) from error
    return lines


def _is_line(line: Any) -> bool:
    if not isinstance(line, dict) or not isinstance(line.get("output"), str) or not isinstance(line.get("asked"), dict):
        return False
    return isinstance(line.get("seed", ...), (int, NoneType)) and checked_output(line["output"]) is not None
