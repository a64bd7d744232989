"""What the encoder made of sounds, kept by their content: a second question about a sound does not encode it again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.tasks.recordings import sha256_of

# What encodes sounds, each (N,): for each (F, D).
Encode = Callable[[Sequence[np.ndarray]], list[Tensor]]


class SoundMemory:
    """Encoded sounds by the digests of their samples; the ones not asked for the longest are forgotten first.

    Args:
        encode: what encodes the sounds that are not known, each into memory of its own.
        most_bytes: that are kept; 0 keeps none.

    Attributes:
        held_bytes: that are kept now. encoded: how many sounds were encoded so far.

    It may be asked by several threads.

    Raises:
        ParamError: a negative number of bytes.
    """

    def __init__(self, encode: Encode, *, most_bytes: int) -> None:
        if isinstance(most_bytes, bool) or not isinstance(most_bytes, int) or not most_bytes >= 0:
            raise ParamError(f"most_bytes={most_bytes!r}", expected="a number of bytes, 0 or more")
        self._encode = encode
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()
        self.held_bytes = 0
        self.encoded = 0

    def recall(self, sounds: Sequence[np.ndarray]) -> list[tuple[str, Tensor]]:
        """The digest of each sound (N,) and what the encoder makes of it, (F, D); the unknown ones are encoded
        together, each once.
        """
        digests = [sha256_of(samples) for samples in sounds]
        found: dict[str, Tensor] = {}
        with self._lock:
            for digest in digests:
                if digest in self._kept:
                    self._kept.move_to_end(digest)
                    found[digest] = self._kept[digest]
        new = {digest: samples for digest, samples in zip(digests, sounds, strict=True) if digest not in found}
        if new:
            made = dict(zip(new, self._encode(list(new.values())), strict=True))
            found |= made
            self._keep(made)
        return [(digest, found[digest]) for digest in digests]

    def forget(self) -> None:
        """Lets go of all that is kept."""
        with self._lock:
            self._kept.clear()
            self.held_bytes = 0

    def _keep(self, made: dict[str, Tensor]) -> None:
        with self._lock:
            self.encoded += len(made)
            for digest, features in made.items():
                if digest not in self._kept and features.nbytes <= self._most_bytes:
                    self._kept[digest] = features
                    self.held_bytes += features.nbytes
            while self.held_bytes > self._most_bytes:
                _, forgotten = self._kept.popitem(last=False)
                self.held_bytes -= forgotten.nbytes
