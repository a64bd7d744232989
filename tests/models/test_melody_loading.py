"""Melody checkpoints through every documented door: its own classes, MusicGen's names, the Auto names, a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import antiphon
from antiphon.errors import CheckpointError, ConfigError

from . import tiny_melody
from .conftest import Pair
from .tiny_melody import chroma
from .tiny_musicgen import HOP, TEXTS, column_ids, distance, encodec_config

GREEDY = {"do_sample": False, "max_new_tokens": 10}


@pytest.mark.row("R83", "R84", "E3")
@pytest.mark.parametrize("name", ["melody", "melody_stereo"])
def test_musicgens_name_opens_a_melody_checkpoint_as_what_it_is(name: str, request: Any, texts: Any) -> None:
    pair: Pair = request.getfixturevalue(name)
    model = antiphon.MusicgenForConditionalGeneration.from_pretrained(pair.folder, dtype="auto")
    assert type(model) is antiphon.MusicgenMelodyForConditionalGeneration
    asked = {**texts, **GREEDY, "input_features": chroma(2, 7)}
    assert torch.equal(model.generate(**asked), pair.ours.generate(**asked))
    assert distance(model.generate(**asked), pair.theirs.generate(**asked)) < 1e-4


@pytest.mark.row("R83")
def test_musicgens_decoder_is_not_opened_from_a_melody_checkpoint(melody: Pair, mono: Pair) -> None:
    for cls in (antiphon.MusicgenForCausalLM, antiphon.MusicgenModel):
        with pytest.raises((ConfigError, CheckpointError), match=r"[Mm]elody"):
            cls.from_pretrained(melody.folder)
    with pytest.raises((ConfigError, CheckpointError), match="musicgen"):
        antiphon.MusicgenMelodyForConditionalGeneration.from_pretrained(mono.folder)


@pytest.mark.row("R32", "E1")
def test_the_first_documented_way_to_the_decoder_alone_gives_the_weights_of_the_second(melody: Pair) -> None:
    config = antiphon.AutoConfig.from_pretrained(melody.folder).decoder
    first, info = antiphon.MusicgenMelodyForCausalLM.from_pretrained(
        melody.folder, **config.to_dict(), output_loading_info=True
    )
    second = antiphon.MusicgenMelodyForConditionalGeneration.from_pretrained(melody.folder).decoder
    assert not info["missing_keys"]
    assert type(first) is type(second) is antiphon.MusicgenMelodyForCausalLM
    assert type(first.config) is antiphon.MusicgenMelodyDecoderConfig
    assert first.state_dict().keys() == second.state_dict().keys()
    assert all(torch.equal(t, second.state_dict()[n]) for n, t in first.state_dict().items())
    mapped = antiphon.MusicgenMelodyForCausalLM.from_pretrained(melody.folder, **config)
    ids = column_ids(1, 4)
    with torch.no_grad():
        assert torch.equal(first(ids).logits, mapped(ids).logits)


@pytest.mark.row("R59", "R60")
def test_the_documented_configuration_example_runs_and_gives_the_weights_back(tmp_path: Path) -> None:
    parts = {
        "text_encoder": antiphon.T5Config(vocab_size=50, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2),
        "audio_encoder": antiphon.EncodecConfig(**encodec_config().to_dict()),
        "decoder": antiphon.MusicgenMelodyDecoderConfig(
            vocab_size=64, hidden_size=16, ffn_dim=16, num_hidden_layers=1, num_attention_heads=2
        ),
    }
    model = antiphon.MusicgenMelodyForConditionalGeneration(antiphon.MusicgenMelodyConfig(**parts))
    for name, config in parts.items():
        assert getattr(model.config, name) is config
        assert getattr(model, name).config is config
    assert (model.config.num_chroma, model.config.chroma_length) == (12, 235)
    model.save_pretrained(tmp_path)
    config = antiphon.MusicgenMelodyConfig.from_pretrained(tmp_path)
    assert config.to_dict().keys() >= {"num_chroma", "chroma_length", *parts}
    again = antiphon.MusicgenMelodyForConditionalGeneration.from_pretrained(tmp_path, config=config)
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in again.state_dict().items())


@pytest.mark.row("R90", "R110", "E7")
@pytest.mark.parametrize("name", ["AutoModel", "AutoModelForTextToWaveform"])
def test_the_auto_names_give_the_melody_classes(melody: Pair, texts: Any, name: str) -> None:
    model = getattr(antiphon, name).from_pretrained(melody.folder)
    assert type(model) is antiphon.MusicgenMelodyForConditionalGeneration
    asked = {**texts, **GREEDY, "input_features": chroma(2, 7)}
    assert torch.equal(model.generate(**asked), melody.ours.generate(**asked))
    assert type(antiphon.AutoProcessor.from_pretrained(melody.folder)) is antiphon.MusicgenMelodyProcessor
    extractor = antiphon.AutoFeatureExtractor.from_pretrained(melody.folder)
    assert type(extractor) is antiphon.MusicgenMelodyFeatureExtractor
    assert type(antiphon.AutoTokenizer.from_pretrained(melody.folder)) is antiphon.T5Tokenizer


@pytest.mark.row("R18", "R60")
def test_the_configuration_of_a_melody_checkpoint_has_three_typed_parts_and_a_rate(melody: Pair) -> None:
    config = antiphon.AutoConfig.from_pretrained(melody.folder)
    kinds = (antiphon.T5Config, antiphon.EncodecConfig, antiphon.MusicgenMelodyDecoderConfig)
    assert type(config) is antiphon.MusicgenMelodyConfig
    assert (type(config.text_encoder), type(config.audio_encoder), type(config.decoder)) == kinds
    assert config.sampling_rate == config.audio_encoder.sampling_rate == 32000
    assert melody.processor.sampling_rate == 32000


@pytest.mark.row("R110")
def test_a_saved_melody_decoder_is_recognised(melody: Pair, tmp_path: Path) -> None:
    melody.theirs.decoder.save_pretrained(tmp_path)
    decoder = antiphon.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(decoder) is antiphon.MusicgenMelodyForCausalLM
    assert type(antiphon.AutoModel.from_pretrained(tmp_path)) is antiphon.MusicgenMelodyModel
    with torch.no_grad():
        assert distance(decoder(column_ids(1, 4)).logits, melody.theirs.decoder(column_ids(1, 4)).logits) < 2e-4
    decoder.save_pretrained(tmp_path / "back")
    back = transformers.MusicgenMelodyForCausalLM.from_pretrained(tmp_path / "back")
    assert all(torch.equal(t, back.state_dict()[n]) for n, t in decoder.state_dict().items())


@pytest.mark.row("R89")
def test_the_pipeline_makes_music_of_a_text_with_a_melody_checkpoint(melody: Pair, melody_stereo: Pair) -> None:
    pipe = antiphon.pipeline("text-to-audio", model=str(melody.folder))
    made = pipe(TEXTS[0], forward_params=GREEDY)
    assert made["audio"].shape == (7 * HOP,)
    assert made["sampling_rate"] == 32000
    inputs = melody.processor(text=[TEXTS[0]], return_tensors="pt")
    assert np.array_equal(made["audio"], melody.ours.generate(**inputs, **GREEDY)[0, 0].numpy())
    wide = antiphon.pipeline(model=str(melody_stereo.folder))
    assert wide(TEXTS[0], forward_params=GREEDY)["audio"].shape == (2, 7 * HOP)


@pytest.mark.row("R31", "R49")
def test_a_configuration_alone_makes_a_decoder_that_generates_codes(melody: Pair) -> None:
    decoder = antiphon.MusicgenMelodyForCausalLM(melody.ours.config.decoder).eval()
    codes = decoder.generate(do_sample=False, max_new_tokens=10)
    assert codes.shape == (1, 4, 7)
    assert int(codes.max()) < decoder.config.vocab_size


@pytest.mark.parametrize("width", [20, 48])
def test_odd_text_widths_are_projected_behind_the_melody(width: int, tmp_path: Path, texts: Any) -> None:
    theirs = tiny_melody.melody(1, seed=3, text={"d_model": width})
    theirs.save_pretrained(tmp_path)
    ours = antiphon.MusicgenMelodyForConditionalGeneration.from_pretrained(tmp_path)
    asked = {**texts, "input_features": chroma(2, 7), "decoder_input_ids": column_ids(2, 4)}
    with torch.no_grad():
        assert distance(ours(**asked).logits, theirs(**asked).logits) < 2e-4


@pytest.mark.row("R35")
def test_the_parts_of_a_melody_checkpoint_make_a_composite_with_a_melody(melody: Pair, texts: Any) -> None:
    built = antiphon.MusicgenMelodyForConditionalGeneration.from_sub_models_pretrained(
        melody.folder, melody.folder, melody.folder, chroma_length=5
    )
    assert type(built.config) is antiphon.MusicgenMelodyConfig
    assert built.config.chroma_length == 5
    state, parts = built.state_dict(), melody.ours.state_dict()
    for name, tensor in state.items():
        if "enc_to_dec_proj" not in name:  # which no part holds
            assert torch.equal(tensor, parts[name]), name
    built.load_state_dict(parts)
    short = melody.kind.from_pretrained(melody.folder, chroma_length=5)
    asked = {**texts, **GREEDY, "guidance_scale": 3.0, "input_features": chroma(2, 7)}
    assert torch.equal(built.generate(**asked), short.generate(**asked))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_models_take_melodies_in_single_precision(melody: Pair, texts: Any, dtype: str) -> None:
    model = antiphon.MusicgenMelodyForConditionalGeneration.from_pretrained(melody.folder, dtype=dtype)
    asked = {**texts, "input_features": chroma(2, 7), "decoder_input_ids": column_ids(2, 4)}
    with torch.no_grad():
        wide, half = melody.ours(**asked).logits, model(**asked).logits
    assert half.dtype == getattr(torch, dtype)
    assert distance(half.float(), wide) < 0.1 * float(wide.abs().max())
    assert model.generate(**texts, **GREEDY, input_features=chroma(2, 7)).shape == (2, 1, 7 * HOP)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_a_rounded_melody_model_is_saved_and_read_again(melody: Pair, texts: Any, kind: str, tmp_path: Path) -> None:
    model = melody.kind.from_pretrained(melody.folder, quantize=kind)
    model.save_pretrained(tmp_path)
    again = antiphon.MusicgenForConditionalGeneration.from_pretrained(tmp_path)
    assert type(again) is antiphon.MusicgenMelodyForConditionalGeneration
    asked = {**texts, **GREEDY, "input_features": chroma(2, 7)}
    assert torch.equal(again.generate(**asked), model.generate(**asked))
