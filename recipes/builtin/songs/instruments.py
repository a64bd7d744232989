"""The instruments: their General MIDI programs, their ranges, and how loud they are in the mix."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """An instrument.

    Args:
        program: its General MIDI program, from 0.
        low: the lowest note of its melodies; they span ``MELODY_SPAN`` semitones from there.
        level: its volume in the mix, 0 to 127: sampled instruments differ in loudness.
    """

    program: int
    low: int = 62
    level: int = 100


MELODY_SPAN = 19

INSTRUMENTS: dict[str, Instrument] = {
    # what leads, and mostly accompanies too
    "piano": Instrument(0, 64),
    "electric piano": Instrument(4, 62),
    "vibraphone": Instrument(11, 65),
    "organ": Instrument(16, 62),
    "harmonica": Instrument(22, 64),
    "acoustic guitar": Instrument(25, 59),
    "clean guitar": Instrument(27, 59),
    "distorted guitar": Instrument(30, 60),
    "violin": Instrument(40, 66),
    "trumpet": Instrument(56, 62),
    "saxophone": Instrument(65, 60),
    "flute": Instrument(73, 70),
    "synth lead": Instrument(81, 64),
    # what only accompanies
    "music box": Instrument(10, 72),
    "accordion": Instrument(21, 62),
    "nylon guitar": Instrument(24, 57),
    "muted guitar": Instrument(28, 57),
    "overdriven guitar": Instrument(29, 57),
    "harp": Instrument(46, 60),
    "strings": Instrument(48, 60),
    "synth strings": Instrument(50, 60),
    "brass": Instrument(61, 58),
    "synth brass": Instrument(62, 58),
    "synth": Instrument(80, 60),
    "synth pad": Instrument(89, 60),
    "choir": Instrument(52, 60),
    "banjo": Instrument(105, 60),
    "double bass": Instrument(32, 28),
    "bass guitar": Instrument(33, 28),
    "picked bass": Instrument(34, 28),
    "slap bass": Instrument(36, 28),
    "synth bass": Instrument(38, 28),
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
KITS: dict[str, int] = {"standard": 0, "room": 8, "power": 16, "electronic": 24, "analog": 25, "jazz": 32, "brush": 40}
