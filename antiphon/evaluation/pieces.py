"""The pieces of an evaluation: made once, found again when it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.audio.clip import Audio
from antiphon.errors import AudioError
from antiphon.evaluation.asked import Asked
from antiphon.evaluation.hearing import cut
from antiphon.models.quantized import plan_of
from antiphon.tasks.composer import Composer

OnPiece = Callable[[int, int], object]
_PROMPT_CHARACTERS = 2000  # of a prompt are in a file's tags, whatever its length


@dataclass(frozen=True, kw_only=True)
class Making:
    """How pieces are made.

    Attributes:
        seconds: of new music; what is gone on from comes before it. prompt_s: how much of a recording that is.
        seed: of the first prompt; prompt i has it plus i. guidance: as ``compose`` takes it.
        together: pieces that are computed at once.
    """

    seconds: float = 8.0
    prompt_s: float = 4.0
    seed: int = 1
    guidance: float = 3.0
    together: int = 8

    def length_s(self, asked: Asked) -> float:
        """How long the piece of a prompt is."""
        return self.seconds + (self.prompt_s if asked.continue_from else 0.0)


def make_pieces(
    composer: Composer,
    asked: Sequence[Asked],
    folder: Path,
    making: Making,
    *,
    melodies: bool = True,
    places: Sequence[int] | None = None,
    on_piece: OnPiece | None = None,
) -> dict[int, Path]:
    """Makes the pieces of prompts and gives their files; those that are in the folder already are not made again.

    Args:
        folder: is made if missing; the piece of prompt i is ``0001.wav`` for i = 0 and so on.
        melodies: whether pieces follow the melodies of their prompts, if the model can.
        places: of the prompts that are wanted, counted from 0; all unless told. A piece depends on its own alone.
        on_piece: called with how many of how many pieces are there.

    Raises:
        As ``Composer.compose``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {place: folder / f"{place + 1:04d}.wav" for place in (range(len(asked)) if places is None else places)}
    follows = melodies and composer.takes_melody
    todo = [p for p, path in paths.items() if not _is_made(path, _record(composer, asked[p], making, p, follows))]
    tell = on_piece or (lambda done, of: None)
    done = len(paths) - len(todo)
    tell(done, len(paths))
    for group in _groups(asked, todo, making.together):
        pieces = composer.compose(
            [asked[place].text for place in group],
            seconds=making.length_s(asked[group[0]]),
            seed=[making.seed + place for place in group],
            guidance=making.guidance,
            continue_from=_recordings(asked, group, making),
            melody=[asked[place].melody for place in group]
            if follows and any(asked[p].melody for p in group)
            else None,
        )
        for place, piece in zip(group, pieces, strict=True):
            piece.save(paths[place], subtype="FLOAT")  # as it came: beyond full scale it would be scaled or cut
            done += 1
            tell(done, len(paths))
    return paths


def found_pieces(folder: Path, asked: Sequence[Asked]) -> list[Path]:
    """The sound files of a folder in the order of their names, one for each prompt.

    Raises:
        AudioError: another number of files than of prompts.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if len(files) != len(asked):
        raise AudioError(f"{len(files)} files in {folder} for {len(asked)} prompts", expected="one for each, in order")
    return files


def _groups(asked: Sequence[Asked], todo: Sequence[int], together: int) -> Iterator[list[int]]:
    """Prompts that can be made together: a recording is there for all of them or for none."""
    for continued in (False, True):
        alike = [place for place in todo if (asked[place].continue_from is not None) == continued]
        yield from (alike[i : i + together] for i in range(0, len(alike), together))


def _recordings(asked: Sequence[Asked], group: Sequence[int], making: Making) -> list[Audio] | None:
    files = [asked[place].continue_from for place in group]
    if files[0] is None:
        return None
    return [cut(Audio.load(file, first_s=making.prompt_s), making.prompt_s) for file in files if file is not None]


def _record(composer: Composer, asked: Asked, making: Making, place: int, follows: bool) -> dict[str, Any]:
    """What the tags of a piece say when it is this one."""
    plan = plan_of(composer.model)
    return {
        "prompt": asked.text[:_PROMPT_CHARACTERS],
        "seed": making.seed + place,
        "model": composer.name,
        "seconds": making.length_s(asked),
        "guidance": making.guidance,
        "melody": asked.melody.name if asked.melody is not None and follows else None,
        "continued": asked.continue_from is not None,
        "quantize": None if plan is None else plan.kind,
    }


def _is_made(path: Path, record: dict[str, Any]) -> bool:
    try:
        piece = Audio.load(path)
    except AudioError:
        return False
    made = piece.parameters or {}
    return record == {
        "prompt": (piece.prompt or "")[:_PROMPT_CHARACTERS],
        "seed": piece.seed,
        "model": piece.model,
        "seconds": made.get("seconds"),
        "guidance": made.get("guidance"),
        "melody": (made.get("melody") or {}).get("name"),
        "continued": "continue_from" in made,
        "quantize": made.get("quantize"),
    }
