"""Losses and gradients of MusicGen, beside transformers where it runs the call."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import antiphon

from .conftest import Pair
from .tiny_musicgen import CODES, distance

LABELS = torch.randint(0, CODES, (2, 7, 4), generator=torch.Generator().manual_seed(8))


def shifted(labels: torch.Tensor) -> torch.Tensor:
    """Decoder inputs (B * K, T): the labels one column later behind the start token."""
    ids = torch.full_like(labels, CODES).transpose(1, 2)
    ids[..., 1:] = labels.transpose(1, 2)[..., :-1]
    return ids.masked_fill(ids == -100, CODES).flatten(0, 1)


def by_hand(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean over the codebooks of their cross-entropies; -100 and the pad token left out."""
    labels = labels.masked_fill(labels == CODES, -100)
    books = logits.view(labels.shape[0], 4, -1, CODES)[:, :, -labels.shape[1] :]  # conditions may stand in front
    losses = [F.cross_entropy(books[:, k].reshape(-1, CODES), labels[..., k].reshape(-1)) for k in range(4)]
    return torch.stack(losses).mean()


@pytest.mark.row("R34", "R73", "R111", "E6")
def test_labels_alone_give_the_decoder_its_inputs_and_a_loss(either: Pair, texts: Any) -> None:
    ids = shifted(LABELS)
    with torch.no_grad():
        ours = either.ours(**texts, labels=LABELS)
        theirs = either.theirs(**texts, labels=LABELS, decoder_input_ids=ids)  # it fails without the inputs
        decoder = either.ours.decoder(labels=LABELS)
        their_decoder = either.theirs.decoder(labels=LABELS)
    assert distance(ours.logits, theirs.logits) < 2e-4
    assert distance(ours.loss, theirs.loss) < 2e-4
    assert distance(ours.loss, by_hand(ours.logits, LABELS)) < 1e-6
    assert distance(decoder.loss, their_decoder.loss) < 2e-4
    assert torch.equal(either.ours.prepare_decoder_input_ids_from_labels(LABELS).flatten(0, 1), ids)


@pytest.mark.row("R73")
def test_the_loss_compares_logits_and_labels_of_one_column_when_inputs_are_given(either: Pair) -> None:
    same = LABELS.transpose(1, 2).flatten(0, 1)
    with torch.no_grad():
        ours, theirs = either.ours.decoder(same, labels=LABELS), either.theirs.decoder(same, labels=LABELS)
    assert distance(ours.loss, theirs.loss) < 2e-4
    assert distance(ours.loss, by_hand(ours.logits, LABELS)) < 1e-6


@pytest.mark.row("R74")
def test_labels_of_minus_100_or_pad_do_not_count(either: Pair, texts: Any) -> None:
    labels = LABELS.clone()
    labels[0, 3:, 1] = -100
    labels[1, 5:] = CODES
    with torch.no_grad():
        ours = either.ours(**texts, labels=labels)
        theirs = either.theirs(**texts, labels=labels, decoder_input_ids=shifted(labels))
    assert distance(ours.loss, theirs.loss) < 2e-4
    assert distance(ours.loss, by_hand(ours.logits, labels)) < 1e-6
    assert abs(float(ours.loss) - float(by_hand(ours.logits, LABELS))) > 1e-3


