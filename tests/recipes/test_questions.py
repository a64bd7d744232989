"""Questions about pieces: many ways to ask, and only true answers."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from random import Random

import pytest

from antiphon.training.questions import Question
from recipes.builtin.questions import ANSWERS, FORM, TURNS, WAYS, conversation, description_of, form_of
from recipes.builtin.songs.composer import compose
from recipes.builtin.songs.piece import Piece
from recipes.builtin.songs.theory import key_name


@cache
def pieces() -> tuple[Piece, ...]:
    return tuple(compose(seed, seconds=2.0) for seed in range(60))


@cache
def told() -> tuple[tuple[Piece, list[Question]], ...]:
    rng = Random(1)
    return tuple((piece, conversation(piece, rng)) for piece in pieces() for _ in range(15))


def test_a_seeded_generator_asks_the_same_again() -> None:
    piece = pieces()[0]
    assert [conversation(piece, Random(n)) for n in range(9)] == [conversation(piece, Random(n)) for n in range(9)]
    assert len({tuple(conversation(piece, Random(n))) for n in range(200)}) > 120


@pytest.mark.parametrize("kind", list(WAYS))
def test_every_kind_of_question_is_asked_in_all_its_ways_and_answered_truly(kind: str) -> None:
    asked = [(piece, one) for piece, turns in told() for one in turns if one.question in WAYS[kind]]
    assert {one.question for _, one in asked} == set(WAYS[kind])
    assert all(one.answer == ANSWERS[kind](piece) for piece, one in asked)


def test_whether_an_instrument_plays_is_answered_yes_about_as_often_as_no() -> None:
    ways = {way for ways in WAYS.values() for way in ways}
    answers: Counter[str] = Counter()
    for piece, turns in told():
        for one in turns:
            if one.question not in ways and one.answer in ("yes", "no"):
                plays = any(f" {name}" in one.question and name != "bass" for name in piece.instruments)
                answers[one.answer] += 1
                # "synth" is a part of other names
                assert one.answer == "no" or plays, one
    assert 0.35 < answers["yes"] / answers.total() < 0.65


def test_a_conversation_asks_for_nothing_that_it_was_told() -> None:
    for _, turns in told():
        kinds = [kind for one in turns for kind, ways in WAYS.items() if one.question in ways]
        assert len(turns) in (1, TURNS)
        assert len(set(kinds)) == len(kinds)
        assert not {"key", "tempo and key"} <= set(kinds)
        assert not ({"tonic", "mode"} & set(kinds) and {"key", "tempo and key"} & set(kinds))
        assert not {"tempo", "tempo and key"} <= set(kinds)


def test_the_form_has_the_fields_that_are_asked_for() -> None:
    piece = pieces()[3]
    fields = json.loads(form_of(piece))
    assert list(fields) == ["genre", "tempo_bpm", "key", "instruments", "mood", "structure"]
    assert fields["key"] == key_name(piece.tonic, piece.mode)
    assert fields["instruments"] == list(piece.instruments)
    forms = [one for _, turns in told() for one in turns if one.question in FORM]
    assert 0.12 < len(forms) / len(told()) < 0.28


def test_a_description_names_all_facts() -> None:
    for piece in pieces():
        text = description_of(piece)
        facts = (piece.style, f"{piece.tempo_bpm} bpm", key_name(piece.tonic, piece.mode), *piece.instruments)
        assert all(fact in text for fact in facts), text
