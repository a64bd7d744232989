"""How often sounds are what was asked for, beside chance and beside what real pieces score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from antiphon.evaluation.asked import Asked
from antiphon.evaluation.codec import Loss
from antiphon.evaluation.defects import Defects
from antiphon.evaluation.hearing import Heard
from antiphon.evaluation.interval import Estimate, mean, share
from antiphon.evaluation.key import key_agreement
from antiphon.evaluation.table import Row, Table, Unit
from antiphon.evaluation.tempo import tempo_agreement

PIECES, CHANCE, RENDERS, CODED, GOAL = "pieces", "by chance", "renders", "renders after the codec", "goal"

# What is to be reached, or this share of what renders score after the codec, whichever is lower.
_GOALS = {"tempo right": 0.6, "key right": 0.5, "style right": 0.7, "lead right": 0.7}
_SHARE_OF_RENDERS = 0.75

Answer = Callable[[Heard, Asked], bool | None]
Sounds = Mapping[str, Sequence[Heard | None]]


def _tempo(*wanted: str) -> Answer:
    def answer(heard: Heard, asked: Asked) -> bool | None:
        return None if asked.tempo_bpm is None else tempo_agreement(heard.tempo.bpm, asked.tempo_bpm) in wanted

    return answer


def _key(*wanted: str) -> Answer:
    def answer(heard: Heard, asked: Asked) -> bool | None:
        if asked.tonic is None or asked.mode is None:
            return None
        return key_agreement(heard.key, asked.tonic, asked.mode) in wanted

    return answer


def _label(name: str) -> Answer:
    def answer(heard: Heard, asked: Asked) -> bool | None:
        told, wanted = getattr(heard, name), getattr(asked, name)
        return None if told is None or wanted is None else told == wanted

    return answer


QUESTIONS: dict[str, Answer] = {
    "tempo right": _tempo("right"),
    "another metrical level": _tempo("octave"),
    "key right": _key("right"),
    "relative, fifth or parallel key": _key("relative", "fifth", "parallel"),
    "mode right": lambda heard, asked: None if asked.mode is None else heard.key.mode == asked.mode,
    "style right": _label("style"),
    "lead right": _label("lead"),
}


def requests_table(title: str, asked: Sequence[Asked], sounds: Sounds) -> Table:
    """How often the tempo, key, style and lead that were asked for are heard.

    Chance is what the same pieces score against the prompts of all the others.

    Args:
        sounds: what was heard, by column, a row for each prompt; ``PIECES`` is among them.
    """
    rows = []
    for name, answer in QUESTIONS.items():
        cells = {column: _share(answer, asked, heard) for column, heard in sounds.items()}
        if all(cell is None for cell in cells.values()):
            continue
        cells[CHANCE] = _chance(answer, asked, sounds[PIECES])
        cells[GOAL] = _goal(name, cells.get(CODED))
        columns = (PIECES, CHANCE, *(column for column in sounds if column != PIECES), GOAL)
        rows.append(Row(name, "%", tuple(cells[column] for column in columns)))
    columns = (PIECES, CHANCE, *(column for column in sounds if column != PIECES), GOAL)
    note = "Within 4 % of the tempo; key and mode together; in brackets 95 % intervals."
    return Table(title, columns, tuple(rows), note)


def defects_table(sounds: Sounds) -> Table:
    """Level, silence, clipping and repetition, beside real pieces."""
    measures: dict[str, tuple[Unit, Callable[[Defects], float]]] = {
        "level (RMS) in dBFS": ("dB", lambda defects: defects.level_dbfs),
        "silent moments": ("%", lambda defects: defects.silent),
        "clipped samples": ("%", lambda defects: defects.clipped),
        "likeness of each half second to an earlier one": ("", lambda defects: defects.repeated),
    }
    rows = []
    for name, (unit, measure) in measures.items():
        values = [[measure(one.defects) for one in heard if one is not None] for heard in sounds.values()]
        rows.append(Row(name, unit, tuple(mean(row) if row else None for row in values)))
    return Table("What is wrong with the sound", tuple(sounds), tuple(rows))


def codec_table(losses: Sequence[Mapping[str, Loss]]) -> Table:
    """What the codec loses of real pieces, beside the same with less."""
    columns = tuple(losses[0])
    rows = [
        Row("mel distance", "dB", tuple(_mean([loss[column].mel_db for loss in losses]) for column in columns)),
        Row("SI-SDR", "dB", tuple(_mean([loss[column].si_sdr_db for loss in losses]) for column in columns)),
    ]
    return Table("The codec", columns, tuple(rows), "Of renders. A small distance is good, and a large SI-SDR.")


def melody_table(similarities: Mapping[str, Sequence[float]]) -> Table:
    """How like the melody the chroma is, by column; chance is the likeness to the melodies of other prompts."""
    cells = tuple(mean(values) if len(values) else None for values in similarities.values())
    return Table("Following a melody", tuple(similarities), (Row("chroma similarity", "", cells),))


def copies_table(nearest: Mapping[str, Sequence[float]]) -> Table:
    """How much of the most alike 2 s among the training pieces has the same code in the first codebook."""
    values = [list(row) for row in nearest.values()]
    rows = (
        Row("equal codes, on average", "%", tuple(mean(row) if row else None for row in values)),
        Row("equal codes, most", "%", tuple(_alone(max(row), len(row)) if row else None for row in values)),
    )
    note = "A copy has all its codes from one place. Renders are of held-out pieces, which are no copies."
    return Table("The nearest training passage", tuple(nearest), rows, note)


def _share(answer: Answer, asked: Sequence[Asked], heard: Sequence[Heard | None]) -> Estimate | None:
    pairs = zip(heard, asked, strict=True)
    answers = [told for one, wanted in pairs if one is not None and (told := answer(one, wanted)) is not None]
    return share(answers) if answers else None


def _chance(answer: Answer, asked: Sequence[Asked], heard: Sequence[Heard | None]) -> Estimate | None:
    answers = [
        told
        for place, one in enumerate(heard)
        for other, wanted in enumerate(asked)
        if one is not None and other != place and (told := answer(one, wanted)) is not None
    ]
    return _alone(float(np.mean(answers)), len(heard)) if answers else None


def _goal(name: str, coded: Estimate | None) -> Estimate | None:
    if name not in _GOALS:
        return None
    goal = _GOALS[name]
    return _alone(goal if coded is None else min(goal, _SHARE_OF_RENDERS * coded.value), 0)


def _mean(values: Sequence[float]) -> Estimate | None:
    """The mean, where all values are finite: silence has no SI-SDR."""
    return mean(values) if np.isfinite(values).all() else None


def _alone(value: float, clips: int) -> Estimate:
    return Estimate(value, None, None, clips)
