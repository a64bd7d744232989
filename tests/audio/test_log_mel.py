"""Log-mel spectra are the reference's, block by block."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

from antiphon.audio import log_mel as module
from antiphon.audio.log_mel import log_mel, mel_bands
from antiphon.errors import AudioError, ParamError, ParamTypeError

RATE_HZ = 16000


def sound(samples: int, seed: int = 0) -> torch.Tensor:
    noise = np.random.default_rng(seed).standard_normal(samples) * np.linspace(0.01, 0.5, samples)
    return torch.from_numpy(noise.astype(np.float32))


def theirs(samples: torch.Tensor, bands: int) -> torch.Tensor:
    extractor = transformers.WhisperFeatureExtractor(feature_size=bands)
    made = extractor(
        samples.numpy(), sampling_rate=RATE_HZ, padding="longest", truncation=False, return_tensors="pt"
    ).input_features[0]
    assert isinstance(made, torch.Tensor)
    return made


@pytest.mark.parametrize("bands, n_fft, rate_hz", [(80, 400, 16000), (128, 400, 16000), (40, 512, 22050)])
def test_the_bands_are_those_of_the_reference(bands: int, n_fft: int, rate_hz: int) -> None:
    expected = transformers.WhisperFeatureExtractor(feature_size=bands, n_fft=n_fft, sampling_rate=rate_hz).mel_filters
    np.testing.assert_allclose(mel_bands(bands, n_fft, rate_hz).numpy().T, expected, atol=1e-8)


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("samples", [201, 4096, 256 * 160, 50_001])
def test_a_spectrum_is_that_of_the_reference(bands: int, samples: int) -> None:
    ours = log_mel(sound(samples), mel_bands(bands, 400, RATE_HZ))
    expected = theirs(sound(samples), bands)
    assert ours.shape == expected.shape == (bands, samples // 160)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_blocks_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    bands, samples = mel_bands(80, 400, RATE_HZ), sound(20_000)
    whole = log_mel(samples, bands)
    monkeypatch.setattr(module, "_BLOCK_FRAMES", 7)
    torch.testing.assert_close(log_mel(samples, bands), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("heard", [0, 1, 159, 8000])
def test_silence_behind_a_sound_has_the_values_of_silence(heard: int) -> None:
    samples = torch.zeros(16_000)
    samples[:heard] = sound(8000)[:heard]
    torch.testing.assert_close(log_mel(samples, mel_bands(80, 400, RATE_HZ)), theirs(samples, 80), atol=1e-5, rtol=0)


def test_a_spectrum_is_written_where_it_shall_stand() -> None:
    bands, out = mel_bands(80, 400, RATE_HZ), torch.empty(2, 80, 50)
    made = log_mel(sound(8000), bands, out=out[1])
    assert made.data_ptr() == out[1].data_ptr()
    torch.testing.assert_close(out[1], log_mel(sound(8000), bands), atol=0, rtol=0)
    with pytest.raises(ParamError, match="out of shape"):
        log_mel(sound(8000), bands, out=out)


def test_sounds_too_short_for_a_mirror_and_sizes_that_do_not_go_together_are_refused() -> None:
    bands = mel_bands(80, 400, RATE_HZ)
    with pytest.raises(AudioError, match="201 or more"):
        log_mel(sound(200), bands)
    with pytest.raises(AudioError):
        log_mel(sound(800).view(2, 400), bands)
    with pytest.raises(ParamTypeError):
        log_mel(torch.zeros(800, dtype=torch.int64), bands)
    with pytest.raises(ParamError):
        log_mel(sound(800), bands, n_fft=512)
    with pytest.raises(ParamError):
        mel_bands(0, 400, RATE_HZ)
