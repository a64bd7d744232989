"""Windows of recordings: which belong together, where each stands in its recording, and which are computed together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from antiphon.errors import ParamError

# Windows are computed together where the shortest has at least this share of the longest one's columns, and as many as
# come to so many columns: eight full ones.
_LIKE = 0.9
_MOST_COLUMNS = 8 * 1500


def window_numbers(placeholders: Tensor, frames: Sequence[int]) -> Tensor:
    """Each window's number within its recording, told by the runs of placeholders that the recordings fill.

    Two recordings whose placeholders touch count as one here, which is why processors tell the numbers themselves.

    Args:
        placeholders: (B, T) bool, the tokens that stand for frames. frames: of each of W windows, row by row.

    Returns:
        (W,) int64.

    Raises:
        ParamError: more or less placeholders than frames.
    """
    check_count(int(placeholders.sum()), sum(frames))
    edges = torch.nn.functional.pad(placeholders.to(torch.int8), (1, 1)).diff(dim=1)
    lengths = (edges == -1).nonzero()[:, 1] - (edges == 1).nonzero()[:, 1]
    ends = lengths.cumsum(0).tolist()
    numbers: list[int] = []
    recording = number = before = 0
    for count in frames:
        while recording < len(ends) - 1 and before >= ends[recording]:
            recording, number = recording + 1, 0
        numbers.append(number)
        number, before = number + 1, before + count
    return torch.tensor(numbers, dtype=torch.int64)


def check_count(placeholders: int, frames: int) -> None:
    """Raises ``ParamError`` unless each placeholder has its frame."""
    if placeholders != frames:
        raise ParamError(
            f"Audio features and audio tokens do not match, tokens: {placeholders}, features: {frames}",
            expected="as many placeholders in input_ids as frames come out of input_features",
            fix="Give ids and features of one call of the processor, with all windows in the order of the text",
        )


def alike(columns: Tensor) -> Iterator[Tensor]:
    """Groups of windows that are computed together, as their numbers (G,) int64: of like length, the longest first.

    Args:
        columns: (W,) int64, of each window.
    """
    order = columns.argsort(descending=True, stable=True).tolist()
    lengths = columns.tolist()
    group: list[int] = []
    for window in order:
        most = max(1, lengths[group[0]]) if group else 0
        if group and (lengths[window] < _LIKE * most or (len(group) + 1) * most > _MOST_COLUMNS):
            yield torch.tensor(group)
            group = []
        group.append(window)
    if group:
        yield torch.tensor(group)
