"""The first call of a text's steps: long prompts of different lengths, each computed without padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from antiphon.models import text_steps

from .tiny_flamingo import MEL, PAD, asked, ours, pair, text

NEW = 6


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Rows and columns of each call of the language model; every prompt counts as long."""
    monkeypatch.setattr(text_steps, "_LONG", 4)
    return []


def watched(shapes: list[tuple[int, ...]], kind: str = "music") -> Any:
    model = ours(pair(kind)[0])
    decoder = model.model.text if kind == "text" else model.model.language_model.text
    decoder.stack.register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape[:2])))
    return model


@pytest.mark.parametrize(
    "settings", [{}, {"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}, {"cache_dtype": "float32"}]
)
def test_answers_to_sounds_of_different_lengths_are_the_references(
    settings: dict[str, Any], shapes: list[tuple[int, ...]]
) -> None:
    inputs = asked([MEL, 30], [9], [], [9])
    ids = inputs["input_ids"]
    model = watched(shapes)
    with torch.no_grad():
        embedded, _ = model.model.heard(**{k: v for k, v in inputs.items() if k != "attention_mask"})
    told = {k: v for k, v in settings.items() if k != "cache_dtype"}
    mask = inputs["attention_mask"]
    expected = pair()[0].generate(ids, inputs_embeds=embedded, attention_mask=mask, max_new_tokens=NEW, **told)
    assert torch.equal(model.generate(**inputs, max_new_tokens=NEW, **settings), expected)
    real = mask.sum(dim=1).tolist()
    lengths = sorted(set(real), reverse=True)
    assert shapes[: len(lengths)] == [(real.count(length), length) for length in lengths]
    assert shapes[len(lengths) :] == [(4 * settings.get("num_beams", 1), 1)] * (len(shapes) - len(lengths))


def test_an_eight_bit_cache_holds_nothing_where_padding_was(shapes: list[tuple[int, ...]]) -> None:
    inputs = asked([MEL, 30], [9])
    model = watched(shapes)
    settings = {"max_new_tokens": NEW, "cache_dtype": "int8", "return_dict_in_generate": True}
    out = model.generate(**inputs, **settings)
    keys, values = out.past_key_values[0]
    pads = int((inputs["attention_mask"][1] == 0).sum())
    assert not bool(keys[1, :, :pads].any() or values[1, :, :pads].any())
    assert bool(keys.isfinite().all())
    assert not bool((keys[:, :, pads:] == 0).all(dim=-1).any())


def test_padding_between_words_is_computed_with_its_mask(shapes: list[tuple[int, ...]]) -> None:
    reference, model = pair("text")[0], watched(shapes, "text")
    ids, mask = text(2, 9), torch.ones(2, 9, dtype=torch.int64)
    mask[0, 3:5] = 0
    settings = {"attention_mask": mask, "max_new_tokens": NEW, "pad_token_id": PAD}
    assert torch.equal(model.generate(ids, **settings), reference.generate(ids, **settings))
    assert shapes[0] == (2, 9)


def test_recorded_states_are_of_every_row(shapes: list[tuple[int, ...]]) -> None:
    model, inputs = watched(shapes), asked([30], [9])
    wanted = {"return_dict_in_generate": True, "output_hidden_states": True, "max_new_tokens": 2}
    out = model.generate(**inputs, num_return_sequences=2, do_sample=True, seed=1, **wanted)
    assert out.hidden_states[0][0].shape[:2] == (4, inputs["input_ids"].shape[1])
