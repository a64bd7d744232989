"""The captioner: every file once, bad ones named, and nothing depends on who is described beside whom."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.audio.clip import Audio
from antiphon.audio.files import save
from antiphon.errors import ParamError, ParamTypeError
from antiphon.tasks.captioner import QUESTION, Caption, Captioner, Failure, sound_files
from antiphon.tasks.listener import Listener
from antiphon.tasks.sidecar import write_sidecar

RATE = 16_000
SHORT: dict[str, Any] = {"max_new_tokens": 6}


def noise(seconds: float, seed: int) -> Audio:
    return Audio(0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32), RATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven sounds of several lengths, a damaged one, an empty one, and what is none."""
    place = tmp_path_factory.mktemp("music")
    (place / "below").mkdir()
    for number, seconds in enumerate((0.3, 3.1, 0.5, 2.0, 0.2, 1.1)):
        noise(seconds, number).save(place / f"{number}.wav")
    noise(0.4, 9).save(place / "below" / "song.flac")
    (place / "2b damaged.wav").write_bytes(b"RIFF....WAVE")
    (place / "empty.mp3").write_bytes(b"")
    (place / "notes.txt").write_text("no sound")
    (place / ".hidden.wav").write_bytes(b"")
    return place


def test_the_sounds_of_a_folder_are_found_by_their_suffixes(folder: Path) -> None:
    names = [path.relative_to(folder).as_posix() for path in sound_files(folder)]
    assert names == [
        "0.wav",
        "1.wav",
        "2.wav",
        "2b damaged.wav",
        *(f"{n}.wav" for n in (3, 4, 5)),
        "below/song.flac",
        "empty.mp3",
    ]
    with pytest.raises(ParamError, match="no folder"):
        sound_files(folder / "0.wav")


@pytest.mark.parametrize("together", [1, 3, 8])
def test_each_file_is_described_as_if_it_were_alone_and_bad_ones_are_named(
    listener: Listener, folder: Path, together: int
) -> None:
    files = sound_files(folder)
    made = list(Captioner(listener, question="Key?", together=together, **SHORT).captions(files))
    assert [one.path for one in made] == files
    bad = {one.path.name: one.reason for one in made if isinstance(one, Failure)}
    assert set(bad) == {"2b damaged.wav", "empty.mp3"}
    assert all(bad.values())
    for one in made:
        if isinstance(one, Caption):
            answer = listener.ask(one.path, "Key?", **SHORT)
            assert one.told["text"] == answer.text
            assert one.told["duration"] == pytest.approx(answer.heard_s, abs=1e-3)
            assert (one.told["question"], one.told["model"]) == ("Key?", listener.name)


def test_the_windows_of_several_songs_are_encoded_together(
    listener: Listener, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[int] = []
    encode = type(listener.model).get_audio_features

    def watched(self: Any, features: Any, *args: Any, **kwargs: Any) -> Any:
        windows.append(len(features))
        return encode(self, features, *args, **kwargs)

    monkeypatch.setattr(type(listener.model), "get_audio_features", watched)
    listener.forget()
    files = [folder / f"{number}.wav" for number in range(4)]
    list(Captioner(listener, together=4, **SHORT).captions(files))
    assert windows == [1 + 2 + 1 + 1]


def test_a_sound_that_breaks_a_batch_harms_no_other(
    listener: Listener, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Listener.ask_each

    def breaking(self: Listener, audios: Any, *args: Any, **kwargs: Any) -> Any:
        if any(abs(one.sound.end_s - 0.5) < 1e-3 for one in audios):
            raise ParamError("half a second")
        return whole(self, audios, *args, **kwargs)

    monkeypatch.setattr(Listener, "ask_each", breaking)
    files = [folder / f"{number}.wav" for number in range(4)]
    made = list(Captioner(listener, together=4, **SHORT).captions(files))
    assert [type(one) for one in made] == [Caption, Caption, Failure, Caption]
    assert isinstance(made[2], Failure) and "half a second" in made[2].reason


def test_a_stop_leaves_out_what_is_not_whole(listener: Listener, folder: Path) -> None:
    stopped = []

    def stop() -> bool:
        return bool(stopped)

    files = [folder / f"{number}.wav" for number in range(6)]
    made = []
    for one in Captioner(listener, together=2, stop_when=stop, **SHORT).captions(files):
        made.append(one)
        if len(made) == 2:
            stopped.append(1)
    assert [one.path.name for one in made] == ["0.wav", "1.wav"]


def test_settings_are_checked_before_anything_is_read(listener: Listener) -> None:
    for bad in ({"together": 0}, {"temperature": float("nan")}, {"question": " "}, {"long": "map"}):
        with pytest.raises(ParamError):
            Captioner(listener, **bad)
    with pytest.raises(ParamTypeError, match="unknown"):
        Captioner(listener, tempo=3)  # type: ignore[call-arg]


def test_a_cut_is_told(listener: Listener, tmp_path: Path) -> None:
    path = noise(listener.longest_s + 1, 0).save(tmp_path / "long.wav")
    (one,) = Captioner(listener, **SHORT).captions([path])
    assert isinstance(one, Caption)
    assert (one.told["heard_s"], one.told["duration"]) == (listener.longest_s, listener.longest_s + 1)
    (refused,) = Captioner(listener, strict=True, **SHORT).captions([path])
    assert isinstance(refused, Failure)
    assert "lasts" in refused.reason


def test_a_sidecar_is_written_and_one_of_others_is_kept(listener: Listener, folder: Path, tmp_path: Path) -> None:
    song = tmp_path / "song.wav"
    song.write_bytes((folder / "0.wav").read_bytes())
    (one,) = Captioner(listener, **SHORT).captions([song])
    assert isinstance(one, Caption)
    for _ in range(2):  # its own is replaced
        written = json.loads(write_sidecar(one).read_text(encoding="utf-8"))
        assert written["text"] == one.told["text"].encode("utf-8", "replace").decode()
        assert written["question"] == QUESTION
    for held in (b'{"melody": "tune.wav"}', b"no json", b"[1]"):
        (tmp_path / "song.json").write_bytes(held)
        with pytest.raises(ParamError, match=r"song\.json"):
            write_sidecar(one)
        assert (tmp_path / "song.json").read_bytes() == held


def test_F027_two_hundred_files_in_processes_that_are_killed_are_each_described_once(
    listening_checkpoint: Path, tmp_path: Path
) -> None:
    music = tmp_path / "music"
    music.mkdir()
    for number in range(200):
        save(music / f"{number:03}.wav", noise(0.1, number).samples, RATE)
    output, chance = tmp_path / "captions.jsonl", random.Random(7)
    counts = [str(chance.randint(1, 40)) for _ in range(5)]
    script = Path(__file__).with_name("killed_captioner.py")
    told = [sys.executable, str(script), str(listening_checkpoint), str(music), str(output), *counts]
    subprocess.run(told, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=550)
    lines = [json.loads(line) for line in output.read_bytes().splitlines()]
    assert Counter(line["path"] for line in lines) == Counter(f"{number:03}.wav" for number in range(200))
    assert {line["question"] for line in lines} == {"Key?"}
