"""Melodies: a motif of two bars that comes back over the chords, changed a little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from recipes.builtin.songs.instruments import MELODY_SPAN
from recipes.builtin.songs.patterns import Step, steps
from recipes.builtin.songs.piece import Note
from recipes.builtin.songs.theory import PITCH_CLASSES, Chord, Mode

PHRASE_BARS = 4
_MOVES, _MOVE_WEIGHTS = (-3, -2, -1, 0, 1, 2, 3), (1, 3, 6, 2, 6, 3, 1)
_VARIED, _LONG_BEATS = 0.35, 0.9
_VELOCITY, _VELOCITY_SPREAD = 100, 5


@dataclass(frozen=True)
class _Bar:
    """A bar of a motif: its rhythm, and by how many steps of the scale each note moves on."""

    rhythm: tuple[Step, ...]
    moves: tuple[int, ...]


def melody(
    rng: Random, rhythms: Sequence[str], chords: Sequence[Chord], *, tonic: int, mode: Mode, beats: int, low: int
) -> list[Note]:
    """Gives the melody over chords, one a bar of so many beats, from ``low`` upwards.

    The third bar of each phrase answers with the other motif; the last note of a phrase rests on the tonic where its
    chord has it.
    """
    first, second, other = (_bar(rng, rng.choice(rhythms), beats) for _ in range(3))
    order = rng.choice([(first, second, first, other), (first, first, second, first), (first, second, other, second)])
    start = low + 4 + (tonic + rng.choice([0, 0, 0, 7, 7, 4 if mode == "major" else 3]) - low - 4) % PITCH_CLASSES
    notes: list[Note] = []
    pitch = start
    for number, chord in enumerate(chords):
        place = number % PHRASE_BARS
        if place == 0:
            pitch = start
        bar = order[place]
        if number >= PHRASE_BARS and rng.random() < _VARIED:
            bar = _varied(rng, bar)
        sung = _sung(rng, bar, chord, pitch, tonic=tonic, mode=mode, low=low, first=place == 0)
        if place == PHRASE_BARS - 1 and sung and 0 in chord.tones:
            sung[-1] = Note(sung[-1].start_beat, sung[-1].beats, _nearest(sung[-1].pitch, {tonic}), sung[-1].velocity)
        notes += [Note(n.start_beat + number * beats, n.beats, n.pitch, n.velocity) for n in sung]
        pitch = sung[-1].pitch if sung else pitch
    return notes


def upbeat(first: Note, scale: Sequence[int], *, tonic: int) -> list[Note]:
    """Gives the two eighths before a melody that lead up to its first note along a scale."""
    classes = {(tonic + note) % PITCH_CLASSES for note in scale}
    below = [pitch for pitch in range(first.pitch - 5, first.pitch) if pitch % PITCH_CLASSES in classes][-2:]
    return [Note(beat, 0.45, pitch, _VELOCITY) for beat, pitch in zip((-1.0, -0.5), below, strict=True)]


def _bar(rng: Random, rhythm: str, beats: int) -> _Bar:
    """Draws the moves of a rhythm."""
    placed = steps(rhythm, beats)
    return _Bar(placed, tuple(rng.choices(_MOVES, _MOVE_WEIGHTS, k=len(placed))))


def _varied(rng: Random, bar: _Bar) -> _Bar:
    """The same rhythm, its last notes elsewhere."""
    kept = max(1, len(bar.moves) // 2)
    return _Bar(bar.rhythm, bar.moves[:kept] + tuple(rng.choices(_MOVES, _MOVE_WEIGHTS, k=len(bar.moves) - kept)))


def _sung(
    rng: Random, bar: _Bar, chord: Chord, pitch: int, *, tonic: int, mode: Mode, low: int, first: bool
) -> list[Note]:
    """One bar over its chord: notes on the beat and long ones belong to the chord, the others to its scale."""
    scale = {(tonic + note) % PITCH_CLASSES for note in chord.scale(mode)}
    tones = {(tonic + tone) % PITCH_CLASSES for tone in chord.tones}
    ladder = [p for p in range(low, low + MELODY_SPAN + 1) if p % PITCH_CLASSES in scale]
    notes = []
    for number, (step, move) in enumerate(zip(bar.rhythm, bar.moves, strict=True)):
        if not (first and number == 0):
            place = min(range(len(ladder)), key=lambda i: abs(ladder[i] - pitch))
            if not 0 <= place + move < len(ladder):
                move = -move
            pitch = ladder[min(max(place + move, 0), len(ladder) - 1)]
        if step.beat % 1 == 0 or step.beats >= _LONG_BEATS:
            pitch = _nearest(pitch, tones)
        accent = 6 if step.beat == 0 else 3 if step.beat % 1 == 0 else 0
        velocity = _VELOCITY + accent + rng.randint(-_VELOCITY_SPREAD, _VELOCITY_SPREAD)
        notes.append(Note(step.beat, step.beats, pitch, velocity))
    return notes


def _nearest(pitch: int, classes: set[int]) -> int:
    """The pitch of one of the classes that is nearest; of two the lower."""
    return min(
        (pitch + d for d in range(-6, 7) if (pitch + d) % PITCH_CLASSES in classes), key=lambda p: abs(p - pitch)
    )
