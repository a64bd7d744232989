"""Music models in training: what is trained and how, what is saved, and that they learn."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import antiphon
from antiphon.errors import CheckpointError, ConfigError
from antiphon.training.music import MusicObjective

from .music_models import CODES, batch, loss_of, ours, processor, theirs
from .overfitting import overfitted


def trained(objective: MusicObjective) -> set[str]:
    """The names, in the documents' spelling, of what gets a gradient."""
    objective.losses(batch("melody" if hasattr(objective.whole, "audio_enc_to_dec_proj") else "mono")).total.backward()
    named = objective.whole.state_dict(keep_vars=True)
    return {name for name, tensor in named.items() if getattr(tensor, "grad", None) is not None}


@pytest.mark.parametrize("name", ["mono", "melody"])
def test_the_text_encoder_is_frozen_unless_asked_for_and_the_codec_always(name: str) -> None:
    frozen = MusicObjective(ours(name))
    frozen.model.train()
    assert not frozen.whole.text_encoder.training
    assert frozen.whole.decoder.training
    names = trained(frozen)
    assert not any(n.startswith(("text_encoder", "audio_encoder")) for n in names)
    assert "enc_to_dec_proj.weight" in names
    assert ("audio_enc_to_dec_proj.weight" in names) == (name == "melody")
    along = MusicObjective(ours(name), train_text_encoder=True)
    along.model.train()
    assert along.whole.text_encoder.training
    assert trained(along) - names == {n for n in along.whole.state_dict() if n.startswith("text_encoder")}


def test_the_codec_is_no_part_of_what_is_trained() -> None:
    objective = MusicObjective(ours("mono"))
    inside = {id(p) for p in objective.model.parameters()}
    assert not any(id(p) in inside for p in objective.whole.audio_encoder.parameters())
    assert all(id(p) in inside for p in objective.whole.decoder.parameters())


def test_matrices_decay_and_embeddings_norms_and_biases_do_not() -> None:
    model = ours("melody")
    objective = MusicObjective(
        model, train_text_encoder=True, weight_decay=0.3, lr_scales={"text_encoder": 0.1, "enc_to_dec_proj": 2.0}
    )
    groups = objective.parameter_groups()
    rules = {id(p): (group["weight_decay"], group["lr_scale"]) for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(rules)
    named = {n: t for n, t in model.state_dict(keep_vars=True).items() if id(t) in rules}
    assert {id(t) for t in named.values()} == rules.keys()
    assert {id(p) for p in model.parameters() if p.requires_grad} == rules.keys()
    for name, tensor in named.items():
        spared = "embed" in name or "norm" in name or "bias" in name or "shared" in name
        scale = 0.1 if name.startswith("text_encoder") else 2.0 if name.startswith("enc_to_dec") else 1.0
        assert rules[id(tensor)] == (0.0 if spared else 0.3, scale), name


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight_decay": -0.1},
        {"weight_decay": math.nan},
        {"lr_scales": {"decoder": -1.0}},
        {"lr_scales": {"decoder": math.nan}},
        {"lr_scales": {"codec": 1.0}},
        {"lr_scales": {"text_encoder": 0.5}},  # it is frozen
    ],
)
def test_rates_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        MusicObjective(ours("mono"), **wrong)


def test_a_batch_in_pieces_has_the_same_gradients() -> None:
    given = {**batch("melody"), "frames": torch.tensor([9, 4, 7])}
    objective = MusicObjective(ours("melody"))
    objective.model.eval()
    pieces = [{k: v[rows] for k, v in given.items()} for rows in (slice(0, 1), slice(1, 3))]
    assert objective.weight(given) == sum(objective.weight(piece) for piece in pieces) == 20
    objective.losses(given).total.backward()
    whole = [p.grad.clone() for p in objective.model.parameters() if p.grad is not None]
    objective.model.zero_grad()
    for piece in pieces:
        objective.losses(piece).total.backward()
    for one, other in zip(whole, [p.grad for p in objective.model.parameters() if p.grad is not None], strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["mono", "melody"])
