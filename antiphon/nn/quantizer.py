"""Residual vector quantisation: a vector as a sum of codewords, one from each codebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from antiphon.nn.conv import Conv1d
from antiphon.nn.linear import linear

# Rows whose distances to all codewords are computed at once: bounds the memory of long recordings.
_ROWS = 4096
# A codeword that stands for fewer vectors than this stands for none.
_SMALLEST_COUNT = 1e-5


@dataclass(frozen=True)
class Codewords:
    """A codebook's codewords as a search needs them, float32.

    Attributes:
        vectors: (V, D). offsets: (V,), half of each one's squared length, negative.
    """

    vectors: Tensor
    offsets: Tensor

    def nearest(self, x: Tensor) -> Tensor:
        """(R, D) float to (R,) int64: the codeword at the smallest Euclidean distance.

        Always in float32: half precision distances pick wrong neighbours. The squared length of ``x`` is left out, as
        it is the same for every codeword.
        """
        picks = [linear(rows.float(), self.vectors, self.offsets).argmax(dim=1) for rows in x.split(_ROWS)]
        return picks[0] if len(picks) == 1 else torch.cat(picks)


class Codebook(nn.Module):
    """Codewords with the running statistics that training keeps of them.

    Args:
        size: V codewords. width: D.
        means: the codewords are not stored but are the sums of the vectors that they stood for over their counts.
    """

    def __init__(self, size: int, width: int, *, means: bool = False) -> None:
        super().__init__()
        self.register_buffer("initialised", torch.ones(1))
        self.register_buffer("cluster_size", torch.ones(size) if means else torch.zeros(size))
        if not means:
            self.register_buffer("vectors", torch.zeros(size, width))
        self.register_buffer("vector_sums", torch.zeros(size, width))
        self.means = means
        self.cluster_size: Tensor
        self.vectors: Tensor
        self.vector_sums: Tensor

    def codewords(self) -> Tensor:
        """(V, D), as they are stored or computed anew from the statistics."""
        if not self.means:
            return self.vectors
        return self.vector_sums / self.cluster_size.clamp(min=_SMALLEST_COUNT)[:, None]

    def laid_out(self) -> Codewords:
        """The codewords as a search needs them; one that is asked for often is worth keeping."""
        vectors = self.codewords().float()
        return Codewords(vectors, vectors.pow(2).sum(1) / -2)

    def nearest(self, x: Tensor) -> Tensor:
        """(R, D) float to (R,) int64: the codeword at the smallest Euclidean distance, in float32."""
        return self.laid_out().nearest(x)


class ResidualQuantizer(nn.Module):
    """A chain of codebooks, each quantising what the ones before it left over.

    Args:
        codebooks: how many. size: V codewords each. width: D.
        around: D of the frames outside, where they are projected to the codewords' and back; by default they are not.
        means: as ``Codebook`` has it.

    Source: Zeghidour et al., "SoundStream", 2021, section III.C.
    """

    def __init__(
        self, codebooks: int, size: int, width: int, *, around: int | None = None, means: bool = False
    ) -> None:
        super().__init__()
        self.codebooks = nn.ModuleList(Codebook(size, width, means=means) for _ in range(codebooks))
        self.project_in = self.project_out = None
        if around is not None:
            self.project_in = Conv1d(around, width, 1, norm="none", bias=False)
            self.project_out = Conv1d(width, around, 1, norm="none", bias=False)

    def _books(self) -> list[Codebook]:
        return [codebook for codebook in self.codebooks if isinstance(codebook, Codebook)]

    def laid_out(self, codebooks: int | None = None) -> list[Codewords]:
        """The codewords of the first ``codebooks``, for calls in a row."""
        return [codebook.laid_out() for codebook in self._books()[:codebooks]]

    def encode(self, x: Tensor, codebooks: int | None = None, *, words: Sequence[Codewords] | None = None) -> Tensor:
        """(B, D, T) float to (B, K, T) int64, with the first ``codebooks`` of them; ``words`` as ``laid_out`` gives."""
        if not x.shape[2]:
            return torch.zeros(len(x), len(self._books()[:codebooks]), 0, dtype=torch.int64, device=x.device)
        rows = x.transpose(1, 2).reshape(-1, x.shape[1])  # (B * T, D)
        if self.project_in is not None:
            rows = linear(rows, self.project_in.effective().squeeze(2))
        rows = rows.float()
        codes = []
        for number, book in enumerate(self._books()[:codebooks]):
            found = book.laid_out() if words is None else words[number]
            index = found.nearest(rows)
            rows = rows - found.vectors[index]
            codes.append(index.view(x.shape[0], -1))
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor, *, words: Sequence[Codewords] | None = None) -> Tensor:
        """(B, K, T) int64 to (B, D, T), the sum of the codewords of the first K codebooks."""
        total: Tensor | None = None
        for number, (index, book) in enumerate(zip(codes.unbind(1), self._books(), strict=False)):
            table = book.codewords() if words is None else words[number].vectors
            vectors = nn.functional.embedding(index, table)  # (B, T, D)
            total = vectors if total is None else total + vectors
        if total is None:
            raise ValueError("no codes")
        if self.project_out is not None:
            weight = self.project_out.effective().squeeze(2)
            total = linear(total.to(weight.dtype), weight)
        return total.transpose(1, 2)


class SplitResidualQuantizer(nn.Module):
    """Two chains over the same frames, whose sounds are added: one for what is said, one for how it sounds.

    Args:
        semantic, acoustic: codebooks of either chain. size, width, around, means: as ``ResidualQuantizer`` has them.

    Source: Défossez et al., "Moshi", 2024, section 3.3.
    """

    def __init__(
        self, semantic: int, acoustic: int, size: int, width: int, *, around: int | None = None, means: bool = False
    ) -> None:
        super().__init__()
        self.semantic = ResidualQuantizer(semantic, size, width, around=around, means=means)
        self.acoustic = ResidualQuantizer(acoustic, size, width, around=around, means=means)
        self.split = semantic

    def __len__(self) -> int:
        return len(self.semantic.codebooks) + len(self.acoustic.codebooks)

    def laid_out(self, codebooks: int) -> list[Codewords]:
        """The codewords of the first ``codebooks`` of both chains, for calls in a row."""
        return self.semantic.laid_out(codebooks) + self.acoustic.laid_out(max(0, codebooks - self.split))

    def encode(self, x: Tensor, codebooks: int, *, words: Sequence[Codewords] | None = None) -> Tensor:
        """(B, D, T) float to (B, K, T) int64 with the first ``codebooks``, of which those of meaning come first."""
        first, rest = (None, None) if words is None else (words[: self.split], words[self.split :])
        codes = self.semantic.encode(x, min(codebooks, self.split), words=first)
        if codebooks <= self.split:
            return codes
        return torch.cat([codes, self.acoustic.encode(x, codebooks - self.split, words=rest)], dim=1)

    def decode(self, codes: Tensor, *, words: Sequence[Codewords] | None = None) -> Tensor:
        """(B, K, T) int64 to (B, D, T)."""
        first, rest = (None, None) if words is None else (words[: self.split], words[self.split :])
        out = self.semantic.decode(codes[:, : self.split], words=first)
        return out if codes.shape[1] <= self.split else out + self.acoustic.decode(codes[:, self.split :], words=rest)
