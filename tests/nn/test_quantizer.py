"""Residual quantisation: the nearest codeword, exactly, and sums that come back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from antiphon.nn import quantizer as module
from antiphon.nn.quantizer import Codebook, ResidualQuantizer, SplitResidualQuantizer


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


def of_means(*chains: int) -> list[Codebook]:
    books = [Codebook(16, 6, means=True) for _ in range(sum(chains))]
    for number, book in enumerate(books):
        book.vector_sums.copy_(noise(16, 6, seed=number))
        book.cluster_size.copy_(noise(16, seed=number).abs())
    return books


def test_codewords_can_be_means_of_what_they_stood_for() -> None:
    (book,) = of_means(1)
    book.cluster_size[3] = 0
    assert "vectors" not in dict(book.named_buffers())
    words = book.codewords()
    torch.testing.assert_close(words[0], book.vector_sums[0] / book.cluster_size[0])
    torch.testing.assert_close(words[3], book.vector_sums[3] / 1e-5)  # of nothing there is no mean
    assert book.nearest(words).tolist() == list(range(16))


def split(around: int | None) -> SplitResidualQuantizer:
    torch.manual_seed(0)
    quantizer = SplitResidualQuantizer(2, 3, 16, 6, around=around, means=True)
    for part in (quantizer.semantic, quantizer.acoustic):
        for book, filled in zip(part.codebooks, of_means(len(part.codebooks)), strict=True):
            book.load_state_dict(filled.state_dict())
        for layer in (part.project_in, part.project_out):
            if layer is not None:
                layer.initialise()
    return quantizer


@pytest.mark.parametrize("around", [None, 10])
def test_both_chains_of_a_split_quantiser_quantise_the_same_frames_and_are_added(around: int | None) -> None:
    quantizer, x = split(around), noise(2, around or 6, 7)
    assert len(quantizer) == 5
    with torch.no_grad():
        codes = quantizer.encode(x, 5)
        assert torch.equal(codes, torch.cat([quantizer.semantic.encode(x), quantizer.acoustic.encode(x)], dim=1))
        both = quantizer.semantic.decode(codes[:, :2]) + quantizer.acoustic.decode(codes[:, 2:])
        assert torch.equal(quantizer.decode(codes), both)
        assert both.shape == x.shape
        for count in (1, 2, 3):
            assert torch.equal(quantizer.encode(x, count), codes[:, :count])
        assert torch.equal(quantizer.decode(codes[:, :2]), quantizer.semantic.decode(codes[:, :2]))


def test_projections_stand_around_a_chain() -> None:
    quantizer, x = split(10).acoustic, noise(1, 10, 4)
    with torch.no_grad():
        inside = quantizer.project_in.weight[..., 0] @ x
        bare = ResidualQuantizer(3, 16, 6, means=True)
        bare.codebooks.load_state_dict(quantizer.codebooks.state_dict())
        codes = quantizer.encode(x)
        assert torch.equal(codes, bare.encode(inside))
        torch.testing.assert_close(quantizer.decode(codes), quantizer.project_out.weight[..., 0] @ bare.decode(codes))


def test_codewords_laid_out_once_give_the_same_codes_and_frames() -> None:
    quantizer, x = split(10), noise(2, 10, 7)
    with torch.no_grad():
        codes = quantizer.encode(x, 5)
        for count in (1, 2, 4, 5):
            words = quantizer.laid_out(count)
            assert len(words) == count
            assert torch.equal(quantizer.encode(x, count, words=words), codes[:, :count])
            assert torch.equal(quantizer.decode(codes[:, :count], words=words), quantizer.decode(codes[:, :count]))
