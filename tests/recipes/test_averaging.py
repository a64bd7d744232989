"""The middle of two models of one architecture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import antiphon
from recipes.builtin.averaging import write_mean

from ..training.jobs import codec
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
    write_mean(tmp_path / "near", one, other, share=0.75)
    nearer = antiphon.MusicgenForConditionalGeneration.from_pretrained(tmp_path / "near")
    for name, parameter in ours("mono").named_parameters():
        torch.testing.assert_close(nearer.get_parameter(name), parameter + 0.375)
    assert antiphon.AutoProcessor.from_pretrained(tmp_path / "mean").tokenizer("a song")["input_ids"]


def test_models_of_two_architectures_have_no_mean(tmp_path: Path) -> None:
    one, other = saved(tmp_path / "one", "mono"), saved(tmp_path / "other", "stereo")
    with pytest.raises(ValueError, match="not of one architecture"):
        write_mean(tmp_path / "mean", one, other)
    assert not (tmp_path / "mean").exists()


def test_codecs_have_a_mean_too_and_keep_their_codewords(tmp_path: Path) -> None:
    made = codec()
    made.save_pretrained(tmp_path / "one")
    with torch.no_grad():
        for parameter in made.decoder.parameters():
            parameter += 0.5
    made.save_pretrained(tmp_path / "other")
    write_mean(tmp_path / "mean", tmp_path / "one", tmp_path / "other", kind=antiphon.EncodecModel)
    one, mean = (antiphon.EncodecModel.from_pretrained(tmp_path / name) for name in ("one", "mean"))
    for name, tensor in one.state_dict().items():
        moved = 0.25 if name.startswith("decoder.") else 0.0
        torch.testing.assert_close(mean.state_dict()[name], tensor + moved, atol=1e-5, rtol=1e-5)
