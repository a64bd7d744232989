"""Codebooks in training: they follow the vectors that they stand for, by running means and not by gradients.

Source: van den Oord et al., "Neural Discrete Representation Learning", 2017, appendix A.1; the start by k-means and the
replacement of unused codewords as in Zeghidour et al., "SoundStream", 2021, section III.C.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from antiphon.nn.quantizer import Codebook, ResidualQuantizer
from antiphon.training.processes import Processes


class CodebookUpkeep:
    """Quantises in training and keeps the codebooks where the vectors are.

    Args:
        quantizer: whose codebooks are kept. decay: of the running means. rare: a codeword used less often than this
            share of an even use is put where a vector of the batch is. processes: whose vectors all count.
    """

    def __init__(
        self,
        quantizer: ResidualQuantizer,
        *,
        decay: float = 0.997,
        rare: float = 0.03,
        processes: Processes | None = None,
    ) -> None:
        self.quantizer, self.decay, self.rare = quantizer, decay, rare
        self.processes = processes or Processes()
        self._used: list[list[tuple[Tensor, Tensor]]] = []  # of each batch of a step, what each codebook was given

    @property
    def books(self) -> list[Codebook]:
        """The codebooks in their order."""
        return [book for book in self.quantizer.codebooks if isinstance(book, Codebook)]

    def quantise(self, rows: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Vectors (R, D) as sums of codewords.

        Returns:
            The sums (R, D), whose gradient passes on to ``rows`` as it is; each codebook's codes (R,); and the
            commitment: how far what was left for each codebook is from its codewords, a mean over codebooks and D for
            each row (R,).
        """
        left, total, codes = rows, torch.zeros_like(rows), []
        commitment = rows.new_zeros(len(rows))
        used = []
        for book in self.books:
            with torch.no_grad():
                index = book.nearest(left)
                words = book.vectors[index]
            commitment = commitment + (left - words).pow(2).mean(dim=1)
            used.append((left.detach(), index))
            codes.append(index)
            total = total + words
            left = left - words
        if torch.is_grad_enabled():
            self._used.append(used)
        return rows + (total - rows).detach(), codes, commitment / len(self.books)

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the codewords to the running means of the step's vectors, and rare ones onto some of these."""
        for book, used in zip(self.books, zip(*self._used, strict=True), strict=False):
            vectors, index = (torch.cat(pieces) for pieces in zip(*used, strict=True))
            size = len(book.vectors)
            counts = torch.bincount(index, minlength=size).to(vectors)
            sums = torch.zeros_like(book.vectors).index_add_(0, index, vectors)
            counts, sums = self.processes.total(counts), self.processes.total(sums)
            state: Any = book
            state.cluster_size.lerp_(counts, 1 - self.decay)
            state.vector_sums.lerp_(sums, 1 - self.decay)
            even = float(state.cluster_size.sum()) / size
            dead = state.cluster_size < self.rare * even
            if bool(dead.any()):
                self._replace(book, dead, vectors, even)
            book.vectors.copy_(state.vector_sums / state.cluster_size.clamp(min=1e-5)[:, None])
        self._used = []

    def _replace(self, book: Any, dead: Tensor, vectors: Tensor, even: float) -> None:
        """Puts codewords where vectors of the step are, with the weight of a codeword of even use."""
        everyones = self.processes.gathered(vectors)
        picked = torch.randint(len(everyones), (int(dead.sum()),), device=vectors.device)
        weight = max(even, 1e-3)
        book.cluster_size[dead] = weight
        book.vector_sums[dead] = everyones[self.processes.from_first(picked)] * weight

    @torch.no_grad()
    def start(self, rows: Tensor, *, rounds: int = 10) -> None:
        """Places all codewords among vectors (R, D), the first process's, by k-means.

        Each codebook is placed on what those before it leave.
        """
        left = self.processes.from_first(rows.detach())
        for book in self.books:
            size = len(book.vectors)
            picked = torch.randperm(len(left), device=left.device)[:size]
            if len(picked) < size:
                more = torch.randint(len(left), (size - len(picked),), device=left.device)
                picked = torch.cat([picked, more])
            book.vectors.copy_(self.processes.from_first(left[picked]))
            left = self._settled(book, left, rounds)

    @torch.no_grad()
    def refine(self, rows: Tensor, *, rounds: int = 20) -> None:
        """Moves all codewords to the exact means of the vectors (R, D) that are nearest to them, in several rounds.

        In training the means run over few and ageing vectors; many vectors at once, of a codec that has ended its
        training, are represented better.
        """
        left = self.processes.from_first(rows.detach())
        for book in self.books:
            left = self._settled(book, left, rounds)

    def _settled(self, book: Codebook, left: Tensor, rounds: int) -> Tensor:
        """Runs k-means on a codebook from where it is; gives what it leaves over of the vectors."""
        size = len(book.vectors)
        counts = torch.ones(size).to(left)
        for _ in range(rounds):
            index = book.nearest(left)
            counts = torch.bincount(index, minlength=size).to(left)
            sums = torch.zeros_like(book.vectors).index_add_(0, index, left)
            some = counts > 0
            book.vectors[some] = sums[some] / counts[some, None]
        # sums on a GPU have no fixed order, and codebooks must not drift apart
        book.vectors.copy_(self.processes.from_first(book.vectors))
        counts = self.processes.from_first(counts)
        state: Any = book
        # as if the running means had seen as much as one batch of even use
        state.cluster_size.copy_(counts.clamp(min=1) * (size / counts.clamp(min=1).sum()))
        state.vector_sums.copy_(book.vectors * state.cluster_size[:, None])
        return left - book.vectors[book.nearest(left)]
