"""Codes in as few bits as they need, a whole number of bytes a frame, so that any passage can be read alone."""

from __future__ import annotations

import numpy as np

from antiphon.errors import DataError, ParamError


class CodePacking:
    """Frames of K codes below V as bytes: 4 codes of 1024 in 5 bytes instead of 8, 4 of 2048 in 6.

    Args:
        codebooks: K, 1 to 64. codebook_size: V, 2 to 65536.

    Attributes:
        frame_bytes: of a frame.

    Raises:
        ParamError: a number out of range.
    """

    def __init__(self, codebooks: int, codebook_size: int) -> None:
        if not (1 <= codebooks <= 64 and 2 <= codebook_size <= 1 << 16):
            raise ParamError(
                f"{codebooks!r} codebooks of {codebook_size!r} codes", expected="1 to 64 codebooks of 2 to 65536 codes"
            )
        self.codebooks, self.codebook_size = codebooks, codebook_size
        self._bits = (codebook_size - 1).bit_length()
        self.frame_bytes = -(-codebooks * self._bits // 8)

    def packed(self, codes: np.ndarray) -> bytes:
        """The bytes of codes (K, T), integers from 0 to V - 1.

        Raises:
            DataError: another shape or type, or a code out of the table.
        """
        if codes.ndim != 2 or codes.shape[0] != self.codebooks or codes.dtype.kind not in "iu" or not codes.size:
            raise DataError(
                f"codes of shape {codes.shape} and type {codes.dtype}",
                expected=f"integers ({self.codebooks}, frames), 1 frame or more",
            )
        if not (codes.min() >= 0 and codes.max() < self.codebook_size):
            raise DataError(
                f"codes from {codes.min()} to {codes.max()}", expected=f"0 to {self.codebook_size - 1}, the table's"
            )
        wide = np.zeros((codes.shape[1], self.frame_bytes + 2), np.uint8)
        for book, row in enumerate(codes.astype(np.uint32)):
            first, shift = divmod(book * self._bits, 8)
            shifted = row << shift  # 16 bits and a shift below 8: three bytes
            for place in range(3):
                wide[:, first + place] |= (shifted >> (8 * place)).astype(np.uint8)
        return wide[:, : self.frame_bytes].tobytes()

    def unpacked(self, data: bytes) -> np.ndarray:
        """The codes (K, T) uint16 of bytes that ``packed`` gave."""
        frames = np.frombuffer(data, np.uint8).reshape(-1, self.frame_bytes)
        wide = np.zeros((len(frames), self.frame_bytes + 2), np.uint32)
        wide[:, : self.frame_bytes] = frames
        codes = np.empty((self.codebooks, len(frames)), np.uint16)
        for book in range(self.codebooks):
            first, shift = divmod(book * self._bits, 8)
            joined = wide[:, first] | wide[:, first + 1] << 8 | wide[:, first + 2] << 16
            codes[book] = (joined >> shift) & ((1 << self._bits) - 1)
        return codes
