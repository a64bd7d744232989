"""What is composed: notes in parts, and the facts that a text may tell of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recipes.builtin.songs.theory import Mode

Role = Literal["melody", "chords", "pad", "bass", "drums"]
ROLES: tuple[Role, ...] = ("melody", "chords", "pad", "bass", "drums")

MAX_VELOCITY = 127
_SECONDS_A_MINUTE = 60.0


@dataclass(frozen=True)
class Note:
    """One note: when it starts and how long it is held, in beats; its MIDI pitch and its velocity, 1 to 127."""

    start_beat: float
    beats: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Part:
    """What one instrument plays.

    Args:
        role: what it does in the piece.
        instrument: its name in ``instruments.INSTRUMENTS``; ``drums`` for drums.
        program: its General MIDI program, 0 to 127; of drums the number of their kit.
        notes: in order of their start.
        drums: whether pitches name drums.
        level: its volume in the mix, 0 to 127.
    """

    role: Role
    instrument: str
    program: int
    notes: tuple[Note, ...]
    drums: bool = False
    level: int = 100


@dataclass(frozen=True)
class Piece:
    """A piece of music.

    Args:
        seed: what it was composed from.
        style: its name in ``styles.STYLES``.
        tonic: the pitch class of its key, C being 0.
        beats_per_bar: of its meter, a beat being what ``tempo_bpm`` counts.
        swing: 0 for even eighths, 1 for the ratio 2:1.
        pickup_beats: beats before the first bar.
    """

    seed: int
    style: str
    tempo_bpm: int
    tonic: int
    mode: Mode
    beats_per_bar: int
    bars: int
    swing: float
    pickup_beats: int
    parts: tuple[Part, ...]

    @property
    def duration_s(self) -> float:
        """Gives the seconds from its start to the end of its last bar."""
        return (self.pickup_beats + self.bars * self.beats_per_bar) * self.seconds_a_beat

    @property
    def seconds_a_beat(self) -> float:
        """Gives how long a beat is."""
        return _SECONDS_A_MINUTE / self.tempo_bpm

    @property
    def lead(self) -> str:
        """Gives the name of the instrument that has the melody."""
        return self.part("melody").instrument

    @property
    def instruments(self) -> tuple[str, ...]:
        """Gives the names of its instruments, the lead first and each once."""
        return tuple(dict.fromkeys(part.instrument for part in self.parts))

    def part(self, role: Role) -> Part:
        """Gives the part of a role.

        Raises:
            KeyError: nobody plays it.
        """
        for part in self.parts:
            if part.role == role:
                return part
        raise KeyError(f"the piece has no {role}, only {', '.join(part.role for part in self.parts)}")