def test_one_batch_is_learnt_by_heart_and_generation_repeats_it(name: str) -> None:
    given = batch(name, rows=2, frames=8)
    model = ours(name)
    with torch.no_grad():  # what spreads the logits of the tests' models is no start for training
        model.decoder.initialise()
    objective = MusicObjective(model, weight_decay=0.0)
    objective.model.train()
    losses = overfitted(objective, given, steps=120)
    assert losses[0] > 3.5
    assert losses[-1] < 0.05
    asked = {k: v for k, v in given.items() if k != "codes"}
    codes: list[Tensor] = []
    model.generate(
        **asked,
        do_sample=False,
        guidance_scale=1.0,
        independent_rows=True,
        max_new_tokens=11,
        on_column=lambda column: codes.append(column.clone()),
    )
    columns = torch.stack(codes, dim=-1)  # (B, K, 11), those of the first frame from the first column on
    for stream in range(4):
        assert torch.equal(columns[:, stream, stream : stream + 8], given["codes"][:, stream])


def test_a_checkpoint_opens_here_and_in_the_reference_as_a_whole(tmp_path: Path) -> None:
    objective = MusicObjective(ours("mono"), processor=processor("mono"))
    objective.save(tmp_path, None)
    assert len(antiphon.AutoProcessor.from_pretrained(tmp_path)(text=["a song"])["input_ids"]) == 1
    opened = transformers.MusicgenForConditionalGeneration.from_pretrained(tmp_path)
    for name, tensor in theirs("mono").state_dict().items():
        assert torch.equal(opened.state_dict()[name], tensor), name


def test_an_average_is_saved_and_the_model_stays_as_it_was(tmp_path: Path) -> None:
    objective = MusicObjective(ours("melody"))
    before = {n: t.clone() for n, t in objective.whole.state_dict().items()}
    average = {n: p.detach() * 2 for n, p in objective.model.named_parameters() if p.requires_grad}
    objective.save(tmp_path, average)
    written = antiphon.MusicgenMelodyForConditionalGeneration.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(t, before[n]) for n, t in objective.whole.state_dict().items())
    for name, tensor in written.items():
        doubled = not name.startswith(("audio_encoder", "text_encoder"))
        assert torch.equal(tensor, before[name] * (2 if doubled else 1)), name
    with pytest.raises(CheckpointError, match="has not"):
        objective.save(tmp_path, {"parts.other": torch.zeros(1)})


def test_nothing_but_weights_is_needed_to_go_on() -> None:
    objective = MusicObjective(ours("mono"))
    objective.before_training(batch("mono"))
    objective.after_step(0)
    assert objective.extra_state() == {}
    objective.load_extra_state({})
    with pytest.raises(CheckpointError, match="books"):
        objective.load_extra_state({"books": torch.zeros(1)})


def test_frozen_heads_get_no_gradient_and_what_is_below_them_does() -> None:
    objective = MusicObjective(ours("mono"))
    before = loss_of(objective, batch("mono"))
    objective.whole.decoder.lm_heads.requires_grad_(False)
    assert not any(name.startswith("decoder.lm_heads") for name in trained(objective))
    assert objective.whole.decoder.model.decoder.embeddings[0].weight.grad is not None
    assert abs(loss_of(objective, batch("mono")) - before) < 1e-6
    assert objective.whole.decoder.config.vocab_size == CODES


def test_an_adapter_on_twenty_clips_lowers_their_loss_and_leaves_the_model() -> None:
    model = ours("mono")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.add_adapter({"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "fc1", "fc2"]})
    objective, given = MusicObjective(model), batch("mono", rows=20, places=22)
    objective.model.train()
    learning = {name for name, p in model.decoder.named_parameters() if p.requires_grad}
    assert learning
    assert all("lora" in name for name in learning)
    losses = overfitted(objective, given, steps=25, rate=2e-2)
    assert losses[-1] < 0.9 * losses[0]
    model.disable_adapters()
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_codebooks_may_count_for_more_or_less() -> None:
    given = batch("mono")
    plain = MusicObjective(ours("mono"))
    streams = len(plain.losses(given).parts)
    weights = [3.0, *[1.0] * (streams - 1)]
    weighted = MusicObjective(ours("mono"), codebook_weights=weights)
    losses = weighted.losses(given)
    assert losses.parts == plain.losses(given).parts
    wanted = sum(w * losses.parts[f"codebook_{k}"] for k, w in enumerate(weights)) / sum(weights)
    torch.testing.assert_close(losses.total.detach(), wanted)
    for wrong in ([1.0], [0.0] * streams, [-1.0, *[1.0] * (streams - 1)], [math.nan] * streams):
        with pytest.raises(ConfigError, match="codebook_weights"):
            MusicObjective(ours("mono"), codebook_weights=wrong)
