from __future__ import annotations

import array

import numpy as np
import pytest
import torch

from antiphon.audio.samples import as_samples, check_finite, to_channels
from antiphon.errors import AudioError, ParamError, ParamTypeError

WAVE = np.array([0.0, 0.5, -0.5, 0.25, -1.0], np.float32)


def _read_only(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.flags.writeable = False
    return values


FORMS = {
    "list": WAVE.tolist(),
    "tuple": tuple(WAVE.tolist()),
    "list of numpy scalars": list(WAVE),
    "list of 0-d tensors": list(torch.from_numpy(WAVE)),
    "nested list": [WAVE.tolist()],
    "list of arrays": [WAVE],
    "list of tensors": [torch.from_numpy(WAVE)],
    "float32": WAVE,
    "float64": WAVE.astype(np.float64),
    "float16": WAVE.astype(np.float16),
    "big endian": WAVE.astype(">f4"),
    "tensor": torch.from_numpy(WAVE),
    "bfloat16 tensor": torch.from_numpy(WAVE).bfloat16(),
    "tensor with gradient": torch.from_numpy(WAVE).clone().requires_grad_(),
    "memoryview": memoryview(array.array("f", WAVE.tolist())),
    "array.array": array.array("f", WAVE.tolist()),
    "strided": np.repeat(WAVE, 2)[::2],
    "negative stride": WAVE[::-1].copy()[::-1],
    "read-only": _read_only(WAVE),
    "Fortran order": np.asfortranarray(WAVE[None]),
    "int16": (WAVE * 32768).astype(np.int16),
    "big endian int16": (WAVE * 32768).astype(">i2"),
    "int32": (WAVE.astype(np.float64) * 2**31).astype(np.int32),
    "int8": (WAVE * 128).astype(np.int8),
    "uint8": (WAVE * 128 + 128).astype(np.uint8),
    "int16 tensor": torch.from_numpy((WAVE * 32768).astype(np.int16)),
}


@pytest.mark.parametrize("form", FORMS)
def test_F032_every_documented_form_of_a_sound_gives_the_same_samples(form: str) -> None:
    samples = as_samples(FORMS[form])
    assert samples.dtype == np.float32 and samples.shape == (1, 5)
    assert samples.flags.c_contiguous and samples.flags.writeable
    np.testing.assert_array_equal(samples[0], WAVE)


@pytest.mark.parametrize(
    "value",
    [
        np.array([True, False]),
        torch.tensor([True]),
        [True, False],
        np.array([1j]),
        torch.tensor([1j]),
        np.array(["a"]),
        np.array([object()], dtype=object),
        np.array([1, 2], np.int64),
        np.array([1, 2], np.uint16),
        ["a"],
        [None],
        [[0.1, 0.2], [0.1]],
        "file.wav",
        b"RIFF",
        bytearray(b"RIFF"),
        memoryview(b"RIFF"),
        None,
        3.0,
        {"array": [0.0]},
        torch.empty(3, device="meta"),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
    ],
)
def test_F032_what_is_no_sound_is_a_type_error(value: object) -> None:
    with pytest.raises(ParamTypeError) as caught:
        as_samples(value, name="melody")
    assert isinstance(caught.value, TypeError) and "melody" in str(caught.value)


def test_integers_in_a_list_are_numbers_only_up_to_one() -> None:
    np.testing.assert_array_equal(as_samples([0, 1, -1]), [[0, 1, -1]])
    with pytest.raises(AudioError, match="int16"):
        as_samples([0, 12000, -3000])


@pytest.mark.parametrize("shape", [(0,), (1, 0), (2, 0), (0, 5), (0, 0)])
def test_F030_an_empty_sound_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match="empty"):
        as_samples(np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(1,), (1, 1), (8, 1)])
def test_F030_one_sample_is_a_sound(shape: tuple[int, ...]) -> None:
    assert as_samples(np.zeros(shape)).shape[1] == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, -1e7, 1e300])
@pytest.mark.parametrize("at", [0, 7, 99])
def test_F031_the_first_sample_that_is_not_finite_is_named(bad: float, at: int) -> None:
    wave = np.zeros((2, 100))
    wave[1, at] = bad
    wave[0, 99] = wave[0, 99] if at == 99 else bad
    with pytest.raises(AudioError, match=rf"at sample {at} of channel 1\b"):
        as_samples(wave)


def test_F031_zeros_denormals_and_a_constant_pass() -> None:
    for value in (0.0, 1e-40, 1e-300, 1.0, -0.0):
        assert np.isfinite(as_samples(np.full(10, value))).all()


def test_the_index_of_a_block_counts_from_the_start_of_the_sound() -> None:
    with pytest.raises(AudioError, match="at sample 105"):
        check_finite(np.array([[0, 0, 0, 0, 0, np.nan]], np.float32), offset_samples=100)


@pytest.mark.parametrize("shape", [(9, 2), (16000, 1), (16000, 2), (100, 8)])
def test_F033_frames_first_is_never_guessed(shape: tuple[int, int]) -> None:
    with pytest.raises(AudioError, match="ranspose"):
        as_samples(np.zeros(shape))


@pytest.mark.parametrize("shape", [(9, 100), (100, 100), (1, 2, 3), (1,) * 8, ()])
def test_F033_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match="channels"):
        as_samples(np.zeros(shape))


@pytest.mark.parametrize("shape", [(2, 2), (8, 3), (2, 1), (8, 100)])
def test_F033_few_frames_in_few_channels_are_channels_first(shape: tuple[int, int]) -> None:
    assert as_samples(np.zeros(shape)).shape == shape


def test_F033_channels_are_averaged_or_repeated_on_request() -> None:
    stereo = np.array([[1.0, 0.0], [0.0, 0.5]])
    np.testing.assert_array_equal(as_samples(stereo, channels=1), [[0.5, 0.25]])
    np.testing.assert_array_equal(as_samples(WAVE, channels=2), [WAVE, WAVE])
    np.testing.assert_array_equal(as_samples(stereo, channels=2), stereo)
    with pytest.raises(AudioError, match="3 channels"):
        as_samples(np.zeros((3, 20)), channels=2)


@pytest.mark.parametrize("channels", [0, 9, -1, 1.0, True, "2"])
def test_a_number_of_channels_out_of_range_is_refused(channels: object) -> None:
    with pytest.raises(ParamError, match="channels="):
        to_channels(np.zeros((1, 3), np.float32), channels)  # type: ignore[arg-type]


def test_memory_is_shared_only_where_nothing_changes() -> None:
    wave = np.zeros((1, 4), np.float32)
    assert np.shares_memory(as_samples(wave), wave)
    fixed = _read_only(wave)
    assert not np.shares_memory(as_samples(fixed), fixed)
