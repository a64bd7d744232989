"""Pieces as sound, played by fluidsynth with the samples of a General MIDI sound font."""

from __future__ import annotations

import ctypes
import ctypes.util
import math
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import numpy as np

from recipes.builtin.songs.piece import ROLES, Part, Piece, Role

DEFAULT_SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
RMS_DBFS = -20.0
KNEE = 0.9

_HOW_TO_GET_IT = "On Debian and Ubuntu: apt-get install fluidsynth fluid-soundfont-gm"
_BLOCK_SAMPLES = 64  # the synthesizer works in blocks of this many
_DRUM_CHANNEL, _DRUM_BANK = 9, 128
_VOLUME, _REVERB, _CHORUS = 7, 91, 93
_REVERB_SEND, _CHORUS_SEND = 40, 16
_GAIN = 0.5
_SILENCE_RMS = 1e-5


class Synth(Protocol):
    """What plays notes."""

    def reset(self) -> None:
        """Forgets all that sounds."""

    def program(self, channel: int, bank: int, program: int) -> None:
        """Gives a channel its instrument."""

    def control(self, channel: int, number: int, value: int) -> None:
        """Sets a MIDI controller, 0 to 127."""

    def note_on(self, channel: int, pitch: int, velocity: int) -> None:
        """Starts a note."""

    def note_off(self, channel: int, pitch: int) -> None:
        """Ends a note."""

    def samples(self, count: int) -> np.ndarray:
        """Gives what sounds next, float32 (count,)."""


class FluidSynth:
    """The synthesizer of fluidsynth with one sound font, mono.

    Raises:
        RuntimeError: the library or the sound font is missing; says how to get it.
    """

    def __init__(self, rate_hz: int, soundfont: Path = DEFAULT_SOUNDFONT) -> None:
        name = ctypes.util.find_library("fluidsynth")
        if name is None:
            raise RuntimeError(f"The library fluidsynth is not installed. {_HOW_TO_GET_IT}.")
        if not soundfont.is_file():
            raise RuntimeError(f"No sound font at {soundfont}. {_HOW_TO_GET_IT}, or name another one.")
        self._library = library = ctypes.CDLL(name)
        library.new_fluid_settings.restype = ctypes.c_void_p
        library.new_fluid_synth.restype = ctypes.c_void_p
        self._settings = ctypes.c_void_p(library.new_fluid_settings())
        for key, value in (("synth.sample-rate", float(rate_hz)), ("synth.gain", _GAIN)):
            library.fluid_settings_setnum(self._settings, key.encode(), ctypes.c_double(value))
        self._soundfont = soundfont
        # never plays: while it has the sound font, others need not read the samples again
        self._keeper, _ = self._opened()
        self._synth, self._font = self._opened()

    def _opened(self) -> tuple[ctypes.c_void_p, int]:
        """A new synthesizer, and the number of its sound font."""
        synth = ctypes.c_void_p(self._library.new_fluid_synth(self._settings))
        font = int(self._library.fluid_synth_sfload(synth, str(self._soundfont).encode(), 0))
        if font < 0:
            raise RuntimeError(f"{self._soundfont} is no sound font that fluidsynth reads. {_HOW_TO_GET_IT}.")
        return synth, font

    def reset(self) -> None:
        """Forgets all that sounds.

        It means a new synthesizer, which takes 50 ms: after its own reset an old one still fades, and its reverb and
        chorus go on swaying from where they were.
        """
        self._library.delete_fluid_synth(self._synth)
        self._synth, self._font = self._opened()

    def program(self, channel: int, bank: int, program: int) -> None:
        """Gives a channel its instrument.

        Raises:
            RuntimeError: the sound font does not have it.
        """
        if self._library.fluid_synth_program_select(self._synth, channel, self._font, bank, program) != 0:
            raise RuntimeError(f"{self._soundfont} has no program {program} in bank {bank}. Expected General MIDI.")

    def control(self, channel: int, number: int, value: int) -> None:
        """Sets a MIDI controller, 0 to 127."""
        self._library.fluid_synth_cc(self._synth, channel, number, value)

    def note_on(self, channel: int, pitch: int, velocity: int) -> None:
        """Starts a note."""
        self._library.fluid_synth_noteon(self._synth, channel, pitch, velocity)

    def note_off(self, channel: int, pitch: int) -> None:
        """Ends a note."""
        self._library.fluid_synth_noteoff(self._synth, channel, pitch)

    def samples(self, count: int) -> np.ndarray:
        """Gives what sounds next, float32 (count,)."""
        left, right = np.zeros(count, np.float32), np.zeros(count, np.float32)
        pointers = [side.ctypes.data_as(ctypes.POINTER(ctypes.c_float)) for side in (left, right)]
        self._library.fluid_synth_write_float(self._synth, count, pointers[0], 0, 1, pointers[1], 0, 1)
        mono: np.ndarray = (left + right) / 2
        return mono


