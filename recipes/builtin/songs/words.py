"""The words that texts are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from recipes.builtin.songs.piece import Piece
from recipes.builtin.songs.theory import Mode

NOUNS = ("track", "song", "piece", "music", "tune", "instrumental", "groove", "loop")

MODE_MOODS: dict[Mode, tuple[str, ...]] = {
    "major": ("happy", "cheerful", "bright", "uplifting", "sunny", "joyful"),
    "minor": ("sad", "dark", "melancholic", "moody", "sombre", "wistful"),
}

# from so many beats a minute on
TEMPO_WORDS: dict[int, tuple[str, ...]] = {
    70: ("slow", "downtempo", "slow tempo", "unhurried"),
    95: ("mid-tempo", "medium tempo", "moderate tempo", "walking pace"),
    120: ("fast", "uptempo", "quick", "fast tempo", "energetic"),
}

# the first is the name of the instrument; plurals stand where several play or are written so
INSTRUMENT_WORDS: dict[str, tuple[str, ...]] = {
    "piano": ("piano", "grand piano", "acoustic piano"),
    "electric piano": ("electric piano", "Rhodes", "e-piano"),
    "vibraphone": ("vibraphone", "vibes"),
    "organ": ("organ", "Hammond organ"),
    "harmonica": ("harmonica", "blues harp"),
    "acoustic guitar": ("acoustic guitar", "acoustic guitars", "steel guitar"),
    "clean guitar": ("clean guitar", "electric guitar", "clean electric guitar"),
    "distorted guitar": ("distorted guitar", "loud guitars", "distorted guitars", "heavy guitars", "electric guitar"),
    "violin": ("violin", "fiddle", "solo violin"),
    "trumpet": ("trumpet", "solo trumpet"),
    "saxophone": ("saxophone", "sax", "alto sax"),
    "flute": ("flute", "solo flute"),
    "synth lead": ("synth lead", "lead synth", "synthesizer", "synth"),
    "music box": ("music box",),
    "accordion": ("accordion",),
    "nylon guitar": ("nylon guitar", "classical guitar", "Spanish guitar"),
    "muted guitar": ("muted guitar", "palm-muted guitar"),
    "overdriven guitar": ("overdriven guitar", "crunchy guitar", "loud guitars", "electric guitar"),
    "harp": ("harp",),
    "strings": ("strings", "string section"),
    "synth strings": ("synth strings", "synthetic strings"),
    "brass": ("brass", "horns", "brass section"),
    "synth brass": ("synth brass", "synth stabs", "synth"),
    "synth": ("synth", "synthesizer", "synths"),
    "synth pad": ("synth pad", "synth pads", "warm pads"),
    "choir": ("choir", "soft choir"),
    "banjo": ("banjo",),
    "double bass": ("double bass", "upright bass", "acoustic bass"),
    "bass guitar": ("bass guitar", "bass", "electric bass"),
    "picked bass": ("picked bass", "bass guitar", "bass"),
    "slap bass": ("slap bass", "funky bass"),
    "synth bass": ("synth bass", "deep synth bass", "bass synth"),
}

LEAD_MOODS = ("groovy", "expressive", "singing", "catchy", "soft", "beautiful")


@dataclass(frozen=True)
class Prompt:
    """A prompt of the documents, and the pieces it is true of."""

    style: str
    text: str
    fits: Callable[[Piece], bool] = lambda piece: True


PROMPTS = (
    Prompt("80s pop", "80s pop track with bassy drums and synth", lambda piece: "synth" in " ".join(piece.instruments)),
    Prompt(
        "80s pop",
        "an 80s driving pop song with heavy drums and synth pads in the background",
        lambda piece: "synth pad" in piece.instruments and piece.tempo_bpm >= 95,
    ),
    Prompt("90s rock", "90s rock song with loud guitars and heavy drums"),
    Prompt("90s rock", "happy rock", lambda piece: piece.mode == "major"),
    Prompt("80s blues", "80s blues track with groovy saxophone", lambda piece: piece.lead == "saxophone"),
    Prompt(
        "country",
        "a cheerful country song with acoustic guitars",
        lambda piece: piece.mode == "major" and "acoustic guitar" in piece.instruments,
    ),
    Prompt(
        "lo-fi hip hop",
        "lofi slow bpm electro chill with organic samples",
        lambda piece: piece.tempo_bpm < 95,
    ),
    Prompt("house", "energetic EDM", lambda piece: piece.tempo_bpm >= 120),
)
