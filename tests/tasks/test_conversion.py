"""Checkpoints in the other format: the documents' layout out of audiocraft's files, and back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import antiphon
from antiphon.checkpoints import hub, text_encoders
from antiphon.checkpoints.audiocraft_record import RECORD_FILE, TENSORS_FILE
from antiphon.checkpoints.xp_config import XpConfig
from antiphon.errors import CheckpointError, ConfigError, ParamError
from antiphon.tasks import conversion
from antiphon.tasks.conversion import convert
from antiphon.tasks.summary import summarise

from ..checkpoints.originals import (
    CODEC,
    KINDS,
    MODEL,
    answers,
    changed,
    copied,
    elsewhere,
    golden,
    write_codec,
    write_text_encoder,
)

_CLASSES = {"melody": "MusicgenMelodyForConditionalGeneration"}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """What each kind needs from elsewhere."""
    text_encoder = write_text_encoder(tmp_path_factory.mktemp("t5"))
    codec = write_codec(tmp_path_factory.mktemp("codec"))
    return {kind: elsewhere(kind, text_encoder, codec) for kind in KINDS}


@pytest.fixture(scope="module")
def converted(places: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every kind in the documents' layout."""
    root = tmp_path_factory.mktemp("converted")
    for kind in KINDS:
        convert(golden(kind), root / kind, **places[kind])
    return {kind: root / kind for kind in KINDS}


def loaded(path: Path) -> dict[str, Any]:
    """A file of audiocraft's."""
    return torch.load(path, weights_only=True)


def assert_equal_files(one: Path, other: Path) -> None:
    """The same entries, names in their order, dtypes, bits and configuration."""
    first, second = loaded(one), loaded(other)
    assert list(first) == list(second)
    tensors, same = first.pop("best_state", {}), second.pop("best_state", {})
    assert first == second
    assert [(n, t.dtype) for n, t in tensors.items()] == [(n, t.dtype) for n, t in same.items()]
    assert all(torch.equal(tensor, same[name]) for name, tensor in tensors.items())


@pytest.mark.row("R36", "R99")
@pytest.mark.parametrize("kind", KINDS)
def test_a_converted_checkpoint_is_the_original(kind: str, converted: Any, places: Any) -> None:
    cls = getattr(antiphon, _CLASSES.get(kind, "MusicgenForConditionalGeneration"))
    ours = cls.from_pretrained(converted[kind])
    direct = cls.from_pretrained(golden(kind), **places[kind])
    wanted = {**direct.config.to_dict(), "architectures": [cls.__name__]}
    for part in ("text_encoder", "audio_encoder"):
        wanted[part] = {**wanted[part], "dtype": "float32"}
    assert ours.config.to_dict() == wanted
    assert ours.generation_config.to_dict() == direct.generation_config.to_dict()
    assert all(torch.equal(tensor, direct.state_dict()[name]) for name, tensor in ours.state_dict().items())
    one = antiphon.AutoProcessor.from_pretrained(converted[kind])
    other = antiphon.AutoProcessor.from_pretrained(golden(kind), **places[kind])
    settings = [dict(processor.feature_extractor.to_dict(), processor_class=None) for processor in (one, other)]
    assert settings[0] == settings[1]
    assert one(text=["blues"]).input_ids == other(text=["blues"]).input_ids


