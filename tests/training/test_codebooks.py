"""Codebooks in training: where they start, how they follow, and what passes through them."""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.nn.quantizer import ResidualQuantizer
from antiphon.training.codebooks import CodebookUpkeep


def clusters(rows: int = 400) -> tuple[Tensor, Tensor]:
    """Points close to 8 centres, and the centres."""
    generator = torch.Generator().manual_seed(0)
    centres = 5 * torch.randn(8, 3, generator=generator)
    own = torch.randint(0, 8, (rows,), generator=generator)
    return centres[own] + 0.05 * torch.randn(rows, 3, generator=generator), centres


def upkeep(codebooks: int = 1, size: int = 8, **numbers: float) -> CodebookUpkeep:
    torch.manual_seed(1)
    made = CodebookUpkeep(ResidualQuantizer(codebooks, size, 3), **numbers)
    for book in made.books:
        book.vectors.normal_()
    return made


def left_over(made: CodebookUpkeep, rows: Tensor) -> float:
    return float((made.quantise(rows)[0] - rows).square().mean())


def test_they_start_where_the_vectors_are() -> None:
    rows, _ = clusters()
    made = upkeep(size=32)
    made.start(rows)
    assert left_over(made, rows) < 0.01
    found = made.books[0]
    torch.testing.assert_close(found.vector_sums / found.cluster_size[:, None], found.vectors)


def test_each_starts_on_what_those_before_it_leave() -> None:
    rows, _ = clusters()
    one, two = upkeep(1), upkeep(2)
    for made in (one, two):
        made.start(rows)
    assert left_over(two, rows) < 0.5 * left_over(one, rows)


def test_they_can_start_among_fewer_vectors_than_codewords() -> None:
    rows, _ = clusters(5)
    made = upkeep()
    made.start(rows)
    assert left_over(made, rows) < 1e-8


def test_a_vector_becomes_its_nearest_codewords_and_their_codes() -> None:
    rows, _ = clusters()
    made = upkeep(2)
    made.start(rows)
    total, codes, commitment = made.quantise(rows)
    frames = rows.t()[None]
    encoded = made.quantizer.encode(frames)
    assert torch.equal(torch.stack(codes), encoded[0])
    torch.testing.assert_close(total, made.quantizer.decode(encoded)[0].t())
    first = made.books[0].vectors[codes[0]]
    expected = ((rows - first).square().mean(1) + (rows - total).square().mean(1)) / 2
    torch.testing.assert_close(commitment, expected, rtol=1e-4, atol=1e-6)


def test_gradients_pass_through_as_if_nothing_were_quantised() -> None:
    rows = clusters()[0].requires_grad_()
    made = upkeep(2)
    total, _, _ = made.quantise(rows)
    pull = torch.randn(total.shape, generator=torch.Generator().manual_seed(3))
    (total * pull).sum().backward()
    assert torch.equal(rows.grad, pull)


def test_commitment_pulls_vectors_to_their_codewords() -> None:
    rows = clusters()[0].requires_grad_()
    made = upkeep(1)
    made.quantise(rows)[2].sum().backward()
    with torch.no_grad():
        words = made.books[0].vectors[made.books[0].nearest(rows)]
        torch.testing.assert_close(rows.grad, 2 * (rows - words) / 3, rtol=1e-4, atol=1e-5)


def test_they_follow_the_means_of_their_vectors() -> None:
    rows, _ = clusters()
    made = upkeep(decay=0.9, rare=0.0)
    made.start(rows)
    moved = rows + 0.3
    before = left_over(made, moved)
    for _ in range(60):
        made.quantise(moved)
        made.follow()
    assert before > 0.05
    book = made.books[0]
    index = book.nearest(moved)
    for code in index.unique():
        torch.testing.assert_close(book.vectors[code], moved[index == code].mean(0), rtol=0, atol=0.02)


def test_a_codeword_that_is_not_used_is_put_onto_a_vector() -> None:
    rows, _ = clusters()
    made = upkeep()
    made.start(rows)
    book = made.books[0]
    book.vectors[3] = 100.0
    book.vector_sums[3], book.cluster_size[3] = 0.0, 0.0
    made.quantise(rows)
    made.follow()
    assert float((rows - book.vectors[3]).square().sum(1).min()) < 1e-8
    assert float(book.cluster_size[3]) > 0


def test_codewords_stay_where_no_gradients_are_wanted() -> None:
    rows, _ = clusters()
    made = upkeep()
    before = made.books[0].vectors.clone()
    with torch.no_grad():
        made.quantise(rows)
    made.follow()
    assert torch.equal(made.books[0].vectors, before)


def test_accumulated_batches_count_as_one() -> None:
    rows, _ = clusters()
    whole, parts = upkeep(2, rare=0.0), upkeep(2, rare=0.0)
    for made in (whole, parts):
        torch.manual_seed(2)
        made.start(rows[:100])
    whole.quantise(rows)
    for some in rows.split(150):
        parts.quantise(some)
    for made in (whole, parts):
        made.follow()
    for one, other in zip(whole.books, parts.books, strict=True):
        torch.testing.assert_close(one.vectors, other.vectors)
