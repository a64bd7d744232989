"""Faults of audiocraft's own files: hostile, damaged, incomplete, or of models that cannot be computed here."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import antiphon
from antiphon.checkpoints.audiocraft_file import AudiocraftFile
from antiphon.checkpoints.audiocraft_folder import AudiocraftFolder
from antiphon.checkpoints.omegaconf_pickle import plain
from antiphon.errors import CheckpointError, ConfigError
from antiphon.tasks.conversion import convert

from ..checkpoints.originals import CODEC, MODEL, changed, copied, golden, reconfigured, write_text_encoder
from .test_a_checkpoints import Payload

Composite = antiphon.MusicgenForConditionalGeneration


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_encoder(tmp_path_factory.mktemp("t5"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of audiocraft's files, to be damaged."""
    return copied("mono", tmp_path / "run")


def _legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def _plain(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("save", [torch.save, _legacy, _plain], ids=["zip", "legacy", "plain"])
@pytest.mark.parametrize("name", [MODEL, CODEC, "checkpoint.th"])
@pytest.mark.parametrize("place", ["best_state", "xp.cfg", "optimizer"])
def test_F014_a_payload_anywhere_in_such_a_file_runs_nothing(
    name: str, place: str, save: Callable[[object, Path], None], tmp_path: Path, folder: Path, text_encoder: Path
) -> None:
    marker = tmp_path / "marker"
    if name == "checkpoint.th":
        (folder / MODEL).rename(folder / name)
    content = torch.load(folder / name, weights_only=True)
    content[place] = Payload(marker)
    save(content, folder / name)
    for attempt in (
        lambda: Composite.from_pretrained(folder, text_encoder=text_encoder),
        lambda: antiphon.load(folder, text_encoder=text_encoder, device="cpu"),
        lambda: convert(folder, tmp_path / "out", text_encoder=text_encoder),
    ):
        with pytest.raises(CheckpointError, match="not safe to load"):
            attempt()
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


class _Foreign:
    """What a training run may hold beside weights and configuration."""


def test_F015_a_run_that_holds_foreign_objects_is_refused_by_their_name(tmp_path: Path) -> None:
    content = {"best_state": {"model": {"a": torch.ones(1)}}, "history": _Foreign()}
    torch.save(content, tmp_path / "checkpoint.th")
    with pytest.raises(CheckpointError, match=r"not safe to load.*_Foreign"):
        AudiocraftFile(tmp_path / "checkpoint.th")


def test_F015_the_configuration_of_a_run_is_read_without_the_classes_it_is_made_of() -> None:
    file = AudiocraftFile(golden("training") / "checkpoint.th")
    values = torch.load(golden("mono") / MODEL, weights_only=True)["xp.cfg"]
    exported = AudiocraftFile(golden("mono") / MODEL)
    assert file.config.section("transformer_lm") == exported.config.section("transformer_lm")
    assert "${sample_rate}" not in values  # nothing in it refers to another, in this kind
    assert AudiocraftFolder.found(golden("training")) is not None
    file.close()
    exported.close()


def test_F015_objects_of_the_configuration_nested_without_end_are_refused(tmp_path: Path) -> None:
    inner: Any = {}
    for _ in range(200):
        inner = {"a": inner}
    with pytest.raises(RecursionError):
        plain(inner)
    state = {"a": torch.ones(1)}
    torch.save({"best_state": {"model": state}, "xp.cfg": ["no", "mapping"]}, tmp_path / "checkpoint.th")
    with pytest.raises(ConfigError, match=r"has no xp.cfg.*[Ee]xport"):
        _ = AudiocraftFile(tmp_path / "checkpoint.th").config


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1], "holds a list"),
        ({"model": {}, "epoch": 1}, "holds no weights where audiocraft keeps them; it holds: epoch, model"),
        ({"best_state": {}}, "holds no weights where audiocraft keeps them"),
        ({"best_state": {"a": 1}}, "1 entries that are not tensors"),
        ({"pretrained": 3}, "pretrained is 3"),
        ({"best_state": {"a": torch.ones(1)}}, "has no xp.cfg"),
        ({"pretrained": "facebook/encodec_32khz"}, "names a codec"),
    ],
)
def test_F010_a_file_of_something_else_is_told_for_what_it_is(content: Any, said: str, folder: Path) -> None:
    torch.save(content, folder / MODEL)
    with pytest.raises((CheckpointError, ConfigError), match=said):
        Composite.from_pretrained(folder)


