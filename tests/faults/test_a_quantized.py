"""Faults of rounded weights: contradicting requests, files of others, files that do not fit, no kernels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from antiphon.checkpoints import hub
from antiphon.errors import CapacityError, CheckpointError, ConfigError, ParamError, ParamTypeError
from antiphon.models import loading
from antiphon.models.auto import AutoModel
from antiphon.models.encodec import EncodecModel
from antiphon.models.musicgen import MusicgenForCausalLM, MusicgenForConditionalGeneration
from antiphon.nn.native import library

WEIGHTS = "model.safetensors"
QUERY = "decoder.model.decoder.layers.0.self_attn.q_proj"
NORM = "decoder.model.decoder.layers.0.final_layer_norm"


def load(folder: Path, **options: Any) -> MusicgenForConditionalGeneration:
    return MusicgenForConditionalGeneration.from_pretrained(folder, **options)


def codes(model: Any) -> Tensor:
    """Eight greedy columns without any text."""
    out = model.generate(max_new_tokens=8, do_sample=False, return_dict_in_generate=True)
    return out.audio_codes


@pytest.fixture
def rounded(tiny_folder: Path, tmp_path: Path) -> Path:
    """A checkpoint in 4 bits that a test may spoil; its rows are shorter than a group."""
    load(tiny_folder, quantize="int4").save_pretrained(tmp_path / "rounded")
    return tmp_path / "rounded"


def changed(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> Path:
    """The folder after ``change`` was applied to its tensors."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / WEIGHTS, {"format": "pt"})
    return folder


def stating(folder: Path, **fields: Any) -> Path:
    """The folder after fields of its ``quantization_config`` were changed."""
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {**config.get("quantization_config", {}), **fields}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


# --- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({"load_in_8bit": True, "load_in_4bit": True}, "load_in_8bit=True and load_in_4bit=True"),
        ({"load_in_8bit": True, "quantize": "int4"}, "load_in_8bit=True and quantize='int4'"),
        ({"quantize": "int8", "quantization_config": {"load_in_4bit": True}}, "quantization_config of 4 bits"),
        ({"quantization_config": {"load_in_8bit": True, "load_in_4bit": True}}, "load_in_8bit and load_in_4bit"),
        ({"quantize": "int5"}, r"quantize='int5'.*int8.*int4"),
        ({"quantize": 4}, "quantize=4"),
        ({"load_in_8bit": "yes"}, "load_in_8bit='yes'"),
        ({"load_in_4bit": float("nan")}, "load_in_4bit=nan"),
        ({"quantization_config": {"bits": 3}}, "bits=3"),
        ({"quantization_config": {"bits": 4, "group_size": 0}}, "group_size=0"),
        ({"quantization_config": {"bits": 4, "group_size": float("nan")}}, "group_size=nan"),
        (
            {"quantization_config": {"bits": 4, "modules_to_not_convert": "lm_heads"}},
            "modules_to_not_convert='lm_heads'",
        ),
        ({"quantization_config": {"bits": 4, "damping": 1}}, "damping"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quant_method='gptq'.*quantize='int4'"),
        ({"quantization_config": "int4"}, "quantization_config='int4'"),
    ],
)
def test_F029_requests_that_contradict_or_mean_nothing_are_refused_before_anything_is_read(
    tiny_folder: Path, request_: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "fetched", lambda *_, **__: pytest.fail("files were looked for"))
    with pytest.raises(ParamError, match=named):
        load(tiny_folder, **request_)


def test_F029_an_unknown_field_of_a_request_gets_the_nearest_name(tiny_folder: Path) -> None:
    with pytest.raises(ParamTypeError, match="load_in_4bits.*Did you mean 'load_in_4bit'"):
        load(tiny_folder, quantization_config={"load_in_4bits": True})


def test_F029_a_model_without_linear_layers_cannot_be_rounded(
    tiny_folder: Path, tiny_model: Any, tmp_path: Path
) -> None:
    tiny_model.audio_encoder.save_pretrained(tmp_path)
    with pytest.raises(ParamError, match="EncodecModel has no layers that int8"):
        EncodecModel.from_pretrained(tmp_path, load_in_8bit=True)


@pytest.mark.parametrize("request_", [{"quantize": "int8"}, {"quantization_config": {"bits": 4, "group_size": 32}}])
def test_F029_rounded_weights_are_not_rounded_to_something_else(rounded: Path, request_: dict[str, Any]) -> None:
    with pytest.raises(ParamError, match=r"rounded already, to 4 bits in groups of 64.*made from"):
        load(rounded, **request_)
    assert torch.equal(codes(load(rounded, quantize="int4")), codes(load(rounded)))


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", None])
def test_F029_weights_quantised_by_others_are_refused_by_name(folder: Path, method: str | None) -> None:
    stating(folder, quant_method=method, bits=4)
    for call in (load, AutoModel.from_pretrained, MusicgenForCausalLM.from_pretrained):
        with pytest.raises(CheckpointError, match=f"quantised by {method!r}.*quantize='int8'"):
            call(folder)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"bits": 3}, "bits=3"),
        ({"bits": "4"}, "bits='4'"),
        ({"bits": None}, "bits=None"),
        ({"head_bits": 5}, "bits=5"),
        ({"group_size": -64}, "group_size=-64"),
        ({"group_size": 1.5}, "group_size=1.5"),
        ({"zero_points": True}, "zero_points"),
    ],
)
def test_F029_a_statement_that_makes_no_sense_is_named(rounded: Path, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=f"quantization_config has .*{named}"):
        load(stating(rounded, **fields))


