"""The one loop over time: columns in, the next column out, until the plan is full or every item has ended.

``Generation.steps`` is the primitive and yields each new column; ``run`` collects. What differs between families is
held by the plan (delays, processors, guidance, stopping) and by the step model, which this module knows as a protocol.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from antiphon.errors import SessionError
from antiphon.generation.beams import Beams, BeamSearch
from antiphon.generation.delays import DelayPattern
from antiphon.generation.guidance import ClassifierFreeGuidance
from antiphon.generation.philox import ItemNoise
from antiphon.generation.sampling import check_best, pick
from antiphon.generation.stopping import StoppingCriteriaList

# On a device that runs ahead, numbers are checked this often, so that a step does not wait for them.
_CHECK_EVERY = 32


@dataclass
class StepOutput:
    """What a step gives.

    Attributes:
        logits: (P * B * H, V) of the last column, P passes over B items: the conditional rows first. H of the K streams
            have logits, in most models all.
        hidden_states, attentions, memory_attentions: per layer, where they were asked for.
        moment: what a column sampler is told of the column, (B, 1, D).
    """

    logits: Tensor
    hidden_states: Any = None
    attentions: Any = None
    memory_attentions: Any = None
    moment: Tensor | None = None


class StepModel(Protocol):
    """A model with its state: it eats columns and gives the logits that follow the last of them."""

    def __call__(self, columns: Tensor, first: int) -> StepOutput:
        """``columns`` (B, K, T) int64 are the columns from ``first`` on."""
        ...


class BranchingModel(StepModel, Protocol):
    """A step model whose rows can go on from other rows, as beams do."""

    def reorder(self, rows: Tensor) -> None:
        """Row r goes on from what was row ``rows[r]``, (R,) int64."""
        ...


class ColumnSampler(Protocol):
    """Decides the streams of a column that have no logits, once those that have are decided."""

    def __call__(self, tokens: Tensor, moment: Tensor, column: int) -> Tensor:
        """(B, K - H) int64 from ``tokens`` (B, H) of that column and the ``moment`` of the step."""
        ...


def _ended(columns: Tensor, first: int) -> StepOutput:
    raise SessionError("the generation was released", fix="Start a new one")


class Streamer(Protocol):
    """Who listens in: the prompt, then each step's tokens, then the end."""

    def put(self, value: Tensor) -> None:
        """The prompt's columns (B * K, L0), later one token a row (B * K,)."""
        ...

    def end(self) -> None:
        """Nothing more comes."""
        ...


@dataclass
class Plan:
    """What to generate.

    Attributes:
        pattern: the delays. columns: (B, K, L) int64, forced tokens and -1 where the model decides.
        start: columns given to the model at once, at least 1.
        processors: applied to (B * K, V) scores in order. guidance: joins the two passes.
        noise: one generator an item; ``None`` is greedy. offsets: padding columns before each item's own first one.
        sampler: decides all streams but the first ``heads``, which have logits; by default all streams have.
        beams: search among several rows for each item, with a model whose rows can be reordered; one head.
        criteria: of the caller. eos: tokens that end an item.
        after_end: what an ended item gets in place of its tokens, as a text does; ``None`` lets items go on to be cut
            afterwards, as a codec's are.
        use_cache: feed new columns only; otherwise the model sees all columns at every step.
        keep_scores, keep_logits, keep_states: what to hold of every step.
    """

    pattern: DelayPattern
    columns: Tensor
    start: int
    processors: Sequence[Any] = ()
    guidance: ClassifierFreeGuidance | None = None
    noise: ItemNoise | None = None
    offsets: Sequence[int] | None = None
    sampler: ColumnSampler | None = None
    heads: int | None = None
    beams: Beams | None = None
    criteria: StoppingCriteriaList = field(default_factory=StoppingCriteriaList)
    eos: tuple[int, ...] = ()
    after_end: int | None = None
    streamer: Streamer | None = None
    use_cache: bool = True
    keep_scores: bool = False
    keep_logits: bool = False
    keep_states: bool = False