class Renderer:
    """Renders pieces; it keeps one synthesizer, and no piece hears another.

    Args:
        soundfont: the file of the sound font. synth: plays instead of fluidsynth.

    Raises:
        RuntimeError: fluidsynth or the sound font is missing.
    """

    def __init__(self, rate_hz: int = 32000, soundfont: Path | None = None, *, synth: Synth | None = None) -> None:
        self.rate_hz = rate_hz
        self._synth: Synth = synth or FluidSynth(rate_hz, soundfont or DEFAULT_SOUNDFONT)

    def render(
        self, piece: Piece, *, roles: Collection[Role] | None = None, seconds: float | None = None,
        program: int | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Gives the sound of a piece, float32 (N,), at -20 dBFS RMS with peaks bent below full scale.

        Args:
            roles: of the parts that play; all by default. ``{"melody"}`` is the lead alone.
            seconds: its length, exactly; that of the piece by default. Past its end a piece rings out.
            program: plays the melody instead of its own instrument.

        Raises:
            ValueError: a role that there is not, or ``seconds`` that is not positive.
        """
        if roles is not None and not set(roles) <= set(ROLES):
            raise ValueError(f"roles={sorted(roles)}. Expected some of {', '.join(ROLES)}.")
        length_s = piece.duration_s if seconds is None else seconds
        if not (0 < length_s < math.inf):
            raise ValueError(f"seconds={seconds!r}. Expected a positive number.")
        parts = [part for part in piece.parts if roles is None or part.role in roles]
        channels = self._set_up(parts, program)
        count = round(length_s * self.rate_hz)
        return levelled(self._sound(piece, channels, count))

    def _set_up(self, parts: list[Part], program: int | None) -> list[tuple[int, Part]]:
        """Silences the synthesizer and seats the players, each at a channel."""
        self._synth.reset()
        free = (channel for channel in range(16) if channel != _DRUM_CHANNEL)
        seated = [(_DRUM_CHANNEL if part.drums else next(free), part) for part in parts]
        for channel, part in seated:
            own = program if program is not None and part.role == "melody" else part.program
            self._synth.program(channel, _DRUM_BANK if part.drums else 0, own)
            self._synth.control(channel, _VOLUME, part.level)
            self._synth.control(channel, _REVERB, _REVERB_SEND)
            self._synth.control(channel, _CHORUS, 0 if part.drums else _CHORUS_SEND)
        return seated

    def _sound(self, piece: Piece, seated: list[tuple[int, Part]], count: int) -> np.ndarray:
        """Plays the notes, each at the block its start falls into, and gives so many samples."""
        blocks_a_beat = piece.seconds_a_beat * self.rate_hz / _BLOCK_SAMPLES
        events = []  # (block, 0 to end and 1 to start, channel, pitch, velocity, block of its end)
        ends: dict[tuple[int, int], int] = {}
        for channel, part in seated:
            for note in part.notes:
                start = round(note.start_beat * blocks_a_beat)
                end = max(start + 1, round((note.start_beat + note.beats) * blocks_a_beat))
                events += [(start, 1, channel, note.pitch, note.velocity, end), (end, 0, channel, note.pitch, 0, end)]
        total, done, sound = math.ceil(count / _BLOCK_SAMPLES), 0, []
        for block, starts, channel, pitch, velocity, end in sorted(events):
            if block >= total:
                break
            if block > done:
                sound.append(self._synth.samples((block - done) * _BLOCK_SAMPLES))
                done = block
            if starts:
                self._synth.note_on(channel, pitch, velocity)
                ends[channel, pitch] = end
            elif ends[channel, pitch] == end:  # else it was struck again meanwhile
                self._synth.note_off(channel, pitch)
        sound.append(self._synth.samples((total - done) * _BLOCK_SAMPLES))
        return np.concatenate(sound)[:count]


def levelled(samples: np.ndarray) -> np.ndarray:
    """Gives samples at -20 dBFS RMS as float32, peaks above 0.9 bent smoothly below 1; silence as it is."""
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    if rms < _SILENCE_RMS:
        return samples.astype(np.float32)
    scaled = samples * (10 ** (RMS_DBFS / 20) / rms)
    over = np.abs(scaled) - KNEE
    bent = np.sign(scaled) * (KNEE + (1 - KNEE) * np.tanh(over / (1 - KNEE)))
    return np.where(over > 0, bent, scaled).astype(np.float32)
