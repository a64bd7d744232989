"""``antiphon encode`` and ``antiphon decode``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon import Audio
from antiphon.cli.app import run
from antiphon.tasks.codes_file import Codes
from antiphon.tasks.reconstruction import log_spectral_distance_db, snr_db


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_MODEL", str(checkpoint))
    Audio(np.sin(np.arange(20_001) / 20) * 0.3, 44_100).save("sound.flac")


@pytest.mark.parametrize("codes", ["new/codes.npz", "codes.safetensors"])
def test_a_sound_becomes_codes_and_a_sound_again(codes: str, capsys: Any) -> None:
    assert run(["encode", "sound.flac", "-o", codes, "--device", "cpu", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    samples = Codes.load(codes).samples
    assert samples == pytest.approx(20_001 * 32_000 / 44_100, abs=1)
    assert (told["path"], told["codebooks"], told["frames"]) == (codes, 4, -(-samples // 640))
    assert (told["bit_rate_kbps"], told["frame_rate_hz"]) == (1.8, 50.0)
    assert told["file_bytes"] == Path(codes).stat().st_size
    assert run(["decode", codes, "-o", "back.wav", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "back.wav\n"
    assert Audio.load("back.wav").samples.shape == (1, samples)


def test_a_check_tells_how_far_the_codes_are_from_the_sound(capsys: Any) -> None:
    assert run(["encode", "sound.flac", "-o", "x.npz", "--check", "--device", "cpu", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert run(["decode", "x.npz", "-o", "back.wav", "--device", "cpu", "--json"]) == 0
    back, want = Audio.load("back.wav"), Audio.load("sound.flac").resample(32_000)
    assert told["snr_db"] == pytest.approx(snr_db(back, want), abs=0.02)
    assert told["log_spectral_distance_db"] == pytest.approx(log_spectral_distance_db(back, want), abs=0.5)
    capsys.readouterr()
    assert run(["encode", "sound.flac", "-o", "x.npz", "--check", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out
    assert "1.8 kbit/s" in lines
    assert f"{told['snr_db']:.2f} dB" in lines


def test_a_file_that_exists_is_kept_unless_forced(capsys: Any) -> None:
    run(["encode", "sound.flac", "-o", "x.npz", "--device", "cpu"])
    Path("back.wav").write_bytes(b"mine")
    assert run(["decode", "x.npz", "-o", "back.wav", "--device", "cpu"]) == 0
    assert Path("back.wav").read_bytes() == b"mine"
    assert Path("back-2.wav").exists()
    assert run(["decode", "x.npz", "-o", "back.wav", "--device", "cpu", "--force"]) == 0
    assert Path("back.wav").read_bytes() == Path("back-2.wav").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "hint", "status"),
    [
        (["encode", "sound.flac"], "--output", 2),
        (["encode", "sound.flac", "-o", "x.bin"], ".npz", 1),
        (["encode", "nowhere.wav", "-o", "x.npz"], "nowhere.wav", 1),
        (["encode", "sound.flac", "-o", "x.npz", "--bandwidth", "7"], "bandwidth=7", 1),
        (["encode", "sound.flac", "-o", "x.npz", "--model", "nowhere/at-all"], "nowhere/at-all", 1),
        (["decode", "sound.flac", "-o", "x.wav"], ".npz", 1),
        (["decode", "nowhere.npz", "-o", "x.wav"], "nowhere.npz", 1),
    ],
)
def test_F115_what_cannot_be_coded_is_one_line(arguments: list[str], hint: str, status: int, capsys: Any) -> None:
    assert run(arguments) == status
    told = capsys.readouterr()
    assert hint in told.err
    assert told.err.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["sound.flac"]