@pytest.mark.row("R36", "R99")
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_opens_it_and_gives_the_logits_of_audiocraft(kind: str, converted: Any) -> None:
    cls = getattr(transformers, _CLASSES.get(kind, "MusicgenForConditionalGeneration"))
    model, told = cls.from_pretrained(converted[kind], dtype=torch.float32, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    asked = answers(kind)
    with torch.no_grad():
        states = model.enc_to_dec_proj(asked["text"])
        if kind == "melody":
            states = torch.cat([model.audio_enc_to_dec_proj(asked["chroma"]), states], dim=1)
        logits = model.decoder(input_ids=asked["columns"].flatten(0, 1), encoder_hidden_states=states).logits
    wanted = asked["logits"].flatten(0, 1)
    assert (logits[:, -wanted.shape[1] :] - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("kind", ["mono", "stereo", "melody"])
def test_F134_there_and_back_is_the_identity(kind: str, converted: Any, tmp_path: Path) -> None:
    done = convert(converted[kind], tmp_path / "back")
    assert done.to == "audiocraft"
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == [CODEC, MODEL]
    for name in (MODEL, CODEC):
        assert_equal_files(golden(kind) / name, tmp_path / "back" / name)


def test_the_kept_configuration_stays_unless_another_text_encoder_is_named(converted: Any, tmp_path: Path) -> None:
    convert(converted["mono"], tmp_path / "same", text_encoder="t5-base")
    assert_equal_files(golden("mono") / MODEL, tmp_path / "same" / MODEL)
    convert(converted["mono"], tmp_path / "other", text_encoder="t5-large")
    config = XpConfig.of_text(loaded(tmp_path / "other" / MODEL)["xp.cfg"], tmp_path)
    assert config.get("conditioners.description.t5.name") == "t5-large"


def test_F134_spellings_and_order_of_names_come_back_too(places: Any, tmp_path: Path) -> None:
    folder = copied("mono", tmp_path / "run")

    def respell(content: dict[str, Any]) -> None:
        items = sorted(content["best_state"].items(), reverse=True)
        content["best_state"] = {name.replace("self_attn.", "self_attn.mha."): tensor for name, tensor in items}

    changed(folder / MODEL, respell)
    convert(folder, tmp_path / "hf", **places["mono"])
    convert(tmp_path / "hf", tmp_path / "back")
    assert_equal_files(folder / MODEL, tmp_path / "back" / MODEL)


def test_a_training_run_comes_back_as_exported_files(converted: Any, places: Any, tmp_path: Path) -> None:
    convert(converted["training"], tmp_path / "exported")
    cls = antiphon.MusicgenForConditionalGeneration
    again = cls.from_pretrained(tmp_path / "exported", text_encoder=places["mono"]["text_encoder"]).state_dict()
    first = cls.from_pretrained(converted["training"]).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())


@pytest.mark.parametrize("kind", ["mono", "stereo", "melody"])
def test_without_the_record_a_configuration_is_made_anew(
    kind: str, converted: Any, places: Any, tmp_path: Path
) -> None:
    convert(golden(kind), tmp_path / "hf", **places[kind])
    for name in (RECORD_FILE, TENSORS_FILE):
        (tmp_path / "hf" / name).unlink(missing_ok=True)
    with pytest.raises(ParamError, match="sizes of none that audiocraft knows.*text_encoder='t5-base'"):
        convert(tmp_path / "hf", tmp_path / "back")
    assert not (tmp_path / "back").exists()
    convert(tmp_path / "hf", tmp_path / "back", text_encoder="t5-base")
    written, original = loaded(tmp_path / "back" / MODEL), loaded(golden(kind) / MODEL)
    assert written["best_state"].keys() == original["best_state"].keys()
    assert XpConfig.of_text(written["xp.cfg"], tmp_path).get("conditioners.description.t5.name") == "t5-base"
    text_encoder = places[kind]["text_encoder"]
    cls = getattr(antiphon, _CLASSES.get(kind, "MusicgenForConditionalGeneration"))
    again = cls.from_pretrained(tmp_path / "back", text_encoder=text_encoder)
    first = cls.from_pretrained(tmp_path / "hf")
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in first.state_dict().items())
    assert again.generation_config.to_dict() == first.generation_config.to_dict()


def test_weights_keep_their_precision_part_by_part_unless_one_is_named(
    converted: Any, places: Any, tmp_path: Path
) -> None:
    def dtypes(folder: Path) -> dict[str, str]:
        from safetensors import safe_open

        with safe_open(folder / "model.safetensors", framework="pt") as file:
            found = {(name.split(".")[0], str(file.get_tensor(name).dtype)) for name in file.keys()}  # noqa: SIM118
        return dict(found)

    mixed = {"decoder": "torch.float16", "enc_to_dec_proj": "torch.float16"}
    assert dtypes(converted["mono"]) == {**mixed, "audio_encoder": "torch.float32", "text_encoder": "torch.float32"}
    done = convert(golden("mono"), tmp_path / "half", dtype="bfloat16", **places["mono"])
    assert set(dtypes(tmp_path / "half").values()) == {"torch.bfloat16"}
    assert done.weights_bytes == pytest.approx((tmp_path / "half" / "model.safetensors").stat().st_size, rel=0.2)
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    parts = [config, config["text_encoder"], config["audio_encoder"], config["decoder"]]
    assert [part["dtype"] for part in parts] == ["bfloat16"] * 4
    convert(converted["mono"], tmp_path / "wide", dtype="float32")
    assert {tensor.dtype for tensor in loaded(tmp_path / "wide" / MODEL)["best_state"].values()} == {torch.float32}


