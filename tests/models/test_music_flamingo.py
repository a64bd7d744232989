"""Music Flamingo and Audio Flamingo 3 beside transformers: frames, logits, losses, and that the sound matters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import antiphon
from antiphon.errors import ParamError, ParamTypeError
from antiphon.models.music_flamingo import MusicFlamingoForConditionalGeneration

from .tiny_flamingo import (
    BANDS,
    BEGIN,
    END,
    MEL,
    SOUND,
    TEXTS,
    asked,
    distance,
    frames_of,
    ours,
    pair,
    spread,
    text,
    theirs,
    windows_of,
)

TOLERANCE = 1e-4
KINDS = ["music", "audio"]
FULL = frames_of(MEL)


def frames_by(reference: Any, inputs: dict[str, Tensor]) -> Tensor:
    """The oracle's frames as its language model gets them."""
    given = {name: inputs[name] for name in ("input_features", "input_features_mask")}
    if type(reference).__name__.startswith("Music"):
        given["input_ids"] = inputs["input_ids"]
    with torch.no_grad():
        frames: Tensor = reference.get_audio_features(**given).pooler_output
    return frames


def logits_of(model: Any, inputs: dict[str, Tensor], **more: Any) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(**inputs, **more).logits
    return logits


@pytest.mark.row("R126", "R143")
def test_the_encoders_frames_are_the_references_behind_the_sound_too() -> None:
    reference, model = pair()
    inputs = windows_of(MEL, 61, 1, 37)
    with torch.no_grad():
        expected = reference.model.audio_tower(**inputs).last_hidden_state
        out = model.model.audio_tower(**inputs)
        assert distance(out.last_hidden_state, expected) < 1e-5
        assert torch.equal(model.model.audio_tower(**inputs, return_dict=False)[0], out.last_hidden_state)
        out = model.model.audio_tower(**inputs, output_hidden_states=True, output_attentions=True)
    assert [tuple(part.shape) for part in out.hidden_states] == [(4, MEL // 2, 40)] * 3
    assert [tuple(part.shape) for part in out.attentions] == [(4, 4, MEL // 2, MEL // 2)] * 2


@pytest.mark.row("R113", "R127", "R128", "R129", "R130")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("windows", [1, 2, 3, 41])
def test_frames_and_logits_of_any_number_of_windows_are_the_references(kind: str, windows: int) -> None:
    reference, model = pair(kind)
    inputs = asked([MEL] * (windows - 1) + [61])
    with torch.no_grad():
        out = model(**inputs)
    assert distance(out.audio_hidden_states, frames_by(reference, inputs)) < 1e-4
    assert out.logits.shape[:2] == inputs["input_ids"].shape
    assert distance(out.logits, logits_of(reference, inputs)) < 2e-4


@pytest.mark.row("R126", "R127", "R150")
def test_windows_of_thirty_seconds_are_the_references() -> None:
    changes = {"audio_config": {"model_type": "audioflamingo3_encoder", "num_mel_bins": BANDS, "num_hidden_layers": 1,
                                "num_attention_heads": 2, "intermediate_size": 16, "hidden_size": 20}}  # fmt: skip
    reference = theirs(**changes)
    model = ours(reference)
    features = torch.randn((2, BANDS, 3000), generator=torch.Generator().manual_seed(3))
    mask = (torch.arange(3000) < torch.tensor([[3000], [401]])).int()
    ids = torch.cat([text(1, 3), torch.full((1, 750 + 100), SOUND), text(1, 4)], dim=1)
    inputs = {"input_ids": ids, "input_features": features, "input_features_mask": mask}
    with torch.no_grad():
        out = model(**inputs)
    assert out.audio_hidden_states.shape == (850, 32)
    assert distance(out.audio_hidden_states, frames_by(reference, inputs)) < 1e-4
    assert distance(out.logits, logits_of(reference, inputs)) < 2e-4


@pytest.mark.row("R118", "R131")
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_different_lengths_is_the_references(kind: str) -> None:
    reference, model = pair(kind)
    inputs = asked([MEL, 30], [9], [], [MEL, MEL, MEL])
    real = inputs["attention_mask"].bool()
    assert distance(logits_of(model, inputs)[real], logits_of(reference, inputs)[real]) < 2e-4


@pytest.mark.row("R118")
@pytest.mark.parametrize("kind", KINDS)
def test_several_turns_with_and_without_sound_are_the_references(kind: str) -> None:
    reference, model = pair(kind)
    one, other, no_sound = asked([MEL, 30]), asked([50], seed=4), asked([], seed=6)
    both = {name: torch.cat([one[name], other[name]]) for name in ("input_features", "input_features_mask")}
    ids = torch.cat([part["input_ids"] for part in (one, no_sound, other)], dim=1)
    inputs = {"input_ids": ids, **both}
    expected = logits_of(reference, inputs)
    assert distance(logits_of(model, inputs), expected) < 2e-4
    assert distance(logits_of(model, inputs, window_indices=torch.tensor([0, 1, 0])), expected) < 2e-4


@pytest.mark.row("R139")
def test_window_numbers_travel_with_the_features_where_placeholders_touch() -> None:
    _, model = pair()
    inputs = asked([MEL, MEL], boundaries=False)
    apart, guessed = torch.tensor([0, 0]), torch.tensor([0, 1])
    assert torch.equal(logits_of(model, inputs), logits_of(model, inputs, window_indices=guessed))
    assert distance(logits_of(model, inputs), logits_of(model, inputs, window_indices=apart)) > 1e-2
    frames = {name: inputs[name] for name in ("input_features", "input_features_mask")}
    with torch.no_grad():
        heard = model.get_audio_features(**frames)
        assert torch.equal(heard, model.get_audio_features(**frames, window_indices=guessed))
    for wrong in (torch.tensor([0]), torch.tensor([0.0, 1.0])):
        with pytest.raises(ParamError, match="window_indices of shape"):
            model(**inputs, window_indices=wrong)


@pytest.mark.row("R117")
@pytest.mark.parametrize("kind", KINDS)
def test_F055_placeholders_and_frames_that_are_not_as_many_are_refused(kind: str) -> None:
    _, model = pair(kind)
    inputs = asked([MEL, 30])
    fewer = {name: part[:1] for name, part in inputs.items()}
    for call in (model, model.generate):
        with pytest.raises(ValueError, match=r"do not match, tokens: 32, features: 25"):
            call(**fewer)
    text_only = {**inputs, "input_ids": text(1, 6), "attention_mask": torch.ones(1, 6, dtype=torch.int64)}
    with pytest.raises(ParamError, match=r"tokens: 0, features: 32"):
        model(**text_only)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"input_features": torch.zeros(1, BANDS + 1, MEL)}, r"input_features of shape \(1, 9, 100\)"),
        ({"input_features": torch.zeros(BANDS, MEL)}, r"input_features of shape \(8, 100\)"),
        ({"input_features": torch.zeros(1, BANDS, MEL, dtype=torch.int64)}, "input_features of dtype torch.int64"),
        ({"input_features": [[0.0]]}, r"input_features of shape \(\)"),
        ({"input_features_mask": torch.ones(2, MEL)}, r"input_features_mask of shape \(2, 100\)"),
        ({"audio_features": torch.zeros(25, 32)}, "both given"),
        ({"input_ids": None, "inputs_embeds": torch.zeros(1, 4, 32)}, "sound without input_ids"),
        ({"input_ids": None}, "neither input_ids nor inputs_embeds"),
    ],
)
def test_F055_sound_that_does_not_fit_is_refused(wrong: dict[str, Any], named: str) -> None:
    _, model = pair()
    with pytest.raises(ParamError, match=named):
        model(**{**asked([MEL]), **wrong})


