"""The stack: what a call records, drops and recomputes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from antiphon.nn.attention import Attention
from antiphon.nn.kv_cache import DynamicCache, EncoderDecoderCache
from antiphon.nn.masks import causal_mask
from antiphon.nn.mlp import MLP
from antiphon.nn.transformer import Context, Record, Transformer, TransformerLayer


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(layers: int = 3, *, memory: bool = False, dropout: float = 0.0, layerdrop: float = 0.0) -> Transformer:
    def layer() -> TransformerLayer:
        return TransformerLayer(
            attention=Attention(8, 2),
            memory_attention=Attention(8, 2) if memory else None,
            mlp=MLP(8, 16, act="gelu"),
            norms=[nn.LayerNorm(8) for _ in range(3 if memory else 2)],
            dropout=dropout,
        )

    stack = Transformer([layer() for _ in range(layers)], nn.LayerNorm(8), layerdrop=layerdrop)
    with torch.no_grad():
        for number, parameter in enumerate(stack.parameters()):
            if parameter.dim() == 2:
                parameter.copy_(noise(*parameter.shape, seed=number) / 3)
    return stack


def causal(columns: int, past: int = 0) -> Context:
    return Context(mask=causal_mask(columns, past + columns, None, device=torch.device("cpu")))


def test_a_record_holds_every_layers_input_and_the_output() -> None:
    stack, x = made(memory=True).eval(), noise(2, 4, 8)
    record = Record.of(hidden_states=True, attentions=True)
    context = causal(4)
    context.memory = noise(2, 5, 8, seed=1)
    with torch.no_grad():
        out = stack(x, context, record)
    hidden, own, memory = record.tuples()
    assert torch.equal(hidden[0], x)
    assert torch.equal(hidden[-1], out)
    assert len(hidden) == 4
    assert [w.shape for w in own] == [(2, 2, 4, 4)] * 3
    assert [w.shape for w in memory] == [(2, 2, 4, 5)] * 3


def test_nothing_is_recorded_unless_asked() -> None:
    record = Record.of(hidden_states=False, attentions=False)
    with torch.no_grad():
        made()(noise(1, 2, 8), causal(2), record)
    assert record.tuples() == (None, None, None)


def test_the_stack_through_a_cache_equals_the_stack_at_once() -> None:
    stack, x, memory = made(memory=True).eval(), noise(1, 6, 8), noise(1, 3, 8, seed=2)
    whole_context = causal(6)
    whole_context.memory = memory
    cache, parts = EncoderDecoderCache(), []
    with torch.no_grad():
        whole = stack(x, whole_context)
        for t in range(6):
            context = causal(1, t)
            context.memory, context.cache = memory, cache
            parts.append(stack(x[:, t : t + 1], context))
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)
    assert cache.is_updated == {0: True, 1: True, 2: True}


def test_a_plain_cache_serves_a_stack_with_a_memory_too() -> None:
    stack, cache = made(memory=True).eval(), DynamicCache()
    context = causal(1)
    context.memory, context.cache = noise(1, 3, 8), cache
    with torch.no_grad():
        stack(noise(1, 1, 8), context)
    assert cache.get_seq_length() == 1


def test_gradient_checkpointing_changes_no_gradient() -> None:
    found = []
    for recompute in (False, True):
        stack = made().train()
        stack.gradient_checkpointing = recompute
        stack(noise(1, 4, 8), causal(4)).pow(2).sum().backward()
        found.append([p.grad for p in stack.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_dropping_all_layers_leaves_only_the_norm_and_only_in_training() -> None:
    stack, x = made(layerdrop=1.0), noise(1, 4, 8)
    with torch.no_grad():
        assert torch.equal(stack.train()(x, causal(4)), stack.norm(x))
        assert not torch.allclose(stack.eval()(x, causal(4)), stack.norm(x))


def test_dropout_acts_in_training_only() -> None:
    stack, x = made(dropout=0.5), noise(1, 4, 8)
    torch.manual_seed(0)
    with torch.no_grad():
        assert not torch.equal(stack.train()(x, causal(4)), stack(x, causal(4)))
        assert torch.equal(stack.eval()(x, causal(4)), stack(x, causal(4)))


def test_layers_may_differ_in_what_they_see() -> None:
    stack, x = made(2).eval(), noise(1, 5, 8)
    full, near = (causal_mask(5, 5, None, device=x.device, window=window) for window in (None, 2))
    with torch.no_grad():
        hidden = x
        for number, mask in enumerate((near, full)):
            hidden, _, _ = stack.layers[number](hidden, Context(mask=mask), number)
        out = stack(x, Context(masks=[near, full]))
        assert torch.equal(out, stack.norm(hidden))
        assert not torch.allclose(out, stack(x, Context(mask=full)))
        cache, pieces = DynamicCache(), []
        for t in range(5):
            masks = [causal_mask(1, t + 1, None, device=x.device, window=window) for window in (2, None)]
            pieces.append(stack(x[:, t : t + 1], Context(masks=masks, cache=cache)))
    assert torch.allclose(torch.cat(pieces, dim=1), out, atol=1e-6)