def test_a_pickle_is_written_where_it_is_asked_for(places: Any, tmp_path: Path) -> None:
    convert(golden("mono"), tmp_path / "hf", safe_serialization=False, **places["mono"])
    names = {path.name for path in (tmp_path / "hf").iterdir()}
    assert "pytorch_model.bin" in names
    assert "model.safetensors" not in names
    antiphon.MusicgenForConditionalGeneration.from_pretrained(tmp_path / "hf")


def test_a_codec_that_was_trained_since_is_written_and_not_its_former_name(
    converted: Any, tmp_path: Path, caplog: Any
) -> None:

    folder = Path(shutil.copytree(converted["stereo"], tmp_path / "hf"))
    model = antiphon.MusicgenForConditionalGeneration.from_pretrained(folder)
    with torch.no_grad():
        next(model.audio_encoder.parameters()).add_(1)
    model.save_pretrained(folder)
    convert(folder, tmp_path / "back")
    written = loaded(tmp_path / "back" / CODEC)
    assert "pretrained" not in written
    assert len(written["best_state"]) > 20
    assert "no longer facebook/encodec_32khz" in caplog.text


def test_a_model_that_was_cut_since_gets_a_configuration_of_its_own(
    converted: Any, tmp_path: Path, caplog: Any
) -> None:

    folder = Path(shutil.copytree(converted["mono"], tmp_path / "hf"))
    whole = antiphon.MusicgenForConditionalGeneration.from_pretrained(folder)
    config = antiphon.MusicgenConfig.from_pretrained(folder)
    config.decoder.num_hidden_layers = 1
    cut = antiphon.MusicgenForConditionalGeneration(config)
    kept = {name: tensor for name, tensor in whole.state_dict().items() if "model.decoder.layers.1." not in name}
    cut.load_state_dict(kept)
    cut.generation_config = whole.generation_config
    cut.save_pretrained(folder)
    convert(folder, tmp_path / "back", text_encoder="t5-base")
    assert "describes another model" in caplog.text
    assert XpConfig.of_text(loaded(tmp_path / "back" / MODEL)["xp.cfg"], tmp_path).get("transformer_lm.num_layers") == 1


@pytest.mark.parametrize("kind", ["mono", "melody"])
def test_a_model_that_was_saved_without_its_processor_goes_back_too(kind: str, converted: Any, tmp_path: Path) -> None:
    antiphon.AutoModelForTextToWaveform.from_pretrained(converted[kind]).save_pretrained(tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "back", text_encoder="t5-base")
    state = loaded(tmp_path / "back" / MODEL)["best_state"]
    assert state.keys() == loaded(golden(kind) / MODEL)["best_state"].keys()
    window = [tensor for name, tensor in state.items() if name.endswith("spec.window")]
    assert [len(tensor) for tensor in window] == ([16384] if kind == "melody" else [])


@pytest.mark.parametrize(
    ("decoder", "said"),
    [
        ({"scale_embedding": True}, "scale_embedding=True"),
        ({"activation_function": "silu"}, "activation_function='silu'"),
        ({"hidden_size": 24}, "without a projection"),
    ],
)
def test_what_audiocraft_does_not_have_is_not_written_for_it(
    decoder: dict[str, Any], said: str, converted: Any, tmp_path: Path
) -> None:
    config = antiphon.MusicgenConfig.from_pretrained(converted["mono"])
    config.decoder.update(decoder)
    antiphon.MusicgenForConditionalGeneration(config).save_pretrained(tmp_path / "hf")
    with pytest.raises(ParamError, match=said):
        convert(tmp_path / "hf", tmp_path / "back", text_encoder="t5-base")
    assert not (tmp_path / "back").exists()


def test_a_licence_goes_where_the_weights_go(places: Any, tmp_path: Path) -> None:
    folder = copied("mono", tmp_path / "run")
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    (folder / "LICENSE_weights").write_text("not for profit")
    (folder / "notes.txt").write_text("private")
    convert(folder, tmp_path / "hf", **places["mono"])
    convert(tmp_path / "hf", tmp_path / "back")
    for there in ("hf", "back"):
        assert (tmp_path / there / "LICENSE_weights").read_text() == "not for profit"
        assert not (tmp_path / there / "notes.txt").exists()
    assert summarise(tmp_path / "hf").licence == "cc-by-nc-4.0"


