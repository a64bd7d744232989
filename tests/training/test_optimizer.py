"""What moves the weights: AdamW for all, or Muon for the matrices of transformer layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from antiphon.errors import CheckpointError, ConfigError
from antiphon.training.music import MusicObjective
from antiphon.training.optimizer import Optimizer
from antiphon.training.settings import RunSettings

from .jobs import trainer
from .music_models import batch, ours


def _stepped(optimizer: str, **more: Any) -> tuple[MusicObjective, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """An objective after one step, and its tensors before and after."""
    objective = MusicObjective(ours("mono"), train_text_encoder=True, weight_decay=0.0)
    before = {name: p.detach().clone() for name, p in objective.model.named_parameters()}
    settings = RunSettings(steps=10, warmup_steps=0, learning_rate=0.01, weight_decay=0.0, optimizer=optimizer, **more)
    mover = Optimizer(objective.model, objective.parameter_groups(), settings)
    given = batch("mono")
    (objective.losses(given).total / objective.weight(given)).backward()
    mover.step(0.5)
    after = {name: p.detach().clone() for name, p in objective.model.named_parameters()}
    return objective, before, after


def _in_a_layer(name: str, tensor: torch.Tensor) -> bool:
    return ".layers." in name and tensor.dim() == 2 and "embed" not in name and not name.endswith("bias")


def test_muon_moves_matrices_of_layers_in_all_directions_alike_and_adamw_all_else() -> None:
    _, before, adamw = _stepped("adamw")
    _, same, muon = _stepped("muon")
    moved = 0
    for name, old in before.items():
        assert torch.equal(old, same[name])
        if not _in_a_layer(name, old) or torch.equal(muon[name], old):
            torch.testing.assert_close(muon[name], adamw[name], rtol=0, atol=0)
            continue
        strengths = torch.linalg.svdvals(muon[name] - old) / (0.5 * 0.01 * 0.2 * max(old.shape) ** 0.5)
        gradient_rank = int((strengths > 0.3).sum())
        assert gradient_rank >= 2, name
        assert float(strengths.max()) < 1.3, name
        moved += 1
    assert moved >= 12


@pytest.mark.parametrize("at", [1, 5])
def test_a_run_with_muon_in_parts_is_the_run_at_once(tmp_path: Path, at: int) -> None:
    whole = trainer("music", tmp_path / "whole", optimizer="muon")
    whole.run()
    trainer("music", tmp_path / "parts", optimizer="muon").run(until=at)
    parts = trainer("music", tmp_path / "parts", optimizer="muon")
    parts.run()
    for (name, one), other in zip(
        whole.objective.model.named_parameters(), parts.objective.model.parameters(), strict=True
    ):
        assert torch.equal(one, other), name


def test_a_state_of_another_optimizer_is_refused(tmp_path: Path) -> None:
    trainer("music", tmp_path, optimizer="muon").run(until=2)
    with pytest.raises(CheckpointError, match="same optimizer"):
        trainer("music", tmp_path)


def test_muon_needs_transformer_layers_and_one_process(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without transformer layers"):
        trainer("line", tmp_path, optimizer="muon")
    objective = MusicObjective(ours("mono"))
    settings = RunSettings(steps=1, warmup_steps=0, optimizer="muon")
    with pytest.raises(ConfigError, match="2 processes"):
        Optimizer(objective.model, objective.parameter_groups(), settings, processes=2)
    with pytest.raises(ConfigError, match="optimizer='sgd'"):
        RunSettings(steps=1, warmup_steps=0, optimizer="sgd")
