"""Texts that describe a piece: many phrasings, all of them true."""

from __future__ import annotations

from random import Random

from recipes.builtin.songs.piece import Piece
from recipes.builtin.songs.styles import STYLES
from recipes.builtin.songs.theory import key_name, key_spellings
from recipes.builtin.songs.words import INSTRUMENT_WORDS, LEAD_MOODS, MODE_MOODS, NOUNS, PROMPTS, TEMPO_WORDS

_DOCUMENTED, _LISTED, _WITHOUT_STYLE = 0.15, 0.12, 0.08
_NUMBER, _TEMPO_WORD, _KEY, _INSTRUMENTS = 0.6, 0.25, 0.6, 0.75
_USUAL_NAME, _USUAL_WORD, _USUAL_KEY = 0.6, 0.6, 0.6


def full_caption(piece: Piece) -> str:
    """Gives the text that evaluation asks with: style, lead, tempo and key in their usual words."""
    key = key_name(piece.tonic, piece.mode)
    return f"{piece.style} track with {piece.lead}, {piece.tempo_bpm} bpm, in {key}"


def captions(piece: Piece, rng: Random) -> str:
    """Gives one of many texts of a piece.

    Some name all of its style, instruments, tempo and key, others a part of it; some are the documents' own prompts.
    What a text says is true of the piece.
    """
    fitting = [prompt.text for prompt in PROMPTS if prompt.style == piece.style and prompt.fits(piece)]
    if fitting and rng.random() < _DOCUMENTED:
        text = ", ".join([rng.choice(fitting), *_tails(piece, rng, 0.4)])
    elif rng.random() < _LISTED:
        text = _listed(piece, rng)
    else:
        text = _sentence(piece, rng)
    return _cased(text, rng)


def _sentence(piece: Piece, rng: Random) -> str:
    """A noun with its adjectives and what follows it: ``a slow waltz in C major for piano and strings, 84 bpm``."""
    adjectives = _adjectives(piece, rng)
    noun = rng.choice(NOUNS)
    named = rng.random() >= _WITHOUT_STYLE
    style = [_style(piece, rng)] if named else []
    if named and piece.style in ("waltz", "march") and rng.random() < 0.5:
        head = [*adjectives, piece.style]
    else:
        head = [*adjectives, *style, *([noun] if not named or rng.random() < 0.75 else [])]
    if rng.random() < 0.3 and head[-1] != "music":
        head.insert(0, _article(head[0]))
    text = " ".join(head)
    tails = _tails(piece, rng, 1.0)
    if rng.random() < _INSTRUMENTS or not named:
        players = _players(piece, rng)
        if rng.random() < 0.8:
            text = f"{text} {players}"
        else:
            tails.insert(rng.randint(0, len(tails)), players)
    if tails and tails[0].startswith(("in ", "at ")) and rng.random() < 0.5:
        text = f"{text} {tails.pop(0)}"
    parts = [text, *tails]
    if len(parts) > 1 and rng.random() < 0.12:
        parts.append(parts.pop(0))
    return ", ".join(parts)


def _listed(piece: Piece, rng: Random) -> str:
    """Its facts one after the other, in any order: ``Genre: funk. Tempo: 96 bpm. Key: E minor.``"""
    facts = [
        ("genre", _style(piece, rng)),
        ("tempo", f"{piece.tempo_bpm} bpm"),
        ("key", _key(piece, rng)),
        ("instruments", ", ".join(_words(piece, rng, rng.randint(1, 3)))),
        ("mood", rng.choice((*STYLES[piece.style].moods, *MODE_MOODS[piece.mode]))),
    ]
    kept = rng.sample(facts, rng.randint(2, len(facts)))
    if rng.random() < 0.5:
        return ", ".join(fact for _, fact in kept)
    end = rng.choice([". ", "; ", " | "])
    return end.join(f"{name}: {fact}" for name, fact in kept)


