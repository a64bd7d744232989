"""Writing sound where it is hard: pipes, devices, full and forbidden places, killed writers, every format."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import antiphon
from antiphon import part_files
from antiphon.audio import destination
from antiphon.audio.clip import Audio
from antiphon.audio.files import encode, load, read_tags, save
from antiphon.errors import AudioError

RATE_HZ = 32_000
LOSSLESS = ["wav", "flac"]
LOSSY = ["ogg", "opus", "mp3", "m4a", "aac", "webm"]
FORMATS = [*LOSSLESS, *LOSSY]
WAVE = (0.4 * np.sin(np.arange(8000) * 0.07)).astype(np.float32)[None]


def python(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(antiphon.__file__).parents[1],
    )


def read_fifo(path: Path, got: list[bytes]) -> threading.Thread:
    thread = threading.Thread(target=lambda: got.append(path.read_bytes()))
    thread.start()
    return thread


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "m4a"])
def test_F119_a_fifo_is_written_and_stays_one(tmp_path: Path, suffix: str) -> None:
    path, got = tmp_path / f"pipe.{suffix}", []
    os.mkfifo(path)
    thread = read_fifo(path, got)
    assert save(path, WAVE, RATE_HZ, tags={"title": "t"}) == path
    thread.join(10)
    assert load(got[0])[0].shape == WAVE.shape and read_tags(got[0])["title"] == "t"
    assert path.is_fifo() and os.listdir(tmp_path) == [path.name]


def test_F119_a_large_sound_goes_through_a_pipe_from_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destination, "_HELD_BYTES", 1000)
    path, got = tmp_path / "pipe.wav", []
    os.mkfifo(path)
    thread = read_fifo(path, got)
    save(path, WAVE, RATE_HZ)
    thread.join(10)
    assert got[0] == encode(WAVE, RATE_HZ)


def test_F119_devices_take_sound_and_stay_what_they_are() -> None:
    before = os.stat("/dev/null")
    save("/dev/null", WAVE, RATE_HZ, format="wav")
    assert os.stat("/dev/null").st_rdev == before.st_rdev
    with pytest.raises(AudioError, match=r"No space left on device \(.*MB free\)"):
        save("/dev/full", WAVE, RATE_HZ, format="wav")
    assert not [name for name in os.listdir("/dev") if name.endswith(".part")]


@pytest.mark.parametrize(
    "name, to_file", [("/dev/stdout", False), ("/dev/stdout", True), ("/dev/fd/1", False), ("/proc/self/fd/1", True)]
)
def test_F119_stdout_is_written_by_name(tmp_path: Path, name: str, to_file: bool) -> None:
    script = """
        import sys, numpy as np
        from antiphon.audio.files import save
        save(sys.argv[1], np.full((1, 1000), 0.25, np.float32), 32_000, format="wav")
    """
    if to_file:
        with (tmp_path / "out").open("wb") as file:
            command = [sys.executable, "-c", textwrap.dedent(script), name]
            subprocess.run(command, stdout=file, check=True, cwd=Path(antiphon.__file__).parents[1])
        data = (tmp_path / "out").read_bytes()
    else:
        data, _ = python(script, name).communicate(timeout=60)
    assert load(data)[0].shape == (1, 1000) and os.path.islink("/dev/stdout")


def test_F119_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "a.wav").symlink_to(tmp_path / "real" / "b.wav")
    save(tmp_path / "a.wav", WAVE, RATE_HZ)
    assert (tmp_path / "a.wav").is_symlink() and load(tmp_path / "real" / "b.wav")[0].shape == WAVE.shape
    assert os.listdir(tmp_path / "real") == ["b.wav"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("suffix", ["wav", "m4a"])
def test_F119_no_space_and_no_quota_tell_what_is_free(
    tmp_path: Path, suffix: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / f"a.{suffix}", WAVE, RATE_HZ)
    before = (tmp_path / f"a.{suffix}").read_bytes()
    monkeypatch.setattr("antiphon.audio.stream.GuardedStream.write", _refusing(number))
    with pytest.raises(AudioError, match=rf"{os.strerror(number)} \(.*[\d.]+ MB free\)") as caught:
        save(tmp_path / f"a.{suffix}", WAVE, RATE_HZ)
    assert isinstance(caught.value.__cause__, OSError) and "as before" in str(caught.value)
    assert (tmp_path / f"a.{suffix}").read_bytes() == before and len(os.listdir(tmp_path)) == 1


def _refusing(number: int) -> Any:
    def write(self: Any, data: bytes) -> int:
        self.error = self.error or OSError(number, os.strerror(number))
        return 0

    return write


def test_F119_a_disk_too_small_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = destination.shutil._ntuple_diskusage(10**6, 10**6 - 100, 100)  # type: ignore[attr-defined]
    monkeypatch.setattr("antiphon.audio.destination.shutil.disk_usage", lambda _: usage)
    monkeypatch.setattr(Path, "open", None)
    hour = np.broadcast_to(np.zeros((1, 1), np.float32), (1, 3_600_000)).copy()
    with pytest.raises(AudioError, match=r"No space left on device \(7\.2 MB needed, 0\.0 MB free\)"):
        save(tmp_path / "a.wav", hour, RATE_HZ)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_F119_a_folder_that_may_not_be_written_says_so(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number), os.fspath(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AudioError, match=f"{os.strerror(number)}.*write permission"):
        save(tmp_path / "a.wav", WAVE, RATE_HZ)


@pytest.mark.parametrize("name", ["nul.wav", "CON.wav", "com1.flac", "aux.tar.wav"])
def test_F119_names_of_devices_are_refused_on_windows_and_names_elsewhere(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert save(tmp_path / name, WAVE, RATE_HZ).exists()
    monkeypatch.setattr(destination, "_ON_WINDOWS", True)
    with pytest.raises(AudioError, match="on Windows it is a device"):
        save(tmp_path / name, WAVE, RATE_HZ)
    assert save(tmp_path / "conductor.wav", WAVE, RATE_HZ).exists()


def test_F119_a_name_may_be_as_long_as_names_may_be(tmp_path: Path) -> None:
    assert save(tmp_path / ("ü" * 125 + ".wav"), WAVE, RATE_HZ).exists()
    with pytest.raises(AudioError, match="the name has 256 bytes"):
        save(tmp_path / ("ü" * 126 + ".wav"), WAVE, RATE_HZ)


def test_F119_the_permissions_of_a_file_outlive_its_replacement(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", WAVE, RATE_HZ)
    path.chmod(0o640)
    save(path, WAVE, RATE_HZ)
    assert path.stat().st_mode & 0o777 == 0o640


# Forks writers and kills each at a random moment: 20 deaths for one start of Python.
KILLING = """
    import os, random, signal, sys, time
    import numpy as np
    from antiphon.audio.files import load, save
    waves = [np.random.default_rng(k).uniform(-0.3, 0.3, (1, 100_000 + 50_000 * k)) for k in (0, 1)]
    chance, left = random.Random(0), 0
    os.chdir(sys.argv[1])
    for name in ["a.wav", "a.flac"] * 10:
        writer = os.fork()
        if writer == 0:
            while True:
                for wave in waves:
                    save(name, wave, 32_000)
        while not any(each.endswith(".part") for each in os.listdir()):
            pass
        until = time.monotonic() + chance.uniform(0, 0.05)
        while time.monotonic() < until:
            pass
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        if os.path.exists(name) and load(name)[0].shape[1] not in (100, 100_000, 150_000):
            sys.exit(f"{name} is not whole")
        left += sum(each.endswith(".part") for each in os.listdir())
        save(name, waves[0][:, :100], 32_000)
        if any(each.endswith(".part") for each in os.listdir()):
            sys.exit(f"left behind: {os.listdir()}")
    print(left)
