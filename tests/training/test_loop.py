"""The loop: what a step is made of, what it leaves behind, and when it stops."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from antiphon.errors import ConfigError, NumericError
from antiphon.training.loop import Progress, Trainer
from antiphon.training.order import Order
from antiphon.training.settings import RunSettings

from .jobs import LineObjective, Points, record, trainer


def stepped(folder: Path, job: str = "line", **numbers: Any) -> dict[str, torch.Tensor]:
    """The gradients of the first step, and what the weights became."""
    run = trainer(job, folder, clip_norm=0.0, **numbers)
    run.objective.model.apply(
        lambda module: setattr(module, "p", 0.0) if isinstance(module, torch.nn.Dropout) else None
    )
    run.run(until=1)
    return {name: p.grad.clone() for name, p in run.objective.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("job", ["line", "music", "codec"])
def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path: Path, job: str) -> None:
    whole = stepped(tmp_path / "whole", job)
    for rows in (1, 3):
        parts = stepped(tmp_path / str(rows), job, micro_batch=rows)
        assert whole.keys() == parts.keys() and whole
        for name, gradient in whole.items():
            torch.testing.assert_close(parts[name], gradient, rtol=1e-3, atol=1e-5)


def test_accumulated_codebooks_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    numbers = {"steps": 6, "learning_rate": 1e-3, "warmup_steps": 0}
    runs = [trainer("codec", tmp_path / str(rows), micro_batch=rows, **numbers) for rows in (4, 2)]
    for run in runs:
        run.run()
    one, other = (dict(run.objective.model.named_buffers()) for run in runs)
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=1e-4)


def test_recomputed_layers_give_the_same_gradients(tmp_path: Path) -> None:
    whole, again = stepped(tmp_path / "a", "music"), stepped(tmp_path / "b", "music", checkpoint_layers=True)
    for name, gradient in whole.items():
        torch.testing.assert_close(again[name], gradient)


def test_layers_to_recompute_are_asked_for_in_vain_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="checkpoint_layers"):
        trainer("line", tmp_path, checkpoint_layers=True)


def test_gradients_are_shortened_to_the_asked_norm(tmp_path: Path) -> None:
    run = trainer("line", tmp_path, clip_norm=0.5)
    run.run(until=1)
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in run.objective.model.parameters()))
    assert norm == pytest.approx(0.5, rel=1e-3)
    assert record(tmp_path)[0]["gradient_norm"] > 0.6  # what it was


def test_the_rate_rises_and_falls_as_recorded(tmp_path: Path) -> None:
    trainer("line", tmp_path).run()
    rates = [line["learning_rate"] for line in record(tmp_path) if line["kind"] == "training"]
    assert rates[:3] == pytest.approx([0.01 / 3, 0.02 / 3, 0.01])
    assert rates[3:] == sorted(rates[3:], reverse=True) and len(rates) == 12


def test_groups_have_rates_of_their_own(tmp_path: Path) -> None:
    objective = LineObjective()
    first, *others = objective.model.parameters()
    objective.parameter_groups = lambda: [{"params": [first], "lr_scale": 0.0}, {"params": others}]
    before = [p.detach().clone() for p in (first, *others)]
    Trainer(objective, Points(), RunSettings(steps=1, warmup_steps=0, weight_decay=0.0), tmp_path).run()
    moved = [not torch.equal(p, old) for p, old in zip((first, *others), before, strict=True)]
    assert moved == [False, True, True, True]


def test_held_out_figures_are_those_of_the_average_and_leave_the_weights_alone(tmp_path: Path) -> None:
    run = trainer("line", tmp_path)
    run.run(until=7)
    before = {name: p.detach().clone() for name, p in run.objective.model.named_parameters()}
    figures = run.measure(Points())
    assert figures == run.measure(Points())
    assert all(torch.equal(p, before[name]) for name, p in run.objective.model.named_parameters())
    with torch.no_grad():
        for name, p in run.objective.model.named_parameters():
            p.copy_(run.average.tensors[name])
    run.average = None
    assert run.measure(Points()) == figures


def test_the_best_checkpoint_is_of_the_lowest_held_out_figure(tmp_path: Path) -> None:
    run = trainer("line", tmp_path, held_out_every=2)
    saved: list[tuple[str, int]] = []
    save = run.objective.save

    def noted(folder: Path, tensors: Any) -> None:
        saved.append((folder.name, run.step))
        save(folder, tensors)

    run.objective.save = noted
    run.run()
    losses = {line["step"]: line["loss"] for line in record(tmp_path) if line["kind"] == "held_out"}
    lowest = [
        step for step, loss in losses.items() if loss == min(list(losses.values())[: list(losses).index(step) + 1])
    ]
    assert saved == [*(("best", step) for step in lowest), ("final", 12)]
    held = json.loads((tmp_path / "final" / "weights.json").read_text())
    assert held == {name: tensor.tolist() for name, tensor in run.average.tensors.items()}


def test_a_watched_figure_that_is_not_measured_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"watch='beauty'. Expected one of \['loss', 'squares'\]"):
        trainer("line", tmp_path, watch="beauty").run()


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[Progress] = []
    run = trainer("line", tmp_path, log_every=6)
    run.report = told.append
    run.run()
    assert [(one.step, one.kind) for one in told] == [
        *((5, "held_out"), (6, "training"), (10, "held_out"), (12, "training"), (12, "held_out"))
    ]
    assert told[1].examples_per_s > 0 and told[1].left_s > 0 and told[3].left_s == 0


def test_an_objective_sees_the_first_examples_once(tmp_path: Path) -> None:
    run = trainer("line", tmp_path)
    assert run.objective.first.shape == (4,)
    run.run(until=2)
    assert trainer("line", tmp_path).objective.first is None


def test_bfloat16_products_learn_too(tmp_path: Path) -> None:
    trainer("music", tmp_path, precision="bf16", steps=4).run()
    lines = [line for line in record(tmp_path) if line["kind"] == "training"]
    assert all(math.isfinite(line["loss"]) for line in lines)


# faults


@pytest.mark.parametrize(("worth", "bad"), [(math.nan, "loss"), (math.inf, "loss"), (3e38, "loss")])
def test_F132_a_loss_that_is_no_number_stops_before_the_weights_are_spoilt(
    tmp_path: Path, worth: float, bad: str
) -> None:
    run = trainer("line", tmp_path, save_every=2)
    order = Order(20, 0)
    item = order.item(4 * 3 + 1)  # of step 3, and of none before
    assert item not in [order.item(number) for number in range(12)]
    run.examples = Points(bad=item, worth=worth)
    with pytest.raises(NumericError, match=f"The {bad} of step 3 is not finite"):
        run.run()
    stopped = json.loads((tmp_path / "stopped.json").read_text())
    assert stopped["step"] == 3 and stopped["examples"] == [12, 13, 14, 15]
    assert stopped["items"] == [order.item(number) for number in range(12, 16)]
    assert stopped["figures"]["loss"] in ("nan", "inf")
    assert all(bool(p.isfinite().all()) for p in run.objective.model.parameters())
    again = trainer("line", tmp_path)  # with data that have been mended
    assert again.step == 2
    again.run()
    trainer("line", tmp_path / "whole").run()
    assert record(tmp_path) == record(tmp_path / "whole")
    assert not (tmp_path / "stopped.json").exists()


def test_F132_a_gradient_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    run = trainer("line", tmp_path)
    weight = run.objective.model[0].weight
    weight.register_hook(lambda gradient: gradient * (math.inf if run.step == 2 else 1.0))
    with pytest.raises(NumericError, match="The gradient_norm of step 2 is not finite"):
        run.run()
    assert bool(weight.isfinite().all())
    assert json.loads((tmp_path / "stopped.json").read_text())["figures"]["gradient_norm"] in ("nan", "inf")


@pytest.mark.parametrize("rate", [math.nan, math.inf, 0.0, -1.0])
def test_F132_a_learning_rate_that_is_no_number_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="learning_rate="):
        RunSettings(steps=1, warmup_steps=0, learning_rate=rate)


def test_F132_a_groups_rate_that_is_no_number_is_refused(tmp_path: Path) -> None:
    objective = LineObjective()
    objective.parameter_groups = lambda: [{"params": list(objective.model.parameters()), "lr_scale": math.nan}]
    with pytest.raises(ConfigError, match="a learning rate of nan"):
        Trainer(objective, Points(), RunSettings(steps=1, warmup_steps=0), tmp_path)
