"""The documented MusicGen Melody scripts, call for call, on a tiny checkpoint with ``antiphon`` in transformers' place.

A tone stands for the song of the data set, and its parts in fixed shares for what Demucs makes of it.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import antiphon as library

from ..models import tiny_melody
from ..models.tiny_musicgen import CODES, HOP

PROMPTS = ["80s blues track with groovy saxophone", "90s rock song with loud guitars and heavy drums"]
POP = ["80s pop track with bassy drums and synth", PROMPTS[1]]
MADE = 253 * HOP  # 256 columns less the delay
STEMS_HZ = 44_100


def song(rate_hz: int, seconds: float = 2.0) -> np.ndarray:
    """A tone, as a data set gives it."""
    time = np.arange(int(rate_hz * seconds)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_melody.write(tiny_melody.melody(1), tmp_path_factory.mktemp("documented_melody")))


@pytest.fixture(scope="module")
def opened(checkpoint: str) -> tuple[Any, Any]:
    """Processor and model, as every script opens them."""
    return (
        library.AutoProcessor.from_pretrained(checkpoint),
        library.MusicgenMelodyForConditionalGeneration.from_pretrained(checkpoint),
    )


@pytest.mark.row("R14", "R15")
def test_the_script_with_separated_stems(opened: tuple[Any, Any]) -> None:
    processor, model = opened
    whole = torch.from_numpy(song(STEMS_HZ)).expand(1, 2, -1)
    stems = torch.stack([share * whole for share in (0.1, 0.2, 0.4, 0.3)], dim=1)  # (1, stems, channels, samples)
    batch = processor(audio=stems, sampling_rate=STEMS_HZ, text=PROMPTS[:1], padding=True, return_tensors="pt")
    assert set(batch.keys()) == {"input_ids", "attention_mask", "input_features"}
    assert batch["input_features"].shape == (1, 2 * 32_000 // 4096 + 1, 12)
    music = model.generate(**batch, do_sample=True, guidance_scale=3, max_new_tokens=256)
    assert music.shape == (1, 1, MADE)


@pytest.mark.row("R1", "R14", "R16", "R17", "E4")
@pytest.mark.parametrize("rate_hz", [22_050, 32_000, 48_000])
def test_the_script_with_a_raw_sound(opened: tuple[Any, Any], rate_hz: int) -> None:
    processor, model = opened
    batch = processor(audio=song(rate_hz), sampling_rate=rate_hz, text=PROMPTS[:1], padding=True, return_tensors="pt")
    assert batch["input_features"].shape == (1, 16, 12)
    music = model.generate(**batch, do_sample=True, guidance_scale=3, max_new_tokens=64)
    assert music.shape == (1, 1, 61 * HOP)
    assert music.dtype == torch.float32


@pytest.mark.row("R18", "R19", "R20")
def test_the_text_script_with_listening_and_saving(opened: tuple[Any, Any], tmp_path: Path) -> None:
    processor, model = opened
    batch = processor(text=POP, padding=True, return_tensors="pt")
    assert set(batch.keys()) == {"input_ids", "attention_mask"}
    music = model.generate(**batch, do_sample=True, guidance_scale=3, max_new_tokens=256)
    assert music.shape == (2, 1, MADE)
    assert music[0].numpy().shape == (1, MADE)  # what a notebook's player takes
    soundfile = importlib.import_module("soundfile")
    soundfile.write(tmp_path / "made.wav", music[0].T.numpy(), model.config.audio_encoder.sampling_rate)
    info = soundfile.info(tmp_path / "made.wav")
    assert (info.frames, info.channels, info.samplerate) == (MADE, 1, 32_000)


@pytest.mark.row("R24")
def test_the_batched_script(opened: tuple[Any, Any]) -> None:
    processor, model = opened
    whole = song(32_000)
    clips = [whole[: len(whole) // 4], whole[: len(whole) // 2]]
    batch = processor(audio=clips, sampling_rate=32_000, text=PROMPTS, padding=True, return_tensors="pt")
    assert batch["input_features"].shape[0] == 2
    music = model.generate(**batch, do_sample=True, guidance_scale=3, max_new_tokens=256)
    assert music.shape == (2, 1, MADE)


@pytest.mark.row("R25")
def test_the_unconditional_scripts(checkpoint: str) -> None:
    model = library.MusicgenMelodyForConditionalGeneration.from_pretrained(checkpoint)
    processor = library.MusicgenMelodyProcessor.from_pretrained(checkpoint)
    nothing = processor.get_unconditional_inputs(num_samples=1)
    assert model.generate(**nothing, do_sample=True, max_new_tokens=256).shape == (1, 1, MADE)
    assert model.generate(**nothing, max_new_tokens=256).shape == (1, 1, MADE)


@pytest.mark.row("R27")
def test_the_generation_config_script(checkpoint: str, capsys: Any) -> None:
    model = library.MusicgenMelodyForConditionalGeneration.from_pretrained(checkpoint)
    settings = model.generation_config
    print(settings)
    assert '"guidance_scale": 3.0' in capsys.readouterr().out
    settings.guidance_scale, settings.max_length = 4.0, 256
    assert model.generate().shape == (1, 1, MADE)


@pytest.mark.row("R31", "R32", "R33")
def test_the_decoder_only_script(checkpoint: str) -> None:
    options = library.AutoConfig.from_pretrained(checkpoint).decoder.to_dict()
    decoders = [
        library.MusicgenMelodyForCausalLM.from_pretrained(checkpoint, **options),
        library.MusicgenMelodyForConditionalGeneration.from_pretrained(checkpoint).decoder,
    ]
    assert {type(decoder) for decoder in decoders} == {library.MusicgenMelodyForCausalLM}
    one, other = (decoder.state_dict() for decoder in decoders)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.row("R75", "R76")
def test_the_logits_script(opened: tuple[Any, Any]) -> None:
    processor, model = opened
    batch = processor(text=POP, padding=True, return_tensors="pt")
    columns = torch.ones((batch.input_ids.shape[0] * model.decoder.num_codebooks, 1), dtype=torch.long)
    logits = model(**batch, decoder_input_ids=columns * model.generation_config.pad_token_id).logits
    assert logits.shape == (8, model.config.chroma_length + batch.input_ids.shape[1] + 1, CODES)


@pytest.mark.row("R83", "R84", "R85", "R86")
def test_the_script_that_opens_a_melody_checkpoint_by_musicgens_name(checkpoint: str, tmp_path: Path) -> None:
    processor = library.AutoProcessor.from_pretrained(checkpoint)
    model = library.MusicgenForConditionalGeneration.from_pretrained(checkpoint, dtype="auto")
    batch = processor(text=POP, padding=True, return_tensors="pt")
    music = model.generate(**batch, do_sample=True, guidance_scale=3, max_new_tokens=256)
    scipy = importlib.import_module("scipy")
    scipy.io.wavfile.write(tmp_path / "made.wav", rate=processor.sampling_rate, data=music[0, 0].cpu().numpy())
    rate_hz, samples = scipy.io.wavfile.read(tmp_path / "made.wav")
    assert rate_hz == 32_000
    assert samples.shape == (MADE,)
    assert samples.dtype == np.float32