def _without(content: dict[str, Any]) -> None:
    del content["best_state"]["transformer.layers.1.linear2.weight"]


def _with(content: dict[str, Any]) -> None:
    content["best_state"]["transformer.layers.0.layer_scale_1.scale"] = torch.ones(16)


def _turned(content: dict[str, Any]) -> None:
    content["best_state"]["transformer.layers.1.linear2.weight"].t_()


def _odd(content: dict[str, Any]) -> None:
    content["best_state"]["transformer.layers.1.self_attn.in_proj_weight"] = torch.ones(47, 16)


def _twice(content: dict[str, Any]) -> None:
    state = content["best_state"]
    state["transformer.layers.1.self_attn.mha.out_proj.weight"] = state[
        "transformer.layers.1.self_attn.out_proj.weight"
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without, r"1 missing \(decoder.model.decoder.layers.1.fc2.weight\)"),
        (_with, r"1 unexpected \(transformer.layers.0.layer_scale_1.scale\)"),
        (_turned, r"fc2.weight: got \(64, 16\), want \(16, 64\)"),
        (_odd, r"in_proj_weight' has the shape \[47, 16\]. Expected 3 parts of equal size"),
        (_twice, "are both"),
    ],
)
def test_F010_tensors_that_do_not_fit_are_listed(
    change: Callable[[dict[str, Any]], None], said: str, folder: Path, text_encoder: Path, tmp_path: Path
) -> None:
    changed(folder / MODEL, change)
    with pytest.raises(CheckpointError, match=said):
        Composite.from_pretrained(folder, text_encoder=text_encoder)
    with pytest.raises(CheckpointError, match=said):
        convert(folder, tmp_path / "out", text_encoder=text_encoder)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [MODEL, CODEC])
@pytest.mark.parametrize("kept", [0, 1, 30, 0.5, 0.99])
def test_F016_a_file_cut_anywhere_is_refused(name: str, kept: float, folder: Path) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: kept if isinstance(kept, int) else int(len(whole) * kept)])
    with pytest.raises(CheckpointError, match=name):
        antiphon.AutoConfig.from_pretrained(folder)


