"""Caches through the MusicGen decoder: step by step equals the whole, and the object is the one passed in."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import antiphon

from .conftest import Pair
from .tiny_musicgen import column_ids, distance

MEMORY = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(3))


def stepped(pair: Pair, ids: torch.Tensor, cache: Any, steps: list[int]) -> torch.Tensor:
    """The logits of one call a piece; what stands in front of the columns is given with the first."""
    parts, start, prefix = [], 0, MEMORY.shape[1] if pair.has_melody else 0
    for size in steps:
        piece = ids[:, start : start + size]
        memory = None if pair.has_melody and start else MEMORY
        out = pair.ours.decoder(piece, encoder_hidden_states=memory, past_key_values=cache, use_cache=True)
        assert cache is None or out.past_key_values is cache
        cache = out.past_key_values
        parts.append(out.logits)
        start += size
        assert cache.get_seq_length() == prefix + start
    return torch.cat(parts, dim=1)


@pytest.mark.row("R66", "R67", "R68", "R72")
@pytest.mark.parametrize("steps", [[1] * 9, [4, 1, 3, 1], [9]])
@pytest.mark.parametrize("kind", ["none", "dynamic", "static", "pair", "pair of static"])
def test_any_split_of_the_columns_gives_the_logits_of_one_call(either: Pair, kind: str, steps: list[int]) -> None:
    places = 9 + (5 if either.has_melody else 0)
    cache = {
        "none": lambda: None,
        "dynamic": antiphon.DynamicCache,
        "static": lambda: antiphon.StaticCache(max_cache_len=places),
        "pair": antiphon.EncoderDecoderCache,
        "pair of static": lambda: antiphon.EncoderDecoderCache(
            antiphon.StaticCache(max_cache_len=places), antiphon.StaticCache(max_cache_len=5)
        ),
    }[kind]()
    ids = column_ids(2, 9)
    with torch.no_grad():
        whole = either.theirs.decoder(ids, encoder_hidden_states=MEMORY, use_cache=False).logits
        assert distance(stepped(either, ids, cache, steps), whole) < 2e-4


@pytest.mark.row("R43", "R66")
def test_a_cache_is_made_unless_the_call_or_the_configuration_says_no(fresh: Any) -> None:
    decoder, ids = fresh.decoder, column_ids(2, 3)
    with torch.no_grad():
        made = decoder(ids).past_key_values
        assert isinstance(made, antiphon.EncoderDecoderCache)
        assert isinstance(made, antiphon.Cache)
        assert decoder(ids, use_cache=False).past_key_values is None
        decoder.config.use_cache = False
        assert decoder(ids).past_key_values is None
        assert decoder(ids, use_cache=True).past_key_values is not None


@pytest.mark.row("R72")
def test_with_a_cache_and_one_new_column_the_output_has_one_column(either: Pair) -> None:
    model, ids = either.ours.decoder.model, column_ids(2, 4)
    with torch.no_grad():
        first = model(ids[:, :3])
        assert first.last_hidden_state.shape == (2, 3, 32)
        assert model(ids[:, 3:], past_key_values=first.past_key_values).last_hidden_state.shape == (2, 1, 32)


def test_the_memory_is_projected_once(mono: Pair) -> None:
    calls: list[int] = []
    layer = mono.ours.decoder.model.decoder.stack.layers[0].memory_attention
    handle = layer.key.register_forward_hook(lambda *_: calls.append(1))
    try:
        stepped(mono, column_ids(2, 4), antiphon.EncoderDecoderCache(), [1] * 4)
        assert len(calls) == 1
        stepped(mono, column_ids(2, 4), antiphon.DynamicCache(), [1] * 4)
        assert len(calls) == 5  # a cache without a place for the memory
    finally:
        handle.remove()


def test_a_static_cache_that_is_full_says_so(either: Pair) -> None:
    with pytest.raises(MemoryError, match="max_cache_len"), torch.no_grad():
        either.ours.decoder(column_ids(2, 5), past_key_values=antiphon.StaticCache(max_cache_len=4))


def test_a_cache_of_another_batch_is_refused(either: Pair) -> None:
    with torch.no_grad():
        cache = either.ours.decoder(column_ids(2, 3)).past_key_values
        with pytest.raises(ValueError, match="rows"):
            either.ours.decoder(column_ids(3, 1), past_key_values=cache)


def test_the_cache_passed_to_generate_is_the_one_used_and_returned(either: Pair, texts: Any) -> None:
    cache = antiphon.EncoderDecoderCache()
    asked = {"do_sample": False, "max_new_tokens": 8, "return_dict_in_generate": True, "guidance_scale": 1.0}
    out = either.ours.generate(**texts, **asked, past_key_values=cache)
    assert out.past_key_values is cache
    assert cache.get_seq_length() == either.prefix(texts) + 8
    assert torch.equal(out.audio_codes, either.ours.generate(**texts, **asked).audio_codes)
