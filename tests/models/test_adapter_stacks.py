"""Adapters of Moshi's depth decoder, whose layers are stacks in files: one pair of matrices there, one a layer here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import antiphon
from antiphon.errors import AdapterError
from antiphon.models.adapter_stacks import Stacks
from antiphon.nn.lora import branches_of

from .tiny_moshi import codes, distance, fields, pair, spoken, text

K_PROJ = "depth_decoder.layers.1.self_attn.k_proj.linear"
FC1 = "depth_decoder.layers.0.mlp.fc1"
HEADS = "depth_decoder.lm_heads"


@pytest.fixture
def moshi() -> Any:
    """A model of this test's own."""
    return fresh()


def fresh() -> Any:
    made = antiphon.MoshiForConditionalGeneration(antiphon.MoshiConfig(**fields())).eval()
    made.load_state_dict(pair("MoshiForConditionalGeneration")[1].state_dict())
    return made


def lora(**changes: Any) -> dict[str, Any]:
    return {"r": 2, "lora_alpha": 3, "target_parameters": [f"{K_PROJ}.weight", f"{FC1}.weight"], **changes}


def fill(model: Any) -> None:
    """Numbers for adapters, as training would give them."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)


def heard(model: Any) -> Tensor:
    """Logits of the codebooks of some columns."""
    with torch.no_grad():
        out = model(**spoken(), text_labels=text(2, 7), audio_labels=codes(2, 7))
    logits: Tensor = out.audio_logits
    return logits


def saved(model: Any, folder: Path) -> dict[str, Tensor]:
    model.save_adapter(folder)
    return load_file(folder / "adapter_model.safetensors")


def test_a_stack_has_its_layers_in_order(moshi: Any) -> None:
    stacks = Stacks.of(moshi)
    state = moshi.state_dict()
    assert {f"{name}.weight" for name in stacks.layers} == {n for n in state if state[n].dim() == 3 and "depth" in n}
    for name, layers in stacks.layers.items():
        assert torch.equal(state[f"{name}.weight"], torch.stack([layer.weight for layer in layers]))
    assert stacks.stack_of(f"{FC1}.2") == FC1
    assert stacks.stack_of("embed_tokens.2") == "embed_tokens.2"
    assert Stacks.of(moshi.decoder).layers == {}
    assert "lm_heads" in Stacks.of(moshi.depth_decoder).layers


def test_all_layers_of_a_stack_are_adapted_and_nothing_else(moshi: Any) -> None:
    plain = heard(moshi)
    moshi.add_adapter(lora())
    assert torch.equal(heard(moshi), plain)
    adapted = {id(module) for module in moshi.modules() if branches_of(module).scaling}
    layers = Stacks.of(moshi).layers
    assert adapted == {id(layer) for layer in (*layers[K_PROJ], *layers[FC1])}
    fill(moshi)
    assert distance(heard(moshi), plain) > 0.1
    moshi.disable_adapters()
    assert torch.equal(heard(moshi), plain)


def test_what_is_added_is_the_product_that_the_file_means(moshi: Any, tmp_path: Path) -> None:
    moshi.add_adapter(lora())
    fill(moshi)
    tensors = saved(moshi, tmp_path)
    with_adapter = heard(moshi)
    other = fresh()
    with torch.no_grad():
        for name in (K_PROJ, FC1):
            down, up = (tensors[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
            down, up = down.reshape(4, 2, -1), up.reshape(len(up), 2, 4)
            added = torch.einsum("ork,kri->koi", up, down) * 3 / 2
            for layer, more in zip(Stacks.of(other).layers[name], added, strict=True):
                layer.weight += more
    assert distance(heard(other), with_adapter) < 1e-4


def test_files_hold_one_pair_a_stack_and_come_back_as_they_were(moshi: Any, tmp_path: Path) -> None:
    moshi.add_adapter(lora(rank_pattern={r".*k_proj\.linear\.weight": 3}, modules_to_save=[HEADS]))
    fill(moshi)
    wanted = heard(moshi)
    tensors = saved(moshi, tmp_path)
    short = {name.removeprefix("base_model.model."): tuple(tensor.shape) for name, tensor in tensors.items()}
    assert short == {
        f"{K_PROJ}.lora_A.weight": (12, 24),
        f"{K_PROJ}.lora_B.weight": (12, 12),
        f"{FC1}.lora_A.weight": (8, 24),
        f"{FC1}.lora_B.weight": (40, 8),
        f"{HEADS}.weight": (4, 32, 24),
    }
    assert json.loads((tmp_path / "adapter_config.json").read_text())["modules_to_save"] == [HEADS]
    again = fresh()
    again.load_adapter(tmp_path)
    assert torch.equal(heard(again), wanted)
    assert all(torch.equal(t, tensors[n]) for n, t in saved(again, tmp_path / "again").items())
    again.merge_adapters()
    assert distance(heard(again), wanted) < 1e-4
    again.unmerge_adapters()
    again.delete_adapter("default")
    assert torch.equal(heard(again), heard(fresh()))


def test_a_frame_that_is_spoken_hears_the_adapter_too(moshi: Any, tmp_path: Path) -> None:
    state = torch.randn(3, 1, 32, generator=torch.Generator().manual_seed(1))
    words = torch.tensor([[1], [2], [3]])
    moshi.add_adapter(lora(target_parameters=[f"{HEADS}.weight"]))
    fill(moshi)
    depth = moshi.depth_decoder
    told, frame = words, depth.generate(last_hidden_state=state, input_ids=words)
    for _ in range(4):
        with torch.no_grad():
            logits = depth(input_ids=told, last_hidden_state=state, use_cache=False).logits
        told = torch.cat([told, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(frame, told)
    moshi.disable_adapters()
    assert not torch.equal(depth.generate(last_hidden_state=state, input_ids=words), frame)


def test_gradients_reach_every_layer_of_a_stack(moshi: Any) -> None:
    moshi.train().add_adapter(lora())
    fill(moshi)
    moshi(**spoken(), text_labels=text(2, 7), audio_labels=codes(2, 7)).loss.backward()
    trained = {n: p.grad for n, p in moshi.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 2 * 4
    assert all(grad is not None and bool(grad.abs().sum() > 0) for grad in trained.values())


def test_rounded_layers_of_a_stack_can_have_one(moshi: Any, tmp_path: Path) -> None:
    moshi.save_pretrained(tmp_path / "whole")
    rounded = antiphon.MoshiForConditionalGeneration.from_pretrained(tmp_path / "whole", quantize="int8")
    plain = heard(rounded)
    rounded.add_adapter(lora())
    assert torch.equal(heard(rounded), plain)
    fill(rounded)
    assert distance(heard(rounded), plain) > 0.1


def test_all_linear_leaves_stacks_alone_as_peft_does(moshi: Any) -> None:
    moshi.add_adapter({"r": 1, "target_modules": "all-linear"})
    assert not any("depth_decoder" in name for name in moshi.get_adapter_state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_modules": ["fc1"]}, "a stack of 4 layers' weights.*exclude_modules"),
        ({"target_modules": rf"{FC1}\.2"}, "names no layer"),
        ({"target_modules": [f"{FC1}.2"]}, "which no layer"),
        ({"target_parameters": ["fc1.weight"]}, "is no stack"),
        ({"target_parameters": ["fc3.weight"]}, "has not"),
        ({"target_parameters": [f"{FC1}.weight"], "lora_dropout": 0.1}, "lora_dropout"),
        ({"target_parameters": f"{FC1}.weight"}, "a list of names"),
        ({"target_modules": [], "target_parameters": []}, "no target_modules"),
        ({"target_modules": ["lm_head"], "modules_to_save": [f"{HEADS}.1"]}, "cannot be copied"),
    ],
)
def test_F028_what_peft_could_not_express_is_refused(moshi: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        moshi.add_adapter({"r": 2, **changes})
    assert moshi.peft_config == {}


def test_F028_a_model_without_stacks_says_so() -> None:
    model = antiphon.MoshiForCausalLM(antiphon.MoshiConfig(**fields()))
    with pytest.raises(AdapterError, match="none, as this model has no stacks"):
        model.add_adapter({"r": 2, "target_parameters": ["model.layers.0.mlp.fc9.weight"]})


def test_F028_files_that_do_not_fit_a_stack_are_refused(moshi: Any, tmp_path: Path) -> None:
    moshi.add_adapter(lora(modules_to_save=[HEADS]))
    tensors = saved(moshi, tmp_path)
    down, up, heads = (
        f"base_model.model.{name}" for name in (f"{FC1}.lora_A.weight", f"{FC1}.lora_B.weight", f"{HEADS}.weight")
    )
    damages: list[tuple[dict[str, Tensor], str]] = [
        ({down: tensors[down][:6], up: tensors[up][:, :6].contiguous()}, "has 6 rows"),
        ({down: tensors[down][:7], up: tensors[up][:, :7].contiguous()}, "times the layers"),
        ({down: tensors[down][:, :-1].contiguous()}, "of another shape"),
        ({heads: tensors[heads][:3]}, "the weights of 4 layers"),
        ({heads.replace("lm_heads.weight", "lm_heads.1.weight"): tensors[heads][0].clone()}, "one layer of a stack"),
    ]
    for changed, message in damages:
        save_file({**tensors, **changed}, tmp_path / "adapter_model.safetensors")
        other = fresh()
        with pytest.raises(AdapterError, match=message):
            other.load_adapter(tmp_path)
        assert other.peft_config == {}
