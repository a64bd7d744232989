"""A step of Qwen2 in one call of the kernel: where it takes it, and what it gives beside the layers' own code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import antiphon
from antiphon.nn import transformer

from .tiny_flamingo import asked, ours, text_fields, theirs

NEW = 5
SUITED = {"hidden_size": 64, "intermediate_size": 96}  # heads and layers as wide as the kernel reads them


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each call whose columns could go at once, whether they did."""
    given: list[bool] = []
    inner = transformer.column_step

    def watched(*arguments: Any) -> Tensor | None:
        out = inner(*arguments)
        given.append(out is not None)
        return out

    monkeypatch.setattr(transformer, "column_step", watched)
    return given


@pytest.mark.parametrize("rows", [[[30]], [[30], [9]]])
@pytest.mark.parametrize("loading", [{"dtype": "bfloat16"}, {"quantize": "int8"}, {"quantize": "int4"}])
def test_every_step_is_one_call_and_its_logits_are_the_layers(
    rows: list[list[int]],
    loading: dict[str, Any],
    answers: list[bool],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs(text_config={"model_type": "qwen2", **text_fields(**SUITED)}).save_pretrained(tmp_path)
    model = antiphon.MusicFlamingoForConditionalGeneration.from_pretrained(tmp_path, **loading)
    inputs, wanted = asked(*rows), {"return_dict_in_generate": True, "output_logits": True}
    fast = model.generate(**inputs, max_new_tokens=NEW, **wanted)
    assert answers == [True] * (NEW - 1)
    monkeypatch.setattr(transformer, "column_step", lambda *_: None)
    forced = fast.sequences[:, inputs["input_ids"].shape[1] :]
    slow = model.generate(
        **inputs,
        max_new_tokens=NEW,
        prefix_allowed_tokens_fn=lambda row, ids: [int(forced[row, len(ids) - inputs["input_ids"].shape[1]])],
        **wanted,
    )
    bound = 0.3 if loading.get("dtype") else 1e-3
    for mine, other in zip(fast.logits, slow.logits, strict=True):
        assert float((mine.float() - other.float()).abs().max()) < bound


def test_layers_that_differ_in_what_they_see_go_one_by_one(answers: list[bool]) -> None:
    for first, counted in ((0, NEW - 1), (1, 0), (2, NEW - 1)):
        window = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": first}
        model = ours(theirs("text", **SUITED, **window)).to(torch.bfloat16)
        del answers[:]
        model.generate(asked([])["input_ids"], max_new_tokens=NEW)
        assert len(answers) == counted
