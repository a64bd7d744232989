from __future__ import annotations

import errno
import io
import json
import logging
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from antiphon.audio import files, riff, sndfile
from antiphon.audio.destination import destination
from antiphon.audio.files import Limits, encode, load, read_tags, save
from antiphon.audio.stream import GuardedStream
from antiphon.errors import AudioError, ParamError, ParamTypeError

RATE_HZ = 32_000
OF_LIBSNDFILE = ["wav", "flac", "ogg", "opus", "mp3"]
FORMATS = [*OF_LIBSNDFILE, "m4a", "webm"]


def tone(seconds: float = 0.5, rate_hz: int = RATE_HZ, channels: int = 1) -> np.ndarray:
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    return np.stack([0.5 * np.sin(2 * np.pi * 440 * (k + 1) * time) for k in range(channels)]).astype(np.float32)


def level_db(error: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(error, dtype=np.float64)) + 1e-30))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_saved_sound_comes_back(tmp_path: Path, suffix: str, channels: int) -> None:
    wave, rate_hz = tone(channels=channels, rate_hz=48_000), 48_000
    path = save(tmp_path / f"a.{suffix}", wave, rate_hz)
    assert isinstance(path, Path)
    back, back_hz = load(path)
    assert back_hz == rate_hz and back.dtype == np.float32 and back.flags.c_contiguous and back.flags.writeable
    assert back.shape == wave.shape
    limit_db = {"wav": -90, "flac": -90, "ogg": -35, "opus": -25, "mp3": -35, "m4a": -35, "webm": -25}[suffix]
    assert level_db((back - wave)[:, 4800:-4800]) < limit_db


@pytest.mark.parametrize("subtype, atol", [("PCM_16", 5e-5), ("PCM_24", 3e-7), ("PCM_32", 1e-7), ("FLOAT", 0)])
def test_wav_subtypes(tmp_path: Path, subtype: str, atol: float) -> None:
    wave = tone(0.1)[:, :-1]  # an odd number of bytes in 24 bits
    path = save(tmp_path / "a.wav", wave, RATE_HZ, subtype=subtype, tags={"title": "odd"})
    assert soundfile.info(path).subtype == subtype
    np.testing.assert_allclose(load(path)[0], wave, atol=atol)
    assert read_tags(path) == {"title": "odd"}


@pytest.mark.parametrize("suffix", OF_LIBSNDFILE)
def test_decoding_in_blocks_gives_what_one_read_gives(tmp_path: Path, suffix: str, monkeypatch: Any) -> None:
    path = save(tmp_path / f"a.{suffix}", np.random.default_rng(0).uniform(-0.5, 0.5, (2, 60_000)), 48_000)
    monkeypatch.setattr(sndfile, "_BLOCK_FRAMES", 1000)
    np.testing.assert_array_equal(load(path)[0].T, soundfile.read(path, dtype="float32", always_2d=True)[0])


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", tone(), RATE_HZ, format="flac")
    assert soundfile.info(path).format == "FLAC"
    os.rename(path, tmp_path / "a.raw")
    assert load(tmp_path / "a.raw")[0].shape == (1, 16_000)
    with (tmp_path / "a.raw").open("rb") as file:
        assert load(file)[0].shape == (1, 16_000)


def test_paths_bytes_and_file_objects_are_sources(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", tone(), RATE_HZ)
    data = path.read_bytes()
    at_end = io.BytesIO(data)
    at_end.seek(0, os.SEEK_END)
    for source in (path, str(path), data, bytearray(data), memoryview(data), at_end):
        assert load(source)[0].shape == (1, 16_000)
    with path.open("rb") as file:
        load(file)
        assert not file.closed
        assert load(file)[0].shape == (1, 16_000)


def test_a_file_object_that_cannot_seek_is_read_into_memory() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self.data = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return self.data.readinto(buffer)

    data = encode(tone(), RATE_HZ)
    assert load(Pipe(data))[0].shape == (1, 16_000)  # type: ignore[arg-type]
    with pytest.raises(AudioError, match="bytes"):
        load(Pipe(data + bytes(70 << 20)), limits=Limits(max_decoded_bytes=1000))  # type: ignore[arg-type]


def test_errors_of_a_file_object_are_the_cause_of_ours(monkeypatch: Any, capfd: pytest.CaptureFixture[str]) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "the disk is on fire")

    for hidden in (False, True):
        if hidden:
            monkeypatch.setitem(sys.modules, "av", None)
        with pytest.raises(AudioError, match="the disk is on fire"):
            load(Broken(encode(tone(), RATE_HZ)))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("source", [None, 3, ["a.wav"], io.StringIO("a"), {"path": "a.wav"}])
