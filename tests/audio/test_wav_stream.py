from __future__ import annotations

import io
import logging
import os
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.audio.files import encode, load
from antiphon.audio.wav_stream import WavWriter
from antiphon.errors import AudioError, ParamError, SessionError

RATE_HZ = 32_000


def noise(channels: int = 1, length: int = 10_001, level: float = 0.9) -> np.ndarray:
    return np.random.default_rng(0).uniform(-level, level, (channels, length)).astype(np.float32)


class Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False


def streamed(wave: np.ndarray, file: io.BytesIO, step: int) -> bytes:
    with WavWriter(file, RATE_HZ, wave.shape[0]) as writer:
        for start in range(0, wave.shape[1], step):
            writer.write(wave[:, start : start + step])
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("step", [1001, 99_999])
def test_a_seekable_file_becomes_the_file_that_saving_writes(channels: int, step: int) -> None:
    wave = noise(channels)
    assert streamed(wave, io.BytesIO(), step) == encode(wave, RATE_HZ)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_pipe_gets_the_same_samples_and_the_largest_length(channels: int, caplog: pytest.LogCaptureFixture) -> None:
    wave = noise(channels)
    data = streamed(wave, Pipe(), 777)
    assert data[4:8] == data[40:44] == b"\xff\xff\xff\xff" and data[44:] == encode(wave, RATE_HZ)[44:]
    with caplog.at_level(logging.WARNING):
        samples, rate_hz = load(data)
    assert rate_hz == RATE_HZ and caplog.text == ""
    np.testing.assert_array_equal(samples, load(encode(wave, RATE_HZ))[0])


def test_samples_come_out_while_the_sound_is_made() -> None:
    file = Pipe()
    writer = WavWriter(file, RATE_HZ, 1)
    writer.write(noise(length=RATE_HZ))
    assert len(file.getvalue()) > 44 + 2 * 0.99 * RATE_HZ
    writer.close()
    assert len(file.getvalue()) == 44 + 2 * RATE_HZ


def test_peaks_beyond_full_scale_are_turned_down_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    wave = noise(level=0.5)
    wave[0, 5000] = 1.6
    with caplog.at_level(logging.WARNING):
        samples, _ = load(streamed(wave, Pipe(), 500))
    assert "4.08 dB" in caplog.text
    assert samples[0, 5000] == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(samples[:, :4500], wave[:, :4500], atol=2e-5)
    assert abs(samples[0, 5001]) < 0.65 * abs(wave[0, 5001])


def test_no_samples_at_all_are_a_whole_file() -> None:
    data = streamed(np.zeros((2, 0), np.float32), io.BytesIO(), 1)
    assert len(data) == 44 and struct.unpack("<I", data[4:8])[0] == 36 and data[40:44] == bytes(4)


def test_a_file_that_already_holds_something_is_mended_where_the_sound_begins() -> None:
    file = io.BytesIO(b"head")
    file.seek(4)
    assert streamed(noise(), file, 5000) == b"head" + encode(noise(), RATE_HZ)
    assert file.tell() == len(file.getvalue())


def test_a_file_opened_for_appending_keeps_the_largest_length(tmp_path: Path) -> None:
    with (tmp_path / "a.wav").open("ab") as file, WavWriter(file, RATE_HZ, 1) as writer:
        writer.write(noise())
    data = (tmp_path / "a.wav").read_bytes()
    assert data[40:44] == b"\xff\xff\xff\xff" and len(data) == len(encode(noise(), RATE_HZ))


def test_a_real_pipe_that_takes_little_at_a_time_gets_everything() -> None:
    reader, sink = os.pipe()
    got: list[bytes] = []

    def read() -> None:
        with os.fdopen(reader, "rb") as file:
            got.append(file.read())

    thread = threading.Thread(target=read)
    thread.start()
    with open(sink, "wb", buffering=0) as file, WavWriter(file, RATE_HZ, 2) as writer:
        writer.write(noise(2, 200_000))
    thread.join(10)
    assert got[0][44:] == encode(noise(2, 200_000), RATE_HZ)[44:]


def test_a_pipe_that_is_full_and_does_not_wait_is_an_error() -> None:
    class Full(Pipe):
        def write(self, data: Any) -> Any:
            return None if len(data) > 44 else super().write(data)

    with pytest.raises(BlockingIOError), WavWriter(Full(), RATE_HZ, 1) as writer:
        writer.write(noise())


def test_a_reader_that_went_away_is_one_error() -> None:
    class Broken(Pipe):
        def write(self, data: Any) -> int:
            if len(data) > 44:
                raise BrokenPipeError(32, "Broken pipe")
            return super().write(data)

    with pytest.raises(BrokenPipeError), WavWriter(Broken(), RATE_HZ, 1) as writer:
        writer.write(noise())


def test_after_another_error_the_file_is_still_closed_well() -> None:
    file = io.BytesIO()
    with pytest.raises(KeyboardInterrupt), WavWriter(file, RATE_HZ, 1) as writer:
        writer.write(noise())
        raise KeyboardInterrupt
    assert file.getvalue() == encode(noise(), RATE_HZ)


def test_wrong_use_is_refused() -> None:
    for channels in (0, 9, True, "2"):
        with pytest.raises(ParamError, match="channels="):
            WavWriter(io.BytesIO(), RATE_HZ, channels)  # type: ignore[arg-type]
    with pytest.raises(ParamError, match="rate_hz="):
        WavWriter(io.BytesIO(), 0, 1)
    writer = WavWriter(io.BytesIO(), RATE_HZ, 1)
    with pytest.raises(AudioError, match="1 channels"):
        writer.write(noise(2))
    with pytest.raises(AudioError, match="nan"):
        writer.write(np.full((1, 3), np.nan, np.float32))
    writer.close()
    writer.close()
    with pytest.raises(SessionError, match="closed"):
        writer.write(noise())
