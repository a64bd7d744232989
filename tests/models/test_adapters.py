"""Adapters on whole models: what they change, who trains, several of them, merging, files there and back."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import antiphon
from antiphon.errors import AdapterError, CheckpointError
from antiphon.models.adapter_places import documented_modules
from antiphon.nn.linear import Linear
from antiphon.nn.lora import LoraLinear, LoraQuantizedLinear
from antiphon.nn.native import library
from antiphon.nn.quantized_linear import QuantizedLinear

from .conftest import Pair
from .tiny_musicgen import CODES, column_ids, distance, generated

Q = "decoder.model.decoder.layers.0.self_attn.q_proj"


def lora(**changes: Any) -> antiphon.LoraConfig:
    return antiphon.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "fc1"], **changes})


def fill(model: nn.Module, seed: int = 3, size: float = 0.3) -> None:
    """Gives every adapter numbers, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter += size * torch.randn(parameter.shape, generator=generator)


def logits(model: Any, texts: Any) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(**texts, decoder_input_ids=column_ids(2, 6)).logits
    return out


def adapted(model: Any, name: str = "default", *, seed: int = 3, **changes: Any) -> Any:
    """The model with one more adapter that is felt."""
    model.add_adapter(lora(**changes), name)
    held = {n: p.detach().clone() for n, p in model.named_parameters()}
    fill(model, seed)
    with torch.no_grad():
        for n, p in model.named_parameters():
            if f".{name}." not in n:
                p.copy_(held[n])
    return model


@pytest.fixture
def folder(fresh: Any, tmp_path: Path) -> Path:
    """An adapter in a folder, for the models of ``either``."""
    place = tmp_path / "adapter"
    copied = adapted(copy.deepcopy(fresh), modules_to_save=["lm_heads.1"])
    copied.save_adapter(place)
    return place


# --- what it changes -------------------------------------------------------------------------------------------------


def test_a_new_adapter_changes_nothing_and_a_trained_one_does(fresh: Any, texts: Any) -> None:
    plain = logits(fresh, texts)
    fresh.add_adapter(lora(modules_to_save=["lm_heads", "layer_norm"]))
    assert torch.equal(logits(fresh, texts), plain)
    fill(fresh)
    assert distance(logits(fresh, texts), plain) > 0.1
    fresh.disable_adapters()
    assert torch.equal(logits(fresh, texts), plain)
    fresh.enable_adapters()
    assert distance(logits(fresh, texts), plain) > 0.1
    fresh.delete_adapter("default")
    assert torch.equal(logits(fresh, texts), plain)


def test_only_layers_that_were_named_change_their_class(fresh: Any) -> None:
    adapted(fresh, target_modules=["self_attn.q_proj"], layers_to_transform=[0, 2])
    kinds = {n: type(m) for n, m in documented_modules(fresh).items() if isinstance(m, Linear)}
    changed = [n for n, kind in kinds.items() if kind is LoraLinear]
    assert changed == [f"decoder.model.decoder.layers.{i}.self_attn.q_proj" for i in (0, 2)]


def test_documented_names_are_those_of_the_oracle(each: Pair) -> None:
    theirs = {n for n, m in each.theirs.named_modules() if isinstance(m, (nn.Linear, nn.Embedding, nn.LayerNorm))}
    ours = {
        n for n, m in documented_modules(each.ours).items() if isinstance(m, (nn.Linear, nn.Embedding, nn.LayerNorm))
    }
    second = {"text_encoder.encoder.embed_tokens", "text_encoder.encoder.block.0.layer.0.SelfAttention"}
    assert {n for n in theirs - ours if not n.startswith(tuple(second))} == set()
    assert ours <= theirs


def test_names_of_the_model_s_own_tensors_are_unchanged_and_adapters_are_called_as_peft_calls_them(fresh: Any) -> None:
    before = fresh.state_dict()
    adapted(fresh, "mine", modules_to_save=["lm_heads.0"])
    after = fresh.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    further = set(after) - set(before)
    assert f"{Q}.lora_A.mine.weight" in further
    assert "decoder.lm_heads.0.modules_to_save.mine.weight" in further
    assert all(".mine." in name for name in further)
    twin = type(fresh)(fresh.config)
    twin.add_adapter(lora(modules_to_save=["lm_heads.0"]), "mine")
    twin.load_state_dict(after)
    assert all(torch.equal(tensor, after[name]) for name, tensor in twin.state_dict().items())


