"""The decoder across codebooks: its own weights at each step, whole frames and single steps, forced tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from antiphon.lm.depth_decoder import DepthDecoder
from antiphon.lm.zero_token import ZERO
from antiphon.nn.kv_cache import KVCache
from antiphon.nn.linear import lay_side_by_side, stacks_of

BOOKS, TEXTS, CODES = 4, 7, 9


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(**changes: Any) -> DepthDecoder:
    sizes: dict[str, Any] = {
        "codebooks": BOOKS,
        "text_vocabulary": TEXTS,
        "audio_vocabulary": CODES,
        "input_width": 10,
        "width": 12,
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "head_width": 4,
        "hidden": 14,
        "act": "silu",
        "eps": 1e-6,
        "window": BOOKS,
    }
    decoder = DepthDecoder(**{**sizes, **changes})
    with torch.no_grad():
        for number, parameter in enumerate(decoder.parameters()):
            if parameter.dim() > 1:
                parameter.copy_(noise(*parameter.shape, seed=number) * 1.5 * parameter.shape[-1] ** -0.5)
    return decoder.eval()


def greedy(codebook: int, logits: Tensor) -> Tensor:
    return logits.argmax(dim=-1)


def test_single_steps_give_the_frame_that_the_whole_predicts() -> None:
    decoder, moment, text = made(), noise(3, 1, 10), torch.tensor([1, 5, TEXTS])
    frame = decoder.sample(moment, text, greedy)
    with torch.no_grad():
        told = torch.cat([text[:, None], frame[:, :-1]], dim=1)
        assert torch.equal(decoder(told, moment).argmax(dim=-1), frame)


def test_every_step_has_its_own_weights_and_norms_are_shared() -> None:
    decoder = made()
    told, moment = torch.ones(1, BOOKS, dtype=torch.long), noise(1, 1, 10)
    with torch.no_grad():
        before = decoder(told, moment)
        decoder.steps[2].layers[0].mlp.down.weight.mul_(3)
        moved = (decoder(told, moment) - before).abs().amax(dim=(0, 2))
    assert (moved > 1e-4).tolist() == [False, False, True, True]
    assert decoder.steps[0].layers[1].mlp_norm is decoder.steps[3].layers[1].mlp_norm


def test_forced_tokens_are_told_to_the_steps_behind_them() -> None:
    decoder, moment, text = made(), noise(2, 1, 10), torch.tensor([1, 2])
    free = decoder.sample(moment, text, greedy)
    forced = torch.full((2, BOOKS), -1)
    forced[:, 1] = (free[:, 1] + 1) % CODES
    frame = decoder.sample(moment, text, greedy, forced=forced)
    assert torch.equal(frame[:, 0], free[:, 0])
    assert torch.equal(frame[:, 1], forced[:, 1])
    with torch.no_grad():
        told = torch.cat([text[:, None], frame[:, :-1]], dim=1)
        assert torch.equal(decoder(told, moment).argmax(dim=-1)[:, 2:], frame[:, 2:])


def test_one_cache_serves_frame_after_frame() -> None:
    decoder, cache = made(), KVCache(BOOKS, fixed=True)
    for seed in range(3):
        moment, text = noise(2, 1, 10, seed=seed), torch.tensor([seed, 0])
        assert torch.equal(decoder.sample(moment, text, greedy, cache=cache), decoder.sample(moment, text, greedy))
    assert cache.get_seq_length() == BOOKS
    assert decoder.sample(moment, text, greedy, steps=2, cache=cache).shape == (2, 2)


def test_choosing_is_the_callers() -> None:
    decoder, asked = made(), []

    def choose(codebook: int, logits: Tensor) -> Tensor:
        asked.append((codebook, tuple(logits.shape)))
        return torch.full((2,), codebook)

    frame = decoder.sample(noise(2, 1, 10), torch.tensor([1, 2]), choose)
    assert frame.tolist() == [[0, 1, 2, 3]] * 2
    assert asked == [(k, (2, CODES)) for k in range(BOOKS)]


def test_nothing_told_adds_nothing() -> None:
    decoder = made()
    told = torch.tensor([[ZERO, 3, ZERO, 4]])
    embedded = decoder.embed(told)
    assert not embedded[0, 0].any()
    assert not embedded[0, 2].any()
    assert torch.equal(embedded[0, 3], decoder.embeddings[2].weight[4])


def test_gradients_pass_through_the_keys_of_earlier_steps() -> None:
    decoder = made().train()
    decoder(torch.ones(2, BOOKS, dtype=torch.long), noise(2, 1, 10))[:, 3].sum().backward()
    for step in list(decoder.steps)[:3]:
        assert step.layers[0].attention.key.weight.grad.abs().max() > 0
    assert not decoder.heads[2].weight.grad.any()


def test_weights_that_are_laid_side_by_side_compute_the_same() -> None:
    decoder, moment = made(), noise(1, 1, 10)
    told = torch.ones(1, BOOKS, dtype=torch.long)
    with torch.no_grad():
        before = decoder(told, moment)
        for group in stacks_of(decoder):
            lay_side_by_side(group)
        torch.testing.assert_close(decoder(told, moment), before)
    query, key = decoder.steps[1].layers[0].attention.query.weight, decoder.steps[1].layers[0].attention.key.weight
    assert key.data_ptr() == query.data_ptr() + query.numel() * 4
