"""Generation in eight and four bits by one call a column, against the layers one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import antiphon
from antiphon.nn import transformer

from . import tiny_melody


@pytest.fixture(params=["musicgen", "melody"])
def folder(request: pytest.FixtureRequest, checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint of each family whose layers are wider than a group of rounded weights."""
    if request.param == "musicgen":
        return checkpoint
    tiny_melody.melody(1, hidden_size=128, ffn_dim=256).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("cache_dtype", [None, "int8"])
def test_codes_are_equal_and_logits_near(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, cache_dtype: str | None
) -> None:
    model = antiphon.AutoModel.from_pretrained(folder, quantize=kind)
    answers: list[bool] = []

    def by_one_call(*arguments: Any) -> Tensor | None:
        out = step(*arguments)
        answers.append(out is not None)
        return out

    def run() -> tuple[Tensor, Tensor]:
        ids = torch.arange(4, 12).repeat(2, 1)
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            guidance_scale=3.0,
            max_new_tokens=24,
            cache_dtype=cache_dtype,
            output_logits=True,
            return_dict_in_generate=True,
        )
        return out.sequences, torch.stack(out.logits)

    step = transformer.column_step
    monkeypatch.setattr(transformer, "column_step", by_one_call)
    sound, logits = run()
    # one column is MusicGen's first call, which still has to project its text; Melody's has the prefix in it
    assert answers[0] is (model.config.model_type == "musicgen_melody")
    assert all(answers[1:]) and len(answers) > 20
    monkeypatch.setattr(transformer, "column_step", lambda *_: None)
    wanted_sound, wanted = run()
    assert logits.argmax(-1).equal(wanted.argmax(-1))
    assert float((logits - wanted).norm() / wanted.norm()) < (1e-5 if cache_dtype is None else 1e-3)
    torch.testing.assert_close(sound, wanted_sound)
