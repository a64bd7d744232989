"""Keys and values are used again exactly as far as the columns are the same."""

from __future__ import annotations

import pytest
import torch

from antiphon.errors import ParamError
from antiphon.nn.kv_cache import KVCache
from antiphon.tasks.heard_sound import HeardSound, Listened
from antiphon.tasks.kept_prefix import KeptPrefixes, signature_of


def cache(columns: int) -> KVCache:
    made = KVCache(columns)
    made.update(torch.ones(1, 2, columns, 4), torch.ones(1, 2, columns, 4), 0)
    return made


def listened(digest: str, frames: int) -> Listened:
    return Listened(HeardSound(torch.zeros(1).numpy(), 0, 1, 1), digest, torch.zeros(frames, 4))


def test_what_is_shared_is_kept_and_the_rest_cut() -> None:
    kept = KeptPrefixes(most_bytes=10**6)
    kept.keep([1, 2, 3, 4, 5], cache(5))
    taken = kept.take([1, 2, 9, 4])
    assert taken is not None
    assert taken.get_seq_length() == 2
    assert len(kept) == 0  # nobody else may have it
    assert kept.take([1, 2, 9, 4]) is None


def test_a_column_is_left_to_compute_where_all_is_known() -> None:
    kept = KeptPrefixes(most_bytes=10**6)
    kept.keep([1, 2, 3], cache(3))
    taken = kept.take([1, 2])
    assert taken is not None
    assert taken.get_seq_length() == 1


def test_the_longest_of_several_is_taken() -> None:
    kept = KeptPrefixes(most_bytes=10**6)
    for signature in ([1], [1, 2, 3], [7, 7]):
        kept.keep(signature, cache(len(signature)))
    taken = kept.take([1, 2, 8])
    assert taken is not None
    assert taken.get_seq_length() == 2
    assert len(kept) == 2
    assert kept.take([5]) is None


def test_the_oldest_goes_when_there_is_too_much() -> None:
    size = 2 * 2 * 3 * 4 * 4
    kept = KeptPrefixes(most_bytes=2 * size)
    for first in (1, 2, 3):
        kept.keep([first, 0, 0], cache(3))
    assert len(kept) == 2
    assert kept.take([1, 0, 0]) is None
    kept.keep([9] * 30, cache(30))  # too large to be kept at all
    assert len(kept) == 2
    kept.forget()
    assert len(kept) == 0


def test_a_sound_is_the_same_where_its_content_is() -> None:
    one, other = listened("one", 3), listened("other", 3)
    ids = [5, 0, 0, 0, 6]
    assert signature_of(ids, [one], 0) == [5, "one", "one", "one", 6]
    assert signature_of(ids, [one], 0) != signature_of(ids, [other], 0)
    assert signature_of([5, 0, 0, 0, 6, 0, 0, 0], [one, other], 0) == [5, *["one"] * 3, 6, *["other"] * 3]


@pytest.mark.parametrize("most_bytes", [-1, 0.5, float("nan"), True])
def test_a_bound_is_a_number_of_bytes(most_bytes: object) -> None:
    with pytest.raises(ParamError, match="most_bytes"):
        KeptPrefixes(most_bytes=most_bytes)
