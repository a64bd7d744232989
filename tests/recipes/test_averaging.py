"""The middle of two models of one architecture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import antiphon
from recipes.builtin.averaging import write_mean

from ..training.music_models import ours, processor


def saved(folder: Path, name: str, *, moved: float = 0.0) -> Path:
    model = ours(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += moved
    model.save_pretrained(folder)
    processor(name).save_pretrained(folder)
    return folder


def test_the_mean_lies_halfway_and_opens_as_a_whole(tmp_path: Path) -> None:
    one, other = saved(tmp_path / "one", "mono"), saved(tmp_path / "other", "mono", moved=0.5)
    write_mean(tmp_path / "mean", one, other)
    opened = antiphon.MusicgenForConditionalGeneration.from_pretrained(tmp_path / "mean")
    for name, parameter in ours("mono").named_parameters():
        torch.testing.assert_close(opened.get_parameter(name), parameter + 0.25)
    assert antiphon.AutoProcessor.from_pretrained(tmp_path / "mean").tokenizer("a song")["input_ids"]


def test_models_of_two_architectures_have_no_mean(tmp_path: Path) -> None:
    one, other = saved(tmp_path / "one", "mono"), saved(tmp_path / "other", "stereo")
    with pytest.raises(ValueError, match="not of one architecture"):
        write_mean(tmp_path / "mean", one, other)
    assert not (tmp_path / "mean").exists()
