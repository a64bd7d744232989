"""What a music model hears and is asked for while it learns: that of generation, and the reference's loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.training import teacher_forcing
from antiphon.training.music import MusicObjective
from antiphon.training.teacher_forcing import TeacherForcing

from .music_models import CODES, batch, loss_of, ours, theirs

ALL = ["mono", "stereo", "melody", "melody_stereo"]


def delayed(codes: Tensor, frames: list[int], channels: int) -> tuple[Tensor, Tensor]:
    """Inputs (B, K, T) and labels (B, T, K) by hand: column ``s`` is asked for frame ``s - d_k``."""
    rows, streams, length = codes.shape
    columns = length + (streams // channels - 1)
    inputs = torch.full((rows, streams, columns), CODES)
    labels = torch.full((rows, columns, streams), -100)
    for row in range(rows):
        for stream in range(streams):
            for frame in range(frames[row]):
                column = frame + stream // channels
                labels[row, column, stream] = codes[row, stream, frame]
                if column + 1 < columns:
                    inputs[row, stream, column + 1] = codes[row, stream, frame]
    return inputs, labels


def heard(model: Any, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The hidden states (B, T, D) that a batch's losses are taken from."""
    seen: list[Tensor] = []

    def kept(hidden: Tensor, heads: Any, labels: Tensor, weights: Any) -> tuple[Tensor, Tensor]:
        seen.append(hidden)
        return hidden.sum(), torch.zeros(labels.shape[1])

    monkeypatch.setattr(teacher_forcing, "stream_losses", kept)
    with torch.no_grad():
        TeacherForcing(model).eval()(given)
    monkeypatch.undo()
    return seen[0]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("ragged", [False, True])
def test_loss_and_gradients_are_the_references_for_delayed_labels(name: str, ragged: bool) -> None:
    # pads of a text are seen by the reference's Melody; without them there is one truth
    given = batch(name, padded="melody" not in name)
    frames = [9, 5, 2] if ragged else [9, 9, 9]
    if ragged:
        given["frames"] = torch.tensor(frames)
    inputs, labels = delayed(given["codes"], frames, 2 if "stereo" in name else 1)
    oracle = theirs(name)
    oracle.zero_grad()
    conditions = {k: v for k, v in given.items() if k not in ("codes", "frames")}
    expected = oracle(**conditions, decoder_input_ids=inputs.flatten(0, 1), labels=labels).loss
    expected.backward()
    gradients = {n: p.grad for n, p in oracle.named_parameters() if p.grad is not None}
    model = ours(name)
    objective = MusicObjective(model, train_text_encoder=True)
    objective.model.eval()
    losses = objective.losses(given)
    (losses.total / objective.weight(given)).backward()
    assert objective.weight(given) == sum(frames)
    assert abs(float(losses.total.detach()) / sum(frames) - float(expected.detach())) < 2e-5
    named = model.state_dict(keep_vars=True)
    assert len(gradients) > 40
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(named[parameter].grad, gradient, atol=5e-5, rtol=1e-3)
    oracle.zero_grad()