def test_other_sources_are_a_type_error(source: Any) -> None:
    with pytest.raises(ParamTypeError, match="a path, bytes or a binary file"):
        load(source)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"'no\.wav' cannot be opened: No such file"):
        load(tmp_path / "no.wav")
    with pytest.raises(AudioError, match="Download it first"):
        load("https://example.org/a.wav")


def test_limits_on_length_channels_and_rate(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", tone(channels=2), RATE_HZ)
    for limits, word in [
        (Limits(max_decoded_bytes=4 * 2 * 16_000 - 1), "decodes to more"),
        (Limits(max_seconds=0.49), "longer than"),
        (Limits(max_channels=1), "2 channels"),
        (Limits(min_rate_hz=44_100), "32000 Hz"),
        (Limits(max_rate_hz=16_000), "32000 Hz"),
    ]:
        with pytest.raises(AudioError, match=word):
            load(path, limits=limits)
    assert load(path, limits=Limits(max_decoded_bytes=4 * 2 * 16_000, max_seconds=0.5))[0].shape == (2, 16_000)


@pytest.mark.parametrize(
    "bad",
    [
        {"max_decoded_bytes": 0},
        {"max_channels": 0},
        {"max_channels": 9},
        {"min_rate_hz": 1},
        {"max_rate_hz": 10**6},
        {"max_seconds": float("nan")},
        {"max_seconds": 0},
    ],
)
def test_limits_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ParamError, match=next(iter(bad))):
        Limits(**bad)


@pytest.mark.parametrize("name", ["a.xyz", "a", "wav", "a.aiff", ".wav"])
def test_an_unknown_suffix_lists_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(AudioError, match=r"\.wav, \.flac, \.ogg, \.opus, \.mp3, \.m4a"):
        save(tmp_path / name, tone(), RATE_HZ)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [np.zeros((1, 0)), np.full(10, np.nan), np.full(10, np.inf), np.zeros((100, 2))])
def test_F031_a_sound_that_cannot_be_heard_is_not_written(tmp_path: Path, bad: np.ndarray) -> None:
    with pytest.raises(AudioError, match="samples"):
        save(tmp_path / "a.wav", bad, RATE_HZ)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rate_hz", [0, 44100.5, float("nan"), "44100", None])
def test_F034_an_unusable_rate_is_not_written(tmp_path: Path, rate_hz: Any) -> None:
    with pytest.raises(ParamError, match="rate_hz="):
        save(tmp_path / "a.wav", tone(), rate_hz)


