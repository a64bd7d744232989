"""What stands under a melody: bass, chords and drums, from the patterns of a style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from recipes.builtin.songs.instruments import DRUM_KEYS
from recipes.builtin.songs.patterns import HOLD, REST, STROKES, steps
from recipes.builtin.songs.piece import MAX_VELOCITY, Note
from recipes.builtin.songs.theory import PITCH_CLASSES, Chord

_BASS_LOW, _POWER_LOW = 31, 40
_SPREAD = 4
_BASS_VELOCITY, _CHORD_VELOCITY, _DRUM_VELOCITY = 92, 80, 104
_DRUM_BEATS = 0.2
_GRID = 16
_TIMEKEEPERS = ("hat", "open hat", "ride", "shaker", "tambourine")
# cymbals are sampled far quieter than kick and snare, some things louder than they are played
_DRUM_GAINS = {
    "hat": 1.3,
    "open hat": 1.2,
    "pedal": 1.3,
    "ride": 1.1,
    "bell": 0.9,
    "crash": 0.85,
    "cowbell": 0.9,
    "clap": 0.9,
}


def bass(rng: Random, pattern: str, chords: Sequence[Chord], *, tonic: int, beats: int) -> list[Note]:
    """Gives the line of a pattern of degrees over chords, one a bar."""
    notes = []
    for bar, chord in enumerate(chords):
        root = _BASS_LOW + (tonic + chord.root - _BASS_LOW) % PITCH_CLASSES
        following = chords[(bar + 1) % len(chords)].root - chord.root
        for step in steps(pattern, beats):
            pitch = root + _degree(step.sign, chord, following)
            velocity = _velocity(rng, _BASS_VELOCITY, step.beat)
            notes.append(Note(bar * beats + step.beat, step.beats, pitch, velocity))
    return notes


def _degree(sign: str, chord: Chord, following: int) -> int:
    """The interval above the root that a sign of a bass pattern names."""
    third = chord.third
    intervals = {"1": 0, "3": third, "5": 7, "6": 9 if third == 4 else 10, "7": 10, "8": PITCH_CLASSES}
    if sign == "a":
        return (following + 5) % PITCH_CLASSES - 6  # a semitone below the nearer of the next roots
    return intervals[sign]


def chord_notes(
    rng: Random, pattern: str, chords: Sequence[Chord], *, tonic: int, beats: int, centre: int, power: bool = False
) -> list[Note]:
    """Gives the strokes and figures of a pattern over chords, one a bar, around the pitch ``centre``.

    ``power`` puts root and fifth low and the third far above them, as distorted guitars need it.
    """
    notes = []
    for bar, chord in enumerate(chords):
        voicing = _power(chord, tonic) if power else _voicing(chord, tonic, centre)
        for step in steps(pattern, beats):
            velocity = _velocity(rng, _CHORD_VELOCITY * step.accent, step.beat)
            start = bar * beats + step.beat
            if step.sign in STROKES:
                notes += [Note(start, step.beats, pitch, velocity) for pitch in voicing]
            else:
                octave, number = divmod(int(step.sign) - 1, len(voicing))
                notes.append(Note(start, step.beats, voicing[number] + octave * PITCH_CLASSES, velocity))
    return notes


def _voicing(chord: Chord, tonic: int, centre: int) -> list[int]:
    """The notes of a chord in the octave around a pitch, ascending, so that one chord leads closely to the next."""
    low = centre - 6
    return sorted(low + (tonic + tone - low) % PITCH_CLASSES for tone in chord.tones)


def _power(chord: Chord, tonic: int) -> list[int]:
    """Root, fifth and octave, and the third above them where there is one."""
    root = _POWER_LOW + (tonic + chord.root - _POWER_LOW) % PITCH_CLASSES
    third = [root + PITCH_CLASSES + chord.third] if len(chord.intervals) > 2 else []
    return [root, root + 7, root + PITCH_CLASSES, *third]


def drums(
    rng: Random, groove: Mapping[str, str], fills: Sequence[Mapping[str, str]], *, bars: int, beats: int, every: int
) -> list[Note]:
    """Gives so many bars of a groove, of which one in ``every`` ends with a fill and the next begins with a crash."""
    notes = []
    for bar in range(bars):
        filled = bool(fills) and bar % every == every - 1
        played = rng.choice(fills) if filled else groove
        for drum, pattern in played.items():
            for step in steps(pattern, beats):
                loud = _DRUM_VELOCITY * _DRUM_GAINS.get(drum, 1.0) * step.accent
                notes.append(
                    Note(bar * beats + step.beat, _DRUM_BEATS, DRUM_KEYS[drum], _velocity(rng, loud, step.beat))
                )
        if fills and bar and bar % every == 0:
            notes.append(Note(bar * beats, _DRUM_BEATS, DRUM_KEYS["crash"], 90))
    return notes


def driven(groove: Mapping[str, str]) -> Mapping[str, str]:
    """Gives a groove in four-four with a kick on each beat, so that fast pieces are not heard at half their tempo."""
    kick = groove.get("kick", REST * _GRID)
    beat = len(kick) // 4
    signs = ["x" if not place % beat and sign == REST else sign for place, sign in enumerate(kick)]
    return {**groove, "kick": "".join(signs)}


def sparse(groove: Mapping[str, str], beats: int) -> Mapping[str, str]:
    """Gives a groove with soft cymbals between the beats, so that slow pieces are not heard at twice their tempo."""
    return {drum: _softened(pattern, beats) if drum in _TIMEKEEPERS else pattern for drum, pattern in groove.items()}


def _softened(pattern: str, beats: int) -> str:
    beat = len(pattern) // beats
    return "".join(sign if sign in (REST, HOLD) or not place % beat else "o" for place, sign in enumerate(pattern))


def drum_upbeat(rng: Random) -> list[Note]:
    """Gives the beat of drums before the first bar."""
    drum = DRUM_KEYS[rng.choice(["snare", "low tom", "stick", "hat"])]
    return [Note(beat, _DRUM_BEATS, drum, _DRUM_VELOCITY - 10) for beat in (-1.0, -0.5)]


def _velocity(rng: Random, mean: float, beat: float) -> int:
    """A velocity with the accent of its place in the bar, as exact as a player is."""
    accent = 8 if beat == 0 else 5 if beat % 1 == 0 else -6
    return min(MAX_VELOCITY, max(1, round(mean + accent + rng.uniform(-_SPREAD, _SPREAD))))
