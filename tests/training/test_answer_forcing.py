"""Answers about sounds: their loss, and what of a model learns from it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from antiphon.errors import CheckpointError, ConfigError, ParamError
from antiphon.training.answer_forcing import PARTS, AnswerForcing, labels_in
from antiphon.training.listening import ListeningObjective

from ..models import tiny_flamingo as tiny


def batch() -> dict[str, Any]:
    """Two rows of unequal length with sounds, of which the last four tokens are the answers."""
    given = tiny.asked([40], [64, 30], question=8)
    labels = given["input_ids"].clone()
    labels[:, :-4] = -100
    return {**given, "window_indices": torch.tensor([0, 0, 1]), "labels": labels, "names": ["a", "b"]}


def model(kind: str = "music") -> Any:
    return tiny.ours(tiny.pair(kind)[0])


def inputs(given: dict[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in given.items() if name != "names"}


@pytest.mark.parametrize("kind", ["music", "audio"])
def test_the_loss_is_the_documented_one_summed_over_the_answers(kind: str) -> None:
    flamingo, given = model(kind), batch()
    objective = ListeningObjective(flamingo)
    objective.model.eval()
    losses = objective.losses(given)
    out = flamingo(**inputs(given))
    assert objective.weight(given) == 8
    torch.testing.assert_close(losses.total.detach() / 8, out.loss.detach())
    chosen = out.logits[:, -5:-1].argmax(-1)
    assert float(losses.parts["right"]) == float((chosen == given["labels"][:, -4:]).sum())


def test_the_first_token_of_a_row_counts_for_nothing() -> None:
    labels = torch.tensor([[3, 4, -100, 5], [6, -100, -100, -100]])
    assert labels_in({"labels": labels}) == 2


def test_gradients_are_those_of_the_documented_loss() -> None:
    one, other, given = model(), model(), batch()
    total, _ = AnswerForcing(one)(given)
    (total / 8).backward()
    other(**inputs(given)).loss.backward()
    theirs = dict(other.named_parameters())
    found = {name for name, own in one.named_parameters() if own.grad is not None}
    assert any(name.startswith("model.audio_tower") for name in found)
    for name in found:
        torch.testing.assert_close(dict(one.named_parameters())[name].grad, theirs[name].grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("part", PARTS)
def test_one_part_alone_may_learn(part: str) -> None:
    objective = ListeningObjective(model(), learn=(part,))
    objective.model.train()
    objective.losses(batch()).total.backward()
    moved = {n.split(".")[1] for n, p in objective.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {part}
    parts: Any = objective.model.parts
    assert {name: own.training for name, own in parts.items()} == {name: name == part for name in PARTS}
    groups = objective.parameter_groups()
    assert all(parameter.requires_grad for group in groups for parameter in group["params"])
    assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in objective.model.parameters())


def test_what_cannot_be_is_refused_by_name() -> None:
    flamingo = model()
    for learn in (("ears",), ()):
        with pytest.raises(ConfigError, match="learn="):
            AnswerForcing(flamingo, learn)
    with pytest.raises(ConfigError, match="weight_decay"):
        ListeningObjective(flamingo, weight_decay=float("nan"))
    given = batch()
    with pytest.raises(ParamError, match="labels of shape"):
        AnswerForcing(flamingo)({**given, "labels": given["labels"][:, 1:]})
    with pytest.raises(CheckpointError, match="state of training"):
        ListeningObjective(flamingo).load_extra_state({"a": torch.zeros(1)})
