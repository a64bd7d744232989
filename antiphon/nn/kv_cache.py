"""Keys and values of the columns already seen: one cache, three public names.

A layer's keys and values lie in preallocated tensors (B, H, S, D) of which the first ``length`` slots are filled.
Writing is a slice, reading is a view, so that nothing is copied when a step adds a column.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from antiphon.errors import CapacityError, ParamError, SessionError
from antiphon.nn.native.attention import Stored, store_columns

# What numbers can be kept in.
_STORES = (torch.float32, torch.bfloat16, torch.float16, torch.int8)

# Slots added at once when a cache without a known length is full.
_BLOCK = 256


def store_dtype(name: torch.dtype | str | None) -> torch.dtype | None:
    """The dtype that a cache keeps its numbers in: of that name, or ``None`` for the dtype they come in.

    Raises:
        ParamError: a dtype that a cache does not know.
    """
    if name is None:
        return None
    for dtype in _STORES:
        if name in (dtype, str(dtype), str(dtype).removeprefix("torch.")):
            return dtype
    known = [str(dtype).removeprefix("torch.") for dtype in _STORES]
    raise ParamError(f"a cache of dtype {name!r}", expected=f"None or one of {known}")


class LayerCache:
    """The keys and values of one layer.

    Args:
        capacity: slots to allocate at the first write; 0 lets it grow by blocks.
        fixed: refuse to grow beyond ``capacity``.
        dtype: what the numbers are kept in, by default as they come; ``int8`` keeps a column with a scale of its own.
    """

    def __init__(self, capacity: int = 0, *, fixed: bool = False, dtype: torch.dtype | str | None = None) -> None:
        self.capacity = capacity
        self.fixed = fixed
        self.length = 0
        self._store = store_dtype(dtype)
        self._dtype = torch.float32
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        self._key_scales: Tensor | None = None
        self._value_scales: Tensor | None = None

    @property
    def keys(self) -> Tensor | None:
        """(B, H, length, D), a view where the cache keeps what it is given; ``None`` before the first write."""
        return None if self._keys is None else self.floats()[0]

    @property
    def values(self) -> Tensor | None:
        """(B, H, length, D), a view where the cache keeps what it is given; ``None`` before the first write."""
        return None if self._values is None else self.floats()[1]

    @property
    def stored(self) -> Stored:
        """The filled part as it is kept.

        Raises:
            SessionError: nothing was written yet.
        """
        if self._keys is None or self._values is None:
            raise SessionError("this cache holds nothing yet", fix="Write to it first")
        filled = slice(None), slice(None), slice(self.length)
        if self._key_scales is None or self._value_scales is None:
            return Stored(self._keys[filled], self._values[filled])
        return Stored(self._keys[filled], self._values[filled], self._key_scales[filled], self._value_scales[filled])

    def floats(self) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, length, D) in the dtype of the last ones written.

        Raises:
            SessionError: nothing was written yet.
        """
        return self.stored.floats(self._dtype)

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Rows, heads and width of the columns held; ``None`` before the first write."""
        if self._keys is None:
            return None
        rows, heads, _, width = self._keys.shape
        return rows, heads, width

    def kept(self, dtype: torch.dtype) -> torch.dtype:
        """What columns that come in ``dtype`` are kept in."""
        return self._keys.dtype if self._keys is not None else self._store or dtype

    @property
    def free(self) -> int:
        """Slots that a writer of its own may write to without ``reserve``."""
        return 0 if self._keys is None else self._keys.shape[2] - self.length

    def reserve(self, new: Tensor) -> None:
        """Makes room for as many columns as ``new`` (B, H, T, D) has."""
        self._reserve(new, self.length + new.shape[2])

    @property
    def slots(self) -> Stored:
        """All slots, the free ones too; what is written there is part of the cache when it was counted.

        Raises:
            SessionError: nothing was written or reserved yet.
        """
        if self._keys is None or self._values is None:
            raise SessionError("this cache holds nothing yet", fix="Write to it first")
        return Stored(self._keys, self._values, self._key_scales, self._value_scales)

    def count(self, columns: int, dtype: torch.dtype) -> None:
        """Takes as held the next ``columns`` slots, written by another with numbers that came in ``dtype``."""
        self.length += columns
        self._dtype = dtype

    def _reserve(self, like: Tensor, slots: int) -> None:
        held = 0 if self._keys is None else self._keys.shape[2]
        if slots <= held:
            return
        if self.fixed and slots > self.capacity:
            raise CapacityError(
                f"the cache holds {self.capacity} columns and column {slots} came",
                fix="Make it with a larger max_cache_len",
            )
        # a cache that grew once grows by half, so that copying stays a small share
        size = max(slots, held + max(_BLOCK, held // 2) if held else self.capacity or _BLOCK)
        if self.fixed:
            size = self.capacity
        rows, heads, _, width = like.shape
        dtype = self._store or like.dtype
        self._keys = self._grown(self._keys, (rows, heads, size, width), dtype, like.device)
        self._values = self._grown(self._values, (rows, heads, size, width), dtype, like.device)
        if dtype is torch.int8:
            self._key_scales = self._grown(self._key_scales, (rows, heads, size), torch.float32, like.device)
            self._value_scales = self._grown(self._value_scales, (rows, heads, size), torch.float32, like.device)

    def _grown(self, before: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        new = torch.empty(shape, dtype=dtype, device=device)
        if before is not None:
            new[:, :, : self.length] = before[:, :, : self.length]
        return new

    def write(self, keys: Tensor, values: Tensor) -> None:
        """Adds (B, H, T, D), detached."""
        if self._keys is not None and self._keys.shape[0] != keys.shape[0]:
            raise ParamError(
                f"the cache holds {self._keys.shape[0]} rows and {keys.shape[0]} came",
                fix="Use a new cache for a new batch",
            )
        self._dtype = keys.dtype
        place = slice(None), slice(None), slice(self.length, self.length + keys.shape[2])
        self._reserve(keys, self.length + keys.shape[2])
        if self._keys is None or self._values is None:  # no columns into an empty cache
            return
        if self._key_scales is None or self._value_scales is None:
            self._keys[place] = keys.detach()
            self._values[place] = values.detach()
        else:
            store_columns(keys, self._keys[place], self._key_scales[place])
            store_columns(values, self._values[place], self._value_scales[place])
        self.length += keys.shape[2]

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Adds (B, H, T, D) and returns all keys and values so far.

        The cache keeps detached copies; while a gradient is wanted the fresh part of what is returned carries it.
        """
        start = self.length
        self.write(keys, values)
        if self._keys is None:
            return keys, values
        all_keys, all_values = self.floats()
        if torch.is_grad_enabled() and (keys.requires_grad or values.requires_grad):
            past = all_keys[:, :, :start].clone(), all_values[:, :, :start].clone()
            return torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        return all_keys, all_values

    def select(self, rows: Tensor) -> None:
        """Keeps the rows named by ``rows`` (R,) int64, in that order; a row may be named twice.

        As many rows as there are stay where they are in memory: only what is filled is copied.
        """
        if self._keys is not None and len(rows) == len(self._keys):
            for kept in (self._keys, self._values, self._key_scales, self._value_scales):
                if kept is not None:
                    kept[:, :, : self.length] = kept[:, :, : self.length].index_select(0, rows)
            return
        if self._keys is not None and self._values is not None:
            self._keys, self._values = self._keys.index_select(0, rows), self._values.index_select(0, rows)
        if self._key_scales is not None and self._value_scales is not None:
            self._key_scales = self._key_scales.index_select(0, rows)
            self._value_scales = self._value_scales.index_select(0, rows)

    def repeat(self, repeats: int) -> None:
        """Repeats every row ``repeats`` times, neighbours together."""
        if self._keys is not None:
            rows = torch.arange(self._keys.shape[0], device=self._keys.device)
            self.select(rows.repeat_interleave(repeats))

    def crop(self, length: int) -> None:
        """Forgets the columns from ``length`` on."""
        self.length = min(self.length, max(length, 0))


