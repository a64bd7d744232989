"""The Melody feature extractor; its numbers beside the reference's are in tests/oracles/test_chroma.py."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import antiphon
from antiphon.audio.sinc import sinc_resample
from antiphon.errors import AntiphonError, AudioError, ParamError, ParamTypeError

RATE_HZ = 32000
SILENCE = torch.eye(12)[0]
# frames and windows small enough for short sounds
SMALL: dict[str, Any] = {"n_fft": 512, "hop_length": 128, "chunk_length": 1, "sampling_rate": 8000}


@pytest.fixture
def extractor() -> Any:
    return antiphon.MusicgenMelodyFeatureExtractor()


@pytest.fixture
def small() -> Any:
    return antiphon.MusicgenMelodyFeatureExtractor(**SMALL)


def tune(samples: int, *, rate_hz: int = RATE_HZ, first: int = 0) -> np.ndarray:
    """A note every fifth of a second, float32."""
    time_s = np.arange(samples) / rate_hz
    hertz = 220 * 2 ** (((first + 7 * np.floor(5 * time_s)) % 24) / 12)
    return (0.5 * np.sin(2 * np.pi * np.cumsum(hertz) / rate_hz)).astype(np.float32)


def classes(batch: Any) -> list[list[int]]:
    """The class of each frame, row by row."""
    return batch["input_features"].argmax(-1).tolist()


@pytest.mark.row("R54", "R52")
@pytest.mark.parametrize("tensors, kind", [(None, torch.Tensor), ("pt", torch.Tensor), ("np", np.ndarray)])
def test_a_sound_becomes_one_class_a_frame(extractor: Any, tensors: Any, kind: type) -> None:
    batch = extractor(tune(50_000), sampling_rate=RATE_HZ, return_tensors=tensors)
    assert list(batch) == ["input_features"]
    features = batch["input_features"]
    assert isinstance(features, kind) and features.shape == (1, 13, 12)
    assert str(features.dtype).removeprefix("torch.") == "float32"
    assert ((features == 0) | (features == 1)).all() and (features.sum(-1) == 1).all()


@pytest.mark.row("R54")
def test_the_class_is_the_note_that_is_played(extractor: Any) -> None:
    for semitones in range(12):
        time_s = np.arange(RATE_HZ) / RATE_HZ
        note = np.sin(2 * np.pi * 261.6256 * 2 ** (semitones / 12) * time_s)
        assert classes(extractor(note, sampling_rate=RATE_HZ)) == [[semitones] * 8]


@pytest.mark.row("R55")
def test_thirty_seconds_are_235_frames_and_little_sounds_lie_in_the_middle_of_a_window(extractor: Any) -> None:
    settings = (extractor.n_fft, extractor.hop_length, extractor.num_chroma, extractor.feature_size)
    assert settings == (16384, 4096, 12, 12)
    assert extractor(np.zeros(30 * RATE_HZ), sampling_rate=RATE_HZ)["input_features"].shape == (1, 235, 12)
    short = tune(9001)
    centred = np.pad(short, (3691, 3692))
    alone, around = extractor(short, sampling_rate=RATE_HZ), extractor(centred, sampling_rate=RATE_HZ)
    assert alone["input_features"].shape == (1, 5, 12)
    assert torch.equal(alone["input_features"], around["input_features"])


@pytest.mark.row("R56")
def test_sounds_are_cut_to_the_chunk_and_filled_up_to_the_longest(small: Any) -> None:
    long, short = tune(20_000, rate_hz=8000), tune(3000, rate_hz=8000)
    rate = {"sampling_rate": 8000}
    assert small.n_samples == 8000
    cut = small(long, **rate)
    assert torch.equal(cut["input_features"], small(long[:8000], **rate)["input_features"])
    assert len(small(long, truncation=False, **rate)["input_features"][0]) == 20_000 // 128 + 1
    assert len(small(long, max_length=4000, **rate)["input_features"][0]) == 4000 // 128 + 1
    both = small([long[:6000], short], **rate)["input_features"]
    assert torch.equal(both[1:], small(np.pad(short, (0, 3000)), **rate)["input_features"])
    assert len(small(short, padding="max_length", **rate)["input_features"][0]) == 8000 // 128 + 1
    assert len(small(short, pad_to_multiple_of=2048, **rate)["input_features"][0]) == 4096 // 128 + 1
    left = antiphon.MusicgenMelodyFeatureExtractor(**SMALL, padding_side="left", padding_value=0.25)
    expected = small(np.pad(short, (3000, 0), constant_values=0.25), **rate)["input_features"]
    assert torch.equal(left([long[:6000], short], **rate)["input_features"][1:], expected)


@pytest.mark.row("R56")
def test_sounds_of_different_lengths_need_padding(small: Any) -> None:
    with pytest.raises(ParamError, match="padding=True"):
        small([tune(3000), tune(2000)], sampling_rate=8000, padding=False)
    for padding in (False, "do_not_pad"):
        assert small([tune(3000), tune(3000)], sampling_rate=8000, padding=padding)["input_features"].shape[0] == 2


@pytest.mark.row("R57")
def test_a_mask_of_samples_is_given_when_asked_for_seen_every_hop() -> None:
    sounds, rate = [tune(6000), tune(3000)], {"sampling_rate": 8000}
    silent, giving = (
        antiphon.MusicgenMelodyFeatureExtractor(**SMALL, return_attention_mask=asked) for asked in (False, True)
    )
    assert "attention_mask" not in silent(sounds, **rate)
    assert "attention_mask" not in giving(sounds, return_attention_mask=False, **rate)
    for batch in (giving(sounds, **rate), silent(sounds, return_attention_mask=True, **rate)):
        assert batch["attention_mask"].tolist() == [[1] * 47, [1] * 24 + [0] * 23]
        assert batch["attention_mask"].dtype == torch.int32


@pytest.mark.row("R58")
def test_stem_indices_choose_among_stems_and_change_nothing_else(small: Any) -> None:
    stems = np.stack([np.stack([tune(4000, rate_hz=8000, first=first)] * 2) for first in (0, 2, 4, 9)])
    for indices in ([3, 2], [0], [1, 3], [-1]):
        chosen = antiphon.MusicgenMelodyFeatureExtractor(**SMALL, stem_indices=indices)
        alone = small(stems[indices].sum(0)[0], sampling_rate=8000)["input_features"]
        assert torch.equal(chosen(stems[None], sampling_rate=8000)["input_features"], alone)
        for other in (stems[0], stems[:, 0], tune(4000, rate_hz=8000)):
            assert classes(chosen(other, sampling_rate=8000)) == classes(small(other, sampling_rate=8000))
    firsts = {str(classes(small(stem[None], sampling_rate=8000))) for stem in stems}
    assert len(firsts) == 4, "the stems must sound different for this test to mean anything"


@pytest.mark.row("R15")
@pytest.mark.parametrize("form", [torch.from_numpy, np.asarray, list], ids=["torch", "numpy", "list"])
def test_stems_are_added_up_averaged_and_resampled(extractor: Any, form: Any) -> None:
    rows = [[[tune(66_150, rate_hz=44100, first=3 * row + stem + channel) for channel in range(2)] for stem in range(4)]
            for row in range(2)]  # fmt: skip
    stems = np.array(rows)
    batch = extractor(form(stems), sampling_rate=44100)
    melodies = torch.from_numpy(stems[:, [3, 2]].sum(1).mean(1))
    expected = extractor(sinc_resample(melodies, 44100, RATE_HZ), sampling_rate=RATE_HZ)
    assert batch["input_features"].shape == (2, 48000 // 4096 + 1, 12)
    assert torch.equal(batch["input_features"], expected["input_features"])


@pytest.mark.row("R15")
def test_stems_of_an_unknown_rate_are_taken_to_be_at_44000_hz_with_a_warning(
    extractor: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stems = np.stack([tune(60_000)] * 4)[None, :, None]
    with caplog.at_level(logging.WARNING):
        batch = extractor(stems)
    assert "44000 Hz" in caplog.text
    assert torch.equal(batch["input_features"], extractor(stems, sampling_rate=44_000)["input_features"])


@pytest.mark.row("R15", "R58")
def test_stems_that_are_not_there_are_asked_for_by_name(extractor: Any) -> None:
    two = np.zeros((1, 2, 2, 9000), np.float32)
    for indices in ([3, 2], [2], [-3], []):
        with pytest.raises(ParamError, match=r"2 stems with stem_indices=.*all the stems"):
            antiphon.MusicgenMelodyFeatureExtractor(stem_indices=indices)(two, sampling_rate=44100)


@pytest.mark.row("R16")
@pytest.mark.parametrize("rate_hz", [8000, 22050, RATE_HZ, 44100, 44101, 48000])
def test_any_form_of_a_sound_at_any_rate_gives_the_same_chroma(extractor: Any, rate_hz: int) -> None:
    sound = tune(2 * rate_hz, rate_hz=rate_hz)
    expected = extractor(
        sinc_resample(torch.from_numpy(sound), rate_hz, RATE_HZ)[None], sampling_rate=RATE_HZ, truncation=False
    )
    assert expected["input_features"].shape == (1, 16, 12)
    stereo = np.stack([sound, sound])
    forms = [sound, sound.tolist(), torch.from_numpy(sound), sound.astype(np.float64), (32767 * sound).astype(np.int16)]
    batches = [
        [sound],
        [sound.tolist()],
        [torch.from_numpy(sound)],
        sound[None],
        [stereo],
        stereo[None],
        (sound,),
    ]
    batches += [torch.from_numpy(stereo)[None], sound[::-1][::-1]]
    for form in [*forms, *batches]:
        assert classes(extractor(form, sampling_rate=rate_hz)) == classes(expected)


@pytest.mark.row("R16")
def test_the_outermost_axis_counts_the_sounds(small: Any) -> None:
    low, high = tune(4000, rate_hz=8000), tune(4000, rate_hz=8000, first=5)
    rate = {"sampling_rate": 8000}
    two = [classes(small(sound, **rate))[0] for sound in (low, high)]
    assert two[0] != two[1]
    for batch in (np.stack([low, high]), [low, high], [low.tolist(), torch.from_numpy(high)], [low[None], high]):
        assert classes(small(batch, **rate)) == two
    mixed = classes(small((low + high) / 2, **rate))
    assert classes(small(np.stack([low, high])[None], **rate)) == mixed


@pytest.mark.row("R56")
@pytest.mark.parametrize("rate_hz", [8000, 11025, 44101])
def test_what_is_cut_off_is_not_even_resampled(extractor: Any, rate_hz: int) -> None:
    sound = tune(40 * rate_hz, rate_hz=rate_hz)
    whole = sinc_resample(torch.from_numpy(sound), rate_hz, RATE_HZ)
    assert classes(extractor(sound, sampling_rate=rate_hz)) == classes(extractor(whole, sampling_rate=RATE_HZ))


def test_without_a_rate_the_models_own_is_assumed_with_a_warning(
    extractor: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        batch = extractor(tune(9000))
    assert "32000 Hz" in caplog.text
    assert classes(batch) == classes(extractor(tune(9000), sampling_rate=RATE_HZ))


# each row as if alone


def test_independent_rows_are_what_each_sound_is_alone(extractor: Any) -> None:
    sounds = [tune(100_000), tune(9000, first=2), tune(40_000, first=4)]
    rate = {"sampling_rate": RATE_HZ}
    batch = extractor(sounds, independent_rows=True, return_attention_mask=True, **rate)
    assert batch["input_features"].shape == (3, 25, 12)
    assert batch["input_features_mask"].dtype == torch.int32
    for row, sound in enumerate(sounds):
        alone = extractor(sound, return_attention_mask=True, **rate)
        frames = alone["input_features"].shape[1]
        assert torch.equal(batch["input_features"][row, :frames], alone["input_features"][0])
        assert (batch["input_features"][row, frames:] == SILENCE).all()
        assert batch["input_features_mask"][row].tolist() == [1] * frames + [0] * (25 - frames)
        assert batch["attention_mask"][row].sum() == alone["attention_mask"].sum()
    together = extractor(sounds, **rate)
    assert "input_features_mask" not in together
    assert not torch.equal(together["input_features"], batch["input_features"])


def test_independent_rows_may_be_filled_up_as_asked(small: Any) -> None:
    settings: dict[str, Any] = {"sampling_rate": 8000, "padding": "max_length"}
    batch = small([tune(3000), tune(9000)], independent_rows=True, return_tensors="np", **settings)
    assert (batch["input_features_mask"] == 1).all()
    assert (batch["input_features"][:1] == small(tune(3000), return_tensors="np", **settings)["input_features"]).all()


# windows of a longer piece


@pytest.mark.parametrize("seconds", [0.0001, 0.4, 1.0, 2.7])
@pytest.mark.parametrize("rate_hz", [8000, 11025, 44101])
def test_each_window_hears_the_melody_repeated_without_end(small: Any, seconds: float, rate_hz: int) -> None:
    sound = tune(max(1, round(seconds * rate_hz)), rate_hz=rate_hz)
    once = sinc_resample(torch.from_numpy(sound), rate_hz, 8000)
    starts = [0, 0.6, 1.2, 3.05, 100.0]
    features = small.window_features(sound, starts, sampling_rate=rate_hz)["input_features"]
    assert features.shape == (1, 5, 63, 12)
    for window, start in enumerate(starts):
        passage = once[(round(start * 8000) + torch.arange(8000)) % len(once)]
        assert torch.equal(features[0, window], small(passage, sampling_rate=8000)["input_features"][0])


def test_windows_are_given_for_every_sound_of_a_batch(small: Any) -> None:
    sounds = [tune(20_000, rate_hz=8000), tune(5000, rate_hz=8000, first=5)]
    batch = small.window_features(sounds, np.array([0.0, 0.5]), sampling_rate=8000, return_tensors="np")
    assert batch["input_features"].shape == (2, 2, 63, 12)
    for row, sound in enumerate(sounds):
        alone = small.window_features(sound, [0, 0.5], sampling_rate=8000)["input_features"]
        assert np.array_equal(batch["input_features"][row], alone[0].numpy())
    first = small(sounds[0], sampling_rate=8000)["input_features"]
    assert np.array_equal(batch["input_features"][0, 0], first[0].numpy())


@pytest.mark.parametrize("starts", [[], [-1.0], [0, float("nan")], [float("inf")]])
def test_windows_that_cannot_be_are_refused(small: Any, starts: list[float]) -> None:
    with pytest.raises(ParamError, match="starts_s="):
        small.window_features(tune(100), starts, sampling_rate=8000)


# files and names


@pytest.mark.row("R53")
def test_it_is_a_sequence_feature_extractor() -> None:
    extractor = antiphon.MusicgenMelodyFeatureExtractor()
    assert isinstance(extractor, antiphon.SequenceFeatureExtractor)
    padded = extractor.pad({"input_features": [np.ones(3, np.float32), np.ones(5, np.float32)]}, return_tensors="np")
    assert padded["input_features"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]


def test_its_settings_are_those_of_the_references_files(tmp_path: Path) -> None:
    """The reference cannot be made without torchaudio; how it reads and writes files needs none."""
    written = {
        **{"feature_size": 12, "sampling_rate": 16000, "padding_value": 0.0, "padding_side": "left"},
        **{"return_attention_mask": False, "n_fft": 4096, "hop_length": 1024, "chunk_length": 20},
        **{"n_samples": 320000, "stem_indices": [1], "feature_extractor_type": "MusicgenMelodyFeatureExtractor"},
    }
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({**written, "processor_class": "MusicgenMelodyProcessor"})
    )
    extractor = antiphon.AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(extractor) is antiphon.MusicgenMelodyFeatureExtractor
    assert extractor.to_dict() == {**written, "num_chroma": 12}
    extractor.save_pretrained(tmp_path / "back")
    theirs, _ = transformers.SequenceFeatureExtractor.get_feature_extractor_dict(tmp_path / "back")
    assert theirs == {**written, "num_chroma": 12}
    again = antiphon.MusicgenMelodyFeatureExtractor.from_pretrained(tmp_path / "back", chunk_length=5, num_chroma=24)
    assert again.n_samples == 80_000
    assert again(tune(16000), sampling_rate=16000)["input_features"].shape == (1, 16, 24)


# sounds that are none


@pytest.mark.parametrize(
    "empty",
    [
        [],
        (),
        [[]],
        np.zeros(0),
        np.zeros((0, 5)),
        np.zeros((2, 0)),
        [np.zeros(5), np.zeros(0)],
        torch.zeros(1, 4, 2, 0),
    ],
)
def test_F030_melodies_without_samples_are_refused(extractor: Any, empty: Any) -> None:
    with pytest.raises(AudioError, match="empty"):
        extractor(empty, sampling_rate=RATE_HZ)


def test_F030_one_sample_is_a_melody(extractor: Any) -> None:
    features = extractor([[0.5]], sampling_rate=RATE_HZ)["input_features"]
    assert features.shape == (1, 5, 12) and torch.isfinite(features).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_F031_bad_samples_of_a_melody_are_refused_with_their_place(extractor: Any, bad: float) -> None:
    sound = tune(9000)
    sound[77] = bad
    with pytest.raises(AudioError, match=r"audio\[0\] holds .* at sample 77\b"):
        extractor(sound, sampling_rate=RATE_HZ)
    with pytest.raises(AudioError, match=r"audio\[1\] holds .* at sample 77\b"):
        extractor([tune(9000), sound], sampling_rate=44100)
    stems = np.stack([np.stack([sound, sound])] * 4)[None]
    with pytest.raises(AudioError, match=r"audio\[0\]\[3\] holds .* at sample 77 of channel 0"):
        extractor(stems, sampling_rate=44100)


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-40, 1e6], ids=["silence", "constant", "denormal", "loud"])
def test_F031_silence_and_extremes_are_finite_chroma(extractor: Any, value: float) -> None:
    features = extractor(np.full(40_000, value), sampling_rate=44100)["input_features"]
    assert torch.isfinite(features).all() and (features.sum(-1) == 1).all()


@pytest.mark.parametrize(
    "wrong",
    [None, "hum.wav", b"RIFF", 3, {"array": [0.0]}, np.array([True]), np.array(["a"]), [None], np.zeros(4, complex)],
)
def test_F032_what_is_no_sound_is_refused(extractor: Any, wrong: Any) -> None:
    with pytest.raises((ParamTypeError, AudioError)):
        extractor(wrong, sampling_rate=RATE_HZ)


@pytest.mark.parametrize("shape", [(1, 9000, 2), (1, 9, 9000), (1, 1, 4, 2, 900)])
def test_F033_layouts_that_are_no_sounds_are_refused(extractor: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match=r"channels"):
        extractor(np.zeros(shape, np.float32), sampling_rate=RATE_HZ)


@pytest.mark.parametrize("rate", [0, -1, 1, 44100.5, float("nan"), "44100", 2**31])
def test_F034_a_melody_of_an_unusable_rate_is_refused(extractor: Any, rate: Any) -> None:
    for sound in (tune(100), np.zeros((1, 4, 2, 100))):
        with pytest.raises(ParamError, match="sampling_rate="):
            extractor(sound, sampling_rate=rate)
        with pytest.raises(ParamError, match="sampling_rate="):
            extractor.window_features(sound, [0], sampling_rate=rate)


def test_settings_and_arguments_that_cannot_be_are_refused(extractor: Any) -> None:
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ParamError, match="chunk_length="):
            antiphon.MusicgenMelodyFeatureExtractor(chunk_length=wrong)
    with pytest.raises(ParamError, match="padding='sideways'"):
        extractor(tune(100), sampling_rate=RATE_HZ, padding="sideways")
    for name in ("max_length", "pad_to_multiple_of"):
        for wrong in (-5, 0.5, "7", float("nan")):
            with pytest.raises(ParamError, match=f"{name}="):
                extractor(tune(100), sampling_rate=RATE_HZ, **{name: wrong})
    with pytest.raises(TypeError, match="samplerate"):
        extractor(tune(100), samplerate=RATE_HZ)
    with pytest.raises(ParamError, match="n_fft=511"):
        antiphon.MusicgenMelodyFeatureExtractor(n_fft=511)(tune(100), sampling_rate=RATE_HZ)


@pytest.mark.parametrize("samples", [1, 320, 16_000, 50 * RATE_HZ])
def test_F043_melodies_of_any_length_are_heard(extractor: Any, samples: int) -> None:
    features = extractor(tune(samples), sampling_rate=RATE_HZ)["input_features"]
    assert features.shape == (1, min(235, max(samples, 16384) // 4096 + 1), 12)
    assert (features.sum(-1) == 1).all()
    windows = extractor.window_features(tune(samples), [0, 18, 36], sampling_rate=RATE_HZ)["input_features"]
    assert windows.shape == (1, 3, 235, 12)


def test_F043_silence_is_the_null_melody(extractor: Any) -> None:
    assert (extractor(np.zeros(90_000), sampling_rate=44100)["input_features"] == SILENCE).all()


_LONG = """
    import resource, numpy as np, torch, antiphon
    from antiphon.audio.chroma import chroma
    from antiphon.audio.sinc import sinc_resample

    def peak_mb():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    extractor = antiphon.MusicgenMelodyFeatureExtractor()
    extractor(np.zeros((1, 2, 40 * 44100), np.float32), sampling_rate=44100)
    before = peak_mb()
    hours = np.broadcast_to(np.float32(0.25), (1, 2, 3 * 3600 * 44100))  # 3.8 GB, if it were written out
    print(extractor(hours, sampling_rate=44100)["input_features"].shape[1], peak_mb() - before)
    hours = torch.tensor([0.25]).expand(3 * 3600 * 44100)
    print(len(sinc_resample(hours, 44100, 32000, start=300_000_000, stop=300_960_000)), peak_mb() - before)
    minutes = torch.tensor([0.25]).expand(20 * 60 * 32000)
    print(len(chroma(minutes, 32000)), peak_mb() - before)
"""


def test_F043_three_hours_of_melody_take_the_memory_of_what_counts() -> None:
    child = [sys.executable, "-W", "error", "-c", textwrap.dedent(_LONG)]
    done = subprocess.run(child, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    results = [line.split() for line in done.stdout.splitlines()]
    assert [int(size) for size, _ in results] == [235, 960_000, 9376]
    assert all(float(grown_mb) < 300 for _, grown_mb in results), results


def test_every_refusal_is_one_of_ours(extractor: Any) -> None:
    with pytest.raises(AntiphonError):
        extractor([[0.0, "a"]], sampling_rate=RATE_HZ)
