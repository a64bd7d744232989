"""Weights that rest: what is given back, and that it comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from antiphon.checkpoints import store
from antiphon.checkpoints.residency import give_back

_PAGE = 4096


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, torch.Tensor]:
    """Mapped tensors of many pages, every page looked at."""
    torch.manual_seed(0)
    save_file({"a": torch.randn(64, 4096), "b": torch.randn(16, 4096)}, tmp_path / "model.safetensors")
    with store.open_weights(tmp_path) as opened:
        views = opened.mapped(["a", "b"])
    assert set(views) == {"a", "b"}
    assert all(torch.isfinite(view).all() for view in views.values())
    return views


def resident_bytes(tensor: torch.Tensor) -> int:
    """Bytes of the tensor's address range that are in this process's memory."""
    start, stop = tensor.data_ptr() // _PAGE, -(-(tensor.data_ptr() + tensor.nbytes) // _PAGE)
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(start * 8)
        entries = file.read((stop - start) * 8)
    return sum(entries[i * 8 + 7] >> 7 for i in range(stop - start)) * _PAGE


def test_unchanged_views_of_a_file_are_given_back_and_read_again(weights: dict[str, torch.Tensor]) -> None:
    before = weights["a"].clone()
    assert resident_bytes(weights["a"]) >= weights["a"].nbytes
    released = give_back(weights.values())
    assert released >= sum(view.nbytes for view in weights.values()) - 4 * _PAGE
    assert resident_bytes(weights["a"]) <= 2 * _PAGE
    assert torch.equal(weights["a"], before)


def test_what_was_written_to_stays(weights: dict[str, torch.Tensor]) -> None:
    weights["a"][10:12] = 7.0
    expected = weights["a"].clone()
    give_back(weights.values())
    assert torch.equal(weights["a"], expected)
    assert bool((weights["a"][10:12] == 7.0).all())


def test_memory_of_its_own_is_left_alone() -> None:
    own = torch.randn(64, 4096)
    expected = own.clone()
    assert give_back([own]) == 0
    assert torch.equal(own, expected)


def test_nothing_happens_where_the_system_tells_nothing(
    weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_such_file(*args: object, **kwargs: object) -> None:
        raise FileNotFoundError("/proc/self/maps")

    monkeypatch.setattr("builtins.open", no_such_file)
    assert give_back(weights.values()) == 0