# the sound matters, and in the right place


@pytest.mark.row("R113")
def test_two_songs_with_one_question_give_different_answers() -> None:
    _, model = pair()
    one = asked([MEL, 30])
    other = {**one, **windows_of(MEL, 30, seed=9)}
    assert distance(logits_of(model, one)[:, -1], logits_of(model, other)[:, -1]) > 0.1


@pytest.mark.row("R113", "R128")
def test_the_order_of_windows_matters_to_music_flamingo_alone() -> None:
    for kind, matters in (("music", True), ("audio", False)):
        _, model = pair(kind)
        inputs = asked([MEL, MEL])
        frames = {name: inputs[name] for name in ("input_features", "input_features_mask")}
        turned = {name: part.flip(0) for name, part in frames.items()}
        with torch.no_grad():
            one, other = model.get_audio_features(**frames), model.get_audio_features(**turned)
        assert (distance(torch.cat([other[FULL:], other[:FULL]]), one) > 0.1) is matters
        assert distance(logits_of(model, inputs), logits_of(model, {**inputs, **turned})) > 0.1


@pytest.mark.row("R113")
def test_without_its_time_embedding_it_is_audio_flamingo() -> None:
    reference, plain = pair("audio")
    music = spread(transformers.MusicFlamingoForConditionalGeneration(pair()[0].config))
    music.load_state_dict(reference.state_dict())
    model = ours(music)
    inputs = asked([MEL, 30])
    frames = {name: inputs[name] for name in ("input_features", "input_features_mask")}
    with torch.no_grad():
        first = model.get_audio_features(**frames, window_indices=torch.tensor([0, 0]))
        assert torch.allclose(first[0], plain.get_audio_features(**frames)[0], atol=1e-5)
        assert distance(first, plain.get_audio_features(**frames)) > 0.1
        model.model.placed = lambda frames, windows, window_frames: frames
        assert distance(model.get_audio_features(**frames), plain.get_audio_features(**frames)) < 1e-6


