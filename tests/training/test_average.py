"""The running average of weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from antiphon.errors import CheckpointError, ConfigError
from antiphon.training.average import WeightAverage


def model() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    made[0].bias.requires_grad_(False)
    return made


def test_it_holds_what_is_trained_and_floating_buffers() -> None:
    names = {"0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    assert WeightAverage(model(), 0.9).tensors.keys() == names


def test_it_follows_with_a_decay_that_grows() -> None:
    made = model()
    average = WeightAverage(made, 0.9)
    expected = made[0].weight.detach().clone()
    for update in range(1, 201):
        with torch.no_grad():
            made[0].weight.add_(0.1)
        average.update(made)
        decay = min(0.9, update / (update + 10))
        expected = decay * expected + (1 - decay) * made[0].weight.detach()
    torch.testing.assert_close(average.tensors["0.weight"], expected)
    # a line is followed at the distance that the decay says
    torch.testing.assert_close(made[0].weight - average.tensors["0.weight"], torch.full((2, 2), 0.9), atol=1e-3, rtol=0)


def test_it_goes_on_from_what_it_was() -> None:
    made = model()
    one, other = WeightAverage(made, 0.9), WeightAverage(model(), 0.9)
    one.update(made)
    other.load({name: tensor.clone() for name, tensor in one.tensors.items()}, one.updates)
    with torch.no_grad():
        made[0].weight.mul_(2)
    for average in (one, other):
        average.update(made)
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


def test_another_models_tensors_are_refused() -> None:
    with pytest.raises(CheckpointError, match="average"):
        WeightAverage(model(), 0.9).load({"0.weight": torch.zeros(2, 2)}, 1)


@pytest.mark.parametrize("decay", [1.0, -0.1, math.nan])
def test_a_decay_outside_0_to_1_is_refused(decay: float) -> None:
    with pytest.raises(ConfigError):
        WeightAverage(model(), decay)
