"""Placeholders are found where a template wrote them, and all other places move along when they are filled."""

from __future__ import annotations

import pytest

from antiphon.text.chat_template import Rendered
from antiphon.text.placeholders import filled, places_of


def test_placeholders_in_what_is_literal_are_text() -> None:
    row = Rendered("<s>a<s><s>", literal=((4, 7),))
    assert places_of(row, "<s>") == [0, 7]
    assert places_of(Rendered(""), "<s>") == []


def test_what_lies_behind_a_filling_moves_along() -> None:
    row = Rendered("<s>ab<s>cd", generated=((3, 5), (8, 10)), literal=((4, 5),))
    made = filled(row, "<s>", [0, 5], ["12345", ""])
    assert made.text == "12345abcd"
    assert [made.text[start:end] for start, end in made.generated] == ["ab", "cd"]
    assert [made.text[start:end] for start, end in made.literal] == ["b"]


def test_each_place_has_its_filling() -> None:
    with pytest.raises(ValueError, match="shorter"):
        filled(Rendered("<s><s>"), "<s>", [0, 3], ["1"])
