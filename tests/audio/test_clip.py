from __future__ import annotations

import base64
import dataclasses
import io
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import antiphon
from antiphon.audio import clip
from antiphon.audio.clip import Audio
from antiphon.audio.files import read_tags, save
from antiphon.errors import AudioError, ParamError, ParamTypeError

RATE_HZ = 32_000


def made(**changes: Any) -> Audio:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)
    values: dict[str, Any] = {
        "samples": wave,
        "sampling_rate": RATE_HZ,
        "prompt": "a <b>bold</b> naïve 日本 beat & bass",
        "seed": 2**63 + 1,
        "model": "musicgen-small",
        "parameters": {"guidance_scale": 3.0, "seconds": 1, "software": "antiphon 0.1"},
    }
    return Audio(**{**values, **changes})


def test_the_samples_become_float32_channels_first() -> None:
    for wave in (torch.zeros(10), [0.0] * 10, np.zeros((1, 10), np.int16)):
        audio = Audio(wave, 16_000.0)  # type: ignore[arg-type]
        assert audio.samples.shape == (1, 10) and audio.samples.dtype == np.float32
        assert type(audio.sampling_rate) is int and len(audio) == 10 and audio.channels == 1


def test_what_cannot_be_a_sound_is_refused() -> None:
    with pytest.raises(AudioError):
        Audio(np.zeros((100, 2)), RATE_HZ)
    with pytest.raises(ParamTypeError):
        Audio(None, RATE_HZ)  # type: ignore[arg-type]
    with pytest.raises(ParamError, match="sampling_rate"):
        Audio(np.zeros(3), 0)


def test_it_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        made().seed = 3  # type: ignore[misc]


def test_its_measures() -> None:
    audio = made()
    assert audio.seconds == 1.0 and audio.peak == pytest.approx(0.5)
    assert audio.rms_dbfs == pytest.approx(-3.0103 - 6.0206, abs=1e-3)
    assert Audio(np.array([-1.0]), RATE_HZ).peak == 1.0 and Audio(np.array([-1.0]), RATE_HZ).rms_dbfs == 0.0
    silent = Audio(np.array([0.0]), RATE_HZ)
    assert silent.rms_dbfs == -math.inf and silent.peak == 0.0 and silent.seconds == 1 / RATE_HZ


def test_it_is_an_array_where_one_is_wanted() -> None:
    audio = made()
    assert np.asarray(audio) is audio.samples
    assert np.asarray(audio, np.float64).dtype == np.float64
    assert np.array(audio) is not audio.samples
    assert Audio(audio, RATE_HZ).samples.shape == audio.samples.shape  # type: ignore[arg-type]


def test_mono_and_resample_keep_how_it_was_made() -> None:
    audio = made(samples=np.array([[1.0, 0.0], [0.0, 0.5]]))
    mono = audio.mono()
    np.testing.assert_array_equal(mono.samples, [[0.5, 0.25]])
    assert mono.prompt == audio.prompt and mono.seed == audio.seed
    other = made().resample(48_000)
    assert len(other) == 48_000 and other.sampling_rate == 48_000 and other.model == "musicgen-small"
    assert audio.resample(RATE_HZ) is audio
    with pytest.raises(ParamError, match="rate_hz"):
        audio.resample(0)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_saved_sound_knows_how_it_was_made(tmp_path: Path, suffix: str) -> None:
    audio = made()
    path = audio.save(tmp_path / f"a.{suffix}")
    back = Audio.load(path)
    for name in ("prompt", "seed", "model", "parameters", "sampling_rate"):
        assert getattr(back, name) == getattr(audio, name)
    tags = read_tags(path)
    assert tags["title"] == audio.prompt
    if suffix != "mp3":  # LAME puts its own name there
        assert tags["software"] == "antiphon 0.1"


def test_the_arguments_of_save_reach_the_file(tmp_path: Path) -> None:
    assert soundfile.info(made().save(tmp_path / "a.wav", subtype="FLOAT")).subtype == "FLOAT"
    assert soundfile.info(made().save(tmp_path / "b.wav", format="flac")).format == "FLAC"


def test_a_sound_without_a_history_saves_and_loads(tmp_path: Path) -> None:
    back = Audio.load(Audio(np.full(100, 0.5), RATE_HZ).save(tmp_path / "a.wav"))
    assert (back.prompt, back.seed, back.model, back.parameters) == (None, None, None, None)
    assert read_tags(tmp_path / "a.wav")["software"] == "antiphon"


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3"])
def test_a_prompt_of_any_length_can_be_saved(tmp_path: Path, suffix: str) -> None:
    parameters = {
        "note": "p" * 10_000,
        "bad": math.nan,
        "kind": np.float32(2),
        "path": Path("x"),
        "list": (1, [math.inf]),
    }
    for length in (4096, 1_000_000):
        path = made(prompt="é" * length, parameters=parameters).save(tmp_path / f"a.{suffix}")
        back = Audio.load(path)
        assert back.prompt is not None and back.prompt[:2000] == "é" * 2000 and back.seed == 2**63 + 1
    path = made(parameters={"note": "p" * 100_000}).save(tmp_path / f"a.{suffix}")
    assert Audio.load(path).prompt == made().prompt and Audio.load(path).parameters is None
    assert Audio.load(path).seed == 2**63 + 1


