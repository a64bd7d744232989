"""A cache of fixed memory: the last columns of each row, and each row with a clock of its own.

Sessions run for hours and attention looks back over a window, so a column is written over the one that has left the
window. Rows serve different users: they are forgotten alone, and they stand still alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.errors import ParamError, SessionError
from antiphon.nn.kv_cache import KVCache, LayerCache
from antiphon.nn.masks import Mask
from antiphon.nn.native.attention import Stored


@dataclass(frozen=True)
class RingStep:
    """What the layers of one call share.

    Attributes:
        positions: (B or 1, T) int64, of the call's columns. mask: who sees whom, over what ``RingLayer.append`` gives.
        columns: T. held: slots that were filled before, in any row. filled: slots that are looked at afterwards.
        slots: where the last of the columns go, (B or 1, at most all slots) int64; an int for one column of rows that
            are all at one place.
        live: (B,) bool of the rows that go on, or ``None`` when all do.
    """

    positions: Tensor
    mask: Mask
    columns: int
    held: int
    filled: int
    slots: int | Tensor
    live: Tensor | None


class RingCache(KVCache):
    """Keys and values of the last ``window`` columns of B rows.

    The column of position p lies in slot p % ``slots``. Nothing here waits for a device: which slots are looked at
    follows from the number of calls, and what differs between rows is told by masks.

    Args:
        window: columns that a query sees, its own counted. rows: B.
        at_once: columns that usually come in one call. A row has as many slots more than its window, less one, so that
            such calls write first and then look at the slots as they lie; longer calls are joined to what they see.
        device: of the positions, and of the columns to come. dtype: what numbers are kept in, by default as they come.
        still_shapes: look at all slots from the first call on, so that every call of T columns has the same shapes.

    Attributes:
        positions: (B,) int64, how many columns each row has had. slots: of a row.

    Raises:
        ParamError: less than one slot or row, or eight-bit numbers.
    """

    def __init__(
        self,
        window: int,
        rows: int,
        *,
        at_once: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | str | None = None,
        still_shapes: bool = False,
    ) -> None:
        if not (window >= 1 and rows >= 1 and at_once >= 1):
            asked = f"a ring of {window} columns and {rows} rows for {at_once} at once"
            raise ParamError(asked, expected="at least 1 of each")
        self.slots = window + at_once - 1
        super().__init__(self.slots, fixed=True, dtype=dtype)
        if self._dtype is torch.int8:
            raise ParamError("a ring of dtype 'int8'", expected="a floating point dtype, or None")
        self.window = window
        self.at_once = at_once
        self.rows = rows
        self.positions = torch.zeros(rows, dtype=torch.int64, device=device)
        self._still_shapes = still_shapes
        self._together: int | None = None if still_shapes else 0  # where all rows are, while they are at one place
        self._most = 0  # no row has had more columns
        self._step: RingStep | None = None

    def layer(self, index: int) -> RingLayer:
        while len(self.layers) <= index:
            self.layers.append(RingLayer(self))
        layer = self.layers[index]
        if not isinstance(layer, RingLayer):
            raise SessionError("a ring's layer was replaced", fix="Make a new ring")
        return layer

    @property
    def step(self) -> RingStep:
        """What the call under way shares.

        Raises:
            SessionError: none was begun.
        """
        if self._step is None:
            raise SessionError("columns came before their call was announced", fix="Call begin() before the layers")
        return self._step

    def begin(self, columns: int, live: Tensor | None = None) -> RingStep:
        """Announces a call of the next T columns, and counts them.

        Args:
            columns: T. live: (B,) bool, the rows that go on; by default all. The others stand still: their columns are
                not kept and their outputs mean nothing.

        Returns:
            What the layers of the call share. After a call that failed the rows have to be reset.

        Raises:
            ParamError: ``live`` of another shape or dtype.
        """
        if live is not None and (live.shape != (self.rows,) or live.dtype is not torch.bool):
            raise ParamError(f"live {tuple(live.shape)} of {live.dtype}", expected=f"({self.rows},) of torch.bool")
        if live is not None:
            self._together = None
        device, new = self.positions.device, torch.arange(columns, device=self.positions.device)
        together = self._together
        first = self.positions[:, None] if together is None else torch.full((1, 1), together, device=device)
        held = self.slots if self._still_shapes else min(self._most, self.slots)
        kept = new[-self.slots :]
        slots: int | Tensor = (first + kept) % self.slots
        if together is not None and columns == 1:
            slots = together % self.slots
        self._most += columns
        self._step = RingStep(
            positions=first + new,
            mask=self._mask(first, new, held),
            columns=columns,
            held=held,
            filled=self.slots if self._still_shapes else min(self._most, self.slots),
            slots=slots,
            live=live,
        )
        if together is not None:
            self._together = together + columns
        self.positions += columns if live is None else columns * live
        return self._step

    def _mask(self, first: Tensor, new: Tensor, held: int) -> Mask:
        """Over the filled slots for few columns, else over the slots held before and the call's own columns."""
        columns, window = len(new), self.window
        queries = (first + new)[..., None]  # (B, T, 1)
        if columns <= self.at_once:
            if columns == self.at_once == 1 and self._together is not None:
                return Mask()
            filled = self.slots if self._still_shapes else min(self._most, self.slots)
            at = self._positions_in(filled, first + columns - 1)
            allowed = ((at >= 0) & (at <= queries) & (at > queries - window))[:, None]  # (B, 1, T, S)
            return Mask(allowed=allowed, safe=allowed)  # a column sees itself, so that no row sees nothing
        if not held and columns <= window:
            return Mask(causal=True)
        at = self._positions_in(held, first - 1)
        past = (at >= 0) & (at > queries - window)
        own = (new <= new[:, None]) & (new > new[:, None] - window)  # (T, T)
        allowed = torch.cat([past, own.expand(len(past), -1, -1)], dim=-1)[:, None]
        return Mask(allowed=allowed, safe=allowed)

    def _positions_in(self, slots: int, last: Tensor) -> Tensor:
        """(B, 1, S), the positions of what the first S slots hold when ``last`` (B, 1) came last."""
        return (last - (last - torch.arange(slots, device=last.device)) % self.slots)[:, None]

    def reset(self, rows: Tensor | None = None) -> None:
        """Forgets rows, and keeps the memory.

        Args:
            rows: (R,) int64 row numbers, or (B,) bool; by default all.
        """
        if rows is None:
            self.positions.zero_()
            self._together, self._most = None if self._still_shapes else 0, 0
        else:
            self.positions[rows] = 0
            self._together = None
        for index in range(len(self.layers)):
            self.layer(index).forget(rows)
        self._step = None


