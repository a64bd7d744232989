"""The documented Moshi scripts, call for call, on small checkpoints with ``antiphon`` in transformers' place."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import antiphon as library

from ..models.tiny_moshi import fields

FRAME = 1920


@pytest.mark.row("R165", "R168", "R169", "R170", "R171")
def test_the_script_that_answers_a_recording(talking_checkpoint: Path) -> None:
    extractor = library.AutoFeatureExtractor.from_pretrained(talking_checkpoint)
    tokenizer = library.AutoTokenizer.from_pretrained(talking_checkpoint)
    device, dtype = library.infer_device(), torch.bfloat16
    model = library.MoshiForConditionalGeneration.from_pretrained(talking_checkpoint, dtype=dtype, device=device)
    sound = np.random.default_rng(0).standard_normal(12 * FRAME + 7)  # as a data set gives it, float64
    heard = extractor(raw_audio=sound, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    heard = heard.to(device=device, dtype=dtype)
    silent = torch.zeros_like(heard.input_values)
    ratio = model.config.audio_encoder_config.frame_rate / model.config.sampling_rate
    tokens = math.ceil(silent.shape[-1] * ratio)
    pads = torch.ones((1, tokens), device=device, dtype=torch.int64) * tokenizer.encode("<pad>")[0]
    out = model.generate(
        input_ids=pads, user_input_values=heard.input_values, moshi_input_values=silent, max_new_tokens=25
    )
    assert tokens == 13
    assert out.sequences.shape == (1, 1 + 13 + 25)
    assert out.audio_sequences.shape == (1, 1, (13 + 24) * FRAME)
    assert bool(torch.isfinite(out.audio_sequences).all())


@pytest.mark.row("R184", "R185")
def test_the_script_of_the_configuration(tmp_path: Path) -> None:
    with torch.device("meta"):  # as it is written, with 7.7 billion parameters
        model = library.MoshiForConditionalGeneration(library.MoshiConfig())
    assert 7.6e9 < model.num_parameters() < 7.9e9
    model = library.MoshiForConditionalGeneration(library.MoshiConfig(**fields()))  # and small, with its files
    assert model.config.model_type == "moshi"
    model.save_pretrained(tmp_path / "kmhf" / "hf-moshiko")
    config = library.MoshiConfig.from_pretrained(tmp_path / "kmhf" / "hf-moshiko")
    again = library.MoshiForConditionalGeneration.from_pretrained(tmp_path / "kmhf" / "hf-moshiko", config=config)
    state = again.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@pytest.mark.row("R187")
def test_the_script_of_the_depth_decoder() -> None:
    with torch.device("meta"):
        model = library.MoshiDepthDecoder(library.MoshiDepthConfig())
    assert isinstance(model.config, library.MoshiDepthConfig)
    assert model.state_dict()["lm_heads.weight"].shape == (8, 2048, 1024)


@pytest.mark.row("R191", "R194")
def test_the_script_of_the_text_alone(talking_checkpoint: Path) -> None:
    model = library.MoshiForCausalLM.from_pretrained(talking_checkpoint)
    tokenizer = library.AutoTokenizer.from_pretrained(talking_checkpoint)
    inputs = tokenizer("What is your favorite condiment?", return_tensors="pt")
    ids = model.generate(inputs.input_ids, max_length=30)
    text = tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)[0]
    assert ids.shape[1] > inputs.input_ids.shape[1]
    assert isinstance(text, str)


@pytest.mark.row("R200", "R207")
def test_the_script_of_the_first_logits(talking_checkpoint: Path) -> None:
    model: Any = library.MoshiForConditionalGeneration.from_pretrained(talking_checkpoint)
    inputs = model.get_unconditional_inputs()
    assert model(**inputs).logits.shape == (1, 1, model.config.vocab_size)


@pytest.mark.row("R207")
def test_the_script_without_a_beginning(talking_checkpoint: Path) -> None:
    model = library.MoshiForConditionalGeneration.from_pretrained(talking_checkpoint)
    out = model.generate(**model.get_unconditional_inputs(num_samples=1), max_new_tokens=256)
    assert out.audio_sequences.shape == (1, 1, 255 * FRAME)