@pytest.mark.row("R130", "R131")
def test_a_changed_window_moves_its_own_places_and_later_ones_only() -> None:
    _, model = pair()
    inputs = asked([MEL, MEL, MEL])
    before = logits_of(model, inputs)
    changed = {**inputs, "input_features": inputs["input_features"].clone()}
    changed["input_features"][1] += 1.0
    moved = (logits_of(model, changed) - before).abs().amax(dim=-1)[0]
    first = int((inputs["input_ids"][0] == SOUND).nonzero()[0])
    assert float(moved[: first + FULL].max()) < 1e-5
    assert bool((moved[first + FULL :] > 1e-4).all())
    assert float(moved[first + FULL : first + 2 * FULL].min()) > 1e-2


@pytest.mark.row("R117", "R130")
def test_frames_stand_where_their_placeholders_were() -> None:
    _, model = pair()
    inputs, seen = asked([MEL], [30]), []
    handle = model.model.language_model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    with torch.no_grad():
        out = model(**inputs)
    handle.remove()
    places = inputs["input_ids"] == SOUND
    assert torch.equal(seen[0][places], out.audio_hidden_states)
    words = model.get_input_embeddings()(inputs["input_ids"])
    assert torch.equal(seen[0][~places], words[~places])


def test_a_question_without_sound_is_the_language_models() -> None:
    reference, model = pair()
    inputs = asked([], [])
    real = inputs["attention_mask"].bool()
    assert distance(logits_of(model, inputs)[real], logits_of(reference, inputs)[real]) < TOLERANCE
    alone = antiphon.Qwen2ForCausalLM(model.config.text_config).eval()
    alone.model, alone.lm_head = model.model.language_model, model.lm_head
    assert torch.equal(logits_of(alone, inputs), logits_of(model, inputs))


# what is computed


