from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers.audio_utils import chroma_filter_bank

from antiphon.audio.chroma import PITCH_NAMES, chroma, chroma_filters, strongest
from antiphon.errors import AudioError, ParamError, ParamTypeError

RATE_HZ = 32000


def tone(semitones_above_a4: float, seconds: float = 1.0, rate_hz: int = RATE_HZ) -> torch.Tensor:
    hertz = 440 * 2 ** (semitones_above_a4 / 12)
    return 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * rate_hz), dtype=torch.float64) / rate_hz)


def tune(seconds: float = 6.0) -> torch.Tensor:
    """A note a second, and some noise."""
    notes = torch.cat([tone(7 * number % 12) for number in range(math.ceil(seconds))])[: round(seconds * RATE_HZ)]
    return (notes + 0.05 * torch.randn(notes.shape, generator=torch.Generator().manual_seed(0))).float()


@pytest.mark.parametrize("bins", [12, 24, 7])
@pytest.mark.parametrize("rate_hz, n_fft", [(32000, 16384), (16000, 4096), (44100, 2048), (8000, 512)])
def test_the_filters_are_those_of_the_reference(rate_hz: int, n_fft: int, bins: int) -> None:
    theirs = chroma_filter_bank(num_frequency_bins=n_fft, num_chroma=bins, sampling_rate=rate_hz)
    np.testing.assert_allclose(chroma_filters(rate_hz, n_fft, bins).numpy(), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("octave", [-24, -12, 0, 12, 24])
def test_a_note_is_its_pitch_class_in_every_octave(octave: int) -> None:
    for place, name in enumerate(PITCH_NAMES):
        heard = strongest(chroma(tone(octave + PITCH_NAMES.index(name) - PITCH_NAMES.index("A")), RATE_HZ))
        assert (heard.argmax(-1) == place).all(), name


def test_a_chord_is_strong_at_its_notes_and_nowhere_else() -> None:
    chord = (tone(-9) + tone(-5) + tone(-2)) / 3  # C, E, G
    strengths = chroma(chord, RATE_HZ)[2:-2].mean(0)
    assert sorted(strengths.topk(3).indices.tolist()) == [0, 4, 7]
    best = strengths.topk(4).values
    assert best[2] > 3 * best[3]


@pytest.mark.parametrize("samples", [1, 5, 8191, 16383, 16384, 16385, 20479, 20480])
def test_frames_are_centred_on_every_hop(samples: int) -> None:
    frames = max(samples, 16384) // 4096 + 1
    assert chroma(tune()[:samples], RATE_HZ).shape == (frames, 12)
    assert chroma(tune()[:samples].expand(2, 3, -1), RATE_HZ).shape == (2, 3, frames, 12)


def test_a_short_sound_has_one_sample_of_silence_more_behind_it_if_need_be() -> None:
    short = tune()[:9001]
    around = torch.nn.functional.pad(short, (3691, 3692))
    torch.testing.assert_close(chroma(short, RATE_HZ), chroma(around, RATE_HZ), rtol=0, atol=1e-7)


def test_the_blocks_of_a_long_sound_join_without_a_seam() -> None:
    """Frame by frame, as the definition has it: the sound mirrored at its ends, a window, its power, the filters."""
    sound, n_fft, hop = tune(3.0), 512, 64
    mirrored = np.pad(sound.double().numpy(), n_fft // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    starts = range(0, len(mirrored) - n_fft + 1, hop)
    power = np.stack([np.abs(np.fft.rfft(mirrored[start : start + n_fft] * window)) ** 2 for start in starts])
    raw = power / (window**2).sum() @ chroma_filters(RATE_HZ, n_fft).double().numpy().T
    ours = chroma(sound, RATE_HZ, n_fft=n_fft, hop_samples=hop)
    assert len(ours) == 1501
    np.testing.assert_allclose(ours.numpy(), raw / raw.max(1, keepdims=True), atol=1e-4)


def test_sounds_beside_each_other_do_not_meet() -> None:
    low, high = tone(-9).float(), tone(2).float()
    both = chroma(torch.stack([low, high]), RATE_HZ)
    torch.testing.assert_close(both[0], chroma(low, RATE_HZ))
    torch.testing.assert_close(both[1], chroma(high, RATE_HZ))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_whatever_the_type_it_is_computed_in_float32(dtype: torch.dtype) -> None:
    sound = tune(2.0).to(dtype)
    assert torch.equal(chroma(sound, RATE_HZ), chroma(sound.float(), RATE_HZ))


@pytest.mark.parametrize(
    "sound",
    [torch.zeros(40000), torch.ones(40000), torch.full((40000,), 1e-40), torch.full((40000,), 1e6), torch.zeros(1)],
    ids=["silence", "constant", "denormal", "loud", "one sample"],
)
def test_F031_silence_and_extremes_have_finite_chroma(sound: torch.Tensor) -> None:
    strengths = chroma(sound, RATE_HZ)
    assert torch.isfinite(strengths).all()
    assert (strongest(strengths).sum(-1) == 1).all()


def test_F043_silence_is_the_first_class() -> None:
    assert (chroma(torch.zeros(50000), RATE_HZ) == 0).all()
    assert (strongest(chroma(torch.zeros(50000), RATE_HZ))[:, 0] == 1).all()


def test_what_is_nearly_silent_is_not_blown_up_and_keeps_its_class() -> None:
    whisper = chroma(1e-6 * tone(0), RATE_HZ)
    assert 0 < whisper.max() < 0.1
    assert (strongest(whisper).argmax(-1) == 9).all()


def test_of_equally_strong_classes_the_first_counts() -> None:
    strengths = torch.tensor([[0.0, 1.0, 0.5, 1.0], [0.2, 0.1, 0.0, 0.3]])
    assert strongest(strengths).tolist() == [[0, 1, 0, 0], [0, 0, 0, 1]]


def test_the_names_of_the_classes_are_a_semitone_apart() -> None:
    assert len(PITCH_NAMES) == 12
    peaks = [int(chroma(tone(-9 + step), RATE_HZ)[3].argmax()) for step in range(12)]
    assert all((after - before) % 12 == 1 for before, after in pairwise(peaks))


def test_what_cannot_be_is_refused() -> None:
    sound = tune(1.0)
    for wrong in ({"n_fft": 0}, {"n_fft": 511}, {"hop_samples": 0}, {"hop_samples": float("nan")}, {"bins": 0}):
        with pytest.raises(ParamError, match=next(iter(wrong))):
            chroma(sound, RATE_HZ, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ParamError, match="rate_hz=0"):
        chroma(sound, 0)
    with pytest.raises(ParamTypeError, match="int16"):
        chroma(sound.short(), RATE_HZ)
    with pytest.raises(AudioError, match="at least one sample"):
        chroma(sound[:0], RATE_HZ)
