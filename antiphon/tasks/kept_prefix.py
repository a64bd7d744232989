"""Keys and values of conversations that were held, so that the next question computes only what is new."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.errors import ParamError
from antiphon.nn.kv_cache import KVCache
from antiphon.tasks.heard_sound import Listened

# What stands in a column: a token, or for a frame of a sound the digest of the sound.
Signature = list[int | str]


@dataclass(frozen=True, eq=False)
class _Kept:
    signature: Signature
    cache: KVCache
    size_bytes: int


class KeptPrefixes:
    """Caches by what stands in their columns; the oldest are let go of first.

    Args:
        most_bytes: that are kept; 0 keeps none.

    It may be asked by several threads: a cache that was taken is nobody else's.

    Raises:
        ParamError: a negative number of bytes.
    """

    def __init__(self, *, most_bytes: int) -> None:
        if isinstance(most_bytes, bool) or not isinstance(most_bytes, int) or not most_bytes >= 0:
            raise ParamError(f"most_bytes={most_bytes!r}", expected="a number of bytes, 0 or more")
        self._most_bytes = most_bytes
        self._kept: list[_Kept] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, signature: Signature) -> KVCache | None:
        """The cache whose columns begin most like these, cut to what they share, at least one being left to compute;
        ``None`` where none shares anything.
        """
        with self._lock:
            shared = [_shared(kept.signature, signature) for kept in self._kept]
            if not any(shared):
                return None
            kept = self._kept.pop(shared.index(max(shared)))
        kept.cache.crop(min(max(shared), len(signature) - 1))
        return kept.cache

    def keep(self, signature: Signature, cache: KVCache) -> None:
        """Keeps a cache that nobody else uses, with what stands in its columns."""
        size_bytes = _size_bytes(cache)
        if size_bytes > self._most_bytes or not cache.get_seq_length():
            return
        with self._lock:
            self._kept.append(_Kept(signature[: cache.get_seq_length()], cache, size_bytes))
            while sum(kept.size_bytes for kept in self._kept) > self._most_bytes:
                self._kept.pop(0)

    def forget(self) -> None:
        """Lets go of all."""
        with self._lock:
            self._kept.clear()


def signature_of(ids: Sequence[int], sounds: Sequence[Listened], sound_token: int) -> Signature:
    """What stands in each column of a prompt.

    Args:
        ids: of the prompt. sounds: in the order of their tokens, of which each has one for a frame.
    """
    digests = iter([sound.digest for sound in sounds for _ in range(len(sound.features))])
    return [next(digests) if token == sound_token else token for token in ids]


def _shared(one: Signature, other: Signature) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _size_bytes(cache: KVCache) -> int:
    stored = [layer.slots for layer in cache.layers if layer.length]
    parts = [part for one in stored for part in (one.keys, one.values, one.key_scales, one.value_scales)]
    return sum(part.nbytes for part in parts if part is not None)
