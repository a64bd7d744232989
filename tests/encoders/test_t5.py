"""T5's encoder as a part of its own: pads, positions, and the two feed-forward forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from antiphon.encoders.t5 import T5Encoder
from antiphon.nn.attention import Attention
from antiphon.nn.mlp import MLP, GatedMLP
from antiphon.nn.transformer import Record


def made(**options: Any) -> T5Encoder:
    sizes: dict[str, Any] = {
        "vocabulary": 20,
        "width": 12,
        "layers": 2,
        "heads": 3,
        "head_width": 5,
        "hidden": 16,
        "act": "relu",
        "gated": False,
        "buckets": 8,
        "max_distance": 16,
        "dropout": 0.0,
        "eps": 1e-6,
    }
    encoder = T5Encoder(**{**sizes, **options})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(*parameter.shape, generator=generator) / 2)
    return encoder.eval()


TOKENS = torch.tensor([[3, 7, 1, 0, 0], [4, 9, 2, 11, 1]])
PADDING = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_a_padded_text_is_what_it_is_alone(implementation: str) -> None:
    encoder = made()
    for module in encoder.modules():
        if isinstance(module, Attention):
            module.implementation = implementation
    with torch.no_grad():
        together = encoder(TOKENS, PADDING)
        alone = encoder(TOKENS[:1, :3])
    assert together.shape == (2, 5, 12)
    torch.testing.assert_close(together[:1, :3], alone, atol=1e-5, rtol=1e-5)


def test_what_is_padded_makes_no_difference() -> None:
    encoder, other = made(), TOKENS.clone()
    other[0, 3:] = 17
    with torch.no_grad():
        assert torch.equal(encoder(TOKENS, PADDING)[0, :3], encoder(other, PADDING)[0, :3])


def test_a_text_of_pads_only_is_finite() -> None:
    with torch.no_grad():
        assert made()(TOKENS, torch.zeros_like(PADDING)).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_and_near(dtype: torch.dtype) -> None:
    with torch.no_grad():
        exact = made()(TOKENS, PADDING)
        half = made().to(dtype)(TOKENS, PADDING)
    assert half.dtype is dtype
    torch.testing.assert_close(half.float(), exact, atol=0.15, rtol=0.1)


def test_the_order_of_the_words_counts() -> None:
    encoder = made()
    with torch.no_grad():
        one, other = encoder(TOKENS[1:]), encoder(TOKENS[1:].flip(1))
    assert not torch.allclose(one, other.flip(1), atol=1e-3)


def test_embeddings_stand_for_tokens() -> None:
    encoder = made()
    with torch.no_grad():
        expected = encoder(TOKENS, PADDING)
        assert torch.equal(encoder(None, PADDING, embedded=encoder.embedding(TOKENS)), expected)


@pytest.mark.parametrize(("gated", "kind"), [(False, MLP), (True, GatedMLP)])
def test_the_feed_forward_form_is_the_one_asked_for(gated: bool, kind: type) -> None:
    encoder = made(gated=gated, act="gelu_new")
    assert all(type(layer.mlp) is kind for layer in encoder.stack.layers)
    with torch.no_grad():
        assert encoder(TOKENS).isfinite().all()


def test_scores_are_not_scaled() -> None:
    layer = made().stack.layers[0].attention
    assert (layer.scale, layer.head_width, layer.out.in_features) == (1.0, 5, 15)


def test_a_record_holds_embeddings_first() -> None:
    encoder, record = made(), Record.of(hidden_states=True, attentions=True)
    with torch.no_grad():
        out = encoder(TOKENS, PADDING, record=record)
        hidden, attentions, memory = record.tuples()
        assert torch.equal(hidden[0], encoder.embedding(TOKENS))
    assert torch.equal(hidden[-1], out)
    assert memory is None
    assert not attentions[0][0, :, :, 3:].any()


def test_a_head_mask_has_a_row_for_every_layer() -> None:
    encoder = made()
    for module in encoder.modules():
        if isinstance(module, Attention):
            module.implementation = "eager"

    def run(mask: Tensor | None) -> Tensor:
        with torch.no_grad():
            return encoder(TOKENS, PADDING, head_mask=mask)

    assert torch.equal(run(torch.ones(2, 3)), run(None))
    assert not torch.allclose(run(torch.tensor([[1.0, 1, 1], [0, 1, 1]])), run(None))
