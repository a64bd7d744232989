"""Windows of recordings: their numbers, and which are computed together."""

from __future__ import annotations

import pytest
import torch

from antiphon.errors import ParamError
from antiphon.models.audio_windows import alike, window_numbers


def places(*rows: str) -> torch.Tensor:
    """Placeholders of a text, written as ``x``."""
    return torch.tensor([[letter == "x" for letter in row] for row in rows])


def test_windows_are_counted_within_the_run_that_they_fill() -> None:
    rows = places("..xxxxx.xx...", "xxx..........", "..........xxx")
    assert window_numbers(rows, [2, 2, 1, 2, 2, 1, 3]).tolist() == [0, 1, 2, 0, 0, 1, 0]
    assert window_numbers(places("...."), []).tolist() == []


def test_windows_without_frames_count_too() -> None:
    assert window_numbers(places(".xx.xx"), [2, 0, 2]).tolist() == [0, 0, 1]
    assert window_numbers(places(".xx."), [2, 0]).tolist() == [0, 1]


@pytest.mark.row("R117")
def test_placeholders_and_frames_have_to_be_as_many() -> None:
    with pytest.raises(ParamError, match="tokens: 3, features: 4"):
        window_numbers(places("xxx"), [2, 2])


def test_windows_of_like_length_go_together() -> None:
    columns = torch.tensor([1500, 300, 1490, 310, 0, 1500])
    assert [group.tolist() for group in alike(columns)] == [[0, 5, 2], [3, 1], [4]]
    assert [len(group) for group in alike(torch.full((19,), 1500))] == [8, 8, 3]
    assert list(alike(torch.zeros(0, dtype=torch.int64))) == []
    assert sorted(torch.cat(list(alike(torch.arange(40)))).tolist()) == list(range(40))