def test_generation_with_an_active_adapter_is_the_forward_pass_with_it(fresh: Any, texts: Any) -> None:
    plain, _ = generated(fresh, **texts, do_sample=False, max_new_tokens=12, guidance_scale=1.0)
    adapted(fresh)
    codes, _ = generated(fresh, **texts, do_sample=False, max_new_tokens=12, guidance_scale=1.0)
    assert not torch.equal(codes, plain)
    own = fresh.decoder.build_delay_pattern_mask(
        torch.full((8, 1), CODES), CODES, 13
    )  # the columns that were made, delayed again
    delayed = own[1].reshape(2, 4, 13).clone()
    for book in range(4):
        frames = min(codes.shape[-1], 12 - book)
        delayed[:, book, book + 1 : book + 1 + frames] = codes[:, book, :frames]
    with torch.no_grad():
        forward = fresh(**texts, decoder_input_ids=delayed.flatten(0, 1).clamp(min=0)).logits.view(2, 4, -1, CODES)
    forward = forward[:, :, -13:]
    for book in range(4):
        frames = min(codes.shape[-1], 12 - book)
        assert torch.equal(forward[:, book, book : book + frames].argmax(-1), codes[:, book, :frames])


# --- training --------------------------------------------------------------------------------------------------------


def test_the_active_adapters_alone_are_trained(fresh: Any, texts: Any) -> None:
    before = {n for n, p in fresh.named_parameters() if p.requires_grad}
    fresh.add_adapter(lora(), "one")
    fresh.add_adapter(lora(modules_to_save=["lm_heads.0"]), "two")
    trained = {n for n, p in fresh.named_parameters() if p.requires_grad}
    assert trained
    assert all(".two." in name for name in trained)
    fresh.set_adapter(["one", "two"])
    assert {n.split(".")[-2] for n, p in fresh.named_parameters() if p.requires_grad} == {"one", "two"}
    assert fresh.num_parameters(only_trainable=True) == sum(p.numel() for p in fresh.parameters() if p.requires_grad)
    fresh.delete_adapter(["one", "two"])
    assert {n for n, p in fresh.named_parameters() if p.requires_grad} == before


