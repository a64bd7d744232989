"""The instruments: their General MIDI programs, their ranges, and how loud they are in the mix."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """An instrument, or a set of drums.

    Args:
        program: its General MIDI program, from 0.
        loudness_db: of a phrase at volume 100, measured: sampled instruments differ by 15 dB.
        low: the lowest note of its melodies; they span ``MELODY_SPAN`` semitones from there.
    """

    program: int
    loudness_db: int
    low: int = 60

    def volume(self, target_db: float) -> int:
        """Gives the MIDI volume at which a phrase is as loud as wanted; the largest, where nothing suffices."""
        # by the standard the loudness goes with the fourth power of the volume, in power
        return min(MAX_VOLUME, round(_MEASURED_VOLUME * 10 ** ((target_db - self.loudness_db) / 40)))


MELODY_SPAN = 19
MAX_VOLUME = 127
_MEASURED_VOLUME = 100

INSTRUMENTS: dict[str, Instrument] = {
    # what leads, and mostly accompanies too
    "piano": Instrument(0, -34, 64),
    "electric piano": Instrument(4, -25, 62),
    "vibraphone": Instrument(11, -33, 65),
    "organ": Instrument(16, -30, 62),
    "harmonica": Instrument(22, -28, 64),
    "acoustic guitar": Instrument(25, -29, 59),
    "clean guitar": Instrument(27, -29, 59),
    "distorted guitar": Instrument(30, -22, 60),
    "violin": Instrument(40, -30, 66),
    "trumpet": Instrument(56, -28, 62),
    "saxophone": Instrument(65, -26, 60),
    "flute": Instrument(73, -26, 70),
    "synth lead": Instrument(81, -25, 64),
    # what only accompanies
    "music box": Instrument(10, -28, 72),
    "accordion": Instrument(21, -30, 62),
    "nylon guitar": Instrument(24, -30, 57),
    "muted guitar": Instrument(28, -35, 57),
    "overdriven guitar": Instrument(29, -25, 57),
    "harp": Instrument(46, -29, 60),
    "strings": Instrument(48, -31, 60),
    "synth strings": Instrument(50, -25, 60),
    "brass": Instrument(61, -28, 58),
    "synth brass": Instrument(62, -27, 58),
    "synth": Instrument(80, -26, 60),
    "synth pad": Instrument(89, -29, 60),
    "choir": Instrument(52, -32, 60),
    "banjo": Instrument(105, -30, 60),
    "double bass": Instrument(32, -28),
    "bass guitar": Instrument(33, -28),
    "picked bass": Instrument(34, -29),
    "slap bass": Instrument(36, -30),
    "synth bass": Instrument(38, -29),
}

LEADS = tuple(list(INSTRUMENTS)[:13])
BASSES = ("double bass", "bass guitar", "picked bass", "slap bass", "synth bass")

# General MIDI's keys of drums
DRUM_KEYS: dict[str, int] = {
    "kick": 36,
    "rim": 37,
    "snare": 38,
    "clap": 39,
    "low tom": 45,
    "hat": 42,
    "pedal": 44,
    "open hat": 46,
    "mid tom": 47,
    "high tom": 50,
    "crash": 49,
    "ride": 51,
    "bell": 53,
    "tambourine": 54,
    "cowbell": 56,
    "bongo": 60,
    "conga": 63,
    "shaker": 70,
    "stick": 75,
    "triangle": 81,
}
KITS: dict[str, Instrument] = {
    "standard": Instrument(0, -34),
    "room": Instrument(8, -33),
    "power": Instrument(16, -31),
    "electronic": Instrument(24, -31),
    "analog": Instrument(25, -25),
    "jazz": Instrument(32, -33),
    "brush": Instrument(40, -36),
}