class RingLayer(LayerCache):
    """The keys and values of one layer of a ring; what differs from call to call is the ring's ``step``."""

    def __init__(self, ring: RingCache) -> None:
        super().__init__(ring.slots, fixed=True, dtype=ring._dtype)
        self._ring = ring

    def _grown(self, before: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        # hidden slots are multiplied by zero, which only numbers survive
        return torch.zeros(shape, dtype=dtype, device=device)

    def write(self, keys: Tensor, values: Tensor) -> None:
        """Writes the call's columns (B, H, T, D) into their slots.

        Raises:
            SessionError: a gradient is wanted. ParamError: another number of rows or columns than announced.
        """
        step = self._ring.step
        if torch.is_grad_enabled() and (keys.requires_grad or values.requires_grad):
            raise SessionError("a ring holds no gradients", fix="Run under torch.no_grad()")
        if (keys.shape[0], keys.shape[2]) != (self._ring.rows, step.columns):
            raise ParamError(
                f"{keys.shape[0]} rows of {keys.shape[2]} columns", expected=f"{self._ring.rows} of {step.columns}"
            )
        self._reserve(keys, self.capacity)
        self._dtype = keys.dtype
        for held, new in zip((self._keys, self._values), (keys, values), strict=True):
            if held is not None:
                self._place(held, new, step)
        self.length = step.filled

    def _place(self, held: Tensor, new: Tensor, step: RingStep) -> None:
        slots = step.slots
        if isinstance(slots, int):
            held[:, :, slots : slots + 1] = new
            return
        columns = new[:, :, -slots.shape[1] :].to(held.dtype)
        if len(slots) == 1:
            held.index_copy_(2, slots[0], columns)
            return
        rows = torch.arange(len(slots), device=slots.device)[:, None]
        columns = columns.transpose(1, 2)  # (B, H, T, D) -> (B, T, H, D), the order of what is indexed below
        # of a row that stands still one column goes to the slot that its next one takes anyway; more would not
        if step.live is not None and step.columns > 1:
            columns = torch.where(step.live[:, None, None, None], columns, held[rows, :, slots])
        held[rows, :, slots] = columns

    @property
    def ring(self) -> RingCache:
        """What it is a layer of."""
        return self._ring

    def reserve(self, new: Tensor) -> None:
        self._reserve(new, self.capacity)

    def count(self, columns: int, dtype: torch.dtype) -> None:
        self.length, self._dtype = self._ring.step.filled, dtype

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Writes the call's columns, and returns what ``step.mask`` is over.

        Returns:
            The filled slots for few columns; for more of them the slots held before, and the new columns after them,
            because these are written over what the first of them still see.
        """
        step = self._ring.step
        few = step.columns <= self._ring.at_once
        if few or not step.held:
            self.write(keys, values)
            return self.floats() if few else (keys, values)
        self._reserve(keys, self.capacity)
        past = Stored(*(held[:, :, : step.held] for held in (self.slots.keys, self.slots.values))).floats(keys.dtype)
        together = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        self.write(keys, values)
        return together

    def forget(self, rows: Tensor | None) -> None:
        """Clears rows, so that nothing that was not finite outlives them."""
        if rows is None:
            self.length = 0
        for held in (self._keys, self._values):
            if held is not None:
                held[slice(None) if rows is None else rows] = 0

    def select(self, rows: Tensor) -> None:
        raise SessionError("the rows of a ring keep their places", fix="Use a cache that grows")

    def crop(self, length: int) -> None:
        raise SessionError("a ring forgets whole rows only", fix="Use reset(rows)")
