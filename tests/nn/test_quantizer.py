"""Residual quantisation: the nearest codeword, exactly, and sums that come back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from antiphon.nn import quantizer as module
from antiphon.nn.quantizer import Codebook, ResidualQuantizer


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(codebooks: int = 4, size: int = 16, width: int = 6) -> ResidualQuantizer:
    quantizer = ResidualQuantizer(codebooks, size, width)
    for number, codebook in enumerate(quantizer.codebooks):
        codebook.vectors.copy_(noise(size, width, seed=50 + number) / (number + 1))
    return quantizer


def test_the_nearest_codeword_is_that_of_a_brute_force_search() -> None:
    codebook = Codebook(64, 8)
    codebook.vectors.copy_(noise(64, 8))
    x = noise(500, 8, seed=1)
    distances = (x.double()[:, None] - codebook.vectors.double()[None]).pow(2).sum(-1)
    best, second = distances.sort(dim=1).values[:, :2].unbind(1)
    picked = codebook.nearest(x)
    differ = picked != distances.argmin(1)
    # only where rounding decides between two codewords may they differ; here it never does
    assert bool((second - best > 1e-4).all())
    assert not differ.any()


def test_a_codeword_is_nearest_to_itself() -> None:
    codebook = Codebook(32, 5)
    codebook.vectors.copy_(noise(32, 5))
    assert codebook.nearest(codebook.vectors).tolist() == list(range(32))


def test_a_long_input_in_blocks_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    codebook = Codebook(16, 4)
    codebook.vectors.copy_(noise(16, 4))
    x = noise(101, 4, seed=1)
    whole = codebook.nearest(x)
    monkeypatch.setattr(module, "_ROWS", 10)
    assert torch.equal(codebook.nearest(x), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_compared_in_float32(dtype: torch.dtype) -> None:
    codebook = Codebook(64, 8)
    codebook.vectors.copy_(noise(64, 8))
    codebook.to(dtype)
    x = noise(200, 8, seed=1).to(dtype)
    distances = (x.double()[:, None] - codebook.vectors.double()[None]).pow(2).sum(-1)
    assert torch.equal(codebook.nearest(x), distances.argmin(1))


def test_each_codebook_takes_what_the_ones_before_left() -> None:
    quantizer, x = made(), noise(2, 6, 9)
    codes = quantizer.encode(x)
    assert codes.shape == (2, 4, 9)
    assert codes.dtype is torch.int64
    rest = x.transpose(1, 2)
    for k, codebook in enumerate(quantizer.codebooks):
        chosen = codebook.vectors[codes[:, k]]
        distances = (rest[..., None, :] - codebook.vectors).pow(2).sum(-1)
        torch.testing.assert_close((rest - chosen).pow(2).sum(-1), distances.min(-1).values)
        rest = rest - chosen
    torch.testing.assert_close(quantizer.decode(codes), x - rest.transpose(1, 2), atol=1e-5, rtol=1e-5)


def test_fewer_codebooks_are_the_first_of_all() -> None:
    quantizer, x = made(), noise(1, 6, 7)
    all_codes = quantizer.encode(x)
    for count in (1, 2, 3):
        assert torch.equal(quantizer.encode(x, count), all_codes[:, :count])
        assert quantizer.decode(all_codes[:, :count]).shape == x.shape
    errors = [(quantizer.decode(all_codes[:, :k]) - x).pow(2).mean().item() for k in range(1, 5)]
    assert errors == sorted(errors, reverse=True)


def test_what_was_decoded_encodes_to_the_same_sound() -> None:
    quantizer = made(codebooks=1)
    sound = quantizer.decode(torch.arange(16)[None, None])
    assert quantizer.encode(sound).flatten().tolist() == list(range(16))


def test_nothing_to_decode_is_refused() -> None:
    with pytest.raises(ValueError, match="no codes"):
        made().decode(torch.zeros(1, 0, 5, dtype=torch.long))