def test_a_subtype_that_the_format_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamError, match="PCM_16, PCM_24"):
        save(tmp_path / "a.flac", tone(), RATE_HZ, subtype="FLOAT")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_peak_beyond_full_scale_is_scaled_and_logged(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    wave = 4 * tone(rate_hz=48_000)
    with caplog.at_level(logging.WARNING):
        path = save(tmp_path / f"a.{suffix}", wave, 48_000)
    assert "-6.12 dB" in caplog.text
    back = load(path)[0][:, 4800:-4800]
    assert abs(np.abs(back).max() - 10 ** (-0.1 / 20)) < (1e-4 if suffix in ("wav", "flac") else 0.05)


def test_float_files_keep_a_peak_beyond_full_scale(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wave = 4 * tone()
    np.testing.assert_array_equal(load(save(tmp_path / "a.wav", wave, RATE_HZ, subtype="FLOAT"))[0], wave)
    assert caplog.text == ""


def test_full_scale_itself_is_not_touched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wave = np.array([[1.0, -1.0, 0.5]], np.float32)
    np.testing.assert_allclose(load(save(tmp_path / "a.wav", wave, RATE_HZ))[0], wave, atol=1e-4)
    assert caplog.text == ""


@pytest.mark.parametrize(
    "suffix, rate_hz", [("opus", 32_000), ("opus", 44_100), ("mp3", 96_000), ("webm", 24_000), ("m4a", 192_000)]
)
def test_F127_rates_a_format_lacks_are_resampled_and_logged(
    tmp_path: Path, suffix: str, rate_hz: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        back, back_hz = load(save(tmp_path / f"a.{suffix}", tone(rate_hz=rate_hz), rate_hz))
    assert back_hz == 48_000 and back.shape == (1, 24_000) and "resampled to 48000 Hz" in caplog.text


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("length", [1, 2, 1023, 1024, 1025, 20_001])
def test_m4a_keeps_its_rates_and_every_length(rate_hz: int, length: int) -> None:
    wave = tone(3, rate_hz)[:, :length]
    back, back_hz = load(encode(wave, rate_hz, format="m4a"))
    assert back_hz == rate_hz and back.shape == wave.shape
    if length > 20_000:
        assert level_db((back - wave)[:, 3000:-3000]) < -40


@pytest.mark.parametrize("length", [1, 1024, 5000, 20_001])
def test_aac_without_a_container_comes_later_and_in_whole_frames(length: int) -> None:
    wave = tone(1)[:, :length]
    back, back_hz = load(encode(wave, RATE_HZ, format="aac", tags={"title": "t"}))
    assert back_hz == RATE_HZ and back.shape[1] == 1024 * (1 + max(2, -(-length // 1024)))
    if length > 20_000:
        assert level_db((back[:, 1024 : 1024 + length] - wave)[:, 3000:-3000]) < -40


def test_without_ffmpeg_the_message_has_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    for suffix in ("m4a", "aac", "webm"):
        with pytest.raises(AudioError, match=r"pip install 'antiphon\[media\]'"):
            save(tmp_path / f"a.{suffix}", tone(), RATE_HZ)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rate_hz", [16_000, 24_000])
def test_opus_keeps_the_rates_it_has(tmp_path: Path, rate_hz: int) -> None:
    back, back_hz = load(save(tmp_path / "a.opus", tone(rate_hz=rate_hz), rate_hz))
    assert back_hz == rate_hz and back.shape[1] == rate_hz // 2


def test_mp3_holds_two_channels(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="mp3 cannot hold 4 channels"):
        save(tmp_path / "a.mp3", tone(channels=4), RATE_HZ)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("length", [1, 10])
def test_F127_one_sample_can_be_written(tmp_path: Path, suffix: str, length: int) -> None:
    path = save(tmp_path / f"a.{suffix}", np.full((1, length), 0.5, np.float32), 48_000)
    assert load(path)[0].shape == (1, 960 if suffix == "webm" else length)


COMMENT = json.dumps({"prompt": "a “quoted” naïve 日本 beat", "seed": 7, "parameters": {"guidance_scale": 3.0}})


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus"])
def test_F127_tags_come_back_through_soundfile(tmp_path: Path, suffix: str) -> None:
    tags = {"title": "naïve 日本", "comment": COMMENT, "software": "antiphon 0.1"}
    path = save(tmp_path / f"a.{suffix}", tone(), RATE_HZ, tags=tags)
    assert read_tags(path) == tags
    with soundfile.SoundFile(path) as file:
        assert file.title == tags["title"] and file.comment == tags["comment"]
        assert file.software.startswith("antiphon 0.1")


@pytest.mark.parametrize("suffix", ["mp3", "m4a", "aac", "webm"])
def test_F127_title_and_comment_come_back_from_formats_that_name_their_encoder(tmp_path: Path, suffix: str) -> None:
    for title, comment in [("short", "c"), ("naïve 日本 " * 20, COMMENT)]:
        path = save(tmp_path / f"a.{suffix}", tone(), RATE_HZ, tags={"title": title, "comment": comment})
        tags = read_tags(path)
        assert tags["title"].strip() == title.strip() and tags["comment"] == comment


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("size", [2047, 2048, 30_000])
def test_F127_long_comments_come_back(tmp_path: Path, suffix: str, size: int) -> None:
    tags = {"comment": "c" * size, "title": "t", "software": "s"}
    path = save(tmp_path / f"a.{suffix}", tone(), RATE_HZ, tags=tags)
    back = read_tags(path)
    assert back["comment"] == tags["comment"] and back["title"] == "t"
    assert load(path)[0].shape[0] == 1


def test_tags_that_cannot_be_kept_are_refused(tmp_path: Path) -> None:
    for tags, error, word in [
        ({"titel": "a"}, ParamTypeError, "Did you mean 'title'"),
        ({"title": 3}, ParamTypeError, "int"),
        ({"comment": "c" * 40_000}, ParamError, "at most 32000"),
    ]:
        with pytest.raises(error, match=word):
            save(tmp_path / "a.wav", tone(), RATE_HZ, tags=tags)  # type: ignore[arg-type]
    path = save(tmp_path / "a.wav", tone(), RATE_HZ, tags={"title": "a\0b\ud800", "comment": ""})
    assert read_tags(path) == {"title": "ab?"}


def test_a_file_without_tags_has_none(tmp_path: Path) -> None:
    for suffix in ("wav", "flac"):
        assert "title" not in read_tags(save(tmp_path / f"a.{suffix}", tone(), RATE_HZ))
    with pytest.raises(AudioError, match="cannot be read"):
        read_tags(b"no sound at all")


def test_F127_a_wav_beyond_4_gb_becomes_rf64(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(files, "_WAV_MAX_BYTES", 1000)
    path = save(tmp_path / "a.wav", tone(), RATE_HZ, tags={"title": "large", "comment": "c" * 5000})
    data = path.read_bytes()
    assert data[:4] == b"RF64" and struct.unpack("<Q", data[20:28])[0] == len(data) - 8
    np.testing.assert_allclose(load(path)[0], tone(), atol=5e-5)
    assert read_tags(path) == {"title": "large", "comment": "c" * 5000}


def test_the_size_in_a_wav_header_counts_the_tags(tmp_path: Path) -> None:
    data = save(tmp_path / "a.wav", tone(), RATE_HZ, tags={"title": "abc"}).read_bytes()
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8


def test_damaged_tag_chunks_give_what_is_there() -> None:
    data = encode(tone(0.01), RATE_HZ, tags={"title": "abc", "comment": "def"})
    start = data.index(b"LIST")
    for cut in range(start, len(data)):
        assert set(read_tags(data[:cut])) <= {"title", "comment"}
    for size in (0, 3, 0xFFFFFFFF):
        broken = bytearray(data)
        broken[start + 16 : start + 20] = struct.pack("<I", size)
        assert isinstance(read_tags(bytes(broken)), dict)
    assert riff.KEYS[-1] == "comment"


class TestReplacing:
    def test_an_existing_file_is_replaced_whole(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.wav", tone(2), RATE_HZ)
        save(path, tone(0.1), RATE_HZ)
        assert load(path)[0].shape == (1, 3200) and os.listdir(tmp_path) == ["a.wav"]
        mask = os.umask(0)
        os.umask(mask)
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_a_failed_write_leaves_the_old_file_and_no_other(
        self, tmp_path: Path, suffix: str, monkeypatch: Any, capfd: pytest.CaptureFixture[str]
    ) -> None:
        path = save(tmp_path / f"a.{suffix}", tone(0.1), RATE_HZ)
        before = path.read_bytes()
        monkeypatch.setattr(files, "GuardedStream", _full_after(2000))
        with pytest.raises(AudioError, match="No space left on device"):
            save(path, np.random.default_rng(0).uniform(-1, 1, (1, 100_000)), RATE_HZ)
        assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]
        assert capfd.readouterr().err == ""

    def test_what_is_no_regular_file_is_not_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "folder.wav").mkdir()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "socket.wav"))
            for name in ("folder.wav", "socket.wav"):
                with pytest.raises(AudioError, match="not a regular file"):
                    save(tmp_path / name, tone(), RATE_HZ)
        assert (tmp_path / "socket.wav").is_socket()

    @pytest.mark.parametrize("name", ["none/a.wav", "a" * 300 + ".wav", "a\0.wav"])
    def test_a_path_that_cannot_be_written_is_named(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(AudioError, match="cannot be written"):
            save(tmp_path / name, tone(), RATE_HZ)
        assert list(tmp_path.iterdir()) == []

    def test_an_interrupt_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt), destination(tmp_path / "a.wav") as file:
            file.write(b"half")
            raise KeyboardInterrupt
        assert list(tmp_path.iterdir()) == []


def _full_after(limit_bytes: int) -> type[GuardedStream]:
    class Full(GuardedStream):
        def write(self, data: bytes) -> int:
            if self.tell() + len(data) > limit_bytes:
                self.error = self.error or OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return 0
            return super().write(data)

    return Full


def test_encode_gives_the_bytes_of_the_file(tmp_path: Path) -> None:
    assert encode(tone(), RATE_HZ) == save(tmp_path / "a.wav", tone(), RATE_HZ).read_bytes()
    assert encode(tone(), RATE_HZ, format="flac")[:4] == b"fLaC"
    with pytest.raises(AudioError, match="format"):
        encode(tone(), RATE_HZ, format="xyz")


@pytest.mark.parametrize("suffix", FORMATS)
def test_only_the_beginning_is_read_where_no_more_is_wanted(suffix: str, tmp_path: Path, caplog: Any) -> None:
    path = save(tmp_path / f"x.{suffix}", tone(3.0, 48_000, channels=2), 48_000)
    whole, rate_hz = load(path)
    part, part_hz = load(path, first_s=1.25)
    assert (part.shape, part_hz) == ((2, 60_000), rate_hz)
    np.testing.assert_array_equal(part, whole[:, :60_000])
    assert caplog.text == ""  # a file that was not read to its end is not damaged
    np.testing.assert_array_equal(load(path, first_s=100.0)[0], whole)


@pytest.mark.parametrize("first_s", [0, -1.0, float("nan"), float("inf")])
def test_a_beginning_has_a_length(first_s: float, tmp_path: Path) -> None:
    path = save(tmp_path / "x.wav", tone(), RATE_HZ)
    with pytest.raises(ParamError, match="first_s"):
        load(path, first_s=first_s)