class Generation:
    """One run of a plan.

    Attributes:
        columns: (B, K, L) int64, what the model was fed. sampled: the same with the model's own choice at columns that
            the pattern forced; this is what callables and streamers see, as the reference shows it.
        length: columns filled so far.
        scores, logits: kept per step, (B * H, V) after and (P * B * H, V) before processing.
        states: kept step outputs without their logits.
        search: of a plan with beams. At its end ``columns`` hold what it found, rows of the best of each item.
        stopped: ended before the last column, because a criterion or the end tokens said so.
    """

    def __init__(self, model: StepModel, plan: Plan) -> None:
        self.model: StepModel = model
        self.plan = plan
        self.length = plan.start
        self.columns = plan.columns.clone()
        self.sampled = plan.columns.clone()
        self.scores: list[Tensor] = []
        self.logits: list[Tensor] = []
        self.states: list[StepOutput] = []
        self.stopped = False
        self.search = self._searching(plan)
        self._heads = plan.columns.shape[1] if plan.heads is None else plan.heads
        self._over = torch.zeros(len(plan.columns), dtype=torch.bool, device=plan.columns.device)  # ended texts
        self._unchecked: list[tuple[int, Tensor]] = []

    @staticmethod
    def _searching(plan: Plan) -> BeamSearch | None:
        if plan.beams is None:
            return None
        criteria = plan.criteria or None
        return BeamSearch(plan.beams, plan.columns, start=plan.start, eos=plan.eos, criteria=criteria)

    def _shown(self) -> Tensor:
        """(B * H, length): what callables and streamers see."""
        return self.sampled[:, : self._heads, : self.length].reshape(-1, self.length)

    def steps(self) -> Generator[Tensor, None, None]:
        """Yields the tokens (B, K) of each new column as soon as it is decided; closing it ends the streamer."""
        plan = self.plan
        items, _, planned = plan.columns.shape
        try:
            if plan.streamer is not None:
                plan.streamer.put(self._shown().cpu())
            done = torch.zeros(items * self._heads, dtype=torch.bool, device=plan.columns.device)
            fed = 0
            while self.length < planned:
                first = fed if plan.use_cache else 0
                output = self.model(self.columns[..., first : self.length], first)
                fed = self.length
                scores = self._scored(output)
                if self.search is None:
                    self._add(self._picked(scores).view(items, self._heads), output)
                else:
                    self._search(self.search, scores, output)
                if plan.streamer is not None:
                    plan.streamer.put(self._shown()[:, -1].cpu())
                yield self.columns[..., self.length - 1]
                if self.search is not None:
                    self.stopped = self.search.over
                elif plan.criteria:
                    done |= plan.criteria(self._shown(), self.scores or scores)
                    self.stopped = bool(done.all())
                self.stopped |= bool(self.search is None and plan.eos and self._all_ended(done))
                if self.stopped:
                    break
            self._check()
            if self.search is not None:
                self.columns = self.sampled = self.search.best()[0]
                self.length = self.columns.shape[-1]
        finally:
            if plan.streamer is not None:
                plan.streamer.end()

    def _add(self, tokens: Tensor, output: StepOutput) -> None:
        """Fills the next column: ``tokens`` (B, H) of the streams that have logits, and the sampler's."""
        if self.plan.after_end is not None:
            tokens = torch.where(self._over[:, None], self.plan.after_end, tokens)
        tokens = self._whole(tokens, output.moment)
        self.sampled[..., self.length] = tokens
        self.columns[..., self.length] = self._planned(tokens)
        self.length += 1

    def _whole(self, tokens: Tensor, moment: Tensor | None) -> Tensor:
        """``tokens`` (B, H) with the sampler's, (B, K)."""
        if self.plan.sampler is None or moment is None:
            return tokens
        return torch.cat([tokens, self.plan.sampler(tokens, moment, self.length)], dim=1)

    def _planned(self, tokens: Tensor) -> Tensor:
        """The next column (B, K): what the plan forces, and ``tokens`` elsewhere."""
        forced = self.plan.columns[..., self.length]
        return torch.where(forced >= 0, forced, tokens)

    def _search(self, search: BeamSearch, scores: Tensor, output: StepOutput) -> None:
        """Fills the next column of the rows that go on, each behind the row that it goes on from."""
        noise = None
        if self.plan.noise is not None:
            noise = self.plan.noise.gumbel(self.length, len(scores) // len(self.plan.noise), scores.shape[-1])
        choice, best = search.choose(self._shown(), scores, noise, self.scores or scores)
        self._won(best)
        moment = output.moment
        if bool(choice.fresh.any()):
            last = self._whole(choice.ended_tokens[:, None], None if moment is None else moment[choice.ended_rows])
            search.end(choice, self.columns[..., : self.length], self._planned(last))
        self.columns, self.sampled = self.columns[choice.rows], self.sampled[choice.rows]
        if self.plan.use_cache:
            cast(BranchingModel, self.model).reorder(choice.rows)
        self._add(choice.tokens[:, None], StepOutput(scores, moment=None if moment is None else moment[choice.rows]))

    def release(self) -> None:
        """Lets go of the model and its state; columns and what was kept of the steps remain."""
        self.model = _ended

    def run(self) -> Generation:
        """Runs to the end."""
        for _ in self.steps():
            pass
        return self

    def _scored(self, output: StepOutput) -> Tensor:
        """What the processors make of a step's logits, (B * H, V)."""
        plan = self.plan
        scores = output.logits.float()
        if plan.keep_logits:
            self.logits.append(scores)
        if plan.keep_states:
            self.states.append(StepOutput(scores.new_empty(0), *self._states_of(output)))
        if plan.guidance is not None:
            scores = plan.guidance(scores)
        if plan.beams is not None:  # sums are compared, which only log-probabilities can be
            scores = scores.log_softmax(dim=-1)
        seen = self._shown() if plan.processors else scores
        for processor in plan.processors:
            scores = processor(seen, scores)
        if plan.keep_scores:
            self.scores.append(scores)
        return scores

    def _picked(self, scores: Tensor) -> Tensor:
        """The token of each row, (B * H,)."""
        plan, noise = self.plan, None
        if plan.noise is not None:
            step = self.length if plan.offsets is None else [self.length - offset for offset in plan.offsets]
            noise = plan.noise.gumbel(step, self._heads, scores.shape[-1]).flatten(0, 1)  # (B, H, V) -> (B * H, V)
        tokens, best = pick(scores, noise)
        self._won(best)
        return tokens

    def _won(self, best: Tensor) -> None:
        """Checks the values that rows won with, at once or later."""
        self._unchecked.append((self.length, best))
        if best.device.type == "cpu" or len(self._unchecked) >= _CHECK_EVERY:
            self._check()

    @staticmethod
    def _states_of(output: StepOutput) -> tuple[Any, Any, Any]:
        return output.hidden_states, output.attentions, output.memory_attentions

    def _check(self) -> None:
        for step, best in self._unchecked:
            check_best(best, step=step, streams=self._heads)
        self._unchecked.clear()

    # the end of items

    def _ends(self) -> Tensor:
        """(B, F) bool: frames in which any stream holds an end token, and all that follow."""
        codes = self.codes()
        ends = torch.isin(codes, torch.tensor(self.plan.eos, device=codes.device)).any(dim=1)
        return ends.cummax(dim=-1).values if ends.shape[-1] else ends

    def _all_ended(self, done: Tensor) -> bool:
        if self.plan.after_end is None:
            ends = self._ends()
            return bool(ends.shape[-1] and ends[:, -1].all())
        latest = self.columns[:, 0, self.length - 1]
        self._over |= torch.isin(latest, torch.tensor(self.plan.eos, device=latest.device))
        self._over |= done.view(len(latest), -1).all(dim=1)
        return bool(self._over.all())

    def codes(self) -> Tensor:
        """The frames that are complete, (B, K, F)."""
        return self.plan.pattern.revert(self.columns[..., : self.length], planned=self.plan.columns.shape[-1])

    def frame_counts(self) -> list[int]:
        """How many frames of ``codes`` belong to each item: those before its end token, without its padding."""
        frames = self.codes().shape[-1]
        counts = [frames] * self.columns.shape[0]
        if self.plan.eos and frames:
            counts = (~self._ends()).sum(dim=-1).tolist()
        return counts