class KVCache:
    """The caches of a stack of layers.

    Args:
        capacity: columns to allocate at once, when the length is known.
        fixed: refuse to grow beyond it.
        dtype: what the numbers are kept in, by default as they come: "float32", "bfloat16", "float16", or "int8" with a
            scale for each column of a head.
    """

    def __init__(self, capacity: int = 0, *, fixed: bool = False, dtype: torch.dtype | str | None = None) -> None:
        self._capacity = capacity
        self._fixed = fixed
        self._dtype = store_dtype(dtype)
        self.layers: list[LayerCache] = []

    def layer(self, index: int) -> LayerCache:
        """The cache of layer ``index``, made when it is first asked for."""
        while len(self.layers) <= index:
            self.layers.append(LayerCache(self._capacity, fixed=self._fixed, dtype=self._dtype))
        return self.layers[index]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, cache_kwargs: dict[str, Any] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Adds (B, H, T, D) to layer ``layer_idx`` and returns all of it; ``cache_kwargs`` has no meaning here."""
        return self.layer(layer_idx).append(key_states, value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns held by a layer."""
        return self.layers[layer_idx].length if layer_idx < len(self.layers) else 0

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        """The most columns it can hold; -1 where it grows."""
        return self._capacity if self._fixed else -1

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Takes the rows in the order of ``beam_idx`` (R,)."""
        for layer in self.layers:
            layer.select(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats every row ``repeats`` times, neighbours together."""
        for layer in self.layers:
            layer.repeat(repeats)

    def crop(self, max_length: int) -> None:
        """Forgets the columns from ``max_length`` on; a negative number forgets that many."""
        keep = max_length if max_length >= 0 else self.get_seq_length() + max_length
        for layer in self.layers:
            layer.crop(keep)

    def reset(self) -> None:
        """Forgets everything and keeps the memory."""
        self.crop(0)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[tuple[Tensor | None, Tensor | None]]:
        return ((layer.keys, layer.values) for layer in self.layers)

    def __getitem__(self, index: int) -> tuple[Tensor | None, Tensor | None]:
        return self.layers[index].keys, self.layers[index].values


