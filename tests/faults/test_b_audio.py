"""Sound that is damaged, hostile or strange: what reading it must answer, by the numbers of the list of faults."""

from __future__ import annotations

import io
import logging
import os
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import antiphon
from antiphon.audio.files import Limits, encode, load, read_tags, save
from antiphon.errors import AudioError

RATE_HZ = 32_000
FORMATS = ["wav", "flac", "ogg", "mp3", "opus", "m4a", "webm", "aac"]
WAVE = (0.4 * np.sin(np.arange(4000) * 0.07)).astype(np.float32)[None]
FILES = {suffix: encode(WAVE, RATE_HZ, format=suffix, tags={"title": "t", "comment": "c"}) for suffix in FORMATS}
RATES_HZ = {"opus": 48_000, "webm": 48_000}  # all others keep theirs
# about 20 s of stereo: far beyond what the files here hold, far below what a bomb gives
SMALL = Limits(max_decoded_bytes=5_000_000)


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) <= before


@contextmanager
def quick(seconds: float = 5.0) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


def chunk(key: bytes, body: bytes, size: int | None = None) -> bytes:
    return key + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) & 1)


def fmt(*, tag: int = 1, channels: int = 1, rate_hz: int = RATE_HZ, bits: int = 16, align: int | None = None) -> bytes:
    align = channels * bits // 8 if align is None else align
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels % 65536, rate_hz, 0, align % 65536, bits))