@pytest.mark.row("R143")
def test_padding_is_neither_heard_nor_computed() -> None:
    _, model = pair()
    inputs, shapes = asked([MEL, 13], [12], [MEL]), []
    handle = model.model.audio_tower.encoder.stack.register_forward_pre_hook(
        lambda _, args: shapes.append(tuple(args[0].shape))
    )
    before = logits_of(model, inputs)
    handle.remove()
    assert sorted(shapes) == [(1, 6, 40), (1, 7, 40), (2, 50, 40)]
    own = inputs["input_features_mask"].bool()
    reach = own | torch.nn.functional.pad(own, (2, 0))[:, :MEL]  # the last column looks at two mel frames more
    loud = {**inputs, "input_features": inputs["input_features"].masked_fill(~reach[:, None], 1e4)}
    assert torch.equal(logits_of(model, loud), before)


@pytest.mark.row("R120", "R152")
def test_features_of_any_dtype_go_into_a_model_of_any_dtype() -> None:
    reference = theirs()
    model = ours(reference).to(torch.bfloat16)
    reference = reference.to(torch.bfloat16)
    for module in reference.modules():  # as its loader does: these are never cast
        if type(module).__name__.endswith("RotaryEmbedding"):
            module.__init__(module.config)
    inputs = asked([MEL, 61])
    same = {**inputs, "input_features": inputs["input_features"].bfloat16()}
    with torch.no_grad():
        out = model(**inputs)
        exact = model(**{**inputs, "input_features": same["input_features"].double()})
    assert out.audio_hidden_states.dtype is out.logits.dtype is torch.bfloat16
    assert torch.equal(out.logits, logits_of(model, same))
    assert torch.equal(out.logits, exact.logits)
    assert distance(out.audio_hidden_states, frames_by(reference, same)) < 0.15
    assert distance(out.logits, logits_of(reference, same)) < 0.3


# calls


@pytest.mark.row("R146")
def test_logits_are_kept_of_the_columns_asked_for() -> None:
    reference, model = pair()
    inputs = asked([30])
    rows, columns = inputs["input_ids"].shape
    for kept, count in ((0, columns), (1, 1), (4, 4), (torch.tensor([0, 5, 2]), 3)):
        logits = logits_of(model, inputs, logits_to_keep=kept)
        assert logits.shape == (rows, count, TEXTS)
        assert distance(logits, logits_of(reference, inputs, logits_to_keep=kept)) < TOLERANCE


@pytest.mark.row("R144")
def test_positions_are_taken_or_counted() -> None:
    reference, model = pair()
    inputs = asked([30])
    places = torch.arange(inputs["input_ids"].shape[1])[None]
    assert torch.equal(logits_of(model, inputs), logits_of(model, inputs, position_ids=places))
    spaced = logits_of(model, inputs, position_ids=places * 2)
    assert distance(spaced, logits_of(reference, inputs, position_ids=places * 2)) < TOLERANCE
    assert distance(spaced, logits_of(model, inputs)) > 1e-2


@pytest.mark.row("R147")
def test_columns_through_a_cache_are_the_whole_and_sound_is_given_once() -> None:
    _, model = pair()
    inputs, cache = asked([30]), antiphon.DynamicCache()
    ids, sound = inputs["input_ids"], {k: v for k, v in inputs.items() if k.startswith("input_features")}
    cut = ids.shape[1] - 3
    with torch.no_grad():
        whole = model(**inputs).logits
        first = model(ids[:, :cut], **sound, past_key_values=cache)
        steps = [model(ids[:, t : t + 1], past_key_values=cache).logits for t in range(cut, ids.shape[1])]
        assert model(**inputs, use_cache=False).past_key_values is None
    assert first.past_key_values is cache
    assert distance(torch.cat([first.logits, *steps], dim=1), whole) < TOLERANCE
    with pytest.raises(ParamTypeError, match="past_key_values of class list"):
        model(**inputs, past_key_values=[])