class Cache(KVCache):
    """The documented base name."""


class DynamicCache(Cache):
    """A cache that grows.

    Args:
        config: accepted as documented; the shapes come from what is written.
    """

    def __init__(self, config: Any = None) -> None:
        super().__init__()


class StaticCache(Cache):
    """A cache of fixed length: one allocation, and an error instead of growth.

    Args:
        config: accepted as documented. max_cache_len: columns it holds.
    """

    def __init__(self, config: Any = None, max_cache_len: int = 0) -> None:
        if max_cache_len < 1:
            raise ParamError(f"max_cache_len={max_cache_len}", expected="at least 1")
        super().__init__(max_cache_len, fixed=True)


class EncoderDecoderCache(Cache):
    """A pair: the decoder's own columns, and the memory it attends to, computed once.

    Args:
        self_attention_cache, cross_attention_cache: the two; new growing ones by default.
    """

    def __init__(
        self, self_attention_cache: KVCache | None = None, cross_attention_cache: KVCache | None = None
    ) -> None:
        super().__init__()
        self.self_attention_cache = self_attention_cache if self_attention_cache is not None else DynamicCache()
        self.cross_attention_cache = cross_attention_cache if cross_attention_cache is not None else DynamicCache()
        self.layers = self.self_attention_cache.layers

    @property
    def is_updated(self) -> dict[int, bool]:
        """Which layers hold the memory's keys and values already."""
        return {i: layer.length > 0 for i, layer in enumerate(self.cross_attention_cache.layers)}

    def layer(self, index: int) -> LayerCache:
        return self.self_attention_cache.layer(index)

    def memory(self, index: int) -> LayerCache:
        """The memory's cache of layer ``index``."""
        return self.cross_attention_cache.layer(index)

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        return self.self_attention_cache.get_max_cache_shape(layer_idx)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.self_attention_cache.reorder_cache(beam_idx)
        self.cross_attention_cache.reorder_cache(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.self_attention_cache.batch_repeat_interleave(repeats)
        self.cross_attention_cache.batch_repeat_interleave(repeats)

    def crop(self, max_length: int) -> None:
        self.self_attention_cache.crop(max_length)

    def reset(self) -> None:
        self.self_attention_cache.reset()
        self.cross_attention_cache.reset()
