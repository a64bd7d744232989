"""Residual vector quantisation: a vector as a sum of codewords, one from each codebook."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Rows whose distances to all codewords are computed at once: bounds the memory of long recordings.
_ROWS = 4096


class Codebook(nn.Module):
    """Codewords with the running statistics that training keeps of them.

    Args:
        size: V codewords. width: D.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("initialised", torch.ones(1))
        self.register_buffer("cluster_size", torch.zeros(size))
        self.register_buffer("vectors", torch.zeros(size, width))
        self.register_buffer("vector_sums", torch.zeros(size, width))
        self.vectors: Tensor

    def nearest(self, x: Tensor) -> Tensor:
        """(R, D) float to (R,) int64: the codeword at the smallest Euclidean distance.

        Always in float32: half precision distances pick wrong neighbours. The squared length of ``x`` is left out, as
        it is the same for every codeword.
        """
        vectors = self.vectors.float()
        half_lengths = vectors.pow(2).sum(1) / 2
        picks = [
            torch.addmm(half_lengths, rows.float(), vectors.t(), alpha=-1).argmin(dim=1) for rows in x.split(_ROWS)
        ]
        return torch.cat(picks)


class ResidualQuantizer(nn.Module):
    """A chain of codebooks, each quantising what the ones before it left over.

    Args:
        codebooks: how many. size: V codewords each. width: D.

    Source: Zeghidour et al., "SoundStream", 2021, section III.C.
    """

    def __init__(self, codebooks: int, size: int, width: int) -> None:
        super().__init__()
        self.codebooks = nn.ModuleList(Codebook(size, width) for _ in range(codebooks))

    def _books(self) -> list[Codebook]:
        return [codebook for codebook in self.codebooks if isinstance(codebook, Codebook)]

    def encode(self, x: Tensor, codebooks: int | None = None) -> Tensor:
        """(B, D, T) float to (B, K, T) int64, with the first ``codebooks`` of them."""
        rows = x.transpose(1, 2).reshape(-1, x.shape[1]).float()  # (B * T, D)
        codes = []
        for codebook in self._books()[:codebooks]:
            index = codebook.nearest(rows)
            rows = rows - codebook.vectors.float()[index]
            codes.append(index.view(x.shape[0], -1))
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """(B, K, T) int64 to (B, D, T), the sum of the codewords of the first K codebooks."""
        total: Tensor | None = None
        for index, codebook in zip(codes.unbind(1), self._books(), strict=False):
            vectors = nn.functional.embedding(index, codebook.vectors)  # (B, T, D)
            total = vectors if total is None else total + vectors
        if total is None:
            raise ValueError("no codes")
        return total.transpose(1, 2)