def riff(*chunks: bytes, kind: bytes = b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return kind + struct.pack("<I", len(body) if kind == b"RIFF" else 0xFFFFFFFF) + body


DATA = chunk(b"data", bytes(400))


@pytest.mark.parametrize("data", [b"", b"R", riff(fmt(), chunk(b"data", b"")), bytes(100), bytes(100_000)])
def test_F030_files_without_samples_are_refused(data: bytes) -> None:
    with pytest.raises(AudioError):
        load(data)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_F030_one_moment_on_eight_channels_is_a_sound(suffix: str) -> None:
    samples, _ = load(encode(np.full((8, 1), 0.25), RATE_HZ, format=suffix))
    np.testing.assert_array_equal(samples, np.full((8, 1), 0.25))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("at", [0, 70_000])
def test_F031_float_files_with_bad_samples_are_refused(bad: float, at: int) -> None:
    held = io.BytesIO()
    wave = np.zeros((80_000, 2), np.float32)
    wave[at, 1] = bad
    soundfile.write(held, wave, RATE_HZ, format="WAV", subtype="FLOAT")
    with pytest.raises(AudioError, match=rf"at sample {at} of channel 1\b"):
        load(held.getvalue())


@pytest.mark.parametrize("rate_hz", [0, 1, 999, 384_001, 655_350, 2**31 - 1, 2**32 - 1])
def test_F034_F038_a_forged_rate_is_refused(rate_hz: int) -> None:
    with pytest.raises(AudioError):
        load(riff(fmt(rate_hz=rate_hz), DATA))


def test_F035_a_wrong_rate_is_believed(tmp_path: Path) -> None:
    assert load(save(tmp_path / "a.wav", WAVE, 24_000))[1] == 24_000


@pytest.mark.parametrize("suffix", FORMATS)
def test_F037_a_truncated_file_is_shorter_or_refused(suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    whole = FILES[suffix]
    full = load(whole)[0].shape[1]
    shorter = 0
    for percent in range(100):
        caplog.clear()
        with quick(), caplog.at_level(logging.WARNING, logger="antiphon"):
            try:
                samples, rate_hz = load(whole[: len(whole) * percent // 100])
            except AudioError:
                continue
        assert rate_hz == RATES_HZ.get(suffix, RATE_HZ) and 0 < samples.shape[1] <= full
        if suffix == "wav" and samples.shape[1] < full:
            assert "cut short" in caplog.text
        shorter += samples.shape[1] < full
    # the first three are one frame or page, and the last has its directory at the end: without it there is nothing
    assert shorter > 20 or suffix in ("flac", "ogg", "opus", "m4a")


def test_F037_a_long_ogg_keeps_what_came_before_the_cut() -> None:
    rng = np.random.default_rng(0)
    whole = encode(rng.uniform(-0.3, 0.3, (1, 200_000)), RATE_HZ, format="ogg")
    assert 50_000 < load(whole[: len(whole) // 2])[0].shape[1] < 150_000


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_F037_the_length_in_the_header_is_not_believed(suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    long = encode(np.random.default_rng(0).uniform(-0.3, 0.3, (1, 100_000)), RATE_HZ, format=suffix)
    with caplog.at_level(logging.WARNING, logger="antiphon"):
        samples, _ = load(long[: len(long) // 2])
    assert 20_000 < samples.shape[1] < 60_000 and "cut short or damaged" in caplog.text


@pytest.mark.parametrize("suffix", ["flac", "ogg", "opus", "m4a", "webm", "aac"])
def test_F038_a_bomb_is_refused_while_it_is_decoded(suffix: str) -> None:
    bomb = encode(np.zeros((8 if suffix == "flac" else 2, 3_000_000), np.float32), 48_000, format=suffix)
    limits = Limits(max_decoded_bytes=2_000_000)
    assert len(bomb) < 200_000
    with quick(), pytest.raises(AudioError, match="decodes to more than 2000000 bytes"):
        load(bomb, limits=limits)


def test_F038_the_refusal_of_a_bomb_costs_little_memory() -> None:
    bomb = encode(np.zeros((8, 4_000_000), np.float32), 48_000, format="flac")  # 128 MB as samples
    tracemalloc.start()
    try:
        with pytest.raises(AudioError, match="decodes to more"):
            load(bomb, limits=SMALL)
        assert tracemalloc.get_traced_memory()[1] < 4 * SMALL.max_decoded_bytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [2**32 - 1, 2**31, 2**32 - 1000])
def test_F038_a_wav_header_that_claims_gigabytes_gives_what_is_there(size: int) -> None:
    samples, _ = load(riff(fmt(), chunk(b"data", bytes(400), size)))
    assert samples.shape == (1, 200)


def rf64_with_two_formats() -> bytes:
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 1000, 400, 200, 0))
    wide = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE_HZ, 0, 2, 16, 22, 16, 4) + struct.pack("<I", 1) + bytes(12)
    many = struct.pack("<HHIIHHHHI", 0xFFFE, 255, RATE_HZ, 0, 510, 16, 22, 16, 4) + struct.pack("<I", 1) + bytes(12)
    return riff(ds64, chunk(b"fmt ", wide), chunk(b"fmt ", many), DATA, kind=b"RF64")


STRANGE = {
    "two formats": riff(fmt(), fmt(channels=255), DATA),
    "two formats in RF64": rf64_with_two_formats(),
    "mp3 inside": riff(fmt(tag=0x55), DATA),
    "3 bits": riff(fmt(bits=3, align=1), DATA),
    "0 bits": riff(fmt(bits=0), DATA),
    "65535 channels": riff(fmt(channels=65535), DATA),
    "1024 channels": riff(fmt(channels=1024), DATA),
    "9 channels": riff(fmt(channels=9), DATA),
    "0 channels": riff(fmt(channels=0), DATA),
    "a second format behind the data": riff(fmt(), DATA, fmt(channels=255)),
    "a second format behind many chunks": riff(fmt(), DATA, *[chunk(b"junk", b"")] * 300, fmt(channels=255)),
    "no format": riff(DATA),
    "no data": riff(fmt()),
    "RF64 without sizes": riff(fmt(), DATA, kind=b"RF64"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_F039_strange_wav_headers_are_refused(name: str) -> None:
    with quick(), pytest.raises(AudioError):
        load(STRANGE[name])


MILD = {
    "an odd byte at the end": riff(fmt(), chunk(b"data", bytes(401))),
    "a list bomb": riff(fmt(), chunk(b"LIST", b"INFO" + chunk(b"INAM", b"x") * 20_000), DATA),
    "a list that claims gigabytes": riff(fmt(), DATA, chunk(b"LIST", b"INFO", 2**32 - 1)),
    "many small chunks": riff(fmt(), *[chunk(b"junk", b"")] * 200, DATA),
    "RF64 sizes that lie": riff(
        chunk(b"ds64", struct.pack("<QQQI", 2**63, 2**62, 2**61, 0)),
        fmt(),
        chunk(b"data", bytes(400), 2**32 - 1),
        kind=b"RF64",
    ),
}


@pytest.mark.parametrize("name", MILD)
def test_F039_strange_chunks_give_the_sound_or_an_error(name: str) -> None:
    with quick():
        try:
            assert load(MILD[name])[0].shape in ((1, 200), (1, 201))
        except AudioError:
            pass
        try:
            read_tags(MILD[name])
        except AudioError:
            pass


PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile '{other}'\n",
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{other}\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="1"><BaseURL>{other}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "html": "<!DOCTYPE html><html><body>Not found</body></html>",
    "lfs pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("suffix", ["wav", "m3u8"])
def test_F040_a_text_that_names_another_file_does_not_open_it(
    tmp_path: Path, name: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "other.flac", WAVE, RATE_HZ)
    for other in ("other.flac", str(tmp_path / "other.flac")):
        text = PLAYLISTS[name].format(other=other).encode()
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(text)
        for source in (path, str(path), text):
            with quick(), pytest.raises(AudioError):
                load(source)


def test_F040_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) + bytes(200)
    jpg = b"\xff\xd8\xff\xe0\x00\x10JFIF\0" + bytes(range(256)) * 4
    for data in (png, jpg, b"PK\x03\x04" + bytes(300), b"%PDF-1.7\n" + bytes(300), b"\x7fELF" + bytes(300)):
        with quick(), pytest.raises(AudioError):
            load(data)


def test_F040_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "link.wav").symlink_to("/dev/zero")
    for source in (tmp_path, tmp_path / "fifo.wav", tmp_path / "link.wav", "/dev/zero", "/dev/null"):
        with quick(1), pytest.raises(AudioError, match="not a regular file"):
            load(source)
    with Path("/dev/zero").open("rb") as file, pytest.raises(AudioError, match="device"):
        load(file)


def test_F040_a_sparse_file_of_4_gb_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "sparse.wav"
    with path.open("wb") as file:
        file.truncate(4_000_000_000)
    with quick(), pytest.raises(AudioError):
        load(path)
    with quick(0.5), pytest.raises(AudioError, match="4000000000 bytes"):
        load(path, limits=SMALL)
    with path.open("rb") as file, quick(0.5), pytest.raises(AudioError, match="4000000000 bytes"):
        load(file, limits=SMALL)


NAMES = [
    "with space.wav",
    "'quotes' \"both\".wav",
    "new\nline.wav",
    "-leading.wav",
    "--help.wav",
    "🎹.wav",
    "nul.wav",
    "con",
    "file.wav;rm -rf .wav",
    "$(touch pwned).wav",
    "|cat.wav",
    "%s%n.wav",
    "pipe:0",
    "concat:a.wav",
    os.fsdecode(b"\xff\xfe.wav"),
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_F041_the_name_of_a_file_is_data(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert save(name, WAVE, RATE_HZ, format="wav", tags={"title": "t"}) == Path(name)
    assert os.listdir() == [name]
    for source in (name, Path(name), tmp_path / name):
        assert load(source)[0].shape == WAVE.shape
    assert read_tags(name) == {"title": "t"}
    Path(name).write_bytes(b"no sound")
    with pytest.raises(AudioError) as caught:
        load(name)
    str(caught.value).encode()  # can be printed
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a" * 4096, "a\0b.wav", "none/a.wav"])
def test_F041_a_name_that_no_file_can_have_is_an_error(tmp_path: Path, name: str) -> None:
    for call in (lambda: load(name), lambda: read_tags(name), lambda: save(name, WAVE, RATE_HZ, format="wav")):
        with pytest.raises(AudioError) as caught:
            call()
        assert len(str(caught.value)) < 400


FUZZ = settings(
    max_examples=120,
    deadline=5000,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
_positions = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=8)


@pytest.mark.parametrize("suffix", FORMATS)
def test_F044_mutated_files_give_sound_or_an_error(suffix: str) -> None:
    whole = FILES[suffix]

    @FUZZ
    @given(positions=_positions, in_head=st.booleans(), cut=st.one_of(st.none(), st.integers(0, len(whole))))
    def run(positions: list[tuple[int, int]], in_head: bool, cut: int | None) -> None:
        data = bytearray(whole)
        for position, value in positions:
            data[position % (min(64, len(data)) if in_head else len(data))] = value
        answer(bytes(data[:cut]))

    run()


@pytest.mark.parametrize("head", [b"", b"RIFF\xff\xff\xff\xffWAVEfmt ", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"FORM"])
def test_F044_noise_behind_a_known_start_gives_sound_or_an_error(head: bytes) -> None:
    @settings(FUZZ, max_examples=30)
    @given(noise=st.binary(max_size=2000))
    def run(noise: bytes) -> None:
        answer(head + noise)

    run()


def answer(data: bytes) -> None:
    for call in (lambda: load(data, limits=SMALL), lambda: read_tags(data)):
        try:
            result: Any = call()
        except AudioError as error:
            assert len(str(error)) < 500
        else:
            if isinstance(result, tuple):
                samples, rate_hz = result
                assert samples.dtype == np.float32 and samples.ndim == 2 and samples.nbytes <= 5_000_000
                assert np.isfinite(samples).all() and 1000 <= rate_hz <= 384_000


def test_F027_a_full_disk_leaves_the_old_file() -> None:
    script = """
        import os, resource, signal, sys
        import numpy as np
        from antiphon.audio.files import save
        from antiphon.errors import AudioError
        os.chdir(sys.argv[1])
        wave = np.random.default_rng(0).uniform(-0.3, 0.3, (1, 400_000))
        names = ["a.flac", "a.mp3", "a.ogg", "a.opus", "a.wav"]
        for name in names:
            save(name, wave[:, :100], 32_000)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        for name in names:
            before = open(name, "rb").read()
            try:
                save(name, wave, 32_000)
            except AudioError as error:
                if "File too large" not in str(error):
                    sys.exit(str(error))
            else:
                sys.exit(f"{name} was written")
            if open(name, "rb").read() != before:
                sys.exit(f"{name} was changed")
        if sorted(os.listdir()) != names:
            sys.exit(f"left behind: {os.listdir()}")
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-O", "-c", textwrap.dedent(script), folder],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=Path(antiphon.__file__).parents[1],
            check=False,
        )
    assert done.returncode == 0 and done.stderr == "", done.stderr
