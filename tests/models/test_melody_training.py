"""Losses and gradients under melodies, beside transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import antiphon

from .conftest import Pair
from .tiny_melody import chroma
from .tiny_musicgen import CODES, distance

LABELS = torch.randint(0, CODES, (2, 7, 4), generator=torch.Generator().manual_seed(8))


@pytest.fixture
def trained(melody: Pair) -> Any:
    """Our melody model, for tests that change it."""
    return melody.kind.from_pretrained(melody.folder)


@pytest.mark.row("R73", "R74", "R75")
@pytest.mark.parametrize("hidden", [0, 3])
def test_the_loss_under_a_melody_equals_the_references(melody: Pair, texts: Any, hidden: int) -> None:
    labels = LABELS.clone()
    labels[0, :hidden] = -100
    labels[1, :hidden, 1] = CODES
    asked = {**texts, "input_features": chroma(2, 5), "labels": labels}
    with torch.no_grad():
        ours, theirs = melody.ours(**asked), melody.theirs(**asked)
        other = melody.ours(**{**asked, "input_features": chroma(2, 5, seed=8)})
    assert ours.logits.shape == (8, melody.prefix(texts) + 7, CODES)
    assert distance(ours.loss, theirs.loss) < 2e-4
    assert distance(ours.logits, theirs.logits) < 2e-4
    assert distance(ours.loss, other.loss) > 1e-2


@pytest.mark.row("R34")
@pytest.mark.parametrize("name", ["melody", "melody_stereo", "melody_narrow"])
def test_gradients_under_a_melody_equal_the_references(name: str, request: Any, texts: Any) -> None:
    pair: Pair = request.getfixturevalue(name)
    labels = LABELS.repeat(1, 1, pair.books // 4)
    asked = {**texts, "input_features": chroma(2, 5), "labels": labels}
    ours = pair.kind.from_pretrained(pair.folder)
    ours(**asked).loss.backward()
    pair.theirs.zero_grad()
    pair.theirs(**asked).loss.backward()
    expected = {n: p.grad for n, p in pair.theirs.named_parameters() if p.grad is not None}
    pair.theirs.zero_grad()
    named = ours.state_dict(keep_vars=True)
    assert {n for n, t in named.items() if getattr(t, "grad", None) is not None} >= expected.keys()
    assert max(distance(named[n].grad, grad) for n, grad in expected.items()) < 1e-4
    assert ("audio_enc_to_dec_proj.weight" in expected) == (name != "melody_narrow")


@pytest.mark.row("R2")
def test_with_frozen_encoders_the_projections_and_the_decoder_learn(trained: Any, texts: Any) -> None:
    trained.freeze_text_encoder()
    trained.freeze_audio_encoder()
    assert not any(
        p.requires_grad for part in ("text", "audio") for p in getattr(trained, f"{part}_encoder").parameters()
    )
    asked = {**texts, "input_features": chroma(2, 5), "labels": LABELS}
    trained(**asked).loss.backward()
    for projection in (trained.enc_to_dec_proj, trained.audio_enc_to_dec_proj):
        assert projection.weight.grad.abs().sum() > 0
    assert all(p.grad is not None for p in trained.decoder.parameters())
    optimiser = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        loss = trained(**asked).loss
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_gradients_reach_the_melody_itself(melody: Pair, texts: Any) -> None:
    features = chroma(2, 5).requires_grad_()
    melody.ours(**texts, input_features=features, labels=LABELS).loss.backward()
    melody.ours.zero_grad()
    assert (features.grad.abs().sum(-1) > 0).all()


@pytest.mark.row("R46")
def test_new_projections_have_the_deviation_of_the_initializer_factor(melody: Pair) -> None:
    torch.manual_seed(0)
    config = antiphon.MusicgenMelodyConfig(
        text_encoder={**melody.ours.config.text_encoder.to_dict(), "d_model": 48},
        audio_encoder=melody.ours.config.audio_encoder,
        decoder={"hidden_size": 256, "ffn_dim": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 64},
    )
    model = antiphon.MusicgenMelodyForConditionalGeneration(config)
    for projection in (model.enc_to_dec_proj, model.audio_enc_to_dec_proj):
        assert abs(float(projection.weight.detach().std()) / 0.02 - 1) < 0.1
        assert not projection.bias.any()