BOMB = "a: &a [x, x, x]\n" + "".join(
    f"{n}: &{n} [{', '.join(['*' + p] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is a NoneType"),
        ("- a\n- b", "is a list"),
        ("a: [", "no plain YAML"),
        ("a: !!python/object/apply:os.system ['touch marker']", "no plain YAML.*could not determine a constructor"),
        (BOMB, "uses aliases"),
        ("[" * 5000, "no plain YAML"),
        ("a: " + "x" * (1 << 20), "characters"),
        ("a: 1", "lacks transformer_lm|transformer_lm.norm_first"),
    ],
    ids=["empty", "list", "broken", "tag", "bomb", "deep", "long", "bare"],
)
def test_F017_a_configuration_that_is_none_is_refused_in_bounded_memory(text: str, said: str, folder: Path) -> None:
    changed(folder / MODEL, lambda content: content.update({"xp.cfg": text}))
    with pytest.raises(ConfigError, match=said):
        antiphon.AutoConfig.from_pretrained(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("dim: 16", "dim: null", "transformer_lm.dim=None"),
        ("dim: 16", "dim: 16.5", "transformer_lm.dim=16.5. Expected an integer"),
        ("dim: 16", "dim: -16", "=-(16|64). Expected an integer"),
        ("dim: 16", "dim: .nan", "transformer_lm.dim=nan"),
        ("num_layers: 2", "num_layers: 1000000", "num_hidden_layers=1000000"),
        ("num_heads: 2", "num_heads: 0", "num_attention_heads=0"),
        ("activation: gelu", "activation: swiglu", "transformer_lm.activation='swiglu'"),
        ("norm_first: true", "norm_first: false", "transformer_lm.norm_first=False"),
        ("bias_ff: false", "bias_ff: true", "transformer_lm.bias_ff=True"),
        ("  bias_proj: false\n", "", "transformer_lm.bias_proj=True"),
        ("positional_embedding: sin", "positional_embedding: rope", "positional_embedding='rope'"),
        ("layer_scale: null", "layer_scale: 0.1", "layer_scale=0.1"),
        ("kv_repeat: 1", "kv_repeat: 2", "kv_repeat=2"),
        ("past_context: null", "past_context: 100", "past_context=100"),
        ("causal: true", "causal: false", "transformer_lm.causal=False"),
        ("kv_repeat: 1", "kv_repeat: 1\n  flash: 9", "transformer_lm.flash=9. Expected no such key"),
        ("lm_model: transformer_lm", "lm_model: transformer_lm_magnet", "lm_model='transformer_lm_magnet'"),
        ("modeling: delay", "modeling: parallel", "codebooks_pattern.modeling='parallel'"),
        ("flatten_first: 0", "flatten_first: 2", "flatten_first=2"),
        ("    - 3\n", "    - 4\n", "codebooks_pattern.delay.delays"),
        ("cross:\n  - description", "cross: []", r"fuser.cross=\[\]"),
        ("cross_attention_pos_emb: false", "cross_attention_pos_emb: true", "cross_attention_pos_emb=True"),
        ("name: t5-base", "name: bert", "t5.name='bert'"),
        ("normalize_text: false", "normalize_text: true", "normalize_text=True"),
        ("model: t5", "model: lut", "conditioners.description.model='lut'"),
        ("channels: 1", "channels: 2", "channels=2"),
        ("segment_duration: 30", "segment_duration: .inf", "segment_duration=inf"),
        ("segment_duration: 30", "segment_duration: -1", "segment_duration=-1"),
    ],
)
def test_F017_what_the_mathematics_here_does_not_have_is_named_with_its_value(
    old: str, new: str, said: str, folder: Path
) -> None:
    reconfigured(folder / MODEL, old, new)
    with pytest.raises(ConfigError, match=said):
        Composite.from_pretrained(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("activation: ELU", "activation: Snake", "seanet.activation='Snake'"),
        ("norm: weight_norm", "norm: none", "norm_type='none'"),
        ("disable_norm_outer_blocks: 0", "disable_norm_outer_blocks: 2", "disable_norm_outer_blocks=2"),
        ("final_activation: null", "final_activation: Tanh", "seanet.decoder.final_activation='Tanh'"),
        ("encoder: {}", "encoder:\n    n_filters: 4", "seanet.encoder="),
        ("causal: ${encodec.causal}", "causal: true", "seanet.causal=True"),
        ("quantizer: rvq", "quantizer: no_quant", "encodec.quantizer='no_quant'"),
        ("compression_model: encodec", "compression_model: dac", "compression_model='dac'"),
        ("bins: 64", "bins: 0", "rvq"),
        ("bins: 64", "bins: 63", "codebook_size=63"),
        ("pad_mode: constant", "pad_mode: wrap", "pad_mode='wrap'"),
        ("  - 5\n", "  - 0\n", "seanet.ratios"),
        ("sample_rate: 1000", "sample_rate: ???", "leaves sample_rate open"),
        ("sample_rate: ${sample_rate}", "sample_rate: ${rate}", "leads nowhere"),
    ],
)
def test_F017_a_codec_that_is_not_ours_is_named_with_its_value(old: str, new: str, said: str, folder: Path) -> None:
    reconfigured(folder / CODEC, old, new)
    with pytest.raises(ConfigError, match=said):
        antiphon.EncodecModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("argmax: true", "argmax: false", "chroma_stem.argmax=False"),
        ("radix2_exp: 7", "radix2_exp: 99", "radix2_exp=99"),
        ("model: chroma_stem", "model: clap", "self_wav.model='clap'"),
        ("n_chroma: 12", "n_chroma: 0", "num_chroma=0"),
    ],
)
def test_F017_a_melody_that_is_heard_otherwise_is_named_with_its_value(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    folder = copied("melody", tmp_path / "run")
    reconfigured(folder / MODEL, old, new)
    with pytest.raises(ConfigError, match=said):
        antiphon.MusicgenMelodyForConditionalGeneration.from_pretrained(folder, codec=golden("mono"))
