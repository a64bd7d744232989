"""Many short records in little memory: their bytes one behind the other, and where each ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from antiphon.errors import DataError

_MOST_BYTES = 8 << 30


class Lines:
    """A list of byte strings that costs eight bytes a string beside the strings themselves; it does not change.

    A million rows of a manifest as Python objects take more than a gigabyte, and every worker that looks at them
    copies the pages on which their reference counts lie. These are two blocks of memory that workers share.

    Raises:
        DataError: more than 8 GiB in all.
    """

    def __init__(self, records: Iterable[bytes] = ()) -> None:
        held = bytearray()
        ends = bytearray()
        for record in records:
            held += record
            ends += len(held).to_bytes(8, "little")
            if len(held) > _MOST_BYTES:
                raise DataError(f"more than {_MOST_BYTES >> 30} GiB of rows", fix="Divide the data set")
        self._held = held  # a copy would double the peak
        self._ends = np.frombuffer(ends, "<i8")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, place: int) -> bytes:
        if not 0 <= place < len(self._ends):
            raise IndexError(place)
        start = int(self._ends[place - 1]) if place else 0
        return bytes(self._held[start : int(self._ends[place])])

    def chosen(self, places: Sequence[int] | np.ndarray) -> Lines:
        """The records at these places."""
        return Lines(self[int(place)] for place in places)
