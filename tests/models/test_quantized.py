"""Models in 8 and 4 bits: what is rounded, how near it stays, and that a saved one comes back bit for bit."""

from __future__ import annotations

import importlib.util
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import antiphon
from antiphon.checkpoints import store
from antiphon.checkpoints.store import Weights
from antiphon.errors import ParamError
from antiphon.models import quantized
from antiphon.models.quantization import Quantization, asked
from antiphon.nn.quantized_linear import QuantizedLinear
from antiphon.nn.rounding import restored, rounded

from .conftest import Pair

Composite = antiphon.MusicgenForConditionalGeneration
_BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "quantized.py"
FIRST = "decoder.model.decoder.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def folder(checkpoint: Path) -> Path:
    """A checkpoint whose layers are wider than a group."""
    return checkpoint


def logits(model: Any) -> Tensor:
    """Of a short text and some columns."""
    columns = torch.randint(0, 256, (4, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out: Tensor = model(input_ids=torch.arange(4, 12)[None], decoder_input_ids=columns).logits
    return out


def written(tensors: Path) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    with store.open_weights(tensors) as weights:
        return {name: (weights.info(name).shape, weights.info(name).dtype) for name in weights.names()}


class BitsAndBytesConfig:
    """Looks like the one of transformers, which cannot be made for 4 bits without bitsandbytes."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def to_dict(self) -> dict[str, Any]:
        return {"quant_method": "bitsandbytes", "_load_in_4bit": False, "llm_int8_threshold": 6.0, **self.values}


# --- what is asked for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spelling", "bits"),
    [
        ({"quantize": "int8"}, 8),
        ({"load_in_8bit": True}, 8),
        ({"load_in_8bit": True, "load_in_4bit": False, "quantize": "int8"}, 8),
        ({"quantize": "int4"}, 4),
        ({"load_in_4bit": True}, 4),
        ({"quantization_config": {"load_in_4bit": True}}, 4),
        ({"quantization_config": {"bits": 8}}, 8),
        ({"quantization_config": BitsAndBytesConfig(load_in_4bit=True), "load_in_4bit": True}, 4),
        ({"quantization_config": transformers.BitsAndBytesConfig(load_in_8bit=True)}, 8),
        ({"quantization_config": Quantization(4)}, 4),
    ],
)
def test_every_spelling_comes_to_its_bits(spelling: dict[str, Any], bits: int) -> None:
    assert asked(**spelling) == Quantization(bits)


@pytest.mark.parametrize(
    "spelling", [{}, {"load_in_8bit": False}, {"load_in_4bit": None}, {"quantization_config": {"load_in_8bit": False}}]
)
def test_nothing_asked_for_is_nothing(spelling: dict[str, Any]) -> None:
    assert asked(**spelling) is None


def test_settings_of_bitsandbytes_without_counterpart_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    plain = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype="float32", llm_int8_skip_modules=["lm_heads"])
    with caplog.at_level(logging.WARNING, "antiphon"):
        assert asked(quantization_config=plain) == Quantization(4, kept=("lm_heads",))
        assert not caplog.records
        asked(quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"))
    assert "bnb_4bit_quant_type=nf4" in caplog.text


# --- what is rounded -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "bits"), [("int8", 8), ("int4", 4)])
def test_attention_feed_forward_and_heads_are_rounded_and_nothing_else(
    folder: Path, compose: Any, kind: str, bits: int
) -> None:
    model = Composite.from_pretrained(folder, quantize=kind)
    rounded_ones = {n: m for n, m in model.named_modules() if isinstance(m, QuantizedLinear)}
    layers = {n: m for n, m in compose.model.named_modules() if isinstance(m, torch.nn.Linear)}
    assert layers.keys() - rounded_ones.keys() == {"enc_to_dec_proj"}
    for name, layer in rounded_ones.items():
        wanted_bits = 8 if "lm_heads" in name else bits
        assert (layer.bits, layer.group_size) == (wanted_bits, 64)
        assert torch.equal(layer.weight, restored(*rounded(layers[name].weight, wanted_bits, 64), wanted_bits, 64))
    wide = dict(compose.model.named_parameters())
    assert all(torch.equal(p, wide[n]) for n, p in model.named_parameters())
    assert not any(n.startswith("audio_encoder") for n in rounded_ones)


@pytest.mark.parametrize(("kind", "error"), [("int8", 0.06), ("int4", 0.6)])
def test_logits_stay_near_those_of_the_floating_point_model(
    folder: Path, compose: Any, kind: str, error: float
) -> None:
    wide, near = logits(compose.model), logits(Composite.from_pretrained(folder, quantize=kind))
    assert 0 < float((near - wide).norm() / wide.norm()) < error  # random weights are the worst case


def test_the_parts_alone_are_rounded_as_they_are_inside_the_composite(folder: Path) -> None:
    whole = Composite.from_pretrained(folder, quantize="int4")
    for cls, part in (
        (antiphon.MusicgenForCausalLM, whole.decoder),
        (antiphon.MusicgenModel, whole.decoder.model),
        (antiphon.T5EncoderModel, whole.text_encoder),
    ):
        alone = cls.from_pretrained(folder, load_in_4bit=True).state_dict()
        inside = part.state_dict()
        assert alone.keys() == inside.keys()
        assert all(torch.equal(alone[name], inside[name]) for name in inside)


@pytest.mark.parametrize("kept", ["lm_heads", "encoder_attn", FIRST, "text_encoder"])
def test_layers_that_are_named_stay_floating_point(folder: Path, kept: str) -> None:
    plan = {"bits": 4, "group_size": 32, "modules_to_not_convert": [kept]}
    names = Composite.from_pretrained(folder, quantization_config=plan).state_dict()
    segments = kept.split(".")
    for name in names:
        owner = name.rpartition(".")[0].split(".")
        inside = any(owner[i : i + len(segments)] == segments for i in range(len(owner)))
        assert not (inside and name.endswith("codes"))
    assert any(name.endswith("codes") for name in names)


def test_weights_are_read_and_rounded_one_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest memory that is taken at once for floats that will be rounded is that of one layer."""
    read: list[list[str]] = []
    original = Weights.read_into

    def watched(self: Weights, targets: Any) -> None:
        read.append(list(targets))
        original(self, targets)

    monkeypatch.setattr(Weights, "read_into", watched)
    taken: list[int] = []
    empty = store.empty

    def counted(shape: Any, dtype: torch.dtype) -> Tensor:
        made = empty(shape, dtype)
        taken.append(made.numel() * made.element_size())
        return made

    monkeypatch.setattr(store, "empty", counted)
    model = Composite.from_pretrained(folder, quantize="int4")
    layers = quantized.rounded_layers(model)
    alone = [names for names in read if len(names) == 1]
    assert len(alone) == len(layers) and len(read) == len(layers) + 1
    assert not {names[0] for names in alone} & set(read[-1])
    floats = sum(4 * layer.in_features * layer.out_features for layer in layers)
    kept = sum(t.numel() * t.element_size() for t in model.state_dict(keep_vars=True).values())
    codes = sum(layer.codes.numel() for layer in layers)
    assert sum(taken) - floats <= kept - codes  # each float weight once and in passing, all else once


def test_the_forecast_is_what_the_loaded_model_takes(folder: Path, compose: Any) -> None:
    for plan in (None, Quantization(8), Quantization(4), Quantization(4, 32)):
        model = compose.model if plan is None else Composite.from_pretrained(folder, quantization_config=plan)
        assert quantized.forecast_bytes(compose.model, torch.float32, plan) == model.get_memory_footprint()


def test_codes_over_one_input_lie_side_by_side_where_they_have_memory_of_their_own(
    folder: Path, tmp_path: Path
) -> None:
    rounded_now = Composite.from_pretrained(folder, quantize="int4")
    rounded_now.save_pretrained(tmp_path)
    for model in (rounded_now, Composite.from_pretrained(tmp_path)):
        attention = model.decoder.model.decoder.stack.layers[0].attention
        for one, other in ((attention.query, attention.key), (attention.key, attention.value)):
            assert one.codes.data_ptr() + one.codes.numel() == other.codes.data_ptr()
            assert one.scales.data_ptr() + 2 * one.scales.numel() == other.scales.data_ptr()


# --- using it --------------------------------------------------------------------------------------------------------


def test_counts_and_dtype_stay_those_of_the_model(folder: Path, compose: Any) -> None:
    model = Composite.from_pretrained(folder, quantize="int4")
    assert model.num_parameters() == compose.model.num_parameters()
    assert model.num_parameters(only_trainable=True) < 0.6 * compose.model.num_parameters()
    assert model.dtype is torch.float32
    codes = sum(t.numel() * t.element_size() for m in quantized.rounded_layers(model) for t in m.buffers())
    floats = sum(p.numel() * 4 for p in model.parameters())
    assert model.get_memory_footprint(return_buffers=False) == codes + floats
    assert not any(p is not None and "codes" in n for n, p in model.named_parameters())


def test_a_half_precision_checkpoint_is_computed_in_float32_unless_told(folder: Path, tmp_path: Path) -> None:
    Composite.from_pretrained(folder, dtype="bfloat16").save_pretrained(tmp_path)
    assert Composite.from_pretrained(tmp_path).dtype is torch.bfloat16
    assert Composite.from_pretrained(tmp_path, quantize="int8").dtype is torch.float32
    for told in ("bfloat16", "auto"):
        model = Composite.from_pretrained(tmp_path, quantize="int8", dtype=told)
        assert model.dtype is torch.bfloat16 and logits(model).dtype is torch.bfloat16
        assert {m.scales.dtype for m in quantized.rounded_layers(model)} == {torch.bfloat16}
        assert {m.weight.dtype for m in quantized.rounded_layers(model)} == {torch.bfloat16}


def test_casts_of_the_model_leave_codes_and_scales_alone(folder: Path) -> None:
    model = Composite.from_pretrained(folder, quantize="int4")
    before = logits(model)
    kept = {n: t.clone() for n, t in model.state_dict().items() if n.endswith((".codes", ".scales"))}
    model.to(torch.bfloat16).half().float().to("cpu")
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in kept.items())
    torch.testing.assert_close(logits(model), before, atol=0.1 * float(before.abs().max()), rtol=0)


def test_greedy_music_of_a_rounded_model_is_its_own_step_by_step_choice(folder: Path) -> None:
    model = antiphon.MusicgenForCausalLM.from_pretrained(folder, quantize="int4")
    books = model.num_codebooks
    codes = model.generate(max_new_tokens=10, do_sample=False, guidance_scale=1.0)[0]
    columns = torch.full((books, 1), model.config.bos_token_id)
    with torch.no_grad():
        scores = model(input_ids=columns, use_cache=False).logits
    assert int(codes[0, 0]) == int(scores[0, -1].argmax())


def test_gradients_reach_what_is_not_rounded(folder: Path) -> None:
    model = antiphon.MusicgenForCausalLM.from_pretrained(folder, quantize="int8").train()
    labels = torch.randint(0, 256, (1, 6, model.num_codebooks), generator=torch.Generator().manual_seed(0))
    model(labels=labels).loss.backward()
    gradient = model.get_input_embeddings()[0].weight.grad
    assert gradient is not None and float(gradient.abs().sum()) > 0


def test_the_benchmark_orders_the_kinds_by_their_errors_and_sizes(folder: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("quantized_benchmark", _BENCHMARK)
    assert spec is not None and spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    kinds = list(benchmark.KINDS)
    figures = [benchmark.measured(str(folder), kind, tmp_path / "reference.pt", 12, []) for kind in kinds]
    wide, _, eight, four = figures
    assert (wide["rms"], wide["max"], wide["agree"]) == (0.0, 0.0, 1.0)
    assert 0 < eight["rms"] < 0.1 < four["rms"] and eight["agree"] > 0.8
    assert wide["weights_bytes"] > eight["weights_bytes"] > four["weights_bytes"]
    assert benchmark.line("int8", eight).startswith("| int8 | ")
    (columns,) = torch.load(tmp_path / "reference.pt", weights_only=True)["columns"]
    assert columns.shape[0] == 4 and columns.shape[1] > 8 and int(columns[:, 0].min()) == 512


# --- saving and reading again ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize(
    "spelling", [{"quantize": "int8"}, {"quantize": "int4"}, {"quantization_config": {"bits": 4, "group_size": 32}}]
)
def test_a_saved_model_is_read_without_an_argument_bit_for_bit(
    folder: Path, tmp_path: Path, spelling: dict[str, Any], copy: bool
) -> None:
    model = Composite.from_pretrained(folder, **spelling)
    model.save_pretrained(tmp_path)
    again = Composite.from_pretrained(tmp_path, copy=copy)
    assert torch.equal(logits(again), logits(model))
    one, other = model.state_dict(), again.state_dict()
    assert one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
    stated = json.loads((tmp_path / "config.json").read_text())["quantization_config"]
    bits = {"int8": 8, "int4": 4}.get(spelling.get("quantize", ""), 4)
    groups = 64 if "quantize" in spelling else 32
    assert stated == {"quant_method": "antiphon", "bits": bits, "group_size": groups, "head_bits": 8}


def test_files_hold_codes_and_scales_under_the_names_of_the_documents(folder: Path, tmp_path: Path) -> None:
    Composite.from_pretrained(folder, quantize="int4").save_pretrained(tmp_path)
    held, wide = written(tmp_path), written(folder)
    outputs, inputs = wide[f"{FIRST}.weight"][0]
    assert f"{FIRST}.weight" not in held
    assert held[f"{FIRST}.codes"] == ((outputs, inputs // 2), torch.uint8)
    assert held[f"{FIRST}.scales"] == ((outputs, inputs // 64), torch.bfloat16)
    assert held["decoder.lm_heads.0.codes"] == (wide["decoder.lm_heads.0.weight"][0], torch.uint8)
    size = (tmp_path / "model.safetensors").stat().st_size
    assert size < 0.6 * (folder / "model.safetensors").stat().st_size


def test_parts_come_out_of_a_rounded_composite_and_go_into_a_new_one(folder: Path, tmp_path: Path) -> None:
    whole = Composite.from_pretrained(folder, quantize="int4")
    whole.save_pretrained(tmp_path / "whole")
    decoder = antiphon.MusicgenForCausalLM.from_pretrained(tmp_path / "whole")
    assert torch.equal(decoder.lm_heads[0].codes, whole.decoder.lm_heads[0].codes)
    decoder.save_pretrained(tmp_path / "decoder")
    mixed = Composite.from_sub_models_pretrained(folder, folder, tmp_path / "decoder")
    mixed.enc_to_dec_proj.load_state_dict(whole.enc_to_dec_proj.state_dict())
    assert not quantized.rounded_layers(mixed.text_encoder)
    mixed.save_pretrained(tmp_path / "mixed")  # the text encoder in floating point, the decoder not
    assert torch.equal(logits(Composite.from_pretrained(tmp_path / "mixed")), logits(mixed))


def test_layers_left_floating_point_are_saved_and_read_as_such(folder: Path, tmp_path: Path) -> None:
    plan = {"bits": 4, "modules_to_not_convert": ["lm_heads", FIRST]}
    model = Composite.from_pretrained(folder, quantization_config=plan)
    model.save_pretrained(tmp_path)
    again = Composite.from_pretrained(tmp_path)
    assert isinstance(again.decoder.lm_heads[0], torch.nn.Linear)
    assert torch.equal(logits(again), logits(model))


def test_a_model_that_is_floating_point_again_says_nothing_of_rounding(folder: Path, tmp_path: Path) -> None:
    Composite.from_pretrained(folder, quantize="int4").save_pretrained(tmp_path / "four")
    config = antiphon.MusicgenConfig.from_pretrained(tmp_path / "four")
    assert config.quantization_config["bits"] == 4
    Composite(config).save_pretrained(tmp_path / "wide")
    assert "quantization_config" not in (tmp_path / "wide" / "config.json").read_text()
    assert Composite.from_pretrained(tmp_path / "wide").dtype is torch.float32


def test_state_dicts_of_rounded_models_go_from_one_to_the_other(folder: Path) -> None:
    model = Composite.from_pretrained(folder, quantize="int4")
    other = Composite.from_pretrained(folder, quantize="int4")
    for layer in quantized.rounded_layers(other):
        layer.codes.zero_()
    assert not torch.equal(logits(other), logits(model))
    other.load_state_dict(model.state_dict())
    assert torch.equal(logits(other), logits(model))


def test_layers_of_different_kinds_are_not_saved(folder: Path, tmp_path: Path) -> None:
    model = antiphon.MusicgenForCausalLM.from_pretrained(folder, quantize="int4")
    attention = model.model.decoder.stack.layers[0].attention
    attention.query = QuantizedLinear.of(torch.randn(128, 128), bits=8)
    with pytest.raises(ParamError, match="different kinds"):
        model.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_reference_checkpoint_is_rounded_the_same_through_a_pickle(mono: Pair, tmp_path: Path) -> None:
    mono.ours.save_pretrained(tmp_path, safe_serialization=False)
    one = Composite.from_pretrained(tmp_path, quantize="int8").state_dict()
    other = Composite.from_pretrained(mono.folder, quantize="int8").state_dict()
    assert all(torch.equal(one[name], other[name]) for name in other)