def test_one_file_of_a_run_is_enough_of_a_name(places: Any, tmp_path: Path) -> None:
    folder = copied("mono", tmp_path / "run")
    (folder / MODEL).rename(folder / "finetuned.bin")
    convert(folder / "finetuned.bin", tmp_path / "hf", **places["mono"])
    antiphon.MusicgenForConditionalGeneration.from_pretrained(tmp_path / "hf")


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, places: Any) -> list[tuple[str, tuple[str, ...]]]:
    """The Hub, where the goldens stand for published models; what was asked of it."""
    folders = {
        "facebook/musicgen-small": golden("mono"),
        "facebook/musicgen-stereo-small": golden("stereo"),
        "facebook/encodec_32khz": places["stereo"]["codec"],
        "google-t5/t5-base": places["mono"]["text_encoder"],
    }
    asked: list[tuple[str, tuple[str, ...]]] = []
    real = hub.locate

    def locate(name: Any, *, patterns: Any = None, **access: Any) -> Path:
        if str(name) not in folders:
            return real(name, patterns=patterns, **access)
        asked.append((str(name), tuple(patterns)))
        return folders[str(name)]

    monkeypatch.setattr(hub, "locate", locate)
    sizes = antiphon.T5Config.from_pretrained(places["mono"]["text_encoder"]).to_dict()
    monkeypatch.setitem(text_encoders.KNOWN, "t5-base", sizes)
    return asked


@pytest.mark.row("R99")
@pytest.mark.parametrize("name", ["small", "stereo-small"])
def test_short_names_are_those_of_published_models_and_parts_come_from_the_hub(
    name: str, published: Any, converted: Any, tmp_path: Path
) -> None:
    convert(name, tmp_path / "hf")
    kind = "stereo" if "stereo" in name else "mono"
    for file in sorted(converted[kind].iterdir()):
        assert (tmp_path / "hf" / file.name).read_bytes() == file.read_bytes(), file.name
    assert published[0] == (f"facebook/musicgen-{name}", ("config.json", *hub.ORIGINALS, "README.md", "LICENSE*"))
    assert "google-t5/t5-base" in {repository for repository, _ in published}


def test_what_holds_no_such_files_is_refused(converted: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no files of audiocraft's"):
        convert(converted["mono"], tmp_path / "x", to="hf")
    with pytest.raises(CheckpointError, match=r"config.json is missing"):
        convert(golden("mono"), tmp_path / "x", to="audiocraft")
    (tmp_path / "codec_alone").mkdir()
    shutil.copy(golden("mono") / CODEC, tmp_path / "codec_alone")
    with pytest.raises(CheckpointError, match="codec alone"):
        convert(tmp_path / "codec_alone", tmp_path / "x")
    with pytest.raises(ParamError, match="to='onnx'"):
        convert(golden("mono"), tmp_path / "x", to="onnx")
    with pytest.raises(ParamError, match="codec='y' on the way to audiocraft"):
        convert(converted["mono"], tmp_path / "x", codec="y")
    with pytest.raises(ConfigError, match="dtype='int8'"):
        convert(golden("mono"), tmp_path / "x", dtype="int8")
    antiphon.EncodecModel.from_pretrained(converted["mono"]).save_pretrained(tmp_path / "codec")
    with pytest.raises(ParamError, match="model of type 'encodec'"):
        convert(tmp_path / "codec", tmp_path / "x")
    antiphon.MusicgenForConditionalGeneration.from_pretrained(converted["mono"], quantize="int8").save_pretrained(
        tmp_path / "int8"
    )
    with pytest.raises(ParamError, match="rounded weights"):
        convert(tmp_path / "int8", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_destination_that_holds_something_is_left_alone_unless_forced(places: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(CheckpointError, match="holds something already"):
        convert(golden("mono"), tmp_path, **places["mono"])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    convert(golden("mono"), tmp_path, force=True, **places["mono"])
    assert (tmp_path / "mine.txt").read_text() == "kept"
    antiphon.MusicgenForConditionalGeneration.from_pretrained(tmp_path)


@pytest.mark.parametrize("to", ["hf", "audiocraft"])
def test_F027_what_fails_halfway_leaves_nothing(
    to: str, converted: Any, places: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((conversion, "copy_beside", full) if to == "hf" else (torch, "save", full)))
    source = golden("mono") if to == "hf" else converted["mono"]
    with pytest.raises(CheckpointError, match="No space left|disk is full"):
        convert(source, tmp_path / "out", **(places["mono"] if to == "hf" else {}))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_record_is_named(converted: Any, tmp_path: Path) -> None:

    folder = Path(shutil.copytree(converted["mono"], tmp_path / "hf"))
    for text in ('{"language_model": {"names": "all"}}', '{"language_model": {"other": 1}}', "{}"):
        (folder / RECORD_FILE).write_text(text)
        with pytest.raises(ConfigError, match="audiocraft.json is damaged"):
            convert(folder, tmp_path / "back")