@pytest.mark.parametrize(
    "comment",
    ["", "a plain comment", "[1]", '{"seed": "7", "prompt": 3, "parameters": []}', '{"seed": true}', "[" * 9000],
)
def test_a_foreign_comment_is_not_believed(tmp_path: Path, comment: str) -> None:
    path = save(tmp_path / "a.flac", np.zeros(100), RATE_HZ, tags={"comment": comment, "title": "the title"})
    back = Audio.load(path)
    assert (back.prompt, back.seed, back.model, back.parameters) == ("the title", None, None, None)


def test_a_file_object_loads_with_its_tags(tmp_path: Path) -> None:
    data = made().save(tmp_path / "a.wav").read_bytes()
    assert Audio.load(data).seed == Audio.load(io.BytesIO(data)).seed == 2**63 + 1


def test_a_notebook_shows_a_player_and_the_escaped_prompt() -> None:
    page = made(prompt="<script>alert('x')</script> & \"q\"")._repr_html_()
    assert "<audio controls" in page and "<script>" not in page and "&lt;script&gt;" in page
    data = base64.b64decode(page.split("base64,")[1].split('"')[0])
    assert soundfile.info(io.BytesIO(data)).frames == RATE_HZ
    assert "<audio controls" in made(prompt=None)._repr_html_()


def test_a_notebook_does_not_hold_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "_EMBED_BYTES", 1000)
    page = made()._repr_html_()
    assert "<audio" not in page and "save it" in page


def test_its_repr_is_one_line() -> None:
    assert repr(made(prompt="x\ny")) == (
        f"Audio(1.00 s, 1 ch, 32000 Hz, prompt='x\\ny', seed={2**63 + 1}, model='musicgen-small')"
    )


def test_importing_it_loads_no_codec_and_no_plotting() -> None:
    script = (
        "import sys, antiphon.audio.clip, antiphon.audio.picture\n"
        "print([name for name in ('soundfile', 'soxr', 'av', 'matplotlib') if name in sys.modules])"
    )
    root = Path(antiphon.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


def test_a_sound_can_be_brought_to_a_level() -> None:
    audio = made()
    assert audio.loudness_lufs == pytest.approx(-3.01 - 6.02 - 0.65, abs=0.1)
    for strategy, peak in (("peak", 10 ** (-1 / 20)), ("rms", 2**0.5 * 10 ** (-18 / 20))):
        level = audio.normalised(strategy)  # type: ignore[arg-type]
        assert level.peak == pytest.approx(peak, rel=1e-3)
        assert level.prompt == audio.prompt and level.parameters == audio.parameters and audio.peak <= 0.5
    assert audio.normalised().loudness_lufs == pytest.approx(-14, abs=0.01)
    assert audio.normalised(loudness_headroom_db=20).loudness_lufs == pytest.approx(-20, abs=0.01)
    assert audio.normalised("none") is audio
    assert math.isnan(Audio(np.ones(10), RATE_HZ).loudness_lufs)


def test_chunks_join_to_the_whole() -> None:
    audio = made()
    chunks = [
        dataclasses.replace(audio, samples=audio.samples[:, start : start + 999]) for start in range(0, RATE_HZ, 999)
    ]
    whole = Audio.join(iter(chunks))
    np.testing.assert_array_equal(whole.samples, audio.samples)
    assert (whole.prompt, whole.seed, whole.parameters) == (audio.prompt, audio.seed, audio.parameters)
    assert Audio.join([audio]) is audio


def test_chunks_that_do_not_fit_together_are_named() -> None:
    audio = made()
    with pytest.raises(AudioError, match="no chunks"):
        Audio.join([])
    for other in (Audio(np.zeros((2, 10)), RATE_HZ), Audio(np.zeros(10), 48_000)):
        with pytest.raises(AudioError, match=r"chunk 1 has . channels at"):
            Audio.join([audio, other])


def test_its_pcm_is_interleaved_and_little_endian() -> None:
    audio = Audio(np.array([[0.5, 1.0, 1.4], [-1.0, 0.25, -3.0]]), RATE_HZ)
    expected = np.array([16384, -32768, 32767, 8192, 32767, -32768], "<i2")
    assert audio.to_pcm16() == expected.tobytes()


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3"])
@pytest.mark.parametrize("loudness", ["peak", "rms", "loudness", "clip"])
def test_a_sound_saved_at_a_level_peaks_below_minus_1_dbfs(tmp_path: Path, suffix: str, loudness: Any) -> None:
    rng = np.random.default_rng(0)
    audio = made(samples=np.sign(np.sin(np.arange(24_000) * 0.02)) * 0.9 + 0.2 * rng.standard_normal(24_000))
    back = Audio.load(audio.save(tmp_path / f"a.{suffix}", loudness=loudness))
    assert back.peak <= 10 ** (-0.99 / 20)
    assert back.seed == audio.seed


def test_a_sound_saved_without_a_level_keeps_its_samples(tmp_path: Path) -> None:
    audio = made()
    for loudness in (None, "none"):
        back = Audio.load(audio.save(tmp_path / "a.wav", loudness=loudness))  # type: ignore[arg-type]
        np.testing.assert_allclose(back.samples, audio.samples, atol=2e-5)
    with pytest.raises(ParamTypeError, match="strategy"):
        audio.save(tmp_path / "a.wav", loudness="loud")  # type: ignore[arg-type]