def test_the_parts_are_the_mean_of_each_codebook() -> None:
    given, model = batch("mono"), ours("mono")
    objective = MusicObjective(model)
    _, labels = delayed(given["codes"], [9, 9, 9], 1)
    inputs, _ = delayed(given["codes"], [9, 9, 9], 1)
    with torch.no_grad():
        parts = objective.losses(given).parts
        logits = model(given["input_ids"], given["attention_mask"], decoder_input_ids=inputs).logits
    assert list(parts) == [f"codebook_{k}" for k in range(4)]
    for k, (loss, book) in enumerate(zip(parts.values(), logits.view(3, 4, 12, CODES).unbind(1), strict=True)):
        expected = torch.nn.functional.cross_entropy(book.flatten(0, 1), labels[..., k].flatten())
        torch.testing.assert_close(loss / objective.weight(given), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_rows_hear_what_generation_gives_them_with_and_without_their_condition(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, given = ours(name), batch(name)
    dropped = {**given, "dropped": torch.ones(3, dtype=torch.bool)}
    trained = torch.cat([heard(model, given, monkeypatch), heard(model, dropped, monkeypatch)])
    states: list[Tensor] = []
    hook = model.decoder.model.register_forward_hook(lambda _, __, out: states.append(out.last_hidden_state))
    model.generate(
        **{k: v for k, v in given.items() if k != "codes"},
        decoder_input_ids=given["codes"].flatten(0, 1),
        guidance_scale=3.0,
        independent_rows=True,
        do_sample=False,
        max_new_tokens=8,
    )
    hook.remove()
    # the prompt behind its start column; conditions may stand in front of it
    generated = states[0][:, -10:]
    torch.testing.assert_close(trained[:, :10], generated, atol=2e-5, rtol=2e-5)
    assert float((trained[:3, :10] - trained[3:, :10]).abs().max()) > 0.1


@pytest.mark.parametrize("name", ["mono", "melody"])
def test_a_row_is_what_it_is_alone(name: str) -> None:
    objective, given = MusicObjective(ours(name)), batch(name)
    each = []
    for row in range(3):
        own = {k: v[row : row + 1] for k, v in given.items()}
        real = int(own["attention_mask"].sum())
        own |= {k: own[k][:, :real] for k in ("input_ids", "attention_mask")}
        each.append(loss_of(objective, own))
    assert abs(loss_of(objective, given) - sum(each) / 3) < 1e-5


@pytest.mark.parametrize("name", ["mono", "melody"])
def test_passages_keep_their_places(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row from frame ``n`` on is that of a decoder whose columns are counted from ``n`` behind its conditions."""
    model, given = ours(name), batch(name)
    begun = heard(model, given, monkeypatch)
    first = torch.tensor([0, 7, 5000])
    placed = heard(model, {**given, "first": first}, monkeypatch)
    torch.testing.assert_close(heard(model, {**given, "first": 0 * first}, monkeypatch), begun)
    torch.testing.assert_close(placed[0], begun[0], atol=1e-5, rtol=1e-5)
    assert float((placed[1:] - begun[1:]).abs().amax((1, 2)).min()) > 0.1
    table = model.decoder.model.decoder.positions
    between, at = table.between, table.at
    for row in (1, 2):
        own = {k: v[row : row + 1] for k, v in given.items()}
        real, length = int(own["attention_mask"].sum()), begun.shape[1]
        own |= {k: own[k][:, :real] for k in ("input_ids", "attention_mask")}

        def moved(start: int, stop: int, *, like: Tensor, by: int = int(first[row]), columns: int = length) -> Tensor:
            front = between(start, stop - columns, like=like)
            return torch.cat([front, at(torch.arange(by, by + columns) + len(front), 9999, like=like)])

        monkeypatch.setattr(table, "between", moved)
        torch.testing.assert_close(placed[row], heard(model, own, monkeypatch)[0], atol=1e-5, rtol=1e-5)


def test_a_text_padded_on_the_left_is_the_same_text() -> None:
    objective, given = MusicObjective(ours("melody")), batch("melody")
    with torch.no_grad():
        states = objective.whole.text_encoder(given["input_ids"], given["attention_mask"]).last_hidden_state
    asked = {k: v for k, v in given.items() if k != "input_ids"}
    left = {
        **asked,
        "text_states": torch.stack([states[row].roll(row, 0) for row in range(3)]),
        "attention_mask": torch.stack([given["attention_mask"][row].roll(row, 0) for row in range(3)]),
    }
    assert abs(loss_of(objective, left) - loss_of(objective, {**asked, "text_states": states})) < 1e-6


@pytest.mark.parametrize("name", ["mono", "melody"])
def test_cached_states_stand_for_the_text(name: str) -> None:
    objective, given = MusicObjective(ours(name)), batch(name)
    with torch.no_grad():
        states = objective.whole.text_encoder(given["input_ids"], given["attention_mask"]).last_hidden_state
    cached = {**{k: v for k, v in given.items() if k != "input_ids"}, "text_states": states}
    assert abs(loss_of(objective, given) - loss_of(objective, cached)) < 1e-6
    other = {**cached, "text_states": states.flip(0)}
    assert abs(loss_of(objective, given) - loss_of(objective, other)) > 1e-3


@pytest.mark.parametrize("name", ["mono", "melody"])
def test_a_decoder_alone_learns_from_states_of_its_own_width(name: str) -> None:
    model = ours(name)
    given = {k: v for k, v in batch(name, padded=False).items() if k != "input_features"}
    whole = MusicObjective(model)
    alone = MusicObjective(model.decoder)
    with torch.no_grad():
        text = model.text_encoder(given["input_ids"], given["attention_mask"]).last_hidden_state
        states = model.project(text, given["attention_mask"])
        front = model._front(states, None, None) if name == "melody" else states
    own = {"codes": given["codes"], "text_states": front}
    assert abs(loss_of(alone, own) - loss_of(whole, given)) < 1e-6
    dropped = {**own, "dropped": torch.ones(3, dtype=torch.bool)}
    zeros = {**own, "text_states": torch.zeros_like(front)}
    assert loss_of(alone, dropped) == loss_of(alone, zeros)
    assert abs(loss_of(alone, dropped) - loss_of(alone, own)) > 1e-3


@pytest.mark.parametrize("name", ["mono", "melody"])
def test_no_text_at_all_is_a_condition_of_nothing(name: str) -> None:
    model, given = ours(name), batch(name)
    objective = MusicObjective(model)
    bare = {"codes": given["codes"]}
    if name == "mono":  # nothing to attend to, as zeros are
        assert abs(loss_of(objective, bare) - loss_of(objective, {**given, "dropped": torch.ones(3) > 0})) < 1e-6
    inputs, labels = delayed(given["codes"], [9, 9, 9], 1)
    front = model._front(torch.zeros(3, 1, 32), None, None) if name == "melody" else None
    with torch.no_grad():
        expected = model.decoder(inputs, encoder_hidden_states=front, labels=labels).loss
    assert abs(loss_of(objective, bare) - float(expected)) < 1e-5


def test_a_dropped_melody_leaves_the_text() -> None:
    objective, given = MusicObjective(ours("melody")), batch("melody")
    rows = torch.tensor([True, False, True])
    text_only = {k: v for k, v in given.items() if k != "input_features"}
    every = torch.ones(3, dtype=torch.bool)
    dropped = loss_of(objective, {**given, "melody_dropped": every})
    assert abs(dropped - loss_of(objective, text_only)) < 1e-6
    some = loss_of(objective, {**given, "melody_dropped": rows})
    assert len({round(x, 4) for x in (some, dropped, loss_of(objective, given))}) == 3
    assert loss_of(objective, {**given, "dropped": every, "melody_dropped": rows}) == loss_of(
        objective, {**given, "dropped": every}
    )


@pytest.mark.parametrize("name", ["mono", "melody"])
def test_recomputed_layers_give_the_same_gradients(name: str) -> None:
    model, given = ours(name), batch(name)
    objective = MusicObjective(model)
    objective.model.train()
    layers: list[int] = []
    for layer in model.decoder.model.decoder.stack.layers:
        layer.dropout = 0.3
        layer.attention.register_forward_hook(lambda *_: layers.append(1))

    def gradients() -> list[Tensor]:
        objective.model.zero_grad()
        layers.clear()
        torch.manual_seed(3)
        objective.losses(given).total.backward()
        return [p.grad.clone() for p in objective.model.parameters() if p.grad is not None]

    plain, calls = gradients(), len(layers)
    model.gradient_checkpointing_enable()
    again, more = gradients(), len(layers)
    assert (calls, more) == (3, 6)
    assert len(plain) == len(again) > 30
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_products_in_bfloat16_lose_little() -> None:
    objective, given = MusicObjective(ours("mono")), batch("mono")
    exact = loss_of(objective, given)
    with torch.autocast("cpu", torch.bfloat16):
        losses = objective.losses(given)
    losses.total.backward()
    assert losses.total.dtype is torch.float32
    assert 0 < abs(float(losses.total.detach()) / 27 - exact) < 0.02 * exact
    assert all(p.grad.dtype is torch.float32 for p in objective.whole.decoder.parameters())


@pytest.mark.parametrize(
    "changes",
    [
        {"codes": torch.zeros(3, 3, 9, dtype=torch.long)},
        {"codes": torch.zeros(3, 4, 0, dtype=torch.long)},
        {"codes": None},
        {"input_ids": torch.zeros(2, 6, dtype=torch.long), "attention_mask": torch.ones(2, 6)},
    ],
)
def test_batches_that_do_not_fit_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ParamError):
        TeacherForcing(ours("mono"))({**batch("mono"), **changes})


def test_a_decoder_alone_has_no_text_encoder() -> None:
    decoder = ours("mono").decoder
    with pytest.raises(ParamError, match="text_states"):
        TeacherForcing(decoder)(batch("mono"))
    with pytest.raises(ParamError, match="alone"):
        TeacherForcing(decoder, train_text_encoder=True)
