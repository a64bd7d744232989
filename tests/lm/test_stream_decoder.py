"""The decoder over several token streams: sums of embeddings, positions, caches, and what must not be seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from antiphon.lm.stream_decoder import StreamDecoder, StreamHeads
from antiphon.nn.kv_cache import DynamicCache, EncoderDecoderCache, KVCache, StaticCache
from antiphon.nn.linear import lay_side_by_side
from antiphon.nn.positions import sinusoids


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(**options: Any) -> StreamDecoder:
    sizes: dict[str, Any] = {
        "streams": 3,
        "vocabulary": 11,
        "width": 12,
        "layers": 2,
        "heads": 3,
        "hidden": 16,
        "act": "gelu",
        "memory": True,
        "positions": 4,
    }
    decoder = StreamDecoder(**{**sizes, **options})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(*parameter.shape, generator=generator) / 2)
    return decoder.eval()


def tokens(columns: int = 6, rows: int = 2) -> Tensor:
    return torch.randint(0, 11, (rows, 3, columns), generator=torch.Generator().manual_seed(3))


MEMORY = noise(2, 5, 12, seed=8)
MEMORY_PADDING = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])


def test_a_columns_embedding_is_the_sum_over_its_streams() -> None:
    decoder, codes = made(), tokens()
    with torch.no_grad():
        expected = sum(decoder.embeddings[k].weight[codes[:, k]] for k in range(3))
        torch.testing.assert_close(decoder.embed(codes), expected)
        scaled = made(embedding_scale=0.25)
        torch.testing.assert_close(scaled.embed(codes), expected * 0.25)


def test_positions_are_added_and_counted_on_from_the_cache() -> None:
    decoder, codes = made(), tokens(3)
    with torch.no_grad():
        x = decoder.embed(codes)
        plain = decoder(codes, memory=MEMORY)
        given = decoder(codes, memory=MEMORY, positions=torch.arange(3).expand(2, 3))
        torch.testing.assert_close(given, plain)
        moved = decoder(None, embedded=x + sinusoids(3, 12) - sinusoids(6, 12)[3:], memory=MEMORY)
        offset = decoder(codes, memory=MEMORY, positions=torch.arange(3).expand(2, 3))
    assert not torch.allclose(moved, offset, atol=1e-3)


@pytest.mark.parametrize("cuts", [[1] * 6, [2, 4], [4, 1, 1]])
@pytest.mark.parametrize("kind", ["dynamic", "pair", "static", "known"])
def test_step_by_step_equals_all_at_once(cuts: list[int], kind: str) -> None:
    decoder, codes = made(), tokens()
    cache = {
        "dynamic": DynamicCache,
        "pair": EncoderDecoderCache,
        "static": lambda: StaticCache(max_cache_len=6),
        "known": lambda: EncoderDecoderCache(KVCache(6), KVCache(5)),
    }[kind]()
    parts, past = [], 0
    with torch.no_grad():
        whole = decoder(codes, memory=MEMORY, memory_padding=MEMORY_PADDING)
        for cut in cuts:
            piece = codes[..., past : past + cut]
            parts.append(decoder(piece, memory=MEMORY, memory_padding=MEMORY_PADDING, cache=cache))
            past += cut
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)


def test_the_future_is_not_seen_and_the_past_is() -> None:
    decoder, codes = made(), tokens()
    changed = codes.clone()
    changed[:, 1, 3] = (changed[:, 1, 3] + 1) % 11
    with torch.no_grad():
        one, other = decoder(codes, memory=MEMORY), decoder(changed, memory=MEMORY)
    assert torch.equal(one[:, :3], other[:, :3])
    assert bool(((one - other).abs().amax(dim=-1)[:, 3:] > 1e-3).all())


def test_places_of_the_memory_called_padding_make_no_difference() -> None:
    decoder, codes, poisoned = made(), tokens(), MEMORY.clone()
    poisoned[0, 3:] = 1e3
    with torch.no_grad():
        one = decoder(codes, memory=MEMORY, memory_padding=MEMORY_PADDING)
        other = decoder(codes, memory=poisoned, memory_padding=MEMORY_PADDING)
        without = decoder(codes)
    assert torch.equal(one, other)
    assert not torch.allclose(one, without, atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_memory_of_padding_only_is_no_memory(dtype: torch.dtype) -> None:
    """The unconditional rows of guidance: nothing to attend to, and never NaN."""
    decoder, codes = made().to(dtype), tokens()
    with torch.no_grad():
        blind = decoder(codes, memory=MEMORY.to(dtype), memory_padding=torch.zeros(2, 5))
        without = decoder(codes)
    assert blind.isfinite().all()
    torch.testing.assert_close(blind, without, atol=1e-5 if dtype is torch.float32 else 3e-2, rtol=1e-2)


def test_a_row_that_begins_late_is_what_it_is_alone() -> None:
    decoder, codes = made(), tokens(4, rows=1)
    padded = torch.cat([torch.zeros(1, 3, 2, dtype=torch.long), codes], dim=-1)
    padding = torch.tensor([[0, 0, 1, 1, 1, 1]])
    positions = torch.tensor([[0, 0, 0, 1, 2, 3]])
    with torch.no_grad():
        alone = decoder(codes, memory=MEMORY[:1])
        late = decoder(padded, padding=padding, positions=positions, memory=MEMORY[:1])
    assert late.isfinite().all()
    torch.testing.assert_close(late[:, 2:], alone, atol=1e-5, rtol=1e-5)


def test_positions_beyond_the_first_table_are_found() -> None:
    with torch.no_grad():
        assert made(positions=1)(tokens(40)).isfinite().all()


def test_a_stack_without_memory_has_no_layers_for_one() -> None:
    decoder = made(memory=False)
    assert not any("memory" in name for name, _ in decoder.named_parameters())
    with torch.no_grad():
        assert decoder(tokens()).shape == (2, 6, 12)


def test_neither_tokens_nor_embeddings_is_refused() -> None:
    with pytest.raises(ValueError, match="neither tokens nor embeddings"):
        made()(None)


@pytest.mark.parametrize("laid_out", [False, True])
def test_every_stream_has_a_head_of_its_own(laid_out: bool) -> None:
    heads = StreamHeads(3, 12, 7)
    with torch.no_grad():
        for k, head in enumerate(heads):
            head.weight.copy_(noise(7, 12, seed=k))
        if laid_out:
            lay_side_by_side(list(heads))
        hidden = noise(2, 4, 12)
        logits = heads(hidden)
    assert logits.shape == (2, 3, 4, 7)
    for k in range(3):
        torch.testing.assert_close(logits[:, k], hidden @ noise(7, 12, seed=k).t(), atol=1e-5, rtol=1e-5)
