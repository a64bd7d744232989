"""Questions about a piece with their answers: many ways to ask, one to answer, all of it true.

Answers are short and always in the same words: nearly every token of an answer then is a fact that has to be heard.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random

from antiphon.tasks.facts import QUESTION
from antiphon.training.questions import DESCRIBE, Question
from recipes.builtin.songs.captions import full_caption, tempo_words
from recipes.builtin.songs.piece import Piece
from recipes.builtin.songs.styles import STYLES
from recipes.builtin.songs.theory import KEY_NAMES, key_name
from recipes.builtin.songs.words import INSTRUMENT_WORDS, MODE_MOODS

TURNS = 4
_WHOLE, _FORM = 0.15, 0.2
# kinds of questions that others answer too: one of these sets is left out of a conversation
_TOLD = (
    ("key", "tempo and key"),
    ("key", "tempo and key"),
    ("tonic", "mode", "tempo and key"),
    ("tonic", "mode", "key", "tempo"),
)

FORM = (
    QUESTION,
    QUESTION,
    "Describe it in a JSON object.",
    "Give genre, tempo, key, instruments, mood and structure as JSON.",
    "Fill in the fields as JSON.",
)

WAYS: dict[str, tuple[str, ...]] = {
    "tempo": (
        "What is the tempo?",
        "How fast is it, in bpm?",
        "What's the BPM?",
        "Tell me the tempo in beats per minute.",
        "How many beats a minute does it have?",
        "At what tempo is this played?",
    ),
    "key": (
        "What key is it in?",
        "Which key is this in?",
        "What is the key?",
        "Name the key of this piece.",
        "In what key is this played?",
    ),
    "tempo and key": (
        "What tempo and key?",
        "What tempo and key is it in?",
        "Give me the tempo and the key.",
        "What are the tempo and the key of this track?",
    ),
    "tonic": (
        "What is the tonic?",
        "Which note is the tonic?",
        "What is the root note of the key?",
        "Around which note does it turn?",
    ),
    "mode": (
        "Is it major or minor?",
        "Is this in a major or a minor key?",
        "Major or minor?",
        "What is the mode, major or minor?",
    ),
    "style": (
        "What style is it?",
        "What genre is this?",
        "What kind of music is this?",
        "Name the genre.",
        "Which style of music do you hear?",
    ),
    "lead": (
        "Which instrument plays the melody?",
        "What is the lead instrument?",
        "Who has the melody?",
        "What plays the tune?",
    ),
    "instruments": (
        "Which instruments do you hear?",
        "What instruments are playing?",
        "List the instruments.",
        "Who is playing?",
    ),
    "drums": ("Does it have drums?", "Are there drums?", "Do you hear drums?", "Is there a drummer?"),
    "mood": ("What is the mood?", "How does it feel?", "What mood does it have?", "Describe the mood."),
    "speed": ("Is it slow, mid-tempo or fast?", "Is this a slow or a fast piece?", "How fast does it feel?"),
}
_HAS = ("Is there a part for {}?", "Do you hear {}?", "Does it have {}?", "Can you hear {}?")
_DESCRIBE = (DESCRIBE, "Describe this music.", "What do you hear?", "Tell me about this track.", "Describe the music.")
_PROMPT = ("What prompt would make this?", "Write a prompt for this music.", "Which words would you ask for this with?")


def mood_of(piece: Piece) -> tuple[str, str]:
    """Gives what a piece feels like: a word of its style, and one of its mode."""
    return STYLES[piece.style].moods[0], MODE_MOODS[piece.mode][0]


def form_of(piece: Piece) -> str:
    """Gives the fields of a piece as the JSON object that ``antiphon ask --json`` fills in."""
    return json.dumps(
        {
            "genre": piece.style,
            "tempo_bpm": piece.tempo_bpm,
            "key": key_name(piece.tonic, piece.mode),
            "instruments": list(piece.instruments),
            "mood": list(mood_of(piece)),
            "structure": [{"start_s": 0, "part": "theme"}],
        }
    )


def description_of(piece: Piece) -> str:
    """Gives sentences with all that there is to say of a piece."""
    mood = " and ".join(mood_of(piece))
    others = _listed(piece.instruments[1:])
    accompanied = f", accompanied by {others}" if others else ""
    speed, key = tempo_words(piece.tempo_bpm)[0], key_name(piece.tonic, piece.mode)
    return (
        f"A {speed} {piece.style} track in {key} at {piece.tempo_bpm} bpm. "
        f"The melody is played by {piece.lead}{accompanied}. It feels {mood}."
    )


def _listed(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


ANSWERS: dict[str, Callable[[Piece], str]] = {
    "tempo": lambda piece: f"{piece.tempo_bpm} bpm",
    "key": lambda piece: key_name(piece.tonic, piece.mode),
    "tempo and key": lambda piece: f"{piece.tempo_bpm} bpm, {key_name(piece.tonic, piece.mode)}",
    "tonic": lambda piece: KEY_NAMES[piece.mode][piece.tonic],
    "mode": lambda piece: piece.mode,
    "style": lambda piece: piece.style,
    "lead": lambda piece: piece.lead,
    "instruments": lambda piece: ", ".join(piece.instruments),
    "drums": lambda piece: _yes("drums" in piece.instruments),
    "mood": lambda piece: ", ".join(mood_of(piece)),
    "speed": lambda piece: tempo_words(piece.tempo_bpm)[0],
}


def _yes(true: bool) -> str:
    return "yes" if true else "no"


def conversation(piece: Piece, rng: Random) -> list[Question]:
    """Gives one of many conversations about a piece.

    Some ask for all of it at once, as sentences or in fields; the others have ``TURNS`` questions about one thing each.
    """
    draw = rng.random()
    if draw < _FORM:
        return [Question(rng.choice(FORM), form_of(piece))]
    if draw < _FORM + _WHOLE:
        if rng.random() < 0.5:
            return [Question(rng.choice(_DESCRIBE), description_of(piece))]
        return [Question(rng.choice(_PROMPT), full_caption(piece))]
    return list(_turns(piece, rng))


def _turns(piece: Piece, rng: Random) -> Iterator[Question]:
    # key and tempo are asked for together or one by one: what was told already is no question
    told = rng.choice(_TOLD)
    kinds = [kind for kind in (*WAYS, "has") if kind not in told]
    for kind in rng.sample(kinds, TURNS):
        if kind == "has":
            yield _whether(piece, rng)
        else:
            yield Question(rng.choice(WAYS[kind]), ANSWERS[kind](piece))


def _whether(piece: Piece, rng: Random) -> Question:
    """Whether an instrument plays; as often one that does as one that does not."""
    plays = rng.random() < 0.5
    others = [name for name in INSTRUMENT_WORDS if name not in piece.instruments]
    name = rng.choice(piece.instruments[:-1] or piece.instruments) if plays else rng.choice(others)
    return Question(rng.choice(_HAS).format(name), _yes(plays))