@pytest.mark.row("R34")
def test_the_loss_reaches_every_weight_of_the_decoder(fresh: Any) -> None:
    decoder = fresh.decoder.train()
    memory = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    decoder(labels=LABELS, encoder_hidden_states=memory).loss.backward()
    without = [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_gradients_equal_the_references(either: Pair, fresh: Any, texts: Any) -> None:
    fresh(**texts, labels=LABELS).loss.backward()
    either.theirs.zero_grad()
    either.theirs(**texts, labels=LABELS, decoder_input_ids=shifted(LABELS)).loss.backward()
    theirs = {name: p.grad for name, p in either.theirs.named_parameters() if p.grad is not None}
    either.theirs.zero_grad()
    ours = {name: p.grad for name, p in fresh.named_parameters() if p.grad is not None}
    grads = [(p.grad, theirs[name]) for name, p in _by_their_names(fresh).items() if p.grad is not None]
    assert len(grads) == len(ours) == len(theirs)
    assert max(distance(one, other) for one, other in grads) < 1e-4
    assert max(float(one.abs().max()) for one, _ in grads) > 0.01


def _by_their_names(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, torch.nn.Parameter) and id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor
    return found


@pytest.mark.row("R2")
def test_freezing_excludes_exactly_one_part(fresh: Any, texts: Any) -> None:
    assert all(p.requires_grad for p in fresh.text_encoder.parameters())
    fresh.freeze_text_encoder()
    assert not any(p.requires_grad for p in fresh.text_encoder.parameters())
    assert all(p.requires_grad for p in fresh.audio_encoder.parameters())
    fresh.freeze_audio_encoder()
    assert not any(p.requires_grad for p in fresh.audio_encoder.parameters())
    assert all(p.requires_grad for p in fresh.decoder.parameters())
    fresh(**texts, labels=LABELS).loss.backward()
    assert all(p.grad is None for p in fresh.text_encoder.parameters())
    assert fresh.enc_to_dec_proj.weight.grad.abs().sum() > 0


@pytest.mark.row("R45")
@pytest.mark.parametrize("name", ["dropout", "attention_dropout", "activation_dropout"])
def test_dropout_acts_in_training_only(either: Pair, name: str) -> None:
    rates = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
    model = either.decoder_kind.from_pretrained(either.folder, **{**rates, name: 0.5})
    ids = shifted(LABELS)
    with torch.no_grad():
        still = model(ids).logits
        assert torch.equal(still, model(ids).logits)
        assert torch.equal(still, either.ours.decoder(ids).logits)
        model.train()
        torch.manual_seed(0)
        assert distance(model(ids).logits, still) > 1e-2
        assert distance(model(ids).logits, model(ids).logits) > 1e-2
        quiet = either.decoder_kind.from_pretrained(either.folder, **rates).train()
        assert torch.equal(quiet(ids).logits, still)


@pytest.mark.row("R41")
def test_layerdrop_leaves_out_layers_in_training_only(either: Pair) -> None:
    model = either.decoder_kind.from_pretrained(either.folder, layerdrop=0.5, dropout=0.0)
    calls: list[int] = []
    for number, layer in enumerate(model.model.decoder.stack.layers):
        layer.register_forward_hook(lambda *_, n=number: calls.append(n))
    ids = shifted(LABELS)
    with torch.no_grad():
        model(ids)
        assert calls == [0, 1, 2]
        model.train()
        random.seed(0)
        calls.clear()
        for _ in range(100):
            model(ids, use_cache=False)
    assert 100 < len(calls) < 200  # half of 300
    always = either.decoder_kind.from_pretrained(either.folder, layerdrop=1.0, dropout=0.0).train()
    with torch.no_grad():
        embedded = always.model.decoder.embed(ids.view(2, 4, -1)) + always.model.decoder.positions.between(
            0, 7, like=torch.zeros(1)
        )
        assert torch.equal(always(ids).logits, always.lm_heads(always.model.decoder.stack.norm(embedded)).flatten(0, 1))


def test_gradient_checkpointing_gives_the_same_gradients_and_calls_layers_again(fresh: Any, texts: Any) -> None:
    fresh.config.decoder.update({"dropout": 0.0})
    counted = []
    layers = fresh.decoder.model.decoder.stack.layers
    for layer in layers:
        layer.attention.register_forward_hook(lambda *_: counted.append(1))

    def gradients() -> tuple[list[torch.Tensor], int]:
        fresh.zero_grad()
        counted.clear()
        torch.manual_seed(0)
        fresh(**texts, labels=LABELS).loss.backward()
        return [p.grad.clone() for p in fresh.decoder.parameters()], len(counted)

    fresh.train()
    assert not fresh.is_gradient_checkpointing
    plain, once = gradients()
    fresh.gradient_checkpointing_enable()
    assert fresh.is_gradient_checkpointing
    again, twice = gradients()
    fresh.gradient_checkpointing_disable()
    assert (once, twice) == (3, 6)
    assert gradients()[1] == 3
    assert max(distance(a, b) for a, b in zip(plain, again, strict=True)) < 1e-6


@pytest.mark.row("R46")
@pytest.mark.parametrize("family", ["Musicgen", "MusicgenMelody"])
def test_new_weights_have_the_deviation_of_the_initializer_factor(family: str) -> None:
    for factor in (0.02, 0.5):
        torch.manual_seed(0)
        config = getattr(antiphon, f"{family}DecoderConfig")(
            vocab_size=CODES,
            hidden_size=64,
            ffn_dim=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            initializer_factor=factor,
        )
        model = getattr(antiphon, f"{family}ForCausalLM")(config)
        for module in model.modules():
            if isinstance(module, (torch.nn.Linear, torch.nn.Embedding)):
                assert abs(float(module.weight.detach().std()) / factor - 1) < 0.1
            if isinstance(getattr(module, "bias", None), torch.Tensor):
                assert not module.bias.any()


def test_a_few_steps_of_training_lower_the_loss(fresh: Any, texts: Any) -> None:
    fresh.freeze_text_encoder()
    fresh.freeze_audio_encoder()
    fresh.eval()
    trained = [p for p in fresh.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-3)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        loss = fresh(**texts, labels=LABELS).loss
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_a_training_call_makes_no_cache_and_a_cache_holds_no_graph(either: Pair, texts: Any) -> None:
    assert either.ours(**texts, labels=LABELS).past_key_values is None
    out = either.ours.decoder(shifted(LABELS), use_cache=True)
    keys, values = out.past_key_values.self_attention_cache[0]
    assert not keys.requires_grad
    assert not values.requires_grad
