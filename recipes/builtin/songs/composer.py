"""A piece of music from a number."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random

from recipes.builtin.songs import accompaniment
from recipes.builtin.songs.instruments import INSTRUMENTS, KITS, Instrument
from recipes.builtin.songs.melody import PHRASE_BARS, melody, upbeat
from recipes.builtin.songs.piece import MAX_VELOCITY, Note, Part, Piece, Role
from recipes.builtin.songs.split import held_out as is_held_out
from recipes.builtin.songs.styles import STYLES
from recipes.builtin.songs.styles.style import Style
from recipes.builtin.songs.theory import MODES, PITCH_CLASSES, Chord, Mode, progression
from recipes.builtin.songs.tonality import clarity

TEMPOS_BPM = range(70, 161)

_STAGGERED, _PICKUP = 0.1, 0.1
# a piece is composed anew until its first seconds tell its key
_HEARD_S, _CLEAR, _TRIES = 8.0, 0.06, 12
# kick and snare in turns would sound half as fast from here on, and loud eighths twice as fast below
_DRIVEN_BPM, _SPARSE_BPM = 120, 85
# how loud each role is in the mix, on the scale of ``Instrument.loudness_db``
_LOUDNESS_DB: dict[Role, float] = {"melody": -29.5, "chords": -35, "pad": -38, "bass": -31, "drums": -32}
_CHORD_CENTRES, _PAD_CENTRES = (60, 64), (55, 62)


@dataclass(frozen=True)
class _Plan:
    """What is drawn before any note."""

    style: str
    tempo_bpm: int
    tonic: int
    mode: Mode
    lead: str


def compose(seed: int, *, held_out: bool = False, seconds: float = 12.0, style: str | None = None) -> Piece:
    """Gives the piece of a seed, at least ``seconds`` long: the same one always.

    Tempo, key and mode are drawn independently of the style. Training uses pieces with ``held_out=False``, evaluation
    those with ``held_out=True``; ``split.held_out`` tells the combinations of the ones from those of the others.

    Args:
        style: its name in ``styles.STYLES``; drawn, all equally often, where none is given.

    Raises:
        ValueError: ``seconds`` is not positive and finite, or there is no such style.
    """
    if not (0 < seconds < math.inf):
        raise ValueError(f"seconds={seconds!r}. Expected a positive number.")
    if style is not None and style not in STYLES:
        raise ValueError(f"style={style!r}. Expected one of {', '.join(STYLES)}.")
    rng = Random(f"song {seed}")
    plan = _plan(rng, style)
    while is_held_out(plan.style, plan.tempo_bpm, plan.tonic, plan.mode, plan.lead) != held_out:
        plan = _plan(rng, style)
    return _clearest(seed, rng, plan, seconds)


def _clearest(seed: int, rng: Random, plan: _Plan, seconds: float) -> Piece:
    """The first of some pieces that tells its key clearly, or of all of them the one that tells it best."""
    heard_s = min(seconds, _HEARD_S)
    pieces = []
    for _ in range(_TRIES):
        piece = _Band(rng, plan, seconds).piece(seed)
        pieces.append((clarity(piece, heard_s), piece))
        if pieces[-1][0] >= _CLEAR:
            break
    return max(pieces, key=lambda rated: rated[0])[1]


def _plan(rng: Random, style: str | None) -> _Plan:
    """Draws style, tempo and key, each for itself, and a lead of the style."""
    drawn = style or rng.choice(list(STYLES))
    lead = rng.choice(STYLES[drawn].leads)
    return _Plan(drawn, rng.choice(TEMPOS_BPM), rng.randrange(PITCH_CLASSES), rng.choice(MODES), lead)


class _Band:
    """The players of one piece."""

    def __init__(self, rng: Random, plan: _Plan, seconds: float) -> None:
        self._rng, self._plan = rng, plan
        self._style: Style = STYLES[plan.style]
        self._beats = self._style.beats
        self._pickup = 1 if rng.random() < _PICKUP else 0
        wanted = seconds * plan.tempo_bpm / 60 - self._pickup
        self._bars = max(1, math.ceil(wanted / self._beats))
        self._swing = rng.uniform(*self._style.swing)
        self._every = rng.choice((PHRASE_BARS, PHRASE_BARS, 2 * PHRASE_BARS))

    def piece(self, seed: int) -> Piece:
        """Gives what they play."""
        rng, plan, style = self._rng, self._plan, self._style
        chosen = progression(rng.choice(style.major if plan.mode == "major" else style.minor), plan.mode)
        chords = [chosen[bar % len(chosen)] for bar in range(self._bars)]
        parts = [self._melody(chords), self._chords(chords)]
        if style.pad:
            parts.append(self._pad(chords))
        parts.append(self._bass(chords))
        if style.drums:
            parts.append(self._drums())
        if self._pickup:
            parts = [self._with_upbeat(part, chords[0]) for part in parts]
        late: Role | None = rng.choice([part.role for part in parts[:-1]]) if rng.random() < _STAGGERED else None
        return Piece(
            seed=seed,
            style=plan.style,
            tempo_bpm=plan.tempo_bpm,
            tonic=plan.tonic,
            mode=plan.mode,
            beats_per_bar=self._beats,
            bars=self._bars,
            swing=self._swing,
            pickup_beats=self._pickup,
            parts=tuple(self._played(part, late=part.role == late) for part in parts),
        )

    def _melody(self, chords: list[Chord]) -> Part:
        lead = INSTRUMENTS[self._plan.lead]
        notes = melody(
            self._rng, self._style.rhythms, chords, tonic=self._plan.tonic, mode=self._plan.mode, beats=self._beats,
            low=lead.low,
        )  # fmt: skip
        return self._part("melody", self._plan.lead, lead, notes)

    def _chords(self, chords: list[Chord]) -> Part:
        name = self._rng.choice(self._style.comps)
        notes = accompaniment.chord_notes(
            self._rng, self._rng.choice(self._style.chords), chords, tonic=self._plan.tonic, beats=self._beats,
            centre=self._rng.randint(*_CHORD_CENTRES), power=name == "distorted guitar",
        )  # fmt: skip
        return self._part("chords", name, INSTRUMENTS[name], notes)

    def _pad(self, chords: list[Chord]) -> Part:
        notes = accompaniment.chord_notes(
            self._rng, self._rng.choice(self._style.pad), chords, tonic=self._plan.tonic, beats=self._beats,
            centre=self._rng.randint(*_PAD_CENTRES),
        )  # fmt: skip
        name = self._rng.choice(self._style.pads)
        return self._part("pad", name, INSTRUMENTS[name], notes)

    def _bass(self, chords: list[Chord]) -> Part:
        pattern = self._rng.choice(self._style.bass)
        notes = accompaniment.bass(self._rng, pattern, chords, tonic=self._plan.tonic, beats=self._beats)
        name = self._rng.choice(self._style.basses)
        return self._part("bass", name, INSTRUMENTS[name], notes)

    def _drums(self) -> Part:
        rng, style = self._rng, self._style
        groove = rng.choice(style.drums)
        if self._plan.tempo_bpm >= _DRIVEN_BPM and self._beats == 4:
            groove = accompaniment.driven(groove)
        elif self._plan.tempo_bpm < _SPARSE_BPM:
            groove = accompaniment.sparse(groove, self._beats)
        notes = accompaniment.drums(rng, groove, style.fills, bars=self._bars, beats=self._beats, every=self._every)
        return self._part("drums", "drums", KITS[rng.choice(style.kits)], notes)

    def _with_upbeat(self, part: Part, first: Chord) -> Part:
        """A part with what leads into the first bar: the melody runs up to its first note, the drums announce it."""
        if part.role == "drums":
            return replace(part, notes=(*accompaniment.drum_upbeat(self._rng), *part.notes))
        if part.role == "melody":
            scale = first.scale(self._plan.mode)
            return replace(part, notes=(*upbeat(part.notes[0], scale, tonic=self._plan.tonic), *part.notes))
        return part

    def _part(self, role: Role, name: str, player: Instrument, notes: list[Note]) -> Part:
        level = player.volume(_LOUDNESS_DB[role] + self._style.mix_db.get(role, 0.0))
        return Part(role, name, player.program, tuple(notes), drums=role == "drums", level=level)

    def _played(self, part: Part, *, late: bool) -> Part:
        """A part as it is played: swung, after the pickup, not quite exact; a late one enters after the first bar."""
        jitter_beats = self._style.jitter_s * self._plan.tempo_bpm / 60
        notes = []
        for note in part.notes:
            if late and 0 <= note.start_beat < self._beats:
                continue
            start = self._pickup + self._swung(note.start_beat) + self._rng.gauss(0, jitter_beats)
            notes.append(Note(max(0.0, start), note.beats, note.pitch, min(MAX_VELOCITY, max(1, note.velocity))))
        return replace(part, notes=tuple(sorted(notes, key=lambda note: note.start_beat)))

    def _swung(self, beat: float) -> float:
        """Moves the middle of each pair of notes back: to two thirds where the swing is 1."""
        pair, place = divmod(beat / self._style.swing_beats, 1)
        middle = 0.5 + self._swing / 6
        place = place * 2 * middle if place < 0.5 else middle + (place - 0.5) * 2 * (1 - middle)
        return (pair + place) * self._style.swing_beats
