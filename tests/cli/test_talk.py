"""``antiphon talk``: recordings answered into files, and conversations at a stand-in microphone."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest

import antiphon
from antiphon.audio.clip import Audio
from antiphon.cli import app
from antiphon.tasks.talker import Talker

RATE, FRAME = 24_000, 1920


@pytest.fixture
def question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, talking_checkpoint: Path, ctrl_c: None) -> Path:
    """A recording of another rate in an otherwise empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_MODEL", str(talking_checkpoint))
    noise = np.random.default_rng(0).standard_normal((2, 8000)).astype(np.float32)
    return Audio(0.2 * noise, 16_000).save("question.wav")  # half a second


def test_a_recording_becomes_a_conversation_and_a_transcript(
    question: Path, talker: Talker, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["talk", "--in", str(question), "-o", "out/talk.wav", "--transcript", "out/words.json", "--seed", "7"]
    assert app.run(asked) == 0
    out, err = capsys.readouterr()
    reply = talker.reply("question.wav", seed=7)
    written, told = Audio.load("out/talk.wav"), json.loads(Path("out/words.json").read_text(encoding="utf-8"))
    assert (written.channels, written.sampling_rate, len(written)) == (2, RATE, 8 * FRAME)
    np.testing.assert_allclose(written.samples, reply.stereo.samples, atol=1e-4)
    assert (written.seed, written.prompt) == (7, reply.transcript.text)
    assert told == json.loads(json.dumps(reply.transcript.to_dict()))
    assert out.splitlines()[0] == "out/talk.wav"
    assert out.splitlines()[1:] == ([reply.transcript.text] if reply.transcript.text else [])
    assert err == ""


def test_settings_openings_and_outputs_are_as_asked(
    question: Path, talker: Talker, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["talk", "--in", str(question), "-o", "talk.flac", "--seed", "3", "--seconds", "0.8", "--json", "--mono"]
    asked += ["--text-temperature", "0", "--audio-top-k", "5", "--repetition-penalty", "1.5", "--picture"]
    assert app.run([*asked, "--opening", "hello", "--silent-opening"]) == 0
    told = json.loads(capsys.readouterr().out)
    reply = talker.reply(
        "question.wav",
        seed=3,
        seconds=0.8,
        text_temperature=0.0,
        audio_top_k=5,
        repetition_penalty=1.5,
        opening=talker.opening("hello", heard=False),
    )
    assert (told["text"], told["seed"], told["seconds"]) == (reply.transcript.text, 3, pytest.approx(0.88))
    assert Path(told["picture"]).read_bytes().startswith(b"\x89PNG")
    written = Audio.load(told["path"])
    assert written.channels == 1
    np.testing.assert_allclose(written.samples, reply.audio.samples, atol=1e-4)
    assert written.parameters is not None
    assert (written.parameters["audio_top_k"], written.parameters["text_temperature"]) == (5, 0.0)


def test_adapters_are_put_on_and_told_of(question: Path, talker: Talker, tmp_path: Path) -> None:
    model = antiphon.MoshiForConditionalGeneration.from_pretrained(talker.name)
    model.add_adapter({"r": 2, "target_parameters": ["depth_decoder.lm_heads.weight"], "init_lora_weights": False})
    model.save_adapter(tmp_path / "adapter")
    asked = ["talk", "--in", str(question), "--seed", "3", "--mono"]
    assert app.run([*asked, "-o", "with.wav", "--adapter", "adapter:0.5"]) == 0
    assert app.run([*asked, "-o", "without.wav"]) == 0
    written, plain = Audio.load("with.wav"), Audio.load("without.wav")
    assert written.parameters is not None
    assert [(one["name"], one["scale"]) for one in written.parameters["adapters"]] == [("adapter", 0.5)]
    assert not np.array_equal(written.samples, plain.samples)
    assert app.run([*asked, "-o", "none.wav", "--adapter", "nowhere"]) == app.FAILED
    assert not Path("none.wav").exists()


def test_existing_files_are_kept_and_a_drawn_seed_is_told(question: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["talk", "--in", str(question), "-o", "talk.wav", "--seconds", "0.16", "--json"]
    assert [app.run(asked), app.run(asked), app.run([*asked, "--force"])] == [0, 0, 0]
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["path"] for one in told] == ["talk.wav", "talk-2.wav", "talk.wav"]
    assert told[0]["seed"] != told[1]["seed"]


def test_F117_ctrl_c_keeps_what_was_said(
    question: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = Talker.reply

    def interrupted(self: Talker, audio: Any, **asked: Any) -> Any:
        def progress(share: float, done_s: float) -> None:
            if done_s > 0.2:
                signal.raise_signal(signal.SIGINT)

        return reply(self, audio, **{**asked, "on_progress": progress})

    monkeypatch.setattr(Talker, "reply", interrupted)
    asked = ["talk", "--in", str(question), "-o", "talk.wav", "--transcript", "words.json"]
    assert app.run(asked) == app.INTERRUPTED
    assert capsys.readouterr().out.splitlines()[0] == "talk-partial.wav"
    assert len(Audio.load("talk-partial.wav")) == 4 * FRAME
    assert json.loads(Path("words.json").read_text(encoding="utf-8"))["seconds"] == pytest.approx(0.32)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (["-o", "talk.wav", "--seconds", "nan"], "--seconds"),
        (["-o", "talk.wav", "--text-temperature", "nan"], "text_temperature"),
        (["-o", "talk.wav", "--audio-top-k", "-1"], "audio_top_k"),
        (["-o", "talk.wav", "--seed", "-1"], "seed"),
        (["-o", "talk.wav", "--silent-opening"], "--opening"),
        (["-o", "talk.wav", "--transcript", "words.txt"], ".json"),
        ([], "-o"),
    ],
)
def test_misuse_is_told_before_anything_is_loaded(
    question: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changed: list[str], named: str
) -> None:
    monkeypatch.setattr("antiphon.tasks.load.load", lambda *a, **k: pytest.fail("loaded"))
    assert app.run(["talk", "--in", str(question), *changed]) == app.MISUSED
    assert named in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["question.wav"]


def test_F079_what_cannot_be_read_or_does_not_talk_is_one_line(
    question: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.wav").touch()
    for said in ("missing.wav", "empty.wav"):
        assert app.run(["talk", "--in", said, "-o", "talk.wav"]) == app.FAILED
        assert said in capsys.readouterr().err
    assert app.run(["talk", "--in", str(question), "-o", "talk.wav", "--model", str(checkpoint)]) == app.FAILED
    assert "'musicgen'" in capsys.readouterr().err
    assert app.run(["talk", "--in", str(question), "-o", "talk.xyz"]) == app.FAILED
    monkeypatch.delenv("ANTIPHON_MODEL")
    assert app.run(["talk", "--in", str(question), "-o", "talk.wav"]) == app.MISUSED
    assert "ANTIPHON_MODEL" in capsys.readouterr().err


class Stream:
    """A microphone that says all it has as soon as it is started, and presses Ctrl-C when all of it was heard."""

    said = np.zeros((0, FRAME, 1), np.float32)
    played: ClassVar[list[np.ndarray]] = []
    slow = False

    def __init__(self, callback: Any, **asked: Any) -> None:
        self.callback, self.closed = callback, False

    def start(self) -> None:
        device = self.callback.__self__
        blocks = list(Stream.said)
        if Stream.slow:
            while blocks:
                self._exchange(blocks.pop(0))
        take = device.take

        def next_block(timeout_s: float) -> np.ndarray | None:
            if blocks:
                self._exchange(blocks.pop(0))
            frame: np.ndarray | None = take(0)
            if frame is None:
                signal.raise_signal(signal.SIGINT)
            return frame

        device.take = next_block

    def _exchange(self, block: np.ndarray) -> None:
        out = np.empty_like(block)
        self.callback(block, out, FRAME, None, None)
        Stream.played.append(out[:, 0])

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def microphone(monkeypatch: pytest.MonkeyPatch) -> type[Stream]:
    module = ModuleType("sounddevice")
    module.Stream, module.PortAudioError = Stream, OSError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    noise = 0.2 * np.random.default_rng(1).standard_normal((6, FRAME, 1))
    monkeypatch.setattr(Stream, "said", noise.astype(np.float32))
    monkeypatch.setattr(Stream, "played", [])
    monkeypatch.setattr(Stream, "slow", False)
    return Stream


def test_a_live_conversation_is_heard_written_and_ends_with_ctrl_c(
    question: Path, talker: Talker, microphone: type[Stream], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["talk", "-o", "live.wav", "--transcript", "words.json", "--seed", "5"]) == 0
    out, err = capsys.readouterr()
    session = talker.session(seed=5)
    sound, pieces = session.push(microphone.said.reshape(-1))
    text = "".join(piece.text for piece in pieces)
    assert out.splitlines() == [*([text] if text else []), "live.wav"]
    assert "Ctrl-C" in err
    written = Audio.load("live.wav")
    assert (written.channels, written.sampling_rate, len(written)) == (2, RATE, 7 * FRAME)
    np.testing.assert_allclose(written.samples[0, : 6 * FRAME], microphone.said.reshape(-1), atol=1e-4)
    np.testing.assert_allclose(written.samples[1, 2 * FRAME :], sound, atol=1e-4)
    # what was answered to a block is played while the next one is said
    np.testing.assert_array_equal(np.concatenate(microphone.played[2:]), sound[: 4 * FRAME])
    assert json.loads(Path("words.json").read_text(encoding="utf-8"))["text"] == text.strip()


def test_F074_a_machine_that_is_too_slow_says_so_and_goes_on(
    question: Path, microphone: type[Stream], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(1).standard_normal((30, FRAME, 1)).astype(np.float32)
    monkeypatch.setattr(Stream, "said", 0.2 * noise)
    monkeypatch.setattr(Stream, "slow", True)
    assert app.run(["talk", "--seconds", "0.16", "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (told["late_frames"], told["seconds"]) == (5, 0.16)
    assert "5 frames came too late" in err


def test_what_is_about_recordings_is_refused_at_the_microphone(
    question: Path, microphone: type[Stream], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["talk", "-o", "live.flac"]) == app.MISUSED
    assert ".wav" in capsys.readouterr().err
    assert app.run(["talk", "--mono"]) == app.MISUSED
    assert "--in" in capsys.readouterr().err


def test_without_the_extra_the_error_says_how_to_install_it(
    question: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert app.run(["talk", "-o", "live.wav"]) == app.FAILED
    assert "pip install 'antiphon[live]'" in capsys.readouterr().err
    assert not Path("live.wav").exists()
