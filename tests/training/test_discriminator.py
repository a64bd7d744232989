"""A codec's adversary: it learns, the codec learns from it, and a run with it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from antiphon.errors import CheckpointError, ConfigError
from antiphon.training.codec import CodecObjective
from antiphon.training.discriminator import Adversary, AdversarySettings
from antiphon.training.loop import Trainer
from antiphon.training.processes import Processes
from antiphon.training.settings import RunSettings

from .jobs import Tones, codec, record

SMALL = AdversarySettings(start=2, filters=4, windows=(64, 32), learning_rate=3e-3)


def run(folder: Path, adversary: AdversarySettings | None = SMALL, **numbers: int) -> Trainer:
    settings = RunSettings(
        **{"steps": 6, "batch": 4, "warmup_steps": 0, "log_every": 1, "save_every": 6, "average_decay": 0.0, **numbers}
    )
    return Trainer(CodecObjective(codec(), adversary=adversary, quantise_from=1), Tones(), settings, folder)


def sounds() -> tuple[torch.Tensor, torch.Tensor]:
    """Four tones, and noise."""
    generator = torch.Generator().manual_seed(0)
    times = torch.arange(400) / 400
    tones = torch.sin(2 * torch.pi * torch.tensor([20.0, 30.0, 40.0, 50.0])[:, None] * times)
    return tones, torch.randn(4, 400, generator=generator)


def test_it_learns_to_tell_sounds_from_others() -> None:
    adversary = Adversary(SMALL)
    before = float(adversary.watch(*sounds()).mean())
    for _ in range(30):
        adversary.watch(*sounds())
        adversary.learn()
    assert float(adversary.watch(*sounds()).mean()) < 0.5 * before


def test_the_codec_is_pulled_and_the_adversary_is_not() -> None:
    adversary, (sound, rebuilt) = Adversary(SMALL), sounds()
    rebuilt.requires_grad_()
    losses = adversary.losses(sound, rebuilt)
    (losses["adversarial"] + losses["features"]).sum().backward()
    assert bool(rebuilt.grad.abs().amax(dim=1).gt(0).all())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in adversary.judges.parameters())
    assert adversary.losses(sound, sound)["features"].tolist() == [0.0] * 4


def test_what_it_learns_is_a_mean_over_rows() -> None:
    whole, parts = Adversary(SMALL), Adversary(SMALL)
    sound, rebuilt = sounds()
    whole.watch(sound, rebuilt)
    for row in range(4):
        parts.watch(sound[row : row + 1], rebuilt[row : row + 1])
    for adversary in (whole, parts):
        adversary.learn()
    for name, tensor in whole.state().items():
        torch.testing.assert_close(parts.state()[name], tensor, rtol=1e-3, atol=1e-6)


def test_it_takes_part_from_its_step_on(tmp_path: Path) -> None:
    run(tmp_path).run()
    run(tmp_path / "without", adversary=None).run()
    lines, without = record(tmp_path), record(tmp_path / "without")
    assert ["discriminator" in line for line in lines] == [False, False, True, True, True, True]
    assert lines[:2] == without[:2] and lines[3]["log_mel"] != without[3]["log_mel"]


def test_a_run_with_it_goes_on_as_if_uninterrupted(tmp_path: Path) -> None:
    run(tmp_path / "whole").run()
    for stop in (1, 4, 6):
        run(tmp_path / "parts").run(until=stop)
    assert record(tmp_path / "parts") == record(tmp_path / "whole")


def test_a_run_that_had_none_is_not_gone_on_with_one_in_its_middle(tmp_path: Path) -> None:
    run(tmp_path, adversary=None).run(until=4)
    with pytest.raises(CheckpointError, match="no adversary like this"):
        run(tmp_path)


def test_several_processes_and_odd_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="an adversary with 2 processes"):
        CodecObjective(codec(), adversary=SMALL, processes=Processes(0, 2))
    for odd in ({"start": -1}, {"learning_rate": float("nan")}, {"adversarial": float("nan")}, {"windows": ()}):
        with pytest.raises(ConfigError):
            AdversarySettings(**{"start": 0, **odd})
