"""The training loop: steps, accumulation, clipping, averages, states, and a record of it all."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from antiphon.checkpoints.json_files import write_json
from antiphon.errors import NumericError
from antiphon.training.average import WeightAverage
from antiphon.training.memory import keep_freed_memory
from antiphon.training.objective import Batch, Examples, Objective
from antiphon.training.order import batches
from antiphon.training.processes import Processes
from antiphon.training.record import RunRecord
from antiphon.training.run_state import (
    RunState,
    all_tensors,
    moments,
    newest_state,
    put_tensors,
    set_moments,
    write_state,
)
from antiphon.training.schedule import learning_rate_factor
from antiphon.training.settings import RunSettings

log = logging.getLogger(__name__)


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
        settings: the numbers. folder: where states, the record, ``best`` and ``final`` checkpoints go.
        processes: which of how many this one is. report: is told how the run stands.
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
        self.folder.mkdir(parents=True, exist_ok=True)
        self.step, self.best = 0, math.inf
        self.optimizer = torch.optim.AdamW(
            self._groups(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.average = WeightAverage(objective.model, settings.average_decay) if settings.average_decay else None
        self._resume()

    def _groups(self) -> list[dict[str, Any]]:
        groups = self.objective.parameter_groups()
        for group in groups:
            group["peak"] = self.settings.learning_rate * group.pop("lr_scale", 1.0)
        return groups

    def _resume(self) -> None:
        state = newest_state(self.folder / "states")
        if state is None:
            return
        put_tensors(self.objective.model, state.part("model"))
        set_moments(self.objective.model, self.optimizer, state)
        self.objective.load_extra_state(state.part("extra"))
        if self.average is not None:
            self.average.load(state.part("average"), int(state.numbers["average_updates"]))
        self.step, self.best = state.step, float(state.numbers.get("best", math.inf))
        log.info("goes on after step %d", self.step)

    def run(self, until: int | None = None) -> None:
        """Takes the steps that are left, or those up to ``until``, and leaves a state behind.

        Raises:
            NumericError: a loss or a gradient is not finite; ``stopped.json`` names the step and its examples.
        """
        last = min(self.settings.steps, until or self.settings.steps)
        record = RunRecord(self.folder, self.step)
        keep_freed_memory()
        self._since, self._seen, self._sums = time.monotonic(), 0, dict[str, float]()
        pieces = self._pieces(last)
        try:
            while self.step < last:
                self._take(pieces)
                self._look(record, self.step == last)
        finally:
            record.close()
        if self.step == self.settings.steps:
            self.objective.save(self.folder / "final", self._averaged())

    def _pieces(self, last: int) -> Iterator[Batch]:
        settings = self.settings
        return batches(
            self.examples,
            seed=settings.seed,
            rows=self.processes.rows(settings.batch),
            batch=settings.batch,
            micro_batch=settings.micro_batch or settings.batch,
            steps=range(self.step, last),
            workers=settings.workers,
        )

    # one step

    def _take(self, pieces: Iterator[Batch]) -> None:
        settings, model = self.settings, self.objective.model
        rows = self.processes.rows(settings.batch)
        batch = [next(pieces) for _ in range(0, len(rows), settings.micro_batch or settings.batch)]
        torch.manual_seed(settings.seed * 1_000_003 + self.step * 1009 + self.processes.rank)
        model.train()
        if self.step == 0:
            self.objective.before_training(batch[0])
        weight = self.processes.total(torch.tensor([sum(self.objective.weight(piece) for piece in batch)])).item()
        self.optimizer.zero_grad(set_to_none=True)
        figures: dict[str, Tensor] = {}
        for piece in batch:
            with self._precision():
                losses = self.objective.losses(piece)
            # gradients are averaged over processes, the loss is summed over them
            (losses.total * (self.processes.count / weight)).backward()
            for name, value in {"loss": losses.total.detach(), **losses.parts}.items():
                figures[name] = figures.get(name, 0) + value / weight
        names = list(figures)
        values = self.processes.total(torch.stack([figures[name].float() for name in names])).tolist()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm or math.inf)
        self._check(dict(zip(names, values, strict=True)), float(norm))
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self._rate_factor()
        self.optimizer.step()
        self.objective.after_step(self.step)
        if self.average is not None:
            self.average.update(model)
        self.step += 1
        for name, value in [*zip(names, values, strict=True), ("gradient_norm", float(norm))]:
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._seen += 1

    def _rate_factor(self) -> float:
        settings = self.settings
        return learning_rate_factor(
            self.step, steps=settings.steps, warmup_steps=settings.warmup_steps, final_share=settings.final_share
        )

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.settings.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(next(self.objective.model.parameters()).device.type, torch.bfloat16)

    def _check(self, figures: dict[str, float], norm: float) -> None:
        """Stops before weights are spoilt."""
        bad = [name for name, value in {**figures, "gradient norm": norm}.items() if not math.isfinite(value)]
        if not bad:
            return
        settings = self.settings
        first = self.step * settings.batch
        examples = list(range(first, first + settings.batch))
        numbers = {name: repr(value) for name, value in {**figures, "gradient norm": norm}.items()}
        write_json(self.folder / "stopped.json", {"step": self.step, "examples": examples, "figures": numbers})
        raise NumericError(
            f"The {bad[0]} of step {self.step} is not finite",
            expected="finite losses and gradients",
            fix=f"Look at examples {examples[0]} to {examples[-1]} (stopped.json), or take a lower learning rate; the "
            "weights are those of the last state",
        )

    # looks

    def _look(self, record: RunRecord, ended: bool) -> None:
        settings = self.settings
        if self.step % settings.log_every == 0 or ended:
            now = time.monotonic()
            figures = {name: value / self._seen for name, value in self._sums.items()}
            speed = self._seen * settings.batch / max(1e-9, now - self._since)
            figures |= {"learning_rate": settings.learning_rate * self._rate_factor(), "examples_per_s": speed}
            self._tell(record, "training", figures, speed)
            self._since, self._seen, self._sums = now, 0, {}
        if self.held_out is not None and (self.step % settings.held_out_every == 0 or ended):
            started = time.monotonic()
            figures = self.measure(self.held_out)
            self._tell(record, "held_out", figures, 0.0)
            if figures[settings.watch] < self.best:
                self.best = figures[settings.watch]
                self.objective.save(self.folder / "best", self._averaged())
            self._since += time.monotonic() - started
        if self.step % settings.save_every == 0 or ended:
            self._save()

    def _tell(self, record: RunRecord, kind: str, figures: dict[str, float], speed: float) -> None:
        record.write(self.step, kind, figures)
        if self.report is not None:
            left = (self.settings.steps - self.step) * self.settings.batch / speed if speed else math.nan
            self.report(Progress(self.step, self.settings.steps, kind, figures, speed, left))

    @torch.no_grad()
    def measure(self, examples: Examples) -> dict[str, float]:
        """The mean losses on held-out examples, the same ones every time, with the averaged weights."""
        settings, model = self.settings, self.objective.model
        model.eval()
        sums: dict[str, float] = {}
        weight = 0.0
        with self._average_in_place():
            for batch in batches(
                examples,
                seed=0,
                rows=range(settings.batch),
                batch=settings.batch,
                micro_batch=settings.micro_batch or settings.batch,
                steps=range(settings.held_out_batches),
                workers=0,
            ):
                with self._precision():
                    losses = self.objective.losses(batch)
                weight += self.objective.weight(batch)
                for name, value in {"loss": losses.total, **losses.parts}.items():
                    sums[name] = sums.get(name, 0.0) + float(value)
        model.train()
        return {name: value / weight for name, value in sums.items()}

    @contextlib.contextmanager
    def _average_in_place(self) -> Iterator[None]:
        """The model with its averaged weights."""
        if self.average is None:
            yield
            return
        own = all_tensors(self.objective.model)
        kept = {name: own[name].clone() for name in self.average.tensors}
        try:
            for name, tensor in self.average.tensors.items():
                own[name].copy_(tensor)
            yield
        finally:
            for name, tensor in kept.items():
                own[name].copy_(tensor)

    def _averaged(self) -> Mapping[str, Tensor] | None:
        return None if self.average is None else self.average.tensors

    def _save(self) -> None:
        model = self.objective.model
        tensors = {f"model.{name}": tensor for name, tensor in all_tensors(model).items()}
        tensors |= moments(model, self.optimizer)
        tensors |= {f"extra.{name}": tensor for name, tensor in self.objective.extra_state().items()}
        numbers: dict[str, Any] = {} if math.isinf(self.best) else {"best": self.best}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.tensors.items()}
            numbers["average_updates"] = self.average.updates
        write_state(self.folder / "states", RunState(self.step, tensors, numbers), keep=self.settings.keep)