def test_steps_with_an_adapter_lower_the_loss_and_leave_the_model_as_it_was(fresh: Any, texts: Any) -> None:
    base = {n: t.clone() for n, t in fresh.state_dict().items()}
    torch.manual_seed(0)
    fresh.add_adapter(lora(r=8, modules_to_save=["lm_heads"]))
    labels = torch.randint(0, CODES, (2, 5, 4), generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.Adam([p for p in fresh.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(12):
        loss = fresh(**texts, labels=labels).loss
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(t, base[n]) for n, t in fresh.state_dict().items() if n in base)


def test_gradient_checkpointing_gives_adapters_the_same_gradients(fresh: Any, texts: Any) -> None:
    adapted(fresh).train()
    for module in fresh.modules():
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    labels = torch.randint(0, CODES, (2, 5, 4), generator=torch.Generator().manual_seed(1))
    found = []
    for on in (False, True):
        fresh._set_checkpointing(on)
        fresh.zero_grad()
        fresh(**texts, labels=labels).loss.backward()
        found.append({n: p.grad.clone() for n, p in fresh.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert all(".default." in name for name in found[0])
    assert all(torch.allclose(grad, found[1][name], atol=1e-5) for name, grad in found[0].items())


# --- several ---------------------------------------------------------------------------------------------------------


def test_several_adapters_take_turns_or_add_up_with_their_scales(fresh: Any) -> None:
    adapted(fresh, "one")
    adapted(fresh, "two", seed=4, target_modules=["q_proj", "out_proj"], r=2)
    layer, x = fresh.get_submodule("decoder.model.decoder.stack.layers.0.attention.query"), torch.randn(3, 32)
    assert fresh.active_adapters() == ["two"]
    plain = nn.functional.linear(x, layer.weight)
    apart = {}
    for name in ("one", "two"):
        fresh.set_adapter(name)
        apart[name] = layer(x) - plain
    fresh.set_adapter(["one", "two"], [0.5, 2.0])
    assert fresh.active_adapters() == ["one", "two"]
    assert torch.allclose(layer(x) - plain, 0.5 * apart["one"] + 2 * apart["two"], atol=1e-4)
    fresh.set_adapter("one", 0.25)
    assert torch.allclose(layer(x) - plain, 0.25 * apart["one"], atol=1e-4)


def test_adapters_of_a_part_stay_beside_those_of_the_whole(fresh: Any, texts: Any) -> None:
    adapted(fresh.decoder, "inner")
    inner = logits(fresh, texts)
    fresh.add_adapter(lora(target_modules=["k_proj"]), "outer")
    assert torch.equal(logits(fresh, texts), inner)
    fresh.disable_adapters()
    assert torch.equal(logits(fresh, texts), inner)
    fresh.delete_adapter("outer")
    assert torch.equal(logits(fresh, texts), inner)
    assert fresh.decoder.active_adapters() == ["inner"]


def test_text_encoders_and_bare_decoders_take_adapters_too(either: Pair, tmp_path: Path) -> None:
    encoder = antiphon.T5EncoderModel.from_pretrained(either.folder)
    ids = torch.tensor([[5, 6, 7]])
    plain = encoder(ids).last_hidden_state
    encoder.add_adapter(lora(target_modules=["q", "wi", "wo"], modules_to_save=["final_layer_norm", "shared"]))
    fill(encoder)
    found = encoder(ids).last_hidden_state
    assert distance(found, plain) > 0.01
    encoder.save_adapter(tmp_path)
    again = antiphon.T5EncoderModel.from_pretrained(either.folder)
    again.load_adapter(tmp_path)
    assert distance(again(ids).last_hidden_state, found) < 1e-5
    decoder = type(either.ours.decoder).from_pretrained(either.folder)
    adapted(decoder)
    assert "model.decoder.layers.0.self_attn.q_proj.lora_A.weight" in decoder.get_adapter_state_dict()


# --- merging ---------------------------------------------------------------------------------------------------------


def test_F028_unmerging_restores_every_tensor_bit_for_bit(fresh: Any, texts: Any) -> None:
    adapted(fresh, modules_to_save=["lm_heads.0", "embed_tokens.1"])
    base = {n: t.clone() for n, t in fresh.state_dict().items()}
    unmerged = logits(fresh, texts)
    fresh.merge_adapters()
    assert not torch.equal(fresh.state_dict()[f"{Q}.weight"], base[f"{Q}.weight"])
    assert distance(logits(fresh, texts), unmerged) < 1e-4
    assert not any(isinstance(m, LoraLinear) for m in fresh.modules())
    fresh.unmerge_adapters()
    assert all(torch.equal(t, base[n]) for n, t in fresh.state_dict().items())
    assert torch.equal(logits(fresh, texts), unmerged)


def test_F028_merging_twice_and_changing_what_is_merged_are_refused(fresh: Any, tmp_path: Path) -> None:
    adapted(fresh)
    with pytest.raises(AdapterError, match="not merged"):
        fresh.unmerge_adapters()
    fresh.merge_adapters()
    merged = {n: t.clone() for n, t in fresh.state_dict().items()}
    with pytest.raises(AdapterError, match="merged already"):
        fresh.merge_adapters()
    calls: list[Any] = [
        lambda: fresh.set_adapter("default"),
        lambda: fresh.add_adapter(lora(), "other"),
        lambda: fresh.load_adapter(tmp_path, "other"),
        lambda: fresh.delete_adapter("default"),
        fresh.disable_adapters,
        fresh.enable_adapters,
    ]
    for call in calls:
        with pytest.raises(AdapterError, match="unmerge_adapters"):
            call()
    assert all(torch.equal(t, merged[n]) for n, t in fresh.state_dict().items())


def test_merging_for_good_leaves_a_plain_model_that_is_saved_as_one(fresh: Any, texts: Any, tmp_path: Path) -> None:
    names, trainable = set(fresh.state_dict()), {n for n, p in fresh.named_parameters() if p.requires_grad}
    adapted(fresh, modules_to_save=["lm_heads.0"])
    wanted = logits(fresh, texts)
    fresh.merge_adapters(keep_base=False)
    assert set(fresh.state_dict()) == names
    assert {n for n, p in fresh.named_parameters() if p.requires_grad} == trainable
    assert list(fresh.peft_config) == []
    fresh.save_pretrained(tmp_path)
    assert distance(logits(type(fresh).from_pretrained(tmp_path), texts), wanted) < 1e-4


def test_saving_a_model_writes_what_is_merged_and_never_an_adapter(fresh: Any, texts: Any, tmp_path: Path) -> None:
    base = logits(fresh, texts)
    adapted(fresh)
    wanted = logits(fresh, texts)
    fresh.save_pretrained(tmp_path / "base")
    assert torch.equal(logits(type(fresh).from_pretrained(tmp_path / "base"), texts), base)
    fresh.merge_adapters()
    fresh.save_pretrained(tmp_path / "merged")
    assert distance(logits(type(fresh).from_pretrained(tmp_path / "merged"), texts), wanted) < 1e-4


# --- weights of few bits, and the kernels ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_adapters_work_on_weights_of_few_bits_and_are_not_merged_into_them(
    either: Pair, texts: Any, folder: Path, kind: str
) -> None:
    folder_of_lora = folder.with_name("lora")
    adapted(type(either.ours).from_pretrained(either.folder)).save_adapter(folder_of_lora)
    model = type(either.ours).from_pretrained(either.folder, quantize=kind)
    plain = logits(model, texts)
    model.load_adapter(folder_of_lora)
    query = documented_modules(model)[Q]
    assert type(query) is LoraQuantizedLinear
    assert distance(logits(model, texts), plain) > 0.1
    with pytest.raises(AdapterError, match="bits"):
        model.merge_adapters()
    assert distance(logits(model, texts), plain) > 0.1
    model.disable_adapters()
    assert type(query) is QuantizedLinear
    assert torch.equal(logits(model, texts), plain)
    with pytest.raises(AdapterError, match="lm_heads.1"):
        model.load_adapter(folder, "whole")


@pytest.mark.parametrize("loading", [{"quantize": "int8"}, {"quantize": "int4"}, {"dtype": torch.bfloat16}])
def test_the_kernels_make_the_music_that_torch_makes_of_adapters(
    either: Pair, texts: Any, loading: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = adapted(type(either.ours).from_pretrained(either.folder, **loading))
    settings = {**texts, "do_sample": False, "max_new_tokens": 10}

    def scores() -> Tensor:
        out = model.generate(**settings, return_dict_in_generate=True, output_scores=True)
        return torch.stack(out.scores).float()

    by_kernels = scores()
    monkeypatch.setenv(library.SWITCH, "0")
    by_torch = scores()
    model.disable_adapters()
    without = scores()
    near = distance(by_kernels[0], by_torch[0])
    assert near < 0.1 * distance(by_torch[0], without[0])


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_saved_adapter_comes_back_bit_for_bit_under_any_name(fresh: Any, texts: Any, folder: Path) -> None:
    fresh.load_adapter(folder, "back")
    again = folder.with_name("again")
    fresh.save_adapter(again)
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (again / file).read_bytes() == (folder / file).read_bytes()
    assert fresh.peft_config["back"].modules_to_save == ["decoder.lm_heads.1"]
    assert not any(p.requires_grad for p in fresh.parameters())


def test_an_adapter_is_trained_on_where_it_is_asked_for(fresh: Any, folder: Path) -> None:
    fresh.load_adapter(folder, is_trainable=True)
    trained = {n for n, p in fresh.named_parameters() if p.requires_grad}
    assert trained
    assert all(".default." in name for name in trained)


def test_the_configuration_of_an_adapter_names_the_model_it_was_made_for(fresh: Any, folder: Path) -> None:
    stated = json.loads((folder / "adapter_config.json").read_text())
    assert stated["base_model_name_or_path"] == fresh.config.name_or_path
    assert stated["peft_type"] == "LORA"
    assert stated["modules_to_save"] == ["decoder.lm_heads.1"]


# --- what is refused -------------------------------------------------------------------------------------------------


def rewritten(folder: Path, change: Any) -> Path:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "adapter_model.safetensors")
    save_file(change(dict(tensors)), folder / "adapter_model.safetensors")
    return folder


FIRST_A = f"base_model.model.{Q}.lora_A.weight"
DAMAGES: dict[str, tuple[Any, str]] = {
    "another rank": (lambda ts: {**ts, FIRST_A: ts[FIRST_A][:3].clone()}, "rank r=4"),
    "half a pair": (lambda ts: {n: t for n, t in ts.items() if n != FIRST_A}, "one of lora_A and lora_B"),
    "a layer too few": (lambda ts: {n: t for n, t in ts.items() if Q not in n}, "1 missing"),
    "another width": (lambda ts: {**ts, FIRST_A: torch.ones(4, 33)}, "of another shape"),
    "a layer too many": (
        lambda ts: {**ts, **{n.replace("layers.0", "layers.9"): t.clone() for n, t in ts.items()}},
        "layers that the model has not",
    ),
    "a layer not named": (
        lambda ts: {**ts, **{n.replace("q_proj", "k_proj"): t.clone() for n, t in ts.items() if "q_proj" in n}},
        "that its configuration does not name",
    ),
    "not finite": (lambda ts: {**ts, FIRST_A: ts[FIRST_A] * float("nan")}, "NaN or infinity"),
    "infinite": (lambda ts: {**ts, FIRST_A: ts[FIRST_A] + float("inf")}, "NaN or infinity"),
    "whole numbers": (lambda ts: {**ts, FIRST_A: torch.ones(4, 32, dtype=torch.int64)}, "floating point"),
    "a magnitude": (lambda ts: {**ts, f"base_model.model.{Q}.lora_magnitude_vector": torch.ones(32)}, "another kind"),
    "a copy of another shape": (
        lambda ts: {**ts, "base_model.model.decoder.lm_heads.1.weight": torch.ones(3, 3)},
        "of another shape",
    ),
    "a stranger": (lambda ts: {**ts, "base_model.model.extra": torch.ones(3)}, "holds a tensor"),
    "nothing": (lambda ts: {}, "no tensor"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_F028_a_damaged_adapter_is_refused_and_the_model_stays_as_it_was(
    fresh: Any, folder: Path, texts: Any, damage: str
) -> None:
    before, names = logits(fresh, texts), set(fresh.state_dict())
    change, message = DAMAGES[damage]
    rewritten(folder, change)
    with pytest.raises(AdapterError, match=message):
        fresh.load_adapter(folder)
    assert set(fresh.state_dict()) == names
    assert torch.equal(logits(fresh, texts), before)
    assert all(p.requires_grad for p in fresh.parameters())
    assert fresh.peft_config == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lora_alpha": 0}, "lora_alpha=0"),
        ({"lora_alpha": "8"}, "lora_alpha"),
        ({"r": 0}, "rank 0"),
        ({"r": 2.5}, "rank 2.5"),
        ({"rank_pattern": {"q_proj": -1}}, "rank -1"),
        ({"rank_pattern": [1]}, "rank_pattern"),
        ({"lora_dropout": 1}, "lora_dropout"),
        ({"bias": "all"}, "bias='all'"),
        ({"use_dora": True}, "use_dora=True"),
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"target_modules": None}, "no target_modules"),
        ({"target_modules": "(a+)+b"}, "repeated group"),
        ({"target_modules": "("}, "no pattern"),
        ({"target_modules": [1]}, "list of names"),
        ({"modules_to_save": "lm_heads"}, "list of names"),
        ({"alpha_pattern": {"(": 2}}, "no pattern"),
    ],
)
def test_F028_a_configuration_that_makes_no_plain_lora_is_refused_by_name(
    mono: Pair, values: dict[str, Any], message: str
) -> None:
    model = mono.ours
    with pytest.raises(AdapterError, match=message):
        model.add_adapter({"r": 4, "target_modules": ["q_proj"], **values})
    assert model.peft_config == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_modules": ["q_proj", "query_proj"]}, "'query_proj'.*no layer.*linear layers: .*q_proj"),
        ({"target_modules": r".*nothing"}, "names no layer"),
        ({"target_modules": ["embed_tokens.0"]}, "Embedding.*modules_to_save"),
        ({"modules_to_save": ["lm_head"]}, "no such module"),
        ({"modules_to_save": ["audio_encoder"]}, "cannot be copied"),
        ({"layers_to_transform": [99]}, "names no layer"),
    ],
)
def test_F028_targets_that_the_model_has_not_are_refused(mono: Pair, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        mono.ours.add_adapter(lora(**changes))
    assert mono.ours.peft_config == {}


def test_F028_a_model_without_linear_layers_says_so(mono: Pair) -> None:
    with pytest.raises(AdapterError, match="none"):
        mono.ours.audio_encoder.add_adapter(lora())


def test_F028_an_adapter_for_another_model_is_refused_with_the_name_of_its_own(
    mono: Pair, melody_narrow: Pair, tmp_path: Path
) -> None:
    adapted(type(mono.ours).from_pretrained(mono.folder)).save_adapter(tmp_path)
    with pytest.raises(AdapterError, match="does not fit this MusicgenMelodyFor.*says it is for"):
        melody_narrow.ours.load_adapter(tmp_path)
    with pytest.raises(AdapterError, match="does not fit this EncodecModel"):
        mono.ours.audio_encoder.load_adapter(tmp_path)


def test_F028_calls_that_make_no_sense_are_refused(fresh: Any, folder: Path) -> None:
    for call in (fresh.disable_adapters, fresh.active_adapters, fresh.merge_adapters, fresh.unmerge_adapters):
        with pytest.raises(AdapterError, match="has no adapter"):
            call()
    fresh.load_adapter(folder, "one")
    adapted(fresh, "two")
    refused: list[tuple[Any, str]] = [
        (lambda: fresh.add_adapter(lora(), "two"), "already"),
        (lambda: fresh.load_adapter(folder, "a.b"), "without dots"),
        (lambda: fresh.set_adapter("three"), "some of"),
        (lambda: fresh.set_adapter([]), "some of"),
        (lambda: fresh.set_adapter(["two", "two"]), "each once"),
        (lambda: fresh.set_adapter(["one", "two"], [1.0]), "2 adapters and 1 scales"),
        (lambda: fresh.set_adapter("two", float("nan")), "scale of nan"),
        (lambda: fresh.set_adapter("one", 0.5), "brings .*lm_heads.1 whole"),
        (lambda: fresh.delete_adapter("three"), "some of"),
        (lambda: fresh.save_adapter(folder), "several adapters"),
        (lambda: fresh.add_adapter(lora(target_modules=["lm_heads.1"]), "three"), "already"),
    ]
    for call, message in refused:
        with pytest.raises(AdapterError, match=message):
            call()
    assert sorted(fresh.peft_config) == ["one", "two"]
    fresh.disable_adapters()
    with pytest.raises(AdapterError, match="no adapter is active"):
        fresh.merge_adapters()


def test_F028_two_adapters_that_bring_one_module_are_not_active_together(fresh: Any) -> None:
    fresh.add_adapter(lora(modules_to_save=["lm_heads.1"]), "one")
    fresh.add_adapter(lora(modules_to_save=["lm_heads"]), "two")
    with pytest.raises(AdapterError, match=r"both bring a decoder\.lm_heads\.1"):
        fresh.set_adapter(["one", "two"])
    assert fresh.active_adapters() == ["two"]


def test_F028_a_folder_without_an_adapter_is_a_missing_checkpoint(fresh: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"adapter_config\.json"):
        fresh.load_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]}')
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors"):
        fresh.load_adapter(tmp_path)