def test_F029_a_statement_that_is_no_object_is_named(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": "int4"}))
    with pytest.raises(ConfigError, match="quantization_config='int4'"):
        load(folder)


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({"bits": 8}, r"codes: got \(8, 6\), want \(8, 12\)"),
        ({"group_size": 8}, r"scales: got \(8, 1\), want \(8, 2\)"),
    ],
)
def test_F029_a_statement_that_the_tensors_contradict_is_refused(
    rounded: Path, fields: dict[str, Any], shape: str
) -> None:
    with pytest.raises(CheckpointError, match=f"of another shape.*{shape}"):
        load(stating(rounded, **fields))
    with pytest.raises(CheckpointError, match="rounded weights"):
        load(rounded, ignore_mismatched_sizes=True)


def test_F029_rounded_weights_without_the_statement_are_refused(rounded: Path) -> None:
    config = json.loads((rounded / "config.json").read_text())
    del config["quantization_config"]
    (rounded / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"missing .*q.weight.*unexpected .*lm_heads.0.scales"):
        load(rounded)


def test_F029_a_statement_over_floating_point_weights_leaves_them_as_they_are(folder: Path, tiny_model: Any) -> None:
    stating(folder, quant_method="antiphon", bits=4, group_size=64)
    assert torch.equal(codes(load(folder)), codes(tiny_model))


@pytest.mark.parametrize("lost", ["codes", "scales"])
def test_F029_missing_codes_or_scales_are_no_random_start(rounded: Path, lost: str) -> None:
    changed(rounded, lambda t: t.pop(f"{QUERY}.{lost}"))
    with pytest.raises(CheckpointError, match=f"1 missing .{QUERY}.{lost}"):
        load(rounded)
    with pytest.raises(CheckpointError, match=f"{QUERY}.{lost}.*strict=False"):
        load(rounded, strict=False)


def test_F029_codes_for_a_layer_that_stays_floating_point_are_refused(rounded: Path) -> None:
    def round_the_norm(tensors: dict[str, Tensor]) -> None:
        tensors[f"{NORM}.codes"] = tensors.pop(f"{NORM}.weight").to(torch.uint8)

    with pytest.raises(CheckpointError, match=f"1 missing .{NORM}.weight.*1 unexpected .{NORM}.codes"):
        load(changed(rounded, round_the_norm))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("codes", torch.int8), ("codes", torch.float32), ("codes", torch.int64), ("scales", torch.uint8)],
)
def test_F029_codes_and_scales_of_another_type_are_refused(rounded: Path, name: str, dtype: torch.dtype) -> None:
    changed(rounded, lambda t: t.update({f"{QUERY}.{name}": t[f"{QUERY}.{name}"].to(dtype)}))
    with pytest.raises(CheckpointError, match=f"{QUERY}.{name}.*stored as {str(dtype).removeprefix('torch.')}"):
        load(rounded)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool])
def test_F012_F029_weights_that_are_no_floats_are_not_rounded(folder: Path, dtype: torch.dtype) -> None:
    changed(folder, lambda t: t.update({f"{QUERY}.weight": t[f"{QUERY}.weight"].to(dtype)}))
    with pytest.raises(CheckpointError, match=f"{QUERY}.weight.*stored as {str(dtype).removeprefix('torch.')}"):
        load(folder, quantize="int8")


def test_F029_a_missing_weight_cannot_be_rounded_and_stays_a_floating_point_layer(folder: Path) -> None:
    changed(folder, lambda t: t.pop(f"{QUERY}.weight"))
    with pytest.raises(CheckpointError, match=f"1 missing .{QUERY}.weight"):
        load(folder, quantize="int4")
    model = load(folder, quantize="int4", strict=False)
    layer = model.decoder.model.decoder.stack.layers[0].attention
    assert isinstance(layer.query, torch.nn.Linear) and not isinstance(layer.key, torch.nn.Linear)
    assert 0 < float(layer.query.weight.detach().std()) < 0.1
    assert codes(model).shape == (1, 4, 5)


def test_F011_F029_weights_that_are_not_finite_are_noticed_in_any_number_of_bits(folder: Path) -> None:
    changed(folder, lambda t: t["decoder.model.decoder.layers.1.fc2.weight"].fill_(torch.nan))
    for kind in ("int8", "int4"):
        with pytest.raises(ArithmeticError, match="finite"):
            codes(load(folder, quantize=kind))


# --- machines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_F029_without_the_kernels_the_music_is_the_same(
    tiny_folder: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tiny_folder, quantize=kind).save_pretrained(tmp_path)
    model = load(tmp_path)
    made = codes(model)
    monkeypatch.setenv(library.SWITCH, "0")
    library._loaded.cache_clear()
    try:
        assert library.native() is None
        assert torch.equal(codes(load(tmp_path)), made)
    finally:
        monkeypatch.undo()
        library._loaded.cache_clear()


def test_F018_F029_the_forecast_of_a_rounded_model_is_that_of_its_codes(
    tiny_folder: Path, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = load(tiny_folder, quantize="int4").get_memory_footprint()
    assert need < 0.9 * tiny_model.get_memory_footprint()
    monkeypatch.setattr(loading, "available_bytes", lambda: need)
    load(tiny_folder, quantize="int4")
    with pytest.raises(CapacityError):
        load(tiny_folder)
    monkeypatch.setattr(loading, "available_bytes", lambda: need - 1)
    with pytest.raises(CapacityError):
        load(tiny_folder, quantize="int4")
