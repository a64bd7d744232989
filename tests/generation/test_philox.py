"""Philox against its published answers, and what the item noise promises."""

from __future__ import annotations

import pytest
import torch

from antiphon.errors import ParamError
from antiphon.generation import philox

# counter, key, answer: the philox4x32-10 rows of the known answer file that comes with Random123
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> torch.Tensor:
    return torch.tensor([int(word, 16) for word in text.split()])


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_its_published_known_answers(counter: str, key: str, answer: str) -> None:
    assert philox.philox4x32(words(counter), words(key)).tolist() == words(answer).tolist()


def test_philox_works_on_any_leading_shape_and_broadcasts_the_key() -> None:
    counters = torch.stack([words(row[0]) for row in KNOWN_ANSWERS]).view(3, 1, 4).expand(3, 5, 4)
    many = philox.philox4x32(counters, words(KNOWN_ANSWERS[2][1]))
    assert many.shape == (3, 5, 4)
    assert many[2, 4].tolist() == words(KNOWN_ANSWERS[2][2]).tolist()
    assert torch.equal(many[0, 0], philox.philox4x32(counters[0, 0], words(KNOWN_ANSWERS[2][1])))


def test_philox_agrees_with_plain_python_integers_on_random_input() -> None:
    generator = torch.Generator().manual_seed(0)
    counters = torch.randint(0, 2**32, (50, 4), generator=generator)
    keys = torch.randint(0, 2**32, (50, 2), generator=generator)
    ours = philox.philox4x32(counters, keys).tolist()
    for row, counter, key in zip(ours, counters.tolist(), keys.tolist(), strict=True):
        assert row == plain_philox(counter, key)


def plain_philox(counter: list[int], key: list[int]) -> list[int]:
    c, k, word = list(counter), list(key), 2**32
    for _ in range(10):
        first, second = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(second // word) ^ c[1] ^ k[0], second % word, (first // word) ^ c[3] ^ k[1], first % word]
        k = [(k[0] + 0x9E3779B9) % word, (k[1] + 0xBB67AE85) % word]
    return c


def test_the_noise_of_a_token_is_the_documented_function_of_seed_step_stream_and_token() -> None:
    seed, step, stream, token = 2**40 + 17, 37, 2, 1234
    got = philox.ItemNoise([seed]).gumbel(step, 4, 2048)[0, stream, token]
    word = plain_philox([token // 4, stream, step, 0], [seed % 2**32, seed // 2**32])[token % 4]
    uniform = torch.tensor((word + 0.5) / 2**32, dtype=torch.float64)
    assert torch.equal(got, (-torch.log(-torch.log(uniform))).float())


def test_the_noise_is_equal_alone_in_a_batch_first_or_last() -> None:
    alone = philox.ItemNoise([7])
    together = philox.ItemNoise([3, 7, 2**63 - 1])
    turned = philox.ItemNoise([7, 2**63 - 1, 3])
    for step in (0, 5, 16, 200):
        one = alone.gumbel(step, 4, 100)
        assert one.shape == (1, 4, 100) and one.dtype == torch.float32
        assert torch.equal(one[0], together.gumbel(step, 4, 100)[1])
        assert torch.equal(one[0], turned.gumbel(step, 4, 100)[0])


def test_the_noise_does_not_depend_on_the_order_in_which_steps_are_asked_for() -> None:
    forward, backward = philox.ItemNoise([1, 2]), philox.ItemNoise([1, 2])
    rising = [forward.gumbel(step, 2, 50).clone() for step in range(40)]
    for step in (39, 3, 17, 16, 15, 0, 31, 32, 3):
        assert torch.equal(backward.gumbel(step, 2, 50), rising[step])


def test_fewer_streams_or_tokens_are_a_part_of_more() -> None:
    noise = philox.ItemNoise([11])
    whole = noise.gumbel(3, 4, 2048)
    assert torch.equal(noise.gumbel(3, 2, 2048), whole[:, :2])
    assert torch.equal(noise.gumbel(3, 4, 2045), whole[..., :2045])
    assert torch.equal(noise.gumbel(3, 1, 2048, first_stream=2), whole[:, 2:3])


def test_rows_may_stand_at_steps_of_their_own() -> None:
    noise = philox.ItemNoise([5, 6])
    mixed = noise.gumbel([4, 90], 2, 30)
    assert torch.equal(mixed[0], noise.gumbel(4, 2, 30)[0])
    assert torch.equal(mixed[1], noise.gumbel(90, 2, 30)[1])


def test_every_part_of_the_address_changes_the_noise() -> None:
    base = philox.ItemNoise([5]).gumbel(4, 2, 40)
    assert not torch.equal(base, philox.ItemNoise([6]).gumbel(4, 2, 40))
    assert not torch.equal(base, philox.ItemNoise([5 + 2**32]).gumbel(4, 2, 40))
    assert not torch.equal(base, philox.ItemNoise([5]).gumbel(5, 2, 40))
    assert not torch.equal(base[:, 0], base[:, 1])
    assert base.unique().numel() == base.numel()


def test_the_noise_has_the_mean_and_spread_of_gumbel_and_is_finite() -> None:
    noise = philox.ItemNoise([0]).gumbel(0, 8, 50_000).double()
    assert bool(noise.isfinite().all())
    assert abs(noise.mean().item() - 0.5772) < 0.01
    assert abs(noise.var().item() - torch.pi**2 / 6) < 0.02


def test_the_extreme_words_give_finite_noise() -> None:
    for word in (0, 2**32 - 1):
        uniform = torch.tensor([word], dtype=torch.float64).add(0.5).mul(2.0**-32)
        assert 0 < uniform.item() < 1
        assert bool((-torch.log(-torch.log(uniform))).float().isfinite())


@pytest.mark.parametrize("step", [-1, 2**32, [0], [0, 1, 2], [0, -1]])
def test_a_step_out_of_range_or_of_the_wrong_number_is_refused(step: int | list[int]) -> None:
    with pytest.raises(ParamError, match="step"):
        philox.ItemNoise([1, 2]).gumbel(step, 1, 8)


def test_a_plain_seed_counts_up_over_the_items_and_wraps() -> None:
    assert philox.item_seeds(7, 3) == [7, 8, 9]
    assert philox.item_seeds(2**63 - 1, 2) == [2**63 - 1, 0]
    assert philox.item_seeds([4, 4, 1], 3) == [4, 4, 1]


def test_without_a_seed_one_is_drawn_from_the_global_generator() -> None:
    torch.manual_seed(0)
    first = philox.item_seeds(None, 2)
    second = philox.item_seeds(None, 2)
    torch.manual_seed(0)
    assert philox.item_seeds(None, 2) == first
    assert first != second and first[1] == first[0] + 1
    assert 0 <= philox.draw_seed() < 2**63


def test_a_list_of_seeds_must_have_one_for_each_item() -> None:
    with pytest.raises(ParamError, match="2 entries for 3 items"):
        philox.item_seeds([1, 2], 3)