@pytest.mark.row("R148")
def test_outputs_are_the_documented_ones_or_a_tuple() -> None:
    reference, model = pair()
    inputs = asked([30])
    wanted = {"output_hidden_states": True, "output_attentions": True, "labels": inputs["input_ids"]}
    reference.set_attn_implementation("eager")
    with torch.no_grad():
        expected, out = reference(**inputs, **wanted), model(**inputs, **wanted)
        plain = model(**inputs, **wanted, return_dict=False)
    reference.set_attn_implementation("sdpa")
    assert isinstance(out, antiphon.CausalLMOutputWithPast)
    assert list(out.keys()) == list(expected.keys())
    for name in ("hidden_states", "attentions"):
        for mine, other in zip(out[name], expected[name], strict=True):
            assert distance(mine, other) < TOLERANCE
    assert torch.equal(plain[0], out.loss)
    assert len(plain) == len(out.to_tuple()) == 6


@pytest.mark.row("R152")
def test_the_same_inputs_give_the_same_logits() -> None:
    _, model = pair()
    inputs = asked([MEL, 30], [7])
    assert torch.equal(logits_of(model, inputs), logits_of(model, inputs))


# training


def labelled(inputs: dict[str, Tensor]) -> Tensor:
    """The labels that the processor makes: no sound, no boundaries, no pads."""
    ids = inputs["input_ids"]
    special = (ids == SOUND) | (ids == BEGIN) | (ids == END) | (inputs["attention_mask"] == 0)
    return ids.masked_fill(special, -100)


@pytest.mark.row("R125", "R145")
@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_the_references(kind: str) -> None:
    reference = theirs(kind)
    model, inputs = ours(reference), asked([MEL, 30], [11])
    losses = []
    for one in (reference, model):
        one.train()
        losses.append(one(**inputs, labels=labelled(inputs)).loss)
        losses[-1].backward()
    assert distance(losses[1], losses[0]) < TOLERANCE
    pairs = [
        (model.model.multi_modal_projector.linear_1.weight, reference.model.multi_modal_projector.linear_1.weight),
        (model.model.audio_tower.encoder.first.weight, reference.model.audio_tower.conv1.weight),
        (
            model.model.audio_tower.encoder.stack.layers[0].attention.query.weight,
            reference.model.audio_tower.layers[0].self_attn.q_proj.weight,
        ),
        (
            model.model.language_model.text.stack.layers[1].mlp.down.weight,
            reference.model.language_model.layers[1].mlp.down_proj.weight,
        ),
        (model.get_input_embeddings().weight, reference.get_input_embeddings().weight),
    ]
    for mine, other in pairs:
        assert float(other.grad.abs().max()) > 0
        assert distance(mine.grad, other.grad) < 1e-4 * max(1.0, float(other.grad.abs().max()))


@pytest.mark.row("R145")
def test_the_loss_is_the_mean_cross_entropy_of_the_labels_one_column_later() -> None:
    _, model = pair()
    inputs = asked([30], [11])
    labels = labelled(inputs)
    with torch.no_grad():
        out = model(**inputs, labels=labels)
    wanted = labels[:, 1:]
    by_token = out.logits[:, :-1].log_softmax(-1).gather(-1, wanted.clamp(min=0)[..., None])[..., 0]
    assert float(out.loss) == pytest.approx(float(-by_token[wanted >= 0].mean()), abs=1e-5)


@pytest.mark.row("R125")
def test_recomputed_layers_give_the_same_gradients() -> None:
    inputs, found = asked([30]), []
    for recompute in (False, True):
        model = ours(pair()[0]).train()
        if recompute:
            model.gradient_checkpointing_enable()
        model(**inputs, labels=labelled(inputs)).loss.backward()
        found.append(model.model.audio_tower.encoder.second.weight.grad)
    assert distance(*found) < 1e-6
    assert type(model) is MusicFlamingoForConditionalGeneration


@pytest.mark.row("R153")
def test_all_that_is_heard_passes_one_encoder() -> None:
    _, model = pair()
    towers = [module for module in model.modules() if isinstance(module, antiphon.AudioFlamingo3Encoder)]
    assert towers == [model.model.audio_tower]
    assert model.get_encoder() is towers[0]
    assert model.get_decoder() is model.model.language_model