def _adjectives(piece: Piece, rng: Random) -> list[str]:
    """None, one or two of: how fast it is, what its mode and its style feel like."""
    found = []
    if rng.random() < _TEMPO_WORD:
        found.append(rng.choice(tempo_words(piece.tempo_bpm)[:3:2]))
    if rng.random() < 0.2:
        found.append(rng.choice(MODE_MOODS[piece.mode]))
    elif rng.random() < 0.3:
        found.append(rng.choice(STYLES[piece.style].moods))
    return found


def _tails(piece: Piece, rng: Random, share: float) -> list[str]:
    """Its tempo and key, or one or none of them, in any order."""
    found = []
    if rng.random() < _NUMBER * share:
        bpm = piece.tempo_bpm
        forms = (f"{bpm} bpm", f"{bpm} bpm", f"at {bpm} bpm", f"{bpm} beats per minute", f"tempo {bpm}", f"{bpm} BPM")
        found.append(rng.choice(forms))
    elif rng.random() < _TEMPO_WORD * share:
        found.append(rng.choice(tempo_words(piece.tempo_bpm)))
    if rng.random() < _KEY * share:
        key = _key(piece, rng)
        found.append(rng.choice([f"in {key}", f"in {key}", f"in the key of {key}", f"key of {key}", key]))
    elif rng.random() < 0.1 * share:
        found.append(rng.choice([f"in a {piece.mode} key", f"{piece.mode} key", f"in {piece.mode}"]))
    rng.shuffle(found)
    return found


def tempo_words(tempo_bpm: int) -> tuple[str, ...]:
    """Gives the words for a tempo; the first and third stand before a noun."""
    return TEMPO_WORDS[max(bound for bound in TEMPO_WORDS if bound <= tempo_bpm)]


def _players(piece: Piece, rng: Random) -> str:
    """Who plays: ``with sax and heavy drums``."""
    lead = _word(piece.lead, rng)
    form = rng.random()
    if form < 0.12:
        return f"with {_article(lead)} {lead} {rng.choice(['melody', 'solo', 'lead', 'line'])}"
    if form < 0.2:
        return f"{rng.choice(['led by', 'featuring'])} {rng.choice(LEAD_MOODS)} {lead}"
    words = _words(piece, rng, rng.choice([1, 2, 2, 3]))
    drums = STYLES[piece.style].drums and rng.random() < 0.45
    if drums:
        words.append(rng.choice(STYLES[piece.style].drum_words))
    listed = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return f"{rng.choice(['with', 'with', 'with', 'featuring', 'for'])} {listed}"


def _words(piece: Piece, rng: Random, count: int) -> list[str]:
    """Words for its lead and some of its other instruments, mostly in this order."""
    others = [name for name in piece.instruments[1:] if name in INSTRUMENT_WORDS]
    names = [piece.lead, *rng.sample(others, min(count - 1, len(others)))]
    if rng.random() < 0.2:
        rng.shuffle(names)
    return list(dict.fromkeys(_word(name, rng) for name in names))


def _word(instrument: str, rng: Random) -> str:
    words = INSTRUMENT_WORDS[instrument]
    return words[0] if rng.random() < _USUAL_WORD else rng.choice(words)


def _style(piece: Piece, rng: Random) -> str:
    names = STYLES[piece.style].names
    return names[0] if rng.random() < _USUAL_NAME else rng.choice(names)


def _key(piece: Piece, rng: Random) -> str:
    spellings = key_spellings(piece.tonic, piece.mode)
    return spellings[0] if rng.random() < _USUAL_KEY else rng.choice(spellings)


def _article(word: str) -> str:
    """The indefinite one: eighty begins with a vowel, a synth does not."""
    return "an" if word[0].lower() in "aeio8" else "a"


def _cased(text: str, rng: Random) -> str:
    """Mostly as it is, else in small letters, with a capital in front, or rarely in capitals."""
    form = rng.random()
    if form < 0.15:
        return text.lower()
    if form < 0.35:
        return text[0].upper() + text[1:]
    return text.upper() if form < 0.37 else text
