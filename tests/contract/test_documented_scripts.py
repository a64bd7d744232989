"""The documented MusicGen scripts, call for call, on a tiny checkpoint with ``antiphon`` in transformers' place."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import antiphon as library

from ..models import tiny_musicgen as tiny

BLUES, ROCK = "80s blues track with groovy saxophone", "90s rock song with loud guitars and heavy drums"
CLIP = np.sin(np.arange(48_000) * 0.05).astype(np.float32) * 0.3


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.write(tiny.musicgen(1), tmp_path_factory.mktemp("documented")))


@pytest.mark.row("R89")
def test_the_pipeline_script(checkpoint: str) -> None:
    music = library.pipeline("text-to-audio", model=checkpoint)("80s pop track with bassy drums and synth")
    assert music["audio"].ndim == 1
    assert music["sampling_rate"] == 32_000


@pytest.mark.row("R19", "R90", "R96")
def test_the_text_script(checkpoint: str, tmp_path: Path) -> None:
    processor = library.AutoProcessor.from_pretrained(checkpoint)
    model = library.MusicgenForConditionalGeneration.from_pretrained(checkpoint)
    batch = processor(text=["80s pop track with bassy drums and synth"], padding=True, return_tensors="pt")
    music = model.generate(**batch, do_sample=True, guidance_scale=3, max_new_tokens=256)
    assert music.shape == (1, 1, 253 * tiny.HOP)
    soundfile = importlib.import_module("soundfile")
    soundfile.write(tmp_path / "made.wav", music[0].T.numpy(), model.config.audio_encoder.sampling_rate)
    assert soundfile.info(tmp_path / "made.wav").frames == 253 * tiny.HOP


@pytest.mark.row("R91")
def test_the_eight_bit_script(checkpoint: str) -> None:
    model = library.MusicgenForConditionalGeneration.from_pretrained(checkpoint, load_in_8bit=True, device_map="auto")
    assert any(name.endswith("codes") and tensor.dtype == torch.uint8 for name, tensor in model.named_buffers())


@pytest.mark.row("R100", "R101", "R102")
def test_the_unconditional_script_with_listening_and_saving(checkpoint: str, tmp_path: Path) -> None:
    model = library.MusicgenForConditionalGeneration.from_pretrained(checkpoint)
    nothing = model.get_unconditional_inputs(num_samples=1)
    music = model.generate(**nothing, do_sample=True, max_new_tokens=256)
    assert music[0].numpy().shape == (1, 253 * tiny.HOP)  # what a notebook's player takes
    scipy = importlib.import_module("scipy")
    rate = model.config.audio_encoder.sampling_rate
    scipy.io.wavfile.write(tmp_path / "made.wav", rate=rate, data=music[0, 0].numpy())
    read_rate, samples = scipy.io.wavfile.read(tmp_path / "made.wav")
    assert read_rate == 32_000
    assert samples.shape == (253 * tiny.HOP,)
    assert samples.dtype == np.float32


@pytest.mark.row("R103")
def test_the_continuation_script(checkpoint: str) -> None:
    processor = library.AutoProcessor.from_pretrained(checkpoint)
    model = library.MusicgenForConditionalGeneration.from_pretrained(checkpoint)
    half = CLIP[: len(CLIP) // 2]
    batch = processor(audio=half, sampling_rate=32_000, text=[BLUES], padding=True, return_tensors="pt")
    assert set(batch.keys()) == {"input_ids", "attention_mask", "input_values", "padding_mask"}
    music = model.generate(**batch, do_sample=True, guidance_scale=3, max_new_tokens=64)
    assert music.shape == (1, 1, (38 + 61) * tiny.HOP)


@pytest.mark.row("R104")
def test_the_batched_continuation_script(checkpoint: str) -> None:
    processor = library.AutoProcessor.from_pretrained(checkpoint)
    model = library.MusicgenForConditionalGeneration.from_pretrained(checkpoint)
    clips = [CLIP[: len(CLIP) // 4], CLIP[: len(CLIP) // 2]]
    batch = processor(audio=clips, sampling_rate=32_000, text=[BLUES, ROCK], padding=True, return_tensors="pt")
    music = model.generate(**batch, do_sample=True, guidance_scale=3, max_new_tokens=64)
    assert music.shape == (2, 1, 99 * tiny.HOP)
    kept = processor.batch_decode(music, padding_mask=batch.padding_mask)
    assert [clip.shape for clip in kept] == [(1, 99 * tiny.HOP - 12_000), (1, 99 * tiny.HOP)]


@pytest.mark.row("R105")
def test_the_generation_config_script(checkpoint: str, capsys: Any) -> None:
    model = library.MusicgenForConditionalGeneration.from_pretrained(checkpoint)
    print(model.generation_config)
    assert '"guidance_scale": 3.0' in capsys.readouterr().out
    model.generation_config.guidance_scale = 4.0
    model.generation_config.max_length = 256
    assert model.generate(**model.get_unconditional_inputs(1)).shape == (1, 1, 253 * tiny.HOP)


@pytest.mark.row("R107", "R108", "R109")
def test_the_decoder_only_script(checkpoint: str) -> None:
    settings = library.AutoConfig.from_pretrained(checkpoint).decoder
    first = library.MusicgenForCausalLM.from_pretrained(checkpoint, **settings)
    second = library.MusicgenForConditionalGeneration.from_pretrained(checkpoint).decoder
    assert isinstance(second, library.MusicgenForCausalLM)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
