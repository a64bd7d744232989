"""Moshi in the other format: the documents' layout out of kyutai's files, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

import antiphon
from antiphon.checkpoints.kyutai_folder import CODEC_FILE, MODEL_FILE, ROUNDED_FILE, TOKENIZER_FILE
from antiphon.checkpoints.kyutai_names import AUDIO_ENCODER
from antiphon.checkpoints.kyutai_record import RECORD_FILE
from antiphon.cli.app import run
from antiphon.errors import CheckpointError, ParamError
from antiphon.tasks.conversion import convert

from ..checkpoints.kyutai_files import (
    CODEC_CONFIG,
    CONFIG,
    IN_8_BITS,
    KINDS,
    WITH_ADAPTER,
    answers,
    copied,
    golden,
    read,
)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every kind in the documents' layout."""
    root = tmp_path_factory.mktemp("converted")
    for kind in KINDS:
        convert(golden(kind), root / kind)
    return {kind: root / kind for kind in KINDS}


def check_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype and torch.equal(tensor, other[name]), name


@pytest.mark.row("R162")
@pytest.mark.parametrize("kind", KINDS)
def test_a_converted_checkpoint_is_the_original(kind: str, converted: Any) -> None:
    check_same(load_file(converted[kind] / "model.safetensors"), read(golden(kind)))
    ours = antiphon.MoshiForConditionalGeneration.from_pretrained(converted[kind])
    original = antiphon.MoshiForConditionalGeneration.from_pretrained(golden(kind))
    assert ours.dtype is original.dtype is torch.bfloat16
    assert ours.audio_encoder.dtype is original.audio_encoder.dtype is torch.float32
    check_same(dict(ours.state_dict()), dict(original.state_dict()))
    assert ours.generation_config.to_dict() == original.generation_config.to_dict()
    assert ours.config.delays == json.loads((golden(kind) / CONFIG).read_text())["delays"]
    for cls in (antiphon.AutoTokenizer, antiphon.AutoFeatureExtractor):
        here, there = cls.from_pretrained(converted[kind]), cls.from_pretrained(golden(kind))
        assert type(here) is type(there)
    assert here.sampling_rate == there.sampling_rate == 600


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_opens_it_and_gives_the_answers_of_kyutai(kind: str, converted: Any) -> None:
    theirs = transformers.MoshiForConditionalGeneration.from_pretrained(converted[kind], dtype=torch.float32).eval()
    language, codec = answers(kind, "language"), answers(kind, "codec")
    full = theirs.config.sliding_window  # beyond it transformers sees more than the window
    books, columns = theirs.config.num_codebooks, language["columns"][..., :full]
    tables = [theirs.decoder.model.embed_tokens, *theirs.embed_tokens]
    embedded = sum(
        table(stream.clamp(min=0)) * (stream >= 0)[..., None]
        for table, stream in zip(tables, columns.unbind(1), strict=True)
    )
    output = theirs.decoder(inputs_embeds=embedded)
    text = output.logits[..., :: theirs.config.vocab_size // 6]
    assert (text - language["text_logits_at_once"][:, :full]).abs().max() < 2e-4
    told = columns[:, :books].clamp(min=0).transpose(1, 2).flatten(0, 1)
    depth = theirs.depth_decoder(input_ids=told, last_hidden_state=output.last_hidden_state.flatten(0, 1)[:, None])
    codes = depth.logits.unflatten(0, text.shape[:2])[..., ::8]
    assert (codes - language["code_logits_at_once"][:, :full]).abs().max() < 2e-4
    assert torch.equal(theirs.audio_encoder.encode(codec["sound"].float()).audio_codes, codec["codes"])
    assert (theirs.audio_encoder.decode(codec["codes"]).audio_values - codec["decoded"]).abs().max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_F134_moshi_there_and_back_is_the_identity(kind: str, converted: Any, tmp_path: Path) -> None:
    done = convert(converted[kind], tmp_path / "back")
    assert done.to == "kyutai"
    for name in (MODEL_FILE, CODEC_FILE):
        stored = load_file(golden(kind) / name)
        assert list(load_file(tmp_path / "back" / name)) == list(stored)
        check_same(load_file(tmp_path / "back" / name), stored)
    for name in (CONFIG, CODEC_CONFIG):
        assert json.loads((tmp_path / "back" / name).read_text()) == json.loads((golden(kind) / name).read_text())
    assert (tmp_path / "back" / TOKENIZER_FILE).read_bytes() == (golden(kind) / TOKENIZER_FILE).read_bytes()


def test_F134_without_its_record_a_moshi_gets_a_configuration_of_its_own(converted: Any, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    model = antiphon.MoshiForConditionalGeneration.from_pretrained(converted["grouped"])
    model.generation_config.update(temperature=0.6)
    model.save_pretrained(folder)
    said: list[str] = []
    convert(folder, tmp_path / "back", tell=said.append)
    assert any("SentencePiece" in line for line in said)
    meant = {n: t.float() if n.startswith(AUDIO_ENCODER) else t.bfloat16() for n, t in read(golden("grouped")).items()}
    check_same(read(tmp_path / "back"), meant)  # the codec has not been rounded
    config = json.loads((tmp_path / "back" / CONFIG).read_text())
    assert config["lm_gen_config"] == {"temp_text": 0.6}
    assert config["delays"] == [0, 0, 2, 1, 1, 3, 2]


@pytest.mark.parametrize("changes", [WITH_ADAPTER, IN_8_BITS])
def test_adapters_and_8_bits_become_plain_weights(changes: dict[str, Any], tmp_path: Path) -> None:
    source = copied("moshi", tmp_path / "source", **changes)
    convert(source, tmp_path / "new", dtype="float32")
    convert(tmp_path / "new", tmp_path / "back")
    assert not (tmp_path / "back" / ROUNDED_FILE).exists()
    written, meant = read(tmp_path / "back"), read(source)
    assert written.keys() == meant.keys()
    assert all(torch.equal(tensor.to(meant[name].dtype), meant[name]) for name, tensor in written.items())
    assert written["decoder.lm_head.weight"].dtype is torch.float32  # where nothing was rounded


def test_a_codec_alone_goes_there_and_back(tmp_path: Path) -> None:
    source = copied("moshi", tmp_path / "source")
    for name in (CONFIG, MODEL_FILE, ROUNDED_FILE, TOKENIZER_FILE):
        (source / name).unlink()
    convert(source, tmp_path / "new")
    assert type(antiphon.AutoModel.from_pretrained(tmp_path / "new")) is antiphon.MimiModel
    assert convert(tmp_path / "new", tmp_path / "back").to == "kyutai"
    check_same(load_file(tmp_path / "back" / CODEC_FILE), load_file(source / CODEC_FILE))


def test_parts_open_from_kyutais_files_alone() -> None:
    whole = antiphon.MoshiForConditionalGeneration.from_pretrained(golden("moshi"), dtype="float32")
    codec = antiphon.MimiModel.from_pretrained(golden("moshi"), dtype="float32")
    text = antiphon.MoshiForCausalLM.from_pretrained(golden("moshi"), dtype="float32")
    depth = antiphon.MoshiDepthDecoder.from_pretrained(golden("moshi"), dtype="float32")
    for part, same in ((codec, whole.audio_encoder), (text, whole.decoder), (depth, whole.depth_decoder)):
        check_same(dict(part.state_dict()), dict(same.state_dict()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"to": "audiocraft"}, "to='audiocraft'"),
        ({"codec": "elsewhere"}, "codec='elsewhere'"),
        ({"text_encoder": "t5-base"}, "text_encoder='t5-base'"),
    ],
)
def test_arguments_that_a_moshi_has_no_use_for_are_refused(
    converted: Any, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    for source in (converted["moshi"], golden("moshi")) if "to" not in arguments else (converted["moshi"],):
        with pytest.raises(ParamError, match=message):
            convert(source, tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


def test_what_is_kyutais_already_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamError, match="kyutai's own files"):
        convert(golden("moshi"), tmp_path / "new", to="kyutai")


def test_rounded_weights_are_refused(tmp_path: Path, converted: Any) -> None:
    model = antiphon.MoshiForConditionalGeneration.from_pretrained(converted["moshi"], quantize="int8")
    model.save_pretrained(tmp_path / "rounded")
    with pytest.raises(ParamError, match="rounded weights"):
        convert(tmp_path / "rounded", tmp_path / "new")


def test_F027_missing_weights_leave_nothing_behind(tmp_path: Path) -> None:
    source = copied("moshi", tmp_path / "source")
    stored = load_file(source / MODEL_FILE)
    del stored["linears.2.weight"]
    save_file(stored, source / MODEL_FILE)
    with pytest.raises(CheckpointError, match=r"depth_decoder\.lm_heads\.weight"):
        convert(source, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_the_command_goes_there_and_back(tmp_path: Path, capsys: Any) -> None:
    assert run(["convert", str(golden("moshi")), str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / RECORD_FILE).exists()
    assert run(["convert", str(tmp_path / "new"), str(tmp_path / "back"), "--to", "kyutai"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [str(tmp_path / "new"), str(tmp_path / "back")]
    assert "kyutai: " in captured.err
    check_same(load_file(tmp_path / "back" / MODEL_FILE), load_file(golden("moshi") / MODEL_FILE))
