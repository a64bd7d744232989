"""Sound to codes and back, files of codes, and how far the result is from the sound."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from antiphon import Audio, EncodecConfig, EncodecModel, MimiConfig, MimiModel
from antiphon.errors import AudioError, CheckpointError, ConfigError, ParamError
from antiphon.tasks.codes_file import Codes
from antiphon.tasks.reconstruction import log_spectral_distance_db, snr_db
from antiphon.tasks.transcoder import Transcoder


def noise(samples: int, channels: int = 1, rate_hz: int = 32_000, seed: int = 0) -> Audio:
    values = np.random.default_rng(seed).normal(size=(channels, samples)) * 0.1
    return Audio(values.astype(np.float32), rate_hz)


@pytest.fixture(scope="module")
def transcoder(checkpoint: Path) -> Transcoder:
    return Transcoder.load(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory) -> Transcoder:
    """A stereo codec that normalises over overlapping segments, with two bandwidths."""
    torch.manual_seed(0)
    model = EncodecModel(
        EncodecConfig(
            sampling_rate=1600,
            audio_channels=2,
            normalize=True,
            chunk_length_s=0.5,
            overlap=0.1,
            target_bandwidths=[0.125, 0.5],
            num_filters=2,
            hidden_size=8,
            codebook_size=32,
            upsampling_ratios=[8, 4, 2],
            norm_type="time_group_norm",
            use_causal_conv=False,
            num_lstm_layers=1,
        )
    )
    with torch.no_grad():
        for codebook in model.codec.quantizer.codebooks:
            codebook.vectors.normal_()
    folder = tmp_path_factory.mktemp("segmented")
    model.save_pretrained(folder)
    return Transcoder.load(folder, device="cpu")


@pytest.mark.parametrize("samples", [1, 100, 640, 641, 32_000, 25 * 32_000 + 7])
def test_codes_and_sound_are_those_of_the_whole_and_the_length_is_exact(samples: int, transcoder: Any) -> None:
    sound = noise(samples)
    codes = transcoder.encode(sound)
    values = torch.from_numpy(sound.samples)[None]
    whole = transcoder.codec.encode(values).audio_codes
    assert codes.codes.shape == (4, -(-samples // 640))
    assert (codes.codes == whole[0, 0].numpy()).mean() > 0.999
    back = transcoder.decode(codes)
    assert back.samples.shape == (1, samples)
    want = transcoder.codec.decode(torch.from_numpy(codes.codes.astype(np.int64))[None, None], [None]).audio_values
    np.testing.assert_allclose(back.samples, want[0, :, :samples].detach().numpy(), atol=2e-5)


def test_a_sound_of_another_rate_and_of_more_channels_is_converted(transcoder: Any) -> None:
    codes = transcoder.encode(noise(22_050, channels=2, rate_hz=44_100))
    assert (codes.sampling_rate, codes.channels, codes.samples, codes.frames) == (32_000, 1, 16_000, 25)


def test_the_channels_of_a_stereo_musicgen_lie_in_turn(make_checkpoint: Any, tmp_path: Path) -> None:
    stereo = Transcoder.load(make_checkpoint(tmp_path, channels=2), device="cpu")
    sound = noise(6400, channels=2)
    codes = stereo.encode(sound)
    assert codes.codes.shape == (8, 10)
    assert codes.bit_rate_kbps == 2 * 4 * 9 * 50 / 1000
    for channel in range(2):
        alone = stereo.codec.encode(torch.from_numpy(sound.samples[None, channel : channel + 1])).audio_codes[0, 0]
        np.testing.assert_array_equal(codes.codes[channel::2], alone.numpy())
    assert stereo.decode(codes).samples.shape == (2, 6400)


@pytest.mark.parametrize("samples", [70, 500, 800, 801, 3000])
def test_a_codec_of_segments_keeps_their_volumes(samples: int, segmented: Transcoder, tmp_path: Path) -> None:
    sound = noise(samples, channels=2, rate_hz=1600)
    codes = segmented.encode(sound, bandwidth=0.5)
    assert codes.codebooks == 4
    out = segmented.codec(torch.from_numpy(sound.samples)[None], bandwidth=0.5)
    for suffix in (".npz", ".safetensors"):
        again = Codes.load(codes.save(tmp_path / f"x{suffix}"))
        np.testing.assert_array_equal(again.scales, codes.scales)
        back = segmented.decode(again)
        assert back.samples.shape == (2, samples)
        np.testing.assert_allclose(back.samples, out.audio_values[0].detach().numpy(), atol=1e-5)


@pytest.fixture(scope="module")
def mimi(tmp_path_factory: pytest.TempPathFactory) -> Transcoder:
    torch.manual_seed(0)
    model = MimiModel(
        MimiConfig(
            hidden_size=16,
            num_filters=2,
            codebook_size=16,
            codebook_dim=8,
            vector_quantization_hidden_dimension=8,
            num_quantizers=4,
            upsample_groups=16,
            num_hidden_layers=1,
            intermediate_size=16,
            num_attention_heads=2,
            num_key_value_heads=2,
        )
    )
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith("vector_sums"):
                buffer.normal_()
    folder = tmp_path_factory.mktemp("mimi")
    model.save_pretrained(folder)
    return Transcoder.load(folder, device="cpu")


@pytest.mark.parametrize("samples", [1, 1920, 24_001])
def test_a_mimi_gives_codes_and_a_sound_of_the_same_length(samples: int, mimi: Transcoder) -> None:
    sound = noise(samples, rate_hz=24_000)
    codes = mimi.encode(sound)
    values = torch.from_numpy(sound.samples)[None]
    with torch.no_grad():
        whole = mimi.codec.encode(values).audio_codes
        heard = mimi.codec.decode(whole, values).audio_values
    assert np.array_equal(codes.codes, whole[0].numpy())
    assert (codes.hop_samples, codes.frame_rate_hz, codes.bit_rate_kbps) == (1920, 12.5, 0.2)
    assert np.array_equal(mimi.decode(codes).samples, heard[0].numpy())


def test_a_bandwidth_of_a_mimi_is_a_number_of_its_codebooks(mimi: Transcoder) -> None:
    sound = noise(4000, rate_hz=24_000)
    assert [mimi.encode(sound, bandwidth=kbps).codebooks for kbps in (0.05, 0.1, 0.149, 0.2)] == [1, 2, 2, 4]
    for wrong in (0.04, 0.3, float("nan")):
        with pytest.raises(ParamError, match=r"0.05 to 0.2 kbit/s, of which every codebook takes 0.05"):
            mimi.encode(sound, bandwidth=wrong)


def test_a_bandwidth_chooses_the_codebooks(segmented: Transcoder) -> None:
    sound = noise(1000, channels=2, rate_hz=1600)
    assert segmented.encode(sound).codebooks == 1
    with pytest.raises(ParamError, match=r"bandwidth=3.*0\.125, 0\.5"):
        segmented.encode(sound, bandwidth=3)


def test_the_bit_rate_is_codebooks_times_bits_times_frames(transcoder: Any) -> None:
    codes = transcoder.encode(noise(64_000))
    assert codes.bit_rate_kbps == pytest.approx(4 * math.log2(512) * 50 / 1000)
    assert (codes.frame_rate_hz, codes.seconds) == (50.0, 2.0)


def test_codes_of_another_codec_are_refused(transcoder: Any, segmented: Transcoder) -> None:
    with pytest.raises(AudioError, match="--model"):
        segmented.decode(transcoder.encode(noise(640)))


def test_a_model_without_a_codec_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(ConfigError, match="'t5'"):
        Transcoder.load(tmp_path)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_file_holds_all_that_codes_are(suffix: str, transcoder: Any, tmp_path: Path) -> None:
    codes = transcoder.encode(noise(1000))
    again = Codes.load(codes.save(tmp_path / f"x{suffix}"))
    np.testing.assert_array_equal(again.codes, codes.codes)
    for name in ("sampling_rate", "samples", "channels", "codebook_size", "hop_samples", "model", "scales"):
        assert getattr(again, name) == getattr(codes, name)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_F038_a_damaged_file_of_codes_is_an_error_wherever_it_is_cut(suffix: str, transcoder: Any, tmp_path) -> None:
    path = transcoder.encode(noise(6400)).save(tmp_path / f"x{suffix}")
    data = path.read_bytes()
    for size in range(0, len(data), 23):
        path.write_bytes(data[:size])
        with pytest.raises(AudioError, match="cannot be read as codes"):
            Codes.load(path)


def plain(**changes: Any) -> dict[str, Any]:
    record = {"sampling_rate": 32_000, "samples": 640, "channels": 1, "codebook_size": 512, "hop_samples": 640}
    return {**record, "missing_frames": 0, "model": None, **changes}


@pytest.mark.parametrize(
    ("arrays", "record"),
    [
        ({"codes": np.zeros((4, 1), np.uint16)}, plain(samples=641)),
        ({"codes": np.zeros((4, 1), np.uint16)}, plain(samples=0)),
        ({"codes": np.zeros((4, 1), np.uint16)}, plain(samples=1.5)),
        ({"codes": np.zeros((4, 1), np.uint16)}, plain(sampling_rate=5)),
        ({"codes": np.zeros((4, 1), np.uint16)}, plain(missing_frames=1)),
        ({"codes": np.zeros((4, 1), np.uint16)}, {"samples": 640}),
        ({"codes": np.zeros((4, 1), np.uint16)}, "x"),
        ({"codes": np.full((4, 1), 512, np.uint16)}, plain()),
        ({"codes": np.zeros((4, 0), np.uint16)}, plain()),
        ({"codes": np.zeros((4, 1), np.float32)}, plain()),
        ({"codes": np.zeros(4, np.uint16)}, plain()),
        ({"codes": np.array([["a"]], object)}, plain()),
        ({"codes": np.zeros((4, 3), np.uint16), "scales": np.ones(2, np.float32)}, plain()),
        ({"codes": np.zeros((4, 1), np.uint16), "other": np.ones(2)}, plain()),
        ({"scales": np.ones(2)}, plain()),
    ],
)
def test_F038_files_that_hold_something_else_are_refused(arrays: Any, record: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, antiphon_codes=np.array(json.dumps(record)), **arrays)
    with pytest.raises(AudioError, match="cannot be read as codes"):
        Codes.load(path)


def test_F038_an_archive_that_unpacks_to_more_than_it_may_is_refused_before_it_does(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("antiphon.tasks.codes_file._MOST_BYTES", 1 << 20)
    monkeypatch.setattr("numpy.load", None)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("codes.npy", bytes(1 << 21))
    assert (tmp_path / "x.npz").stat().st_size < 10_000
    with pytest.raises(AudioError, match="more than 1 GiB"):
        Codes.load(tmp_path / "x.npz")


def test_names_and_places_of_codes_are_checked(transcoder: Any, tmp_path: Path) -> None:
    codes = transcoder.encode(noise(640))
    with pytest.raises(ParamError, match=r"\.npz"):
        codes.save(tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match="folder does not exist"):
        codes.save(tmp_path / "nowhere" / "x.npz")
    for suffix in (".npz", ".safetensors"):
        with pytest.raises(AudioError, match="nowhere"):
            Codes.load(tmp_path / f"nowhere{suffix}")


def test_the_signal_to_noise_ratio_is_that_of_the_powers() -> None:
    sound, other = noise(10_000), noise(10_000, seed=1)
    quiet = Audio(sound.samples + other.samples * np.float32(0.01), 32_000)
    ratio = float((sound.samples**2).sum() / ((other.samples * 0.01) ** 2).sum())
    assert snr_db(quiet, sound) == pytest.approx(10 * math.log10(ratio), abs=0.01)
    assert snr_db(sound, sound) == math.inf
    silent = Audio(np.zeros((1, 100)), 32_000)
    assert snr_db(noise(100), silent) == -math.inf


def test_the_distance_of_spectra_is_the_gain_between_them() -> None:
    sound = noise(50_000, channels=2)
    assert log_spectral_distance_db(sound, sound) == 0
    half = Audio(sound.samples * np.float32(0.5), 32_000)
    assert log_spectral_distance_db(half, sound) == pytest.approx(20 * math.log10(2), abs=0.05)
    assert log_spectral_distance_db(noise(50_000, 2, seed=1), sound) > 5
    short = noise(10)
    assert 5 < log_spectral_distance_db(Audio(short.samples * 0.1, 32_000), short) <= 20


def test_sounds_that_cannot_be_compared_are_refused() -> None:
    for measure in (snr_db, log_spectral_distance_db):
        with pytest.raises(AudioError, match="equal ones"):
            measure(noise(10), noise(11))
