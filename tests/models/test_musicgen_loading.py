"""MusicGen checkpoints: written by transformers and opened here, and the reverse."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import antiphon
from antiphon.errors import CheckpointError

from . import tiny_musicgen as tiny
from .conftest import ALL, Pair
from .tiny_musicgen import column_ids, distance


def logits(model: Any, texts: Any) -> torch.Tensor:
    with torch.no_grad():
        out = model(**texts, decoder_input_ids=column_ids(2, 5, codebooks=model.decoder.num_codebooks)).logits
    return out


@pytest.mark.row("R29", "R82")
@pytest.mark.parametrize("name", [*ALL, "melody_narrow"])
def test_names_and_shapes_of_tensors_are_the_references_and_load_strictly_both_ways(name: str, request: Any) -> None:
    pair: Pair = request.getfixturevalue(name)
    ours, theirs = pair.ours.state_dict(), pair.theirs.state_dict()
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in theirs.items()}
    assert all(torch.equal(ours[n], theirs[n]) for n in ours)
    projections = {"enc_to_dec_proj", "audio_enc_to_dec_proj"}
    assert {n.split(".")[0] for n in ours} - projections == {"text_encoder", "audio_encoder", "decoder"}
    widths = {part: getattr(pair.ours.config, part).hidden_size for part in ("text_encoder", "decoder")}
    assert ("enc_to_dec_proj.weight" in ours) == (widths["text_encoder"] != widths["decoder"])
    chroma = getattr(pair.ours.config, "num_chroma", widths["decoder"])
    assert ("audio_enc_to_dec_proj.weight" in ours) == (chroma != widths["decoder"])
    other = pair.kind(pair.ours.config)
    other.load_state_dict(theirs)
    assert all(torch.equal(t, theirs[n]) for n, t in other.state_dict().items())
    back = pair.their_kind(pair.theirs.config)
    back.load_state_dict(ours)
    assert all(torch.equal(t, ours[n]) for n, t in back.state_dict().items())


@pytest.mark.parametrize("saving", [{}, {"max_shard_size": "40KB"}, {"safe_serialization": False}])
@pytest.mark.parametrize("name", ALL)
def test_the_reference_opens_what_we_write(
    name: str, saving: dict[str, Any], request: Any, tmp_path: Path, texts: Any
) -> None:
    pair: Pair = request.getfixturevalue(name)
    pair.ours.save_pretrained(tmp_path, **saving)
    pair.processor.save_pretrained(tmp_path)
    files = {f.name for f in tmp_path.iterdir()}
    assert ("model.safetensors.index.json" in files) == ("max_shard_size" in saving)
    assert ("pytorch_model.bin" in files) == ("safe_serialization" in saving)
    back, info = pair.their_kind.from_pretrained(
        tmp_path, output_loading_info=True, use_safetensors=None if "safe_serialization" not in saving else False
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert torch.equal(logits(back.eval(), texts), logits(pair.theirs, texts))
    assert back.generation_config.guidance_scale == 3.0
    again = pair.kind.from_pretrained(tmp_path)
    assert torch.equal(logits(again, texts), logits(pair.ours, texts))
    read = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert read(tiny.TEXTS)["input_ids"] == pair.processor(text=tiny.TEXTS)["input_ids"]
    if not pair.has_melody:
        assert transformers.AutoProcessor.from_pretrained(tmp_path).feature_extractor.padding_side == "left"


@pytest.mark.parametrize("saving", [{"max_shard_size": "40KB"}, {"variant": "fp16"}])
def test_folders_of_the_reference_in_several_files_or_of_a_variant_are_read(
    either: Pair, tmp_path: Path, texts: Any, saving: dict[str, Any]
) -> None:
    either.theirs.save_pretrained(tmp_path, **saving)
    loading = {name: value for name, value in saving.items() if name == "variant"}
    ours = either.kind.from_pretrained(tmp_path, **loading)
    assert torch.equal(logits(ours, texts), logits(either.ours, texts))


def test_pickled_weights_with_the_old_names_of_weight_norm_are_read(either: Pair, tmp_path: Path, texts: Any) -> None:
    either.theirs.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in either.theirs.state_dict().items()
    }
    assert any(name.endswith("weight_g") for name in old)
    torch.save(old, tmp_path / "pytorch_model.bin")
    ours = either.kind.from_pretrained(tmp_path)
    assert all(torch.equal(t, either.ours.state_dict()[n]) for n, t in ours.state_dict().items())


@pytest.mark.row("R84")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_loads_have_the_references_types_and_near_logits(
    either: Pair, texts: Any, dtype: torch.dtype
) -> None:
    ours = either.kind.from_pretrained(either.folder, dtype=dtype)
    theirs = either.their_kind.from_pretrained(either.folder, dtype=dtype)
    assert ours.decoder.dtype == dtype
    kinds = {n: t.dtype for n, t in ours.decoder.state_dict().items()}
    assert kinds == {n: t.dtype for n, t in theirs.decoder.state_dict().items()}
    wide = logits(either.ours, texts)
    assert distance(logits(ours, texts).float(), wide) < 0.1 * float(wide.abs().max())


@pytest.mark.row("R84")
def test_dtype_auto_follows_the_checkpoint(either: Pair, tmp_path: Path) -> None:
    either.kind.from_pretrained(either.folder, dtype="bfloat16").save_pretrained(tmp_path)
    auto = either.kind.from_pretrained(tmp_path, dtype="auto")
    assert auto.dtype == auto.decoder.dtype == torch.bfloat16
    assert either.kind.from_pretrained(tmp_path, dtype="float32").dtype == torch.float32


@pytest.mark.row("R31", "R33", "R107", "R108", "R109", "E1")
def test_both_documented_ways_to_the_decoder_alone_give_its_weights(either: Pair) -> None:
    config = antiphon.AutoConfig.from_pretrained(either.folder).decoder
    ways = [
        either.decoder_kind.from_pretrained(either.folder, **config),
        either.decoder_kind.from_pretrained(either.folder, **config.to_dict()),
        either.decoder_kind.from_pretrained(either.folder),
        either.kind.from_pretrained(either.folder).decoder,
        antiphon.AutoModelForCausalLM.from_pretrained(either.folder),
    ]
    theirs = either.theirs.decoder.state_dict()
    for decoder in ways:
        assert isinstance(decoder, either.decoder_kind)
        assert decoder.config.hidden_size == 32
        assert set(decoder.state_dict()) == set(theirs)
        assert all(torch.equal(t, theirs[n]) for n, t in decoder.state_dict().items())


def test_the_bare_decoder_text_encoder_and_codec_are_found_in_the_composite_too(either: Pair) -> None:
    for cls, part in (
        (type(either.ours.decoder.model), either.theirs.decoder.model),
        (antiphon.T5EncoderModel, either.theirs.text_encoder),
        (antiphon.EncodecModel, either.theirs.audio_encoder),
    ):
        ours, theirs = cls.from_pretrained(either.folder).state_dict(), part.state_dict()
        assert set(ours) == set(theirs)
        assert all(torch.equal(t, theirs[n]) for n, t in ours.items())


@pytest.mark.row("R29", "R60", "R106")
def test_parts_are_the_same_live_objects_and_share_the_composites_configurations(either: Pair) -> None:
    model = either.ours
    assert isinstance(model.text_encoder, antiphon.T5EncoderModel)
    assert isinstance(model.audio_encoder, antiphon.EncodecModel)
    assert isinstance(model.decoder, either.decoder_kind)
    assert isinstance(model.config.text_encoder, antiphon.T5Config)
    assert isinstance(model.config.audio_encoder, antiphon.EncodecConfig)
    assert type(model.config.decoder) is either.decoder_kind.config_class
    for part in ("text_encoder", "audio_encoder", "decoder"):
        assert getattr(model, part).config is getattr(model.config, part)
        assert getattr(model, part) is getattr(model, part)
    assert model.get_decoder() is model.decoder
    assert model.get_encoder() is model.get_text_encoder() is model.text_encoder
    assert model.get_encoder(modality="audio") is model.get_audio_encoder() is model.audio_encoder


@pytest.fixture
def parts(either: Pair, tmp_path: Path) -> dict[str, Path]:
    folders = {}
    for name in ("text_encoder", "audio_encoder", "decoder"):
        folders[name] = tmp_path / name
        getattr(either.theirs, name).save_pretrained(folders[name])
    return folders


@pytest.mark.row("R35")
def test_three_parts_make_a_composite_from_files_or_from_models(either: Pair, parts: dict[str, Path]) -> None:
    built = either.kind.from_sub_models_pretrained(*parts.values(), text_encoder_dtype="float64", decoder_dropout=0.25)
    assert built.text_encoder.dtype == torch.float64
    assert built.config.decoder.dropout == built.decoder.config.dropout == 0.25
    theirs = either.theirs.state_dict()
    for name, tensor in built.state_dict().items():
        if "enc_to_dec_proj" not in name:  # which no part holds
            assert torch.equal(tensor, theirs[name].to(tensor.dtype)), name
    model = antiphon.T5EncoderModel.from_pretrained(parts["text_encoder"])
    again = either.kind.from_sub_models_pretrained(
        text_encoder_model=model,
        audio_encoder_pretrained_model_name_or_path=parts["audio_encoder"],
        decoder_pretrained_model_name_or_path=either.folder,
    )
    assert again.text_encoder is model
    whole = either.kind(text_encoder=model, audio_encoder=again.audio_encoder, decoder=again.decoder)
    assert whole.decoder is again.decoder
    assert whole.config.decoder is again.decoder.config
    assert whole.decoder.lm_heads[0].weight.data_ptr() == again.decoder.lm_heads[0].weight.data_ptr()


@pytest.mark.row("R35")
def test_too_few_parts_or_a_foreign_configuration_are_refused(either: Pair, parts: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="all three"):
        either.kind(text_encoder=either.ours.text_encoder)
    with pytest.raises(ValueError, match=either.kind.config_class.__name__):
        either.kind(either.ours.config.decoder)
    with pytest.raises(ValueError, match="no decoder"):
        either.kind.from_sub_models_pretrained(parts["text_encoder"], parts["audio_encoder"])


@pytest.mark.row("R37")
@pytest.mark.parametrize(
    ("codec", "fits"),
    [({}, True), ({"codebook_size": 32, "target_bandwidths": [1.0]}, False), ({"target_bandwidths": [0.6]}, False)],
)
def test_a_codec_that_cannot_hold_the_decoders_codes_is_warned_of(
    either: Pair, codec: dict[str, Any], fits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    parts = either.ours.config.to_dict()
    parts["audio_encoder"].update(codec)
    config = either.kind.config_class(**{name: parts[name] for name in either.ours.config.sub_configs})
    with caplog.at_level(logging.WARNING, logger="antiphon"):
        either.kind(config)
    assert ("do not belong together" in caplog.text) is not fits


@pytest.mark.row("R49")
def test_a_configuration_alone_gives_random_weights_and_reads_no_file(
    either: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr("builtins.open", refuse)
    torch.manual_seed(1)
    one = either.decoder_kind(either.ours.config.decoder)
    two = either.decoder_kind(either.ours.config.decoder)
    assert not torch.equal(one.lm_heads[0].weight, two.lm_heads[0].weight)
    assert not torch.equal(one.lm_heads[0].weight, either.ours.decoder.lm_heads[0].weight)


@pytest.mark.row("R82")
def test_saving_and_loading_give_the_same_model_and_embeddings_of_the_composite_stay(
    fresh: Any, either: Pair, tmp_path: Path, texts: Any
) -> None:
    fresh.save_pretrained(tmp_path)
    again = either.kind.from_pretrained(tmp_path, config=fresh.config)
    assert torch.equal(logits(again, texts), logits(either.ours, texts))
    with pytest.raises(ValueError, match="text_encoder"):
        fresh.resize_token_embeddings(200)
    assert fresh.text_encoder.resize_token_embeddings(200).num_embeddings == 200
    assert fresh.config.text_encoder.vocab_size == 200


def test_missing_and_unexpected_weights_are_errors_that_strict_false_accepts(either: Pair, tmp_path: Path) -> None:
    tensors = either.ours.decoder.state_dict()
    del tensors["lm_heads.0.weight"]
    tensors["lm_heads.9.weight"] = torch.zeros(2, 2)
    either.ours.decoder.save_pretrained(tmp_path, state_dict=tensors)
    with pytest.raises(CheckpointError, match=r"lm_heads\.0.*lm_heads\.9"):
        either.decoder_kind.from_pretrained(tmp_path)
    model, info = either.decoder_kind.from_pretrained(tmp_path, strict=False, output_loading_info=True)
    assert info["missing_keys"] == ["lm_heads.0.weight"]
    assert info["unexpected_keys"] == ["lm_heads.9.weight"]
    assert 0 < float(model.lm_heads[0].weight.detach().std()) < 0.1  # a random start


@pytest.mark.row("R91", "R92", "E3")
def test_eight_bit_loading_keeps_weights_of_a_byte_that_still_make_music(either: Pair, texts: Any) -> None:
    model = either.kind.from_pretrained(either.folder, load_in_8bit=True, device_map="auto")
    eight = {n: m for n, m in model.named_modules() if type(m).__name__ == "QuantizedLinear"}
    full = {n: m for n, m in either.ours.named_modules() if type(m).__name__ == "Linear" and "enc_to_dec" not in n}
    assert eight.keys() == full.keys() and len(full) > 20
    held = sum(t.numel() * t.element_size() for m in eight.values() for t in m.buffers())
    before = sum(m.weight.numel() * m.weight.element_size() for m in full.values())
    assert held < 0.3 * before  # a quarter, and a scale for each group of these very short rows
    wide = logits(either.ours, texts)
    assert distance(logits(model, texts), wide) < 0.15 * float(wide.abs().max())
    assert model.generate(**texts, do_sample=True, max_new_tokens=8, seed=1).shape == (2, 1, 5 * tiny.HOP)


def test_the_written_configuration_is_read_by_the_reference_with_the_same_values(either: Pair, tmp_path: Path) -> None:
    either.ours.save_pretrained(tmp_path)
    read = either.their_kind.config_class.from_pretrained(tmp_path)
    for part in ("text_encoder", "audio_encoder", "decoder"):
        theirs, ours = getattr(either.theirs.config, part), getattr(read, part)
        for name, value in theirs.to_dict().items():
            if name not in ("_name_or_path", "transformers_version", "architectures", "dtype"):
                assert ours.to_dict()[name] == value, (part, name)
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["model_type"] == either.theirs.config.model_type


@pytest.mark.parametrize("width", [20, 48])
def test_odd_text_widths_are_projected_as_the_reference_does(width: int, tmp_path: Path, texts: Any) -> None:
    theirs = tiny.musicgen(1, seed=3, text={"d_model": width})
    theirs.save_pretrained(tmp_path)
    ours = antiphon.MusicgenForConditionalGeneration.from_pretrained(tmp_path)
    assert distance(logits(ours, texts), logits(theirs, texts)) < 2e-4
    ours.save_pretrained(tmp_path / "back")
    back = transformers.MusicgenForConditionalGeneration.from_pretrained(tmp_path / "back").eval()
    assert distance(logits(back, texts), logits(theirs, texts)) == 0
