"""The dialogue of a model with its users, in tokens: a frame of each user's codes in, a frame of the model's own out.

Every stream has its delay, every row its own clock. What is decided in step o, counted from 0, stands in column o + 1;
a user's frame o stands, delayed, in column o and later, so that column o sees it at once.

Source: Défossez et al., "Moshi: a speech-text foundation model for real-time dialogue", 2024, section 3.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.generation.column_ring import ColumnRing
from antiphon.generation.delays import UNDECIDED, DelayPattern
from antiphon.generation.duplex_settings import DuplexSettings, Opening, forced_columns
from antiphon.generation.philox import ItemNoise, item_seeds
from antiphon.generation.sampling import check_best, pick
from antiphon.nn.kv_cache import KVCache

# On a device that runs ahead, numbers are checked this often, so that a step does not wait for them.
_CHECK_EVERY = 32


class FrameModel(Protocol):
    """Decides the codebooks of one frame, one after the other."""

    def sample(
        self,
        moment: Tensor,
        text: Tensor,
        choose: Callable[[int, Tensor], Tensor],
        *,
        forced: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """(B, K) int64 from the main model's state and the text token (B,); ``forced`` (B, K) has -1 for none."""
        ...


class SpeechModel(Protocol):
    """A model over the text, its own codebooks and the user's, column by column."""

    @property
    def streams(self) -> int:
        """1 + 2 K."""
        ...

    @property
    def depth(self) -> FrameModel:
        """What decides its own codebooks."""
        ...

    def state(self, rows: int, *, still_shapes: bool = False) -> Any:
        """What ``step`` remembers of rows; its ``reset(rows)`` lets those with these numbers begin anew, or all."""
        ...

    def step(self, tokens: Tensor, state: Any, live: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The moment (B, 1, D) and the text's logits (B, V) after the column ``tokens`` (B, 1 + 2 K)."""
        ...


@dataclass(frozen=True)
class Streams:
    """What the streams of a model hold.

    Attributes:
        delays: of the text, the model's own codebooks and the user's. texts, codes: tokens of a text and of a codebook;
            the number behind the last one stands where there is none yet. quiet: text tokens of moments without a word.
    """

    delays: DelayPattern
    texts: int
    codes: int
    quiet: tuple[int, ...] = (0, 3)

    @property
    def codebooks(self) -> int:
        """K, of each speaker."""
        return (self.delays.streams - 1) // 2

    @property
    def own(self) -> DelayPattern:
        """The delays of what the model decides: the text and its own codebooks."""
        return DelayPattern(self.delays.delays[: 1 + self.codebooks])


@dataclass(frozen=True, eq=False)
class OwnFrame:
    """A frame of what the model says, all streams of one time.

    Attributes:
        text: (B,) int64. codes: (B, K) int64. entropy: (B, 1 + K) float32, of the text's and the codebooks' logits,
            in bits. whole: rows that have such a frame; what the others hold means nothing. heard: those whose frame
            is to come out, and no silenced opening.
    """

    text: Tensor
    codes: Tensor
    entropy: Tensor
    whole: list[bool]
    heard: list[bool]


class Dialogue:
    """B dialogues side by side.

    Args:
        lm: the model. streams: what its streams hold. rows: B. settings: how it chooses.
        seed: an int s gives the rows seeds s, s + 1, ..., a list one each; drawn unless told.
        opening: what it says first, in all rows, or one for each row.
        still_shapes: every step has the same shapes. Otherwise the model looks at what there is so far, which is faster
            at the beginning.
        device: of the model.

    Attributes:
        steps: how many each row has made. seeds: of the rows.

    Raises:
        ParamError: streams that are not the model's, no rows, or an opening that does not fit.
    """

    def __init__(
        self,
        lm: SpeechModel,
        streams: Streams,
        *,
        rows: int = 1,
        settings: DuplexSettings | None = None,
        seed: int | Sequence[int] | None = None,
        opening: Opening | Sequence[Opening | None] | None = None,
        still_shapes: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        if lm.streams != streams.delays.streams:
            raise ParamError(f"{streams.delays.streams} delays", expected=f"one for each of {lm.streams} streams")
        if isinstance(rows, bool) or not isinstance(rows, int) or not rows >= 1:
            raise ParamError(f"rows={rows!r}", expected="a whole number from 1")
        self.settings = DuplexSettings() if settings is None else settings
        self.streams, self.rows = streams, rows
        self.steps = [0] * rows
        self.seeds = item_seeds(seed, rows)
        self._lm, self._device = lm, torch.device(device)
        self._openings = _for_rows(opening, rows)
        self._processors = self.settings.text_processors(), self.settings.audio_processors()
        starts = [streams.texts, *[streams.codes] * (2 * streams.codebooks)]
        self._initial = torch.tensor(starts, device=self._device)
        self._quiet = torch.tensor(streams.quiet, device=self._device)
        self._depth_cache = KVCache(streams.codebooks, fixed=True)
        self._force()
        self._state = lm.state(rows, still_shapes=still_shapes)
        self._ring = ColumnRing(streams.delays, rows, device=self._device)
        self._entropies = ColumnRing(streams.own, rows, dtype=torch.float32, device=self._device)
        self._noise = ItemNoise(self.seeds, device=self._device)
        self._said = torch.full((rows, self.settings.repetition_context), UNDECIDED, device=self._device)
        self._checked = 0

    def _force(self) -> None:
        sizes = self.streams.texts, self.streams.codes
        self._forced = forced_columns(self._openings, self.streams.own, sizes, self._device)

    def reset(
        self,
        rows: Sequence[int] | None = None,
        *,
        seed: int | Sequence[int] | None = None,
        opening: Opening | None = None,
        keep_opening: bool = True,
    ) -> None:
        """Lets rows begin anew and leaves the others as they are, bit by bit.

        Args:
            rows: their numbers, by default all, which also mends what an error broke.
            seed: of the rows, as for the constructor; each keeps its own unless told.
            opening: of the rows; each keeps its own unless told. keep_opening: with ``False`` they have none.

        Raises:
            ParamError: rows that there are not, or seeds or an opening that do not fit; nothing is changed then.
        """
        numbers = self._numbers(rows)
        seeds = None if seed is None else item_seeds(seed, len(numbers))
        if opening is not None or not keep_opening:
            if opening is not None:
                opening.columns(self.streams.own, (self.streams.texts, self.streams.codes))  # or it raises
            for row in numbers:
                self._openings[row] = opening
            self._force()
        for row, one in zip(numbers, seeds or [], strict=False):
            self.seeds[row] = one
        if not numbers:
            return
        # all together they are again what they were at first, and not rows that happen to have no past
        self._state.reset(None if len(numbers) == self.rows else torch.tensor(numbers, device=self._device))
        if seeds is not None:
            self._noise = ItemNoise(self.seeds, device=self._device)
        self._said[numbers] = UNDECIDED
        for row in numbers:
            self.steps[row] = 0

    def _numbers(self, rows: Sequence[int] | None) -> list[int]:
        numbers = list(range(self.rows)) if rows is None else list(rows)
        if not all(type(row) is int and 0 <= row < self.rows for row in numbers) or len(set(numbers)) < len(numbers):
            raise ParamError(f"rows {numbers}", expected=f"different numbers from 0 to {self.rows - 1}")
        return numbers

    @torch.no_grad()
    def step(self, user: Tensor, live: Sequence[bool] | None = None) -> OwnFrame:
        """One step of all rows.

        Args:
            user: (B, K) int64, what the users say. live: rows that go on, by default all; the others stand still.

        Returns:
            The frame that is whole after this step, ``longest own delay`` frames behind what was decided in it.

        Raises:
            ParamError: codes or ``live`` of another shape. NumericError: numbers that are not finite; after it, all
                rows have to be reset.
        """
        going = [True] * self.rows if live is None else list(live)
        books = self.streams.codebooks
        if user.shape != (self.rows, books) or user.dtype is not torch.int64 or len(going) != self.rows:
            raise ParamError(
                f"codes of shape {tuple(user.shape)} and {user.dtype}, live of {len(going)} rows",
                expected=f"({self.rows}, {books}) of int64, and {self.rows} rows",
            )
        steps = torch.tensor(self.steps, device=self._device)
        if any(going):
            self._ring.write_frame(user.to(self._device), steps, first=1 + books)
            self._decide(steps, going)
        for row, goes in enumerate(going):
            self.steps[row] += bool(goes)
        return self._frame(steps + 1 - self.streams.own.max_delay, going)

    def _decide(self, steps: Tensor, going: list[bool]) -> None:
        """The next column of the text and the model's own codebooks."""
        # one row that goes on needs no mask; several always have one, so that no row's bits depend on the others
        live = None if going == [True] else torch.tensor(going, device=self._device)
        column = self._ring.column(steps, self._initial)
        moment, logits = self._lm.step(column, self._state, live)
        forced = self._forced_at(steps)
        text, entropy, best = self._text(logits, None if forced is None else forced[:, 0])
        codes, entropies, bests = self._codes(moment, text, None if forced is None else forced[:, 1:])
        self._check(torch.stack([best, *bests], dim=1))
        self._remember(text, live)
        self._ring.write_column(torch.cat([text[:, None], codes], dim=1), steps + 1)
        self._entropies.write_column(torch.stack([entropy, *entropies], dim=1), steps + 1)

    def _forced_at(self, steps: Tensor) -> Tensor | None:
        """(B, 1 + K), what the openings want in the next column."""
        if self._forced is None:
            return None
        at = (steps + 1).clamp(max=self._forced.shape[2] - 1)
        return self._forced.gather(2, at[:, None, None].expand(-1, self._forced.shape[1], 1))[..., 0]

    def _drawn(self, first: int, streams: int, size: int) -> Tensor:
        """(B, streams, size) of noise: the same as that of a column with this number anywhere else."""
        return self._noise.gumbel([step + 1 for step in self.steps], streams, size, first_stream=first)

    def _text(self, logits: Tensor, forced: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        scores = logits.float()
        entropy = _entropy_bits(scores)
        for processor in self._processors[0]:
            scores = processor(self._said, scores)
        noise = self._drawn(0, 1, scores.shape[-1])[:, 0] if self.settings.text_temperature else None
        text, best = pick(scores, noise)
        return text if forced is None else torch.where(forced >= 0, forced, text), entropy, best

    def _codes(self, moment: Tensor, text: Tensor, forced: Tensor | None) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        noise = None
        if self.settings.audio_temperature:
            noise = self._drawn(1, self.streams.codebooks, self.streams.codes)
        entropies: list[Tensor] = []
        bests: list[Tensor] = []

        def choose(codebook: int, logits: Tensor) -> Tensor:
            scores = logits.float()
            entropies.append(_entropy_bits(scores))
            for processor in self._processors[1]:
                scores = processor(text[:, None], scores)
            tokens, best = pick(scores, None if noise is None else noise[:, codebook])
            bests.append(best)
            return tokens

        codes = self._lm.depth.sample(moment, text, choose, forced=forced, cache=self._depth_cache)
        return codes, entropies, bests

    def _check(self, best: Tensor) -> None:
        """Raises where a row's winning values (B, 1 + K) are not finite, as often as it costs nothing."""
        self._checked += 1
        if self._device.type == "cpu" or self._checked % _CHECK_EVERY == 1:
            check_best(best[:, 0], step=self._checked - 1)
            check_best(best[:, 1:].flatten(), step=self._checked - 1, streams=self.streams.codebooks)

    def _remember(self, text: Tensor, live: Tensor | None) -> None:
        """Keeps the words that were said for the repetition penalty."""
        if self.settings.repetition_penalty == 1:
            return
        counts = (text[:, None] != self._quiet).all(dim=1)
        counts = counts if live is None else counts & live
        self._said = torch.where(counts[:, None], torch.cat([self._said[:, 1:], text[:, None]], dim=1), self._said)

    def _frame(self, frames: Tensor, going: list[bool]) -> OwnFrame:
        streams, delay = 1 + self.streams.codebooks, self.streams.own.max_delay
        tokens = self._ring.frame(frames, streams)
        whole = [goes and step > delay for goes, step in zip(going, self.steps, strict=True)]
        silenced = [0 if o is None or o.heard else o.frames for o in self._openings]
        heard = [w and step - delay > last for w, step, last in zip(whole, self.steps, silenced, strict=True)]
        return OwnFrame(tokens[:, 0], tokens[:, 1:], self._entropies.frame(frames, streams), whole, heard)


def _for_rows(opening: Opening | Sequence[Opening | None] | None, rows: int) -> list[Opening | None]:
    if opening is None or isinstance(opening, Opening):
        return [opening] * rows
    if len(opening) != rows:
        raise ParamError(f"{len(opening)} openings", expected=f"one, or one for each of {rows} rows")
    return list(opening)


def _entropy_bits(scores: Tensor) -> Tensor:
    """(B,) of (B, V) logits."""
    logs = scores.log_softmax(dim=-1)
    return -(logs.exp() * logs).sum(dim=-1) / math.log(2)
