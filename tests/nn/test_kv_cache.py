"""The cache: it grows, stays fixed, forgets, reorders, and keeps no graph."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from antiphon.errors import CapacityError, ParamError, SessionError
from antiphon.nn.kv_cache import Cache, DynamicCache, EncoderDecoderCache, KVCache, LayerCache, StaticCache


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def columns(count: int, *, rows: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    return noise(rows, 3, count, 4, seed=seed), noise(rows, 3, count, 4, seed=seed + 1000)


@pytest.mark.parametrize("cuts", [[1] * 20, [255, 1, 1], [300, 300, 5], [7]])
def test_what_was_written_is_read_back_through_every_growth(cuts: list[int]) -> None:
    cache = LayerCache()
    keys, values = columns(sum(cuts))
    done = 0
    for cut in cuts:
        got = cache.append(keys[:, :, done : done + cut], values[:, :, done : done + cut])
        done += cut
        assert cache.length == done
        assert torch.equal(got[0], keys[:, :, :done])
        assert torch.equal(got[1], values[:, :, :done])


def test_adding_a_column_copies_nothing_of_the_past() -> None:
    cache = LayerCache()
    first, _ = cache.append(*columns(1))
    second, _ = cache.append(*columns(1, seed=1))
    assert first.data_ptr() == second.data_ptr()


def test_a_known_capacity_is_allocated_once_and_no_more() -> None:
    cache = LayerCache(10)
    cache.append(*columns(1))
    assert cache._keys is not None
    assert cache._keys.shape[2] == 10
    place = cache._keys.data_ptr()
    cache.append(*columns(9))
    assert cache._keys.data_ptr() == place
    cache.append(*columns(1))  # a capacity is a guess, not a limit
    assert cache.length == 11


def test_growing_is_by_half_so_that_copies_stay_few() -> None:
    cache, sizes = LayerCache(), set()
    for _ in range(3000):
        cache.append(*columns(1, rows=1))
        assert cache._keys is not None
        sizes.add(cache._keys.shape[2])
    assert len(sizes) <= 8


def test_a_fixed_cache_refuses_the_column_too_many_and_keeps_the_others() -> None:
    cache = LayerCache(4, fixed=True)
    keys, values = columns(4)
    cache.append(keys, values)
    with pytest.raises(CapacityError, match="holds 4 columns and column 5 came"):
        cache.append(*columns(1))
    assert cache.length == 4
    assert torch.equal(cache.keys, keys)
    assert torch.equal(cache.values, values)


def test_another_number_of_rows_is_refused() -> None:
    cache = LayerCache()
    cache.append(*columns(2))
    with pytest.raises(ParamError, match="holds 2 rows and 3 came"):
        cache.append(*columns(1, rows=3))


def test_the_cache_keeps_no_graph_and_the_fresh_part_has_its_gradient() -> None:
    cache = LayerCache()
    past = columns(2)
    past[0].requires_grad_()
    cache.append(*past)
    fresh = columns(1, seed=2)
    fresh[0].requires_grad_()
    keys, _ = cache.append(*fresh)
    keys.sum().backward()
    assert fresh[0].grad is not None
    assert past[0].grad is None
    assert cache.keys is not None
    assert not cache.keys.requires_grad
    keys_then = keys.detach().clone()
    with torch.no_grad():
        cache.append(*columns(1, seed=3))  # writing on must not reach into what a graph holds
    assert torch.equal(keys.detach(), keys_then)


def test_cropping_forgets_the_end() -> None:
    cache = KVCache()
    keys, values = columns(6)
    for layer in range(2):
        cache.update(keys, values, layer)
    cache.crop(4)
    assert cache.get_seq_length() == 4
    assert torch.equal(cache[1][0], keys[:, :, :4])
    cache.crop(-1)
    assert cache.get_seq_length(1) == 3
    cache.crop(100)
    assert cache.get_seq_length() == 3
    cache.crop(-100)
    assert cache.get_seq_length() == 0
    again, _ = cache.update(keys[:, :, 3:], values[:, :, 3:], 0)
    assert torch.equal(again, keys[:, :, 3:])


def test_rows_are_reordered_and_repeated() -> None:
    cache = DynamicCache()
    keys, values = columns(3)
    cache.update(keys, values, 0)
    cache.batch_repeat_interleave(2)
    assert torch.equal(cache[0][0], keys[[0, 0, 1, 1]])
    cache.reorder_cache(torch.tensor([3, 0]))
    assert torch.equal(cache[0][1], values[[1, 0]])
    grown, _ = cache.update(keys[[1, 0]], values[[1, 0]], 0)
    assert torch.equal(grown, keys[[1, 0]].repeat(1, 1, 2, 1))


def test_resetting_forgets_everything_and_keeps_the_memory() -> None:
    cache = StaticCache(max_cache_len=5)
    cache.update(*columns(5), 0)
    place = cache[0][0].data_ptr()
    cache.reset()
    assert cache.get_seq_length() == 0
    cache.update(*columns(5, seed=4), 0)
    assert cache[0][0].data_ptr() == place


def test_the_public_names_are_one_kind() -> None:
    for kind in (DynamicCache(), StaticCache(max_cache_len=3), EncoderDecoderCache()):
        assert isinstance(kind, Cache)
    assert DynamicCache().get_max_cache_shape() == -1
    assert StaticCache(max_cache_len=3).get_max_cache_shape() == 3
    assert DynamicCache().get_seq_length() == 0
    with pytest.raises(ParamError, match="max_cache_len=0"):
        StaticCache()


def test_a_cache_can_be_walked_like_a_list_of_layers() -> None:
    cache = DynamicCache()
    for layer in range(3):
        cache.update(*columns(2, seed=layer), layer)
    assert len(cache) == 3
    assert [keys.shape[2] for keys, _ in cache] == [2, 2, 2]
    assert torch.equal(cache[2][0], columns(2, seed=2)[0])


def test_a_pair_holds_its_own_columns_and_the_memory_apart() -> None:
    own, memory = DynamicCache(), StaticCache(max_cache_len=6)
    pair = EncoderDecoderCache(own, memory)
    pair.update(*columns(2), 0)
    pair.memory(0).append(*columns(6, seed=1))
    assert pair.layer(0) is own.layers[0]
    assert pair.is_updated == {0: True}
    assert (pair.get_seq_length(), memory.get_seq_length(), len(pair)) == (2, 6, 1)
    pair.crop(1)
    assert (pair.get_seq_length(), memory.get_seq_length()) == (1, 6)
    pair.batch_repeat_interleave(2)
    assert pair[0][0].shape[0] == memory[0][0].shape[0] == 4
    pair.reorder_cache(torch.tensor([1]))
    assert pair[0][0].shape[0] == memory[0][0].shape[0] == 1
    assert pair.get_max_cache_shape() == -1
    pair.reset()
    assert (pair.get_seq_length(), memory.get_seq_length()) == (0, 0)
    assert pair.is_updated == {0: False}


def test_nothing_written_is_nothing_read() -> None:
    cache = LayerCache()
    assert cache.keys is None
    assert cache.values is None
    keys, values = columns(0)
    assert cache.append(keys, values)[0].shape == (2, 3, 0, 4)
    KVCache().batch_repeat_interleave(2)


@pytest.mark.parametrize(("dtype", "error"), [("float32", 0.0), ("bfloat16", 0.005), ("int8", 0.006)])
def test_a_cache_keeps_its_numbers_in_the_dtype_asked_for(dtype: str, error: float) -> None:
    keys, values = noise(2, 3, 300, 16), noise(2, 3, 300, 16, seed=1)
    cache = KVCache(dtype=dtype)
    for start in range(0, 300, 100):
        cache.update(keys[:, :, start : start + 100], values[:, :, start : start + 100], 0)
    layer = cache.layer(0)
    assert str(layer.stored.keys.dtype) == f"torch.{dtype}"
    assert layer.keys is not None and layer.values is not None
    for got, wanted in ((layer.keys, keys), (layer.values, values)):
        assert got.dtype is torch.float32
        assert (got - wanted).norm() <= error * wanted.norm()


def test_an_eight_bit_cache_forgets_reorders_and_repeats_as_a_plain_one() -> None:
    plain, small = KVCache(), KVCache(dtype=torch.int8)
    for cache in (plain, small):
        cache.update(*columns(6), 0)
        cache.crop(-2)
        cache.reorder_cache(torch.tensor([1, 0]))
        cache.batch_repeat_interleave(2)
        cache.update(*columns(1, rows=4), 0)
    assert small.get_seq_length() == 5
    for got, wanted in zip(small[0], plain[0], strict=True):
        assert got is not None and wanted is not None
        torch.testing.assert_close(got, wanted, rtol=0, atol=0.02)


def test_an_eight_bit_cache_passes_the_gradients_of_what_is_fresh() -> None:
    cache = KVCache(dtype="int8")
    cache.update(*columns(3), 0)
    keys, values = columns(1, seed=5)
    got, _ = cache.update(keys.requires_grad_(), values, 0)
    got.sum().backward()
    assert keys.grad is not None and bool((keys.grad == 1).all())


@pytest.mark.parametrize("dtype", ["int4", torch.int64, 8])
def test_a_dtype_that_a_cache_does_not_know_is_refused(dtype: object) -> None:
    with pytest.raises(ParamError, match="a cache of dtype"):
        KVCache(dtype=dtype)  # type: ignore[arg-type]


def test_an_empty_cache_has_nothing_to_show() -> None:
    assert KVCache(dtype="int8").layer(0).keys is None
    with pytest.raises(SessionError):
        _ = LayerCache().stored
