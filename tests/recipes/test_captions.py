"""Texts of pieces: many, various, and true."""

from __future__ import annotations

import re
from functools import cache
from random import Random

import pytest

from recipes.builtin.songs.captions import captions, full_caption, tempo_words
from recipes.builtin.songs.composer import compose
from recipes.builtin.songs.piece import Piece
from recipes.builtin.songs.styles import STYLES
from recipes.builtin.songs.theory import MODES, key_name, key_spellings
from recipes.builtin.songs.words import INSTRUMENT_WORDS, MODE_MOODS, PROMPTS, TEMPO_WORDS

NUMBER = re.compile(r"(\d+) (?:bpm|beats per minute)|tempo:? (\d+)\b", re.IGNORECASE)
KEY = re.compile(r"\b([a-g])(#|b| sharp| flat)? (major|minor)\b", re.IGNORECASE)


@cache
def told() -> tuple[tuple[Piece, str], ...]:
    rng = Random(1)
    pieces = [compose(seed, seconds=2.0) for seed in range(250)]
    return tuple((piece, captions(piece, rng)) for piece in pieces for _ in range(12))


def words_in(text: str) -> str:
    return f" {re.sub(r'[,.;:|]', ' ', text.lower())} "


def test_a_seeded_generator_gives_the_same_text_again() -> None:
    piece = compose(5)
    assert [captions(piece, Random(n)) for n in range(9)] == [captions(piece, Random(n)) for n in range(9)]


def test_texts_are_rarely_the_same_twice() -> None:
    piece = compose(5)
    rng = Random(0)
    assert len({captions(piece, rng) for _ in range(200)}) > 180


def test_a_tempo_that_a_text_names_is_that_of_the_piece() -> None:
    named = [(piece, match) for piece, text in told() for match in NUMBER.finditer(text)]
    assert len(named) > 0.4 * len(told())
    assert all(int(match[1] or match[2]) == piece.tempo_bpm for piece, match in named)


def test_a_key_that_a_text_names_is_that_of_the_piece() -> None:
    named = [
        (piece, match[0].lower()) for piece, text in told() for match in KEY.finditer(text) if " a major" not in text
    ]
    assert len(named) > 0.3 * len(told())
    for piece, key in named:
        # "in a minor key" has no tonic
        spellings = {name.lower() for name in key_spellings(piece.tonic, piece.mode)}
        assert key in spellings or key == f"a {piece.mode}", (key, piece.tonic, piece.mode)


def test_words_for_the_tempo_fit_the_tempo() -> None:
    every = {word for words in TEMPO_WORDS.values() for word in words} - {"energetic"}  # part of a prompt, too
    seen = set()
    for piece, text in told():
        wrong = every - set(tempo_words(piece.tempo_bpm))
        said = words_in(text)
        found = {word for word in wrong if f" {word} " in said}
        # "slow" is part of "slow tempo", "tempo" of both
        assert not found, (piece.tempo_bpm, text)
        seen |= {word for word in every if f" {word} " in said}
    assert seen == every


def test_words_for_the_mood_fit_the_mode() -> None:
    for piece, text in told():
        other = MODE_MOODS["minor" if piece.mode == "major" else "major"]
        assert not any(f" {mood} " in words_in(text) for mood in other), (piece.mode, text)


def test_an_instrument_that_a_text_names_plays() -> None:
    """Of names that belong to one instrument and to nothing else that a text may say."""
    clear = (
        "saxophone",
        "violin",
        "trumpet",
        "flute",
        "harmonica",
        "vibraphone",
        "banjo",
        "accordion",
        "choir",
        "harp",
    )
    named = 0
    for piece, text in told():
        said = words_in(text).replace("blues harp", "harmonica")
        for instrument in clear:
            if f" {instrument} " in said:
                named += 1
                assert instrument in piece.instruments, text
    assert named > 0.1 * len(told())


def test_most_texts_name_the_style_and_some_do_not() -> None:
    named = [any(name.lower() in text.lower() for name in STYLES[piece.style].names) for piece, text in told()]
    assert 0.8 < sum(named) / len(named) < 0.98


def test_the_full_text_names_style_lead_tempo_and_key() -> None:
    for piece, _ in told()[::12]:
        text = full_caption(piece)
        key = key_name(piece.tonic, piece.mode)
        assert all(word in text for word in (piece.style, piece.lead, f"{piece.tempo_bpm} bpm", f"in {key}"))


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.text)
def test_the_documents_prompts_are_told_of_pieces_that_they_fit(prompt: object) -> None:
    rng = Random(2)
    fitting = 0
    for seed in range(400):
        piece = compose(seed, seconds=1.0, style=prompt.style)
        if prompt.fits(piece):
            texts = {captions(piece, rng).lower() for _ in range(30)}
            fitting += any(prompt.text.lower() in text for text in texts)
        if fitting:
            return
    pytest.fail(f"never told: {prompt.text}")


def test_words_for_every_instrument_and_tempo_are_there() -> None:
    names = {name for style in STYLES.values() for name in (*style.leads, *style.comps, *style.pads, *style.basses)}
    assert names <= INSTRUMENT_WORDS.keys()
    assert tempo_words(70)[0] == "slow"
    assert tempo_words(100)[0] == "mid-tempo"
    assert tempo_words(160)[0] == "fast"


@pytest.mark.parametrize("mode", MODES)
def test_moods_of_styles_say_nothing_about_the_mode(mode: str) -> None:
    assert not {mood for style in STYLES.values() for mood in style.moods} & set(MODE_MOODS[mode])
