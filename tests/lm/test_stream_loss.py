"""The cross-entropy of several heads block by block: that of torch, and its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.lm import stream_loss
from antiphon.lm.stream_decoder import StreamHeads
from antiphon.lm.stream_loss import stream_losses


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(dtype: torch.dtype = torch.float32) -> tuple[Tensor, StreamHeads, Tensor]:
    """States (2, 7, 8), three heads of 11 tokens, and labels of which some do not count."""
    heads = StreamHeads(3, 8, 11)
    for number, head in enumerate(heads):
        nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(number))
    labels = torch.randint(0, 11, (2, 3, 7), generator=torch.Generator().manual_seed(9))
    labels[0, 1, 2:5] = -100
    labels[1, 0] = -100
    return noise(2, 7, 8).to(dtype).requires_grad_(), heads.to(dtype), labels


def by_hand(hidden: Tensor, heads: StreamHeads, labels: Tensor) -> Tensor:
    """The summed losses (K,)."""
    return torch.stack(
        [
            F.cross_entropy(head(hidden).flatten(0, 1), labels[:, k].flatten(), reduction="sum")
            for k, head in enumerate(heads)
        ]
    )


@pytest.mark.parametrize("logits_in_a_block", [1, 33 * 4, 1 << 21])
def test_losses_and_gradients_are_those_of_whole_logits(
    logits_in_a_block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_loss, "_LOGITS_IN_CACHE", logits_in_a_block)
    hidden, heads, labels = made()
    expected = by_hand(hidden, heads, labels)
    wanted = torch.autograd.grad(expected.sum() * 0.25, [hidden, *heads.parameters()])
    total, each = stream_losses(hidden, list(heads), labels)
    found = torch.autograd.grad(total * 0.25, [hidden, *heads.parameters()])
    torch.testing.assert_close(each, expected)
    torch.testing.assert_close(total, expected.sum())
    assert not each.requires_grad
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_streams_may_count_for_more_or_less() -> None:
    factors = [2.0, 0.0, 0.5]
    hidden, heads, labels = made()
    total, each = stream_losses(hidden, list(heads), labels, weights=factors)
    own = torch.autograd.grad(total, [hidden, *heads.parameters()])
    wanted = by_hand(hidden, heads, labels)
    weighted = (wanted * torch.tensor(factors)).sum()
    torch.testing.assert_close(total, weighted)
    torch.testing.assert_close(each, wanted.detach())
    for one, other in zip(own, torch.autograd.grad(weighted, [hidden, *heads.parameters()]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_gradients_pass_the_numerical_check() -> None:
    hidden, heads, labels = made(torch.float64)

    def loss(states: Tensor) -> Tensor:
        return stream_losses(states, list(heads), labels)[0]

    # the sums are float32, and so is what they are compared with
    assert torch.autograd.gradcheck(loss, (hidden,), eps=1e-2, atol=2e-2)


def test_heads_of_another_kind_compute_themselves() -> None:
    class Twice(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 2

    hidden, heads, labels = made()
    plain = list(heads)
    other = Twice(8, 11, bias=False)
    other.load_state_dict(plain[1].state_dict())
    mixed = [plain[0], other, plain[2]]
    expected = by_hand(hidden, mixed, labels)  # type: ignore[arg-type]
    total, each = stream_losses(hidden, mixed, labels)
    torch.testing.assert_close(each, expected)
    assert abs(float(each[1] - stream_losses(hidden, plain, labels)[1][1])) > 0.1
    total.backward()
    assert other.weight.grad is not None


def test_only_what_is_trained_gets_a_gradient() -> None:
    hidden, heads, labels = made()
    stream_losses(hidden.detach(), list(heads), labels)[0].backward()
    assert hidden.grad is None
    assert all(head.weight.grad is not None for head in heads)
    frozen = [head.requires_grad_(False) for head in heads]
    for head in frozen:
        head.weight.grad = None
    stream_losses(hidden, frozen, labels)[0].backward()
    assert hidden.grad is not None
    assert all(head.weight.grad is None for head in frozen)


def test_without_gradients_there_is_a_loss_and_no_graph() -> None:
    hidden, heads, labels = made()
    with torch.no_grad():
        total, _ = stream_losses(hidden, list(heads), labels)
    assert not total.requires_grad
    torch.testing.assert_close(total, by_hand(hidden, heads, labels).sum())


def test_autocast_reaches_the_products_and_not_the_sums() -> None:
    hidden, heads, labels = made()
    exact = by_hand(hidden, heads, labels).sum()
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = stream_losses(hidden, list(heads), labels)
    total.backward()
    assert total.dtype is heads[0].weight.grad.dtype is hidden.grad.dtype is torch.float32
    assert 0 < abs(float(total.detach()) - float(exact.detach())) < 0.01 * float(exact.detach())


def test_nothing_that_counts_is_a_loss_of_nothing() -> None:
    hidden, heads, labels = made()
    total, each = stream_losses(hidden, list(heads), torch.full_like(labels, -100))
    total.backward()
    assert float(total.detach()) == 0
    assert not each.any()
    assert not hidden.grad.any()
