"""The training loop: steps, accumulation, clipping, averages, states, and a record of it all."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from antiphon.checkpoints.json_files import write_json
from antiphon.errors import ConfigError, NumericError, ProcessError
from antiphon.nn.transformer import Transformer
from antiphon.training.average import WeightAverage, holding
from antiphon.training.memory import keep_freed_memory
from antiphon.training.objective import Batch, Examples, Losses, Objective
from antiphon.training.optimizer import Optimizer
from antiphon.training.order import Order, batches
from antiphon.training.processes import Processes
from antiphon.training.record import RunRecord
from antiphon.training.run_state import (
    RunState,
    all_tensors,
    newest_state,
    put_tensors,
    remove_unfinished,
    whole_tensors,
    write_state,
)
from antiphon.training.schedule import learning_rate_factor
from antiphon.training.settings import RunSettings
from antiphon.training.sharding import ModelPieces, whole

log = logging.getLogger(__name__)

# Rows that an objective sees before training: as many whatever the number of processes, and few enough for any of them.
_FIRST_ROWS = 16


@dataclass(frozen=True)
class Progress:
    """How a run stands: for whoever shows it.

    Attributes:
        step, steps: taken, and in all. figures: the latest of ``kind``, ``training`` or ``held_out``.
        examples_per_s: since the last look. left_s: at this speed.
    """

    step: int
    steps: int
    kind: str
    figures: dict[str, float]
    examples_per_s: float
    left_s: float


class Trainer:
    """A run: goes on from the newest state in its folder, or begins.

    Args:
        objective: the model and its losses. examples: what it learns from. held_out: what it is measured on.
        settings: the numbers. folder: where states, the record, ``best`` and ``final`` checkpoints go; the same one for
            all processes.
        processes: which of how many this one is, and the device that the model is moved to.
        report: is told how the run stands, in the first process.

    Raises:
        ConfigError: a batch that the processes cannot share evenly, a learning rate that is no number, or
            ``checkpoint_layers`` for a model without such layers.
        CheckpointError: the states are of another model, or all damaged. ProcessError: processes found other states.
    """

    def __init__(
        self,
        objective: Objective,
        examples: Examples,
        settings: RunSettings,
        folder: Path,
        *,
        held_out: Examples | None = None,
        processes: Processes | None = None,
        report: Callable[[Progress], None] | None = None,
    ) -> None:
        self.objective, self.examples, self.held_out = objective, examples, held_out
        self.settings, self.folder, self.report = settings, folder, report
        self.processes = processes or Processes()
        self.rows = self.processes.rows(settings.batch)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.step, self.best = 0, math.inf
        self._sums, self._summed = dict[str, float](), 0
        objective.model.to(self.processes.device)
        self._recompute()
        state = self._begin()
        self.model = ModelPieces(objective, self.processes)
        self.optimizer = Optimizer(
            objective.model, objective.parameter_groups(), settings, processes=self.processes.count
        )
        self.average = WeightAverage(objective.model, settings.average_decay) if settings.average_decay else None
        if state is not None:
            self._go_on(state)

    def _recompute(self) -> None:
        if not self.settings.checkpoint_layers:
            return
        stacks = [module for module in self.objective.model.modules() if isinstance(module, Transformer)]
        if not stacks:
            raise ConfigError("checkpoint_layers for a model without transformer layers", expected="false")
        for stack in stacks:
            stack.gradient_checkpointing = True

    def _begin(self) -> RunState | None:
        """The newest state, whose weights the model gets; or prepares a new run."""
        settings = self.settings
        state = newest_state(self.folder / "states")
        step = torch.tensor(-1 if state is None else state.step)
        first = self.processes.from_first(step)
        if int(first) != int(step):
            raise ProcessError(
                f"Process {self.processes.rank} finds the state of step {int(step)}, the first one {int(first)}",
                fix=f"All processes need the same {self.folder}, on a disk that they share",
            )
        if state is not None:
            put_tensors(self.objective.model, state.part("model"))
            return state
        torch.manual_seed(settings.seed)
        rows = range(min(settings.batch, _FIRST_ROWS))
        batch = next(self._batches(self.examples, seed=settings.seed, rows=rows, steps=range(1), piece=len(rows)))
        self.objective.model.train()
        self.objective.before_training(batch)
        return None

    def _go_on(self, state: RunState) -> None:
        self.optimizer.set_moments(state.part("moment1"), state.part("moment2"), step=state.step)
        self.objective.load_extra_state(state.part("extra"))
        if self.average is not None:
            self.average.load(state.part("average"), int(state.numbers["average_updates"]))
        self.step, self.best = state.step, float(state.numbers.get("best", math.inf))
        self._sums, self._summed = dict(state.numbers.get("sums", {})), int(state.numbers.get("summed", 0))
        log.info("goes on after step %d", self.step)

    def run(self, until: int | None = None) -> None:
        """Takes the steps that are left, or those up to ``until``, and leaves a state behind.

        Raises:
            NumericError: a loss or a gradient is not finite; ``stopped.json`` names the step and its examples.
            CheckpointError: a state cannot be written; the earlier ones stand.
        """
        last = min(self.settings.steps, until or self.settings.steps)
        record = None
        if self.processes.first:
            remove_unfinished(self.folder / "states")
            (self.folder / "stopped.json").unlink(missing_ok=True)
            record = RunRecord(self.folder, self.step)
        keep_freed_memory()
        self._since, self._since_step = time.monotonic(), self.step
        settings = self.settings
        pieces = self._batches(
            self.examples,
            seed=settings.seed,
            rows=self.rows,
            steps=range(self.step, last),
            workers=settings.workers,
        )
        try:
            while self.step < last:
                self._take(pieces)
                self._look(record)
                if self.step % settings.save_every == 0 or self.step == last:
                    self._save()
        finally:
            if record is not None:
                record.close()
        if self.step == self.settings.steps:
            self._write_checkpoint("final")

    def _batches(
        self, examples: Examples, *, seed: int, rows: range, steps: range, piece: int | None = None, workers: int = 0
    ) -> Iterator[Batch]:
        settings, device = self.settings, self.processes.device
        piece = piece or settings.micro_batch or settings.batch
        drawn = batches(
            examples, seed=seed, rows=rows, batch=settings.batch, micro_batch=piece, steps=steps, workers=workers
        )
        for batch in drawn:
            yield {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}

    # one step

    def _take(self, pieces: Iterator[Batch]) -> None:
        settings, model = self.settings, self.objective.model
        batch = [next(pieces) for _ in range(0, len(self.rows), settings.micro_batch or settings.batch)]
        torch.manual_seed(settings.seed * 1_000_003 + self.step * 1009 + self.processes.rank)
        model.train()
        self.optimizer.zero_grad()
        figures = self._gradients(batch)
        norm = whole(torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm or math.inf))
        figures["gradient_norm"] = float(norm)
        self._check(figures)
        self.optimizer.step(self._rate_factor(self.step))
        self.objective.after_step(self.step)
        if self.average is not None:
            self.average.update(model)
        self.step += 1
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._summed += 1

    def _gradients(self, batch: list[Batch]) -> dict[str, float]:
        """Leaves the step's gradients in the parameters, and gives its mean losses over all processes."""
        weight = self._total([sum(self.objective.weight(piece) for piece in batch)])[0]
        sums: dict[str, Tensor] = {}
        for piece in batch:
            losses = self._losses(piece, ends_step=piece is batch[-1])
            # gradients are averaged over processes, the loss is summed over them
            (losses.total * (self.processes.count / weight)).backward()
            for name, value in {"loss": losses.total.detach(), **losses.parts}.items():
                sums[name] = sums.get(name, 0) + value / weight
        values = self.processes.total(torch.stack([value.float() for value in sums.values()]))
        return dict(zip(sums, values.tolist(), strict=True))

    def _total(self, values: list[float]) -> list[float]:
        """Numbers summed over all processes."""
        total: list[float] = self.processes.total(torch.tensor(values, dtype=torch.float64)).tolist()
        return total

    def _losses(self, batch: Batch, *, ends_step: bool = True) -> Losses:
        with self._precision():
            return self.model.losses(batch, ends_step=ends_step)

    def _rate_factor(self, step: int) -> float:
        settings = self.settings
        return learning_rate_factor(
            step, steps=settings.steps, warmup_steps=settings.warmup_steps, final_share=settings.final_share
        )

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.settings.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.processes.device.type, torch.bfloat16)

    def _check(self, figures: dict[str, float]) -> None:
        """Stops before weights are spoilt."""
        bad = [name for name, value in figures.items() if not math.isfinite(value)]
        if not bad:
            return
        settings = self.settings
        first = self.step * settings.batch
        examples = list(range(first, first + settings.batch))
        order = Order(len(self.examples), settings.seed)
        stopped = {
            "step": self.step,
            "examples": examples,
            "items": [order.item(number) for number in examples],
            "figures": {name: repr(value) for name, value in figures.items()},
        }
        if self.processes.first:
            write_json(self.folder / "stopped.json", stopped)
        raise NumericError(
            f"The {bad[0]} of step {self.step} is not finite",
            expected="finite losses and gradients",
            fix=f"Look at examples {examples[0]} to {examples[-1]}, whose items are in stopped.json, or take a lower "
            "learning rate; the run goes on from its last state",
        )

    # looks

    def _look(self, record: RunRecord | None) -> None:
        settings = self.settings
        ended = self.step == settings.steps
        if self.step % settings.log_every == 0 or ended:
            now = time.monotonic()
            figures = {name: value / self._summed for name, value in self._sums.items()}
            speed = (self.step - self._since_step) * settings.batch / max(1e-9, now - self._since)
            rate = settings.learning_rate * self._rate_factor(self.step - 1)
            figures |= {"learning_rate": rate, "examples_per_s": speed}
            self._tell(record, "training", figures, speed)
            self._sums, self._summed = {}, 0
            self._since, self._since_step = now, self.step
        if self.held_out is not None and (self.step % settings.held_out_every == 0 or ended):
            started = time.monotonic()
            figures = self.measure(self.held_out)
            self._tell(record, "held_out", figures, 0.0)
            if self._watched(figures) < self.best and self.objective.is_whole():
                self.best = figures[settings.watch]
                self._write_checkpoint("best")
            self._since += time.monotonic() - started

    def _watched(self, figures: dict[str, float]) -> float:
        if self.settings.watch not in figures:
            raise ConfigError(f"watch={self.settings.watch!r}", expected=f"one of {sorted(figures)}")
        return figures[self.settings.watch]

    def _tell(self, record: RunRecord | None, kind: str, figures: dict[str, float], speed: float) -> None:
        if record is not None:
            record.write(self.step, kind, figures)
        if self.report is not None and self.processes.first:
            left = (self.settings.steps - self.step) * self.settings.batch / speed if speed else math.nan
            self.report(Progress(self.step, self.settings.steps, kind, figures, speed, left))

    @torch.no_grad()
    def measure(self, examples: Examples) -> dict[str, float]:
        """The mean losses on held-out examples, the same ones every time, with the averaged weights."""
        model = self.objective.model
        model.eval()
        torch.manual_seed(self.settings.seed)
        sums: dict[str, float] = {}
        weight = 0.0
        with holding(model, self.average.tensors if self.average is not None else {}):
            steps = range(self.settings.held_out_batches)
            for batch in self._batches(examples, seed=0, rows=self.rows, steps=steps):
                losses = self._losses(batch)
                weight += self.objective.weight(batch)
                for name, value in {"loss": losses.total, **losses.parts}.items():
                    sums[name] = sums.get(name, 0.0) + float(value)
        model.train()
        *totals, weight = self._total([*sums.values(), weight])
        return {name: total / weight for name, total in zip(sums, totals, strict=True)}

    # what is left behind

    def _write_checkpoint(self, name: str) -> None:
        """Writes the averaged model, or the model itself where there is no average, as ``name``."""
        average = None
        if self.average is not None:
            average = whole_tensors(self.average.tensors, keep=self.processes.first)
        with self.model.whole():
            if self.processes.first:
                self.objective.save(self.folder / name, average)

    def _save(self) -> None:
        model = self.objective.model
        tensors = {f"model.{name}": tensor for name, tensor in all_tensors(model).items()}
        tensors |= self.optimizer.moments()
        tensors |= {f"extra.{name}": tensor for name, tensor in self.objective.extra_state().items()}
        numbers: dict[str, Any] = {"sums": self._sums, "summed": self._summed}
        if not math.isinf(self.best):
            numbers["best"] = self.best
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.tensors.items()}
            numbers["average_updates"] = self.average.updates
        tensors = whole_tensors(tensors, keep=self.processes.first)
        if self.processes.first:
            write_state(self.folder / "states", RunState(self.step, tensors, numbers), keep=self.settings.keep)
