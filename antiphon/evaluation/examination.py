"""An evaluation from beginning to end: sounds are heard, compared with what was asked, and reported."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from antiphon.audio.clip import Audio
from antiphon.audio.figure import check_can_draw
from antiphon.errors import MissingExtraError
from antiphon.evaluation import scores
from antiphon.evaluation.asked import Asked
from antiphon.evaluation.codec import Loss, codec_losses
from antiphon.evaluation.copies import TrainingCodes
from antiphon.evaluation.frechet import frechet_distance
from antiphon.evaluation.hearing import Ear, Heard, cut
from antiphon.evaluation.interval import Estimate
from antiphon.evaluation.key import Key
from antiphon.evaluation.melody import melody_similarity
from antiphon.evaluation.plots import draw_confusion, draw_tempos
from antiphon.evaluation.report import Report, Shown
from antiphon.evaluation.scores import CODED, PIECES, RENDERS
from antiphon.evaluation.table import Row, Table
from antiphon.evaluation.tempo import SHORTEST_S
from antiphon.tasks.transcoder import Transcoder

logger = logging.getLogger(__name__)

_PLAYERS = 16  # on the page, which carries their sounds

OnStep = Callable[[str], object]


@dataclass(frozen=True, kw_only=True, eq=False)
class Examination:
    """What an evaluation has at hand.

    Attributes:
        asked: the prompts. ear: what hears. prompt_s: of a piece that goes on from a recording, which is not judged.
        transcoder: the model's codec, for what renders are after it. training: codes that pieces may be copies of.
        on_step: told what is being done.
    """

    asked: Sequence[Asked]
    ear: Ear
    prompt_s: float = 4.0
    transcoder: Transcoder | None = None
    training: TrainingCodes | None = None
    on_step: OnStep = field(default=lambda line: None)

    def report(
        self,
        sounds: Sequence[Audio],
        folder: Path,
        *,
        title: str,
        facts: dict[str, Any],
        unled: Mapping[int, Audio] | None = None,
    ) -> Report:
        """What was found of sounds, one for each prompt; pictures are in the folder then.

        Args:
            title, facts: of the report. unled: by the places of prompts with a melody, the same pieces made without it.

        Raises:
            AudioError: sounds that cannot be judged, such as ones shorter than 2 s.
        """
        real = self._renders(sounds)
        columns: dict[str, list[Audio | None]] = {PIECES: list(sounds), RENDERS: real}
        if (codec := self.transcoder) is not None:
            self.on_step("coding the renders")
            columns[CODED] = [None if sound is None else codec.decode(codec.encode(sound)) for sound in real]
        heard = {name: self._heard(name, row) for name, row in columns.items() if any(one is not None for one in row)}
        tables = [*self._requests(heard), scores.defects_table(heard)]
        tables += self._melodies(columns, unled)
        tables += self._copies(columns)
        tables += self._distances(heard)
        tables += self._codec(real)
        return Report(
            title=title,
            facts={**facts, "prompts": len(self.asked), "pieces that differ from all others": _unequal(sounds)},
            tables=tables,
            clips=[_told(wanted, one) for wanted, one in zip(self.asked, heard[PIECES], strict=True)],
            shown=self._shown(columns, heard[PIECES]),
            pictures=self._pictures(heard[PIECES], folder),
        )

    def _from_s(self, place: int) -> float:
        return self.prompt_s if self.asked[place].continue_from is not None else 0.0

    def _renders(self, sounds: Sequence[Audio]) -> list[Audio | None]:
        """The real pieces, as long as those that were made; none of a recording that ends where these begin."""
        real: list[Audio | None] = []
        for place, (wanted, sound) in enumerate(zip(self.asked, sounds, strict=True)):
            file = wanted.reference or wanted.continue_from
            whole = None if file is None else cut(Audio.load(file, first_s=sound.seconds), sound.seconds)
            real.append(whole if whole is not None and whole.seconds - self._from_s(place) >= SHORTEST_S else None)
        return real

    def _heard(self, name: str, row: Sequence[Audio | None]) -> list[Heard | None]:
        self.on_step(f"listening to {name}")
        return [None if one is None else self.ear.hear(one, from_s=self._from_s(p)) for p, one in enumerate(row)]

    def _requests(self, heard: dict[str, list[Heard | None]]) -> list[Table]:
        """A table of the pieces from words alone, and one of those that go on from a recording."""
        tables = []
        for continued, title in ((False, "What was asked for"), (True, "Going on from a recording")):
            places = [p for p, wanted in enumerate(self.asked) if (wanted.continue_from is not None) == continued]
            if places:
                rows = {name: [row[p] for p in places] for name, row in heard.items()}
                tables.append(scores.requests_table(title, [self.asked[p] for p in places], rows))
        return tables

    def _melodies(self, columns: dict[str, list[Audio | None]], unled: Mapping[int, Audio] | None) -> list[Table]:
        places = [p for p, wanted in enumerate(self.asked) if wanted.melody is not None]
        if not places:
            return []
        self.on_step("comparing melodies")
        melodies = {p: Audio.load(file) for p in places if (file := self.asked[p].melody) is not None}
        rows = {name: [(p, row[p]) for p in places] for name, row in columns.items()}
        if unled:
            rows["the same without the melody"] = [(p, unled[p]) for p in places]
        similar = {
            name: [melody_similarity(sound, melodies[p]) for p, sound in row if sound is not None]
            for name, row in rows.items()
        }
        others = dict(zip(places, [*places[1:], places[0]], strict=True))
        pieces = [(p, sound) for p, sound in rows[PIECES] if sound is not None and others[p] != p]
        similar[f"{PIECES}, with another's melody"] = [melody_similarity(s, melodies[others[p]]) for p, s in pieces]
        return [scores.melody_table(similar)]

    def _copies(self, columns: dict[str, list[Audio | None]]) -> list[Table]:
        training, transcoder = self.training, self.transcoder
        if training is None or transcoder is None:
            return []
        self.on_step("looking for copies")
        nearest: dict[str, list[float]] = {}
        for name in (PIECES, RENDERS):
            found = [training.nearest(transcoder.encode(one).codes[0]) for one in columns[name] if one is not None]
            nearest[name] = [one.share for one in found if one is not None]
        return [scores.copies_table(nearest)]

    def _distances(self, heard: dict[str, list[Heard | None]]) -> list[Table]:
        """Fréchet distances of timbres between what was heard and the renders, brought to the renders' deviations."""
        rows = {name: [one.timbre for one in row if one is not None] for name, row in heard.items()}
        real = rows.get(RENDERS, [])
        if len(real) < 4:
            return []
        middle, scale = torch.stack(real).mean(dim=0), torch.stack(real).std(dim=0).clamp(min=1e-3)
        sets = {name: ((torch.stack(row) - middle) / scale).numpy() for name, row in rows.items()}
        halves = sets[RENDERS][::2], sets[RENDERS][1::2]
        cells = {name: frechet_distance(one, sets[RENDERS]) for name, one in sets.items() if name != RENDERS}
        cells["half of the renders, to the other"] = frechet_distance(*halves)
        estimates = tuple(Estimate(value, None, None, len(real)) for value in cells.values())
        note = "Of their timbres, to the renders. Fewer clips are further apart: half of the renders has half of them."
        return [Table("Fréchet distance", tuple(cells), (Row("distance", "", estimates),), note)]

    def _codec(self, real: Sequence[Audio | None]) -> list[Table]:
        sounds = [sound for sound in real if sound is not None and np.any(sound.samples)]
        if self.transcoder is None or not sounds:
            return []
        self.on_step("measuring the codec")
        losses: list[dict[str, Loss]] = list(codec_losses(self.transcoder, sounds))
        return [scores.codec_table(losses)]

    def _shown(self, columns: dict[str, list[Audio | None]], heard: Sequence[Heard | None]) -> list[Shown]:
        shown = []
        for place in range(min(_PLAYERS, len(self.asked))):
            sounds = {name: one for name, row in columns.items() if (one := row[place]) is not None}
            told = _told(self.asked[place], heard[place])
            lines = [f"{kind}: {', '.join(map(str, told[kind].values()))}" for kind in ("asked", "heard")]
            shown.append(Shown(self.asked[place].text, tuple(lines), sounds))
        return shown

    def _pictures(self, heard: Sequence[Heard | None], folder: Path) -> dict[str, Path]:
        try:
            check_can_draw()
        except MissingExtraError as error:
            logger.warning("the report has no pictures: %s", error)
            return {}
        folder.mkdir(parents=True, exist_ok=True)
        pairs = [(one, wanted) for one, wanted in zip(heard, self.asked, strict=True) if one is not None]
        pictures = {}
        tempos = [(one.tempo.bpm, wanted.tempo_bpm) for one, wanted in pairs if wanted.tempo_bpm is not None]
        if tempos:
            found_bpm, asked_bpm = zip(*tempos, strict=True)
            pictures["Tempo"] = draw_tempos(found_bpm, asked_bpm, folder / "tempo.png")
        for name in ("style", "lead"):
            labels = [(getattr(one, name), getattr(wanted, name)) for one, wanted in pairs]
            labels = [pair for pair in labels if None not in pair]
            if labels:
                found, asked = zip(*labels, strict=True)
                title = name.capitalize()
                pictures[title] = draw_confusion(found, asked, folder / f"{name}.png", title=title)
        return pictures


def _unequal(sounds: Sequence[Audio]) -> int:
    """How many sounds are equal to no other, sample by sample."""
    often = Counter(sound.samples.tobytes() for sound in sounds)
    return sum(count == 1 for count in often.values())


def _told(wanted: Asked, one: Heard | None) -> dict[str, Any]:
    """What was asked and what was heard of a prompt, as JSON can hold it."""
    asked = {"style": wanted.style, "lead": wanted.lead, "tempo_bpm": wanted.tempo_bpm, "key": _key_name(wanted)}
    told: dict[str, Any] = {"text": wanted.text, "asked": {k: v for k, v in asked.items() if v is not None}}
    if one is not None:
        heard = {"style": one.style, "lead": one.lead, "tempo_bpm": round(one.tempo.bpm, 1), "key": one.key.name}
        told["heard"] = {k: v for k, v in heard.items() if v is not None}
    return told


def _key_name(wanted: Asked) -> str | None:
    return None if wanted.tonic is None or wanted.mode is None else Key(wanted.tonic, wanted.mode, 1.0).name
