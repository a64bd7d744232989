"""Faults A at the level of models: checkpoints that do not fit, cannot be trusted, or cannot be held."""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from antiphon.errors import (
    AntiphonError,
    CheckpointError,
    ConfigError,
    NumericError,
    ParamError,
    TokenizerError,
)
from antiphon.models import loading
from antiphon.models.auto import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer
from antiphon.models.music_flamingo import MusicFlamingoForConditionalGeneration
from antiphon.models.musicgen import MusicgenForCausalLM, MusicgenForConditionalGeneration

WEIGHTS = "model.safetensors"
QUERY = "decoder.model.decoder.layers.0.self_attn.q_proj.weight"


def changed(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> Path:
    """The folder after ``change`` was applied to its tensors."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / WEIGHTS, {"format": "pt"})
    return folder


def load(folder: Path, **options: Any) -> MusicgenForConditionalGeneration:
    return MusicgenForConditionalGeneration.from_pretrained(folder, **options)


def codes(model: Any) -> Tensor:
    """Eight greedy columns without any text."""
    out = model.generate(max_new_tokens=8, do_sample=False, return_dict_in_generate=True)
    return out.audio_codes


# --- weights that do not fit -----------------------------------------------------------------------------------------


def test_F010_a_missing_tensor_is_named(folder: Path) -> None:
    changed(folder, lambda t: t.pop(QUERY))
    with pytest.raises(CheckpointError, match=f"1 missing .{QUERY}"):
        load(folder)


def test_F010_many_missing_tensors_are_counted_and_five_are_named(folder: Path) -> None:
    changed(folder, lambda t: [t.pop(name) for name in list(t) if "decoder.model" in name])
    with pytest.raises(CheckpointError, match=r"\d\d missing \((?:[^,]*, ){4}[^,]* and \d+ more\)"):
        load(folder)


def test_F010_a_tensor_too_many_is_named_and_passes_with_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changed(folder, lambda t: t.update({"decoder.adapter.weight": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match=r"1 unexpected \(decoder\.adapter\.weight\)"):
        load(folder)
    with caplog.at_level(logging.WARNING):
        model, info = load(folder, strict=False, output_loading_info=True)
    assert info["unexpected_keys"] == ["decoder.adapter.weight"]
    assert sum("1 unexpected (decoder.adapter.weight)" in message for message in caplog.messages) == 1
    assert codes(model).shape == (1, 4, 5)


def test_F010_without_strictness_a_missing_tensor_is_a_random_one(
    folder: Path, tiny_model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    changed(folder, lambda t: t.pop(QUERY))
    with caplog.at_level(logging.WARNING):
        model, info = load(folder, strict=False, output_loading_info=True)
    assert info["missing_keys"] == [QUERY]
    own, whole = model.state_dict(), tiny_model.state_dict()
    assert own[QUERY].isfinite().all()
    assert not torch.equal(own[QUERY], whole[QUERY])
    assert all(torch.equal(own[name], whole[name]) for name in whole if name != QUERY)
    assert any("1 missing" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("name", "change", "got", "want"),
    [
        ("decoder.model.decoder.layers.0.fc1.weight", lambda t: t.t(), (16, 32), (32, 16)),
        ("decoder.lm_heads.0.weight", lambda t: torch.cat([t, t[:1]]), (33, 16), (32, 16)),
        ("decoder.model.decoder.embed_tokens.2.weight", lambda t: t[:-1], (32, 16), (33, 16)),
        ("text_encoder.shared.weight", lambda t: t[:, :-1], (48, 11), (48, 12)),
    ],
)
def test_F010_a_tensor_of_another_shape_is_named_with_both_shapes(
    folder: Path, name: str, change: Callable[[Tensor], Tensor], got: tuple[int, ...], want: tuple[int, ...]
) -> None:
    changed(folder, lambda t: t.update({name: change(t[name])}))
    for strict in (True, False):
        with pytest.raises(CheckpointError) as caught:
            load(folder, strict=strict)
        assert f"{name}: got {got}, want {want}" in str(caught.value)


def test_F010_another_shape_can_be_ignored_by_name(folder: Path, tiny_model: Any) -> None:
    name = "decoder.lm_heads.0.weight"
    changed(folder, lambda t: t.update({name: t[name][:-1]}))
    model, info = load(folder, ignore_mismatched_sizes=True, output_loading_info=True)
    assert info["mismatched_keys"] == [name]
    assert model.state_dict()[name].shape == (32, 16)
    assert torch.equal(model.state_dict()[QUERY], tiny_model.state_dict()[QUERY])


def test_F010_a_state_dict_that_does_not_fit_is_refused_and_changes_nothing(tiny_folder: Path) -> None:
    model = load(tiny_folder)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    state = dict(before)
    state.pop(QUERY)
    state["decoder.extra"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"1 missing .*1 unexpected \(decoder\.extra\)"):
        model.load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"got \(16, 15\), want \(16, 16\)"):
        model.load_state_dict({**before, QUERY: torch.zeros(16, 15)}, strict=False)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_F011_weights_that_are_not_finite_load_and_end_at_the_first_step(folder: Path, bad: float) -> None:
    changed(folder, lambda t: t["decoder.lm_heads.2.weight"].fill_(bad))
    model = load(folder)
    with pytest.raises(NumericError, match=r"codebook 2.*at step 1\."):
        codes(model)


def test_F011_weights_of_zeros_load_and_run(folder: Path) -> None:
    changed(folder, lambda t: [tensor.zero_() for tensor in t.values()])
    assert not codes(load(folder)).any()


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.float8_e4m3fn, torch.complex64])
def test_F012_a_weight_that_is_no_float_is_refused_by_name(folder: Path, dtype: torch.dtype) -> None:
    changed(folder, lambda t: t.update({QUERY: t[QUERY].to(dtype)}))
    with pytest.raises(CheckpointError, match=QUERY):
        load(folder, dtype="float32")


def test_F012_float64_and_half_weights_are_cast(folder: Path, tiny_model: Any) -> None:
    changed(folder, lambda t: t.update({QUERY: t[QUERY].double()}))
    assert torch.equal(load(folder).state_dict()[QUERY], tiny_model.state_dict()[QUERY])
    half = load(folder, dtype="bfloat16")
    assert half.dtype is torch.bfloat16
    assert torch.equal(half.state_dict()[QUERY], tiny_model.state_dict()[QUERY].to(torch.bfloat16))


# --- other names -----------------------------------------------------------------------------------------------------


def renamed(folder: Path, rename: Callable[[str], str]) -> Path:
    def change(tensors: dict[str, Tensor]) -> None:
        items = list(tensors.items())
        tensors.clear()
        tensors.update({rename(name): tensor for name, tensor in items})

    return changed(folder, change)


def old_weight_norm(name: str) -> str:
    return name.replace("parametrizations.weight.original0", "weight_g").replace(
        "parametrizations.weight.original1", "weight_v"
    )


@pytest.mark.parametrize(
    "rename",
    [old_weight_norm, lambda n: "module." + n, lambda n: "_orig_mod." + n, lambda n: "module._orig_mod." + n],
    ids=["weight_g", "module", "_orig_mod", "both"],
)
def test_F013_other_spellings_load_to_equal_outputs(
    folder: Path, tiny_model: Any, rename: Callable[[str], str]
) -> None:
    renamed(folder, rename)
    assert not any("original0" in name for name in load_file(folder / WEIGHTS)) or rename is not old_weight_norm
    model = load(folder)
    one = model.generate(max_new_tokens=8, do_sample=False)
    other = tiny_model.generate(max_new_tokens=8, do_sample=False)
    assert torch.equal(one, other)


def test_F013_both_spellings_at_once_are_refused(folder: Path) -> None:
    changed(folder, lambda t: t.update({f"module.{QUERY}": t[QUERY].clone()}))
    with pytest.raises(CheckpointError, match="mean the same tensor"):
        load(folder)


def test_F013_the_decoder_alone_comes_out_of_a_wrapped_composite(folder: Path, tiny_model: Any) -> None:
    renamed(folder, lambda n: "module." + n)
    alone = MusicgenForCausalLM.from_pretrained(folder)
    assert torch.equal(alone.state_dict()["lm_heads.0.weight"], tiny_model.state_dict()["decoder.lm_heads.0.weight"])


# --- pickles ---------------------------------------------------------------------------------------------------------


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_F014_a_pickle_with_a_command_in_it_never_runs(folder: Path, tmp_path: Path, zipped: bool) -> None:
    marker = tmp_path / "marker"
    (folder / WEIGHTS).unlink()
    content = {QUERY: torch.zeros(2), "x": Payload(marker)}
    torch.save(content, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin.*not safe"):
        load(folder)
    with pytest.raises(CheckpointError, match="not safe"):
        AutoModel.from_pretrained(folder)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Payload(marker)))  # the payload itself does work
    assert marker.exists()


@pytest.mark.parametrize("content", [b"", b"\x93garbage of thirty bytes.......", b"<html>404</html>"])
def test_F016_junk_for_a_pickle_is_refused(folder: Path, content: bytes) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        load(folder)


def test_F016_a_pickle_cut_in_half_is_refused_and_a_whole_one_is_read(folder: Path, tiny_model: Any) -> None:
    tiny_model.save_pretrained(folder / "whole", safe_serialization=False)
    whole = folder / "whole" / "pytorch_model.bin"
    assert torch.equal(codes(load(folder / "whole")), codes(tiny_model))
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        load(folder / "whole")


# --- places ----------------------------------------------------------------------------------------------------------


def test_F019_a_checkpoint_with_a_broken_or_missing_tokenizer_is_told(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    for reader in (AutoProcessor, AutoTokenizer):
        with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
            reader.from_pretrained(folder)
    (folder / "tokenizer.json").unlink()
    for reader in (AutoProcessor, AutoTokenizer):
        with pytest.raises(AntiphonError, match=r"tokenizer\.json|spiece\.model"):
            reader.from_pretrained(folder)


@pytest.mark.parametrize("name", ["../etc", "x" * 97, "a b", "a//b", "\U0001f3b5/song", "/no/such/folder", "", "a/b/c"])
@pytest.mark.parametrize("reader", [MusicgenForConditionalGeneration, AutoModel, AutoProcessor, AutoConfig])
def test_F021_nonsense_for_a_name_is_refused_by_every_door(name: str, reader: Any) -> None:
    with pytest.raises((CheckpointError, ParamError)):
        reader.from_pretrained(name, local_files_only=True)


def test_F021_a_folder_that_is_not_there_is_told_as_both_things_it_could_be() -> None:
    with pytest.raises(ParamError, match="no such folder and not a repo id"):
        load(Path("no") / "such" / "folder")


def test_F022_a_name_that_is_not_cached_says_how_to_fetch_it(tmp_path: Path) -> None:
    for reader in (MusicgenForConditionalGeneration, AutoProcessor, AutoModel):
        with pytest.raises(CheckpointError, match="some/model"):
            reader.from_pretrained("some/model", cache_dir=tmp_path, local_files_only=True)


def test_F022_a_folder_with_half_of_its_files_names_what_is_missing(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load(folder)


# --- files that change -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", ["truncated", "overwritten", "removed", "replaced"])
def test_F025_a_loaded_model_does_not_depend_on_its_files(folder: Path, tiny_model: Any, fate: str) -> None:
    model, path = load(folder), folder / WEIGHTS
    if fate == "truncated":
        os.truncate(path, 100)
    elif fate == "overwritten":
        path.write_bytes(b"\xff" * path.stat().st_size)
    elif fate == "removed":
        path.unlink()
    else:
        (folder / "other").write_bytes(b"other")
        os.replace(folder / "other", path)
    assert torch.equal(codes(model), codes(tiny_model))


@pytest.mark.parametrize("max_shard_size", ["5GB", "10KB"])
def test_F026_saving_onto_its_own_folder_keeps_model_and_files_right(
    folder: Path, tiny_model: Any, max_shard_size: str
) -> None:
    model = load(folder)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    again = load(folder)
    for name, tensor in tiny_model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
        assert torch.equal(again.state_dict()[name], tensor)
    assert torch.equal(codes(again), codes(tiny_model))
    shards = sorted(p.name for p in folder.iterdir() if p.suffix == ".safetensors")
    assert (shards == [WEIGHTS]) is (max_shard_size == "5GB")


def test_F027_a_place_that_cannot_be_saved_to_is_told(tmp_path: Path, tiny_model: Any) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(CheckpointError, match="is a file"):
        tiny_model.save_pretrained(tmp_path / "file")
    with pytest.raises(CheckpointError):
        tiny_model.save_pretrained(tmp_path / "file" / "inside")
    with pytest.raises(CheckpointError):
        tiny_model.save_pretrained(tmp_path / ("x" * 300))
    assert (tmp_path / "file").read_text() == "kept"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_F027_a_disk_that_fills_up_leaves_the_old_checkpoint(
    folder: Path, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    model = load(folder)

    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"the disk is full.*the old file"):
        model.save_pretrained(folder)
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


# --- arguments -------------------------------------------------------------------------------------------------------


def test_F061_an_unknown_keyword_at_loading_gets_the_nearest_name(tiny_folder: Path) -> None:
    for wrong, right in (("dtpye", "dtype"), ("device_mao", "device_map"), ("atn_implementation", "attn_impl")):
        with pytest.raises(TypeError, match=f"{wrong}.*Did you mean '{right}"):
            load(tiny_folder, **{wrong: "x"})


def test_F061_the_old_spelling_of_dtype_warns_and_a_contradiction_is_refused(tiny_folder: Path) -> None:
    with pytest.warns(DeprecationWarning, match="torch_dtype"):
        assert load(tiny_folder, torch_dtype="bfloat16").dtype is torch.bfloat16
    with pytest.raises(ParamError, match="dtype=float32 and torch_dtype=bfloat16"):
        load(tiny_folder, dtype="float32", torch_dtype="bfloat16")
    with pytest.raises(ParamError, match="device and device_map"):
        load(tiny_folder, device="cpu", device_map="auto")


@pytest.mark.parametrize("dtype", ["fp4", "int8", "float", 5, torch.int8, torch.complex64, torch.float8_e4m3fn, ""])
def test_F062_a_dtype_no_model_computes_in_is_refused(tiny_folder: Path, dtype: Any) -> None:
    if dtype == "float":
        assert load(tiny_folder, dtype=dtype).dtype is torch.float32
        return
    with pytest.raises(ConfigError, match=r"dtype=.*float32, float16, bfloat16"):
        load(tiny_folder, dtype=dtype)


@pytest.mark.parametrize("device", ["cuda:99", "mps", "tpu", "", 99, True, "cpu:x"])
@pytest.mark.parametrize("argument", ["device", "device_map"])
def test_F062_a_device_this_machine_lacks_is_refused_before_loading(
    tiny_folder: Path, device: Any, argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "materialise", lambda *args: pytest.fail("memory was taken"))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ParamError, match=rf"device='?(cuda:)?{device}'?\. Expected one of \['cpu'"):
        load(tiny_folder, **{argument: device})


def test_F062_a_part_that_a_device_map_names_must_exist(tiny_folder: Path) -> None:
    with pytest.raises(ParamError, match=r"'decodr'.*'text_encoder', 'audio_encoder', 'decoder'"):
        load(tiny_folder, device_map={"decodr": "cpu"})


def test_F062_float16_on_a_cpu_says_so_once_and_works(tiny_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        model = load(tiny_folder, dtype="float16")
    assert sum("float16 on a CPU" in message for message in caplog.messages) == 1
    assert model.generate(max_new_tokens=8, do_sample=False).isfinite().all()
    caplog.clear()
    load(tiny_folder, dtype="bfloat16")
    assert not caplog.messages


def test_F062_a_listening_model_refuses_and_computes_as_the_others_do(
    listening_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = MusicFlamingoForConditionalGeneration.from_pretrained
    with pytest.raises(ConfigError, match=r"dtype='fp4'.*float32, float16, bfloat16"):
        opened(listening_checkpoint, dtype="fp4")
    with pytest.raises(ParamError, match=r"device='?(cuda:)?cuda:99'?\. Expected one of \['cpu'"):
        opened(listening_checkpoint, device="cuda:99")
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        model = opened(listening_checkpoint, dtype="float16")
    assert sum("float16 on a CPU" in message for message in caplog.messages) == 1
    assert model(torch.tensor([[5, 6, 7]])).logits.isfinite().all()