"""


def test_F118_a_killed_writer_leaves_a_whole_file_and_the_next_one_sweeps(tmp_path: Path) -> None:
    process = python(KILLING, str(tmp_path))
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error.decode()
    assert int(out) >= 5  # that many died while they wrote


def test_F118_only_what_nobody_writes_any_more_is_swept(tmp_path: Path) -> None:
    dead = python("")
    dead.communicate(timeout=60)
    host = part_files.host()
    kept = [
        f".a.wav.{os.getpid()}.{host}-7.part",
        f".a.wav.{dead.pid}.00000000-1.part",
        ".mine.part",
        "a.part",
        ".x.1.part",
    ]
    for name in [*kept, f".a\n.wav.{dead.pid}.{host}-0.part", f".b.flac.{dead.pid}.{host}-12.part"]:
        (tmp_path / name).touch()
    save(tmp_path / "a.wav", WAVE, RATE_HZ)
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "a.wav"])


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [24_000, 32_000])
def test_F127_every_format_holds_every_sound(suffix: str, channels: int, rate_hz: int) -> None:
    time_s = np.arange(rate_hz) / rate_hz
    wave = np.stack([0.4 * np.sin(2 * np.pi * 440 * (k + 1) * time_s) for k in range(channels)]).astype(np.float32)
    back, back_hz = load(encode(wave, rate_hz, format=suffix))
    assert back_hz == (48_000 if suffix == "webm" or (suffix == "opus" and rate_hz == 32_000) else rate_hz)
    extra = 1024 + -rate_hz % 1024 if suffix == "aac" else 0
    assert back.shape == (channels, back_hz + extra)
    middle = back[:, back_hz // 4 : -back_hz // 4]
    np.testing.assert_allclose(np.sqrt((middle**2).mean(axis=1)), 0.4 / 2**0.5, rtol=0.02)


@pytest.mark.parametrize("suffix", FORMATS)
def test_F127_a_sound_without_samples_is_refused(suffix: str) -> None:
    with pytest.raises(AudioError, match="empty"):
        encode(np.zeros((1, 0)), RATE_HZ, format=suffix)


def bright(seconds: float = 1.5) -> np.ndarray:
    """Square waves with noisy beats: coding moves their peaks far."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    beats = np.random.default_rng(0).standard_normal(time_s.size) * np.exp(-(time_s % 0.5) * 20)
    wave = 0.9 * np.sign(np.sin(2 * np.pi * 110 * time_s)) + 0.4 * beats
    return np.stack([wave, np.roll(wave, 500)])


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("strategy", ["peak", "loudness", "clip"])
def test_F127_at_a_level_the_peak_stays_under_minus_1_dbfs_after_coding(
    tmp_path: Path, suffix: str, strategy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    audio = Audio(bright(), RATE_HZ)
    with caplog.at_level(logging.INFO, logger="antiphon"):
        back = Audio.load(audio.save(tmp_path / f"a.{suffix}", loudness=strategy))
    assert back.peak <= 10 ** (-1 / 20) * (1 + 1e-4)
    if strategy == "loudness":
        assert back.loudness_lufs == pytest.approx(-14, abs=0.5)
    if strategy == "peak" and suffix in LOSSY:
        plain = load(encode(audio.normalised("peak").samples, RATE_HZ, format=suffix))[0]
        assert (np.abs(plain).max() > 10 ** (-1 / 20)) == ("coded again" in caplog.text)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("length", [1, 10, 500])
def test_F127_the_shortest_sounds_have_a_level_too(tmp_path: Path, suffix: str, length: int) -> None:
    for value in (0.0, 0.5, 3.0):
        back = Audio.load(Audio(np.full(length, value), RATE_HZ).save(tmp_path / f"a.{suffix}", loudness="loudness"))
        assert back.peak <= 10 ** (-1 / 20) * (1 + 1e-4)
        assert (back.peak == 0) == (value == 0) or suffix in LOSSY


def test_F127_a_file_that_cannot_be_read_again_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.audio.stream.GuardedStream.read", lambda self, count=-1: b"")
    for suffix in ("ogg", "m4a"):
        with pytest.raises(AudioError, match="cannot be read"):
            Audio(WAVE, RATE_HZ).save(tmp_path / f"a.{suffix}", loudness="peak")
    assert os.listdir(tmp_path) == []


def test_F127_an_hour_is_written_in_little_memory(tmp_path: Path) -> None:
    hour = np.zeros((1, 3600 * 8000), np.float32)
    hour[0, ::4000] = 0.5
    for suffix, least in (("wav", 2 * hour.size), ("flac", 10_000)):
        tracemalloc.start()
        try:
            path = save(tmp_path / f"a.{suffix}", hour, 8000)
            assert tracemalloc.get_traced_memory()[1] < 3_000_000
        finally:
            tracemalloc.stop()
        assert path.stat().st_size > least
        path.unlink()


COMMENT = '{"prompt": "a “quoted” \\"naïve\\" 日本 🎹 beat", "seed": 7, "parameters": {"guidance_scale": 3.0}}'


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("comment", [COMMENT, COMMENT * 5, "c" * 30_000], ids=["short", "long", "longest"])
def test_F127_tags_come_back_from_every_format(suffix: str, comment: str) -> None:
    data = encode(
        WAVE, RATE_HZ, format=suffix, tags={"title": "naïve 日本", "comment": comment, "software": "antiphon 1"}
    )
    tags = read_tags(data)
    assert tags["title"] == "naïve 日本" and tags["comment"] == comment
    assert tags.get("software", "antiphon 1").startswith(("antiphon 1", "Lavf", "LAME"))


@pytest.mark.parametrize("suffix", FORMATS)
def test_F127_a_piece_comes_back_with_how_it_was_made(tmp_path: Path, suffix: str) -> None:
    piece = Audio(WAVE, RATE_HZ, prompt='a "naïve" 日本 beat', seed=2**40, model="small", parameters={"seconds": 2.5})
    back = Audio.load(piece.save(tmp_path / f"a.{suffix}"))
    assert (back.prompt, back.seed, back.model, back.parameters) == (piece.prompt, 2**40, "small", {"seconds": 2.5})
