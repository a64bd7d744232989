"""Faults of the command line from outside: Ctrl-C and other signals, two processes at once, no place to write.

Real processes and real signals: a child sends the signal to itself at the moment that is meant, or tells when it is
there and waits.
"""

from __future__ import annotations

import os
import pkgutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import antiphon
from antiphon import Audio
from antiphon.cli.app import main, run
from antiphon.cli.interruption import Interruption
from antiphon.tasks.replay import Recipe

_ROOT = Path(antiphon.__file__).parents[1]
_START = """
import os, signal, sys
import antiphon.cli.app as app
"""
_AT_STEP = """
import antiphon.tasks.composer as composer
inner = composer._Progress.step
def step(progress, column):
    if progress._done == 20:
        os.kill(os.getpid(), signal.{})
    inner(progress, column)
composer._Progress.step = step
"""
_KILLED_AT_THE_SECOND_FILE = """
import antiphon.cli.commission as commission
commission._TOGETHER = 1
inner, written = os.fsync, []
def fsync(number):
    written.append(number)
    if len(written) == 4:  # the plan and its folder, and one sound before
        os.kill(os.getpid(), signal.SIGKILL)
    inner(number)
os.fsync = fsync
"""


def child(setup: str, *arguments: str, cwd: Path, model: Path, **options: Any) -> subprocess.Popen[bytes]:
    """The command line in a process of its own, changed by ``setup``."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment |= {"ANTIPHON_MODEL": str(model)} | options.pop("env", {})
    line = [sys.executable, "-c", f"{_START}\n{setup}\napp.main()", *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(line, env=environment, cwd=cwd, **options)


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, error = process.communicate(timeout=60)
    return process.returncode, out.decode(), error.decode()


@pytest.fixture
def signalled(monkeypatch: Any, tmp_path: Path, checkpoint: Path, capsys: Any) -> Any:
    """Runs the command line in this process, which sends itself a signal once a place is reached ``after`` times."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_MODEL", str(checkpoint))

    def run_it(place: str, after: int, signals: list[str], *arguments: str) -> tuple[int, str, str]:
        owner, name = place.rsplit(".", 1)
        target = pkgutil.resolve_name(owner)
        inner, left = getattr(target, name), [after]

        def counted(*given: Any, **options: Any) -> Any:
            left[0] -= 1
            for signal_name in signals if left[0] == 0 else []:
                os.kill(os.getpid(), getattr(signal, signal_name))
            return inner(*given, **options)

        monkeypatch.setattr(target, name, counted)
        with pytest.raises(SystemExit) as ending:
            main([*arguments, "--device", "cpu"])
        told = capsys.readouterr()
        return ending.value.code, told.out, told.err

    return run_it


_PIANO = ("generate", "calm piano", "--seconds", "1", "--seed", "7")
_STEP = "antiphon.tasks.composer:_Progress.step"
_WRITE = "os.fsync"  # the file is whole then, and has not yet its name
_BOTH = pytest.mark.parametrize(("place", "after"), [(_STEP, 20), (_WRITE, 1)], ids=["step", "write"])


def test_F117_the_first_interrupt_in_a_step_saves_what_is_made(signalled: Any, compose: Any) -> None:
    status, out, error = signalled(_STEP, 20, ["SIGINT"], *_PIANO, "-o", "x.flac")
    assert (status, out) == (130, "x-partial.flac\n")
    assert error.splitlines() == ["stopping: what is made so far is kept; Ctrl-C once more ends at once", "interrupted"]
    assert os.listdir() == ["x-partial.flac"]
    piece = Audio.load("x-partial.flac")
    assert piece.parameters["stopped"] is True
    assert 0.3 < piece.seconds < 0.5
    again = Recipe.of(piece).make(compose)
    np.testing.assert_allclose(again.samples, piece.samples, atol=2**-15)


@_BOTH
def test_F117_the_second_interrupt_ends_at_once_and_leaves_nothing(place: str, after: int, signalled: Any) -> None:
    assert signalled(place, after, ["SIGINT", "SIGINT"], *_PIANO) == (130, "", "interrupted\n")
    assert os.listdir() == []


def test_F117_an_interrupt_while_a_file_is_written_lets_it_be_finished(signalled: Any) -> None:
    assert signalled(_WRITE, 1, ["SIGINT"], *_PIANO) == (130, "calm-piano-7.wav\n", "interrupted\n")
    assert os.listdir() == ["calm-piano-7.wav"]
    assert Audio.load("calm-piano-7.wav").seconds == 1


def test_F117_an_interrupt_before_the_first_sound_leaves_nothing(signalled: Any) -> None:
    status, out, error = signalled(_STEP, 1, ["SIGINT"], *_PIANO)
    assert (status, out, error.splitlines()[-1]) == (130, "", "interrupted")
    assert os.listdir() == []


@pytest.mark.parametrize(
    "place",
    [
        "antiphon.checkpoints.safetensors_file:SafetensorsFile.read_into",
        "antiphon.tasks.load:AutoProcessor.from_pretrained",
    ],
)
def test_F117_an_interrupt_while_loading_ends_with_one_line(place: str, signalled: Any) -> None:
    assert signalled(place, 1, ["SIGINT"], *_PIANO) == (130, "", "interrupted\n")
    assert os.listdir() == []


def test_F117_an_interrupt_while_torch_is_imported_ends_with_one_line(tmp_path: Path, checkpoint: Path) -> None:
    setup = (
        "class Finder:\n"
        "    def find_spec(self, name, *a):\n"
        "        if name == 'torch.nn': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())"
    )
    assert ended(child(setup, *_PIANO, cwd=tmp_path, model=checkpoint)) == (130, "", "interrupted\n")


def test_F117_an_interrupt_while_a_checkpoint_is_fetched_ends_with_one_line(tmp_path: Path) -> None:
    setup = (
        "import huggingface_hub\n"
        "def slow(*a, **k):\n"
        "    os.write(1, b'fetching\\n')\n"
        "    signal.pause()\n"
        "huggingface_hub.snapshot_download = slow"
    )
    process = child(setup, "pull", "some/model", cwd=tmp_path, model=tmp_path)
    assert process.stdout.readline() == b"fetching\n"
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "", "interrupted\n")


def test_F117_an_interrupted_batch_goes_on_where_it_was(signalled: Any, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr("antiphon.cli.commission._TOGETHER", 1)
    Path("prompts.txt").write_text("one\ntwo\nthree\n")
    arguments = ("generate", "--prompts", "prompts.txt", "--seconds", "0.5", "--seed", "7", "--resume")
    status, out, error = signalled(_STEP, 45, ["SIGINT"], *arguments)  # 28 steps a piece
    assert (status, out.split()) == (130, ["one-7.wav", "two-8-partial.wav"])
    wanted = ["the same call with --resume makes the rest", "1 of 3 pieces made", "interrupted"]
    assert error.splitlines()[-3:] == wanted
    assert run([*arguments, "--device", "cpu"]) == 0
    told = capsys.readouterr()
    assert told.out.split() == ["two-8.wav", "three-9.wav"]
    assert told.err == "1 of 3 pieces are finished already\n2 of 2 pieces made\n"


def test_F117_outside_its_block_ctrl_c_is_what_it_was() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interruption() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup
    try:
        with Interruption() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@_BOTH
def test_F118_a_request_to_end_leaves_nothing_half(name: str, place: str, after: int, signalled: Any) -> None:
    assert signalled(place, after, [name], *_PIANO) == (128 + getattr(signal, name), "", "")
    assert os.listdir() == []


@pytest.mark.parametrize("name", ["SIGSTOP", "SIGTSTP"])
def test_F118_a_command_that_was_halted_goes_on_as_if_nothing_had_been(name, tmp_path, checkpoint, compose) -> None:
    arguments = ("generate", "calm piano", "--seconds", "1", "--seed", "7", "--device", "cpu")
    process = child(_AT_STEP.format(name), *arguments, cwd=tmp_path, model=checkpoint)
    # without a terminal that could bring it back, the system may leave SIGTSTP out
    halted = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert name == "SIGTSTP" or halted.si_code == os.CLD_STOPPED
    process.send_signal(signal.SIGCONT)
    assert ended(process) == (0, "calm-piano-7.wav\n", "")
    want = compose("calm piano", seconds=1, seed=7)
    np.testing.assert_allclose(Audio.load(tmp_path / "calm-piano-7.wav").samples, want.samples, atol=2**-15)


def test_F118_a_killed_batch_is_resumed_without_loss_or_repetition(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "prompts.txt").write_text("one\ntwo\nthree\n")
    arguments = ("generate", "--prompts", "prompts.txt", "--seconds", "0.1", "--device", "cpu", "--resume", "-o", "out")
    status, first, _ = ended(child(_KILLED_AT_THE_SECOND_FILE, *arguments, cwd=tmp_path, model=checkpoint))
    assert status == -signal.SIGKILL
    assert [name.startswith("out/one-") for name in first.split()] == [True]
    assert len([name for name in os.listdir(tmp_path / "out") if name.endswith(".part")]) == 1
    status, rest, error = ended(child("", *arguments, cwd=tmp_path, model=checkpoint))
    assert (status, error) == (0, "1 of 3 pieces are finished already\n2 of 2 pieces made\n")
    names = [Path(name).name for name in (first + rest).split()]
    assert [name.split("-")[0] for name in names] == ["one", "two", "three"]
    assert sorted(os.listdir(tmp_path / "out")) == sorted([*names, "antiphon-batch.jsonl"])


def test_F120_two_processes_with_one_output_name_do_not_mix(tmp_path: Path, checkpoint: Path, compose: Any) -> None:
    arguments = ("--seconds", "0.5", "--seed", "7", "--device", "cpu", "-o", "x.wav", "--force")
    processes = [
        child("", "generate", prompt, *arguments, cwd=tmp_path, model=checkpoint) for prompt in ("piano", "drums")
    ]
    assert [ended(process)[:2] for process in processes] == [(0, "x.wav\n")] * 2
    assert os.listdir(tmp_path) == ["x.wav"]
    piece = Audio.load(tmp_path / "x.wav")
    np.testing.assert_allclose(piece.samples, compose(piece.prompt, seconds=0.5, seed=7).samples, atol=2**-15)


def test_F116_a_reader_that_goes_away_ends_a_stream_of_sound_quietly(tmp_path: Path, checkpoint: Path) -> None:
    process = child(
        "",
        *("generate", "a", "--seconds", "20", "--seed", "7", "--device", "cpu", "-o", "-"),
        cwd=tmp_path,
        model=checkpoint,
    )
    assert process.stdout.read(1) == b"R"
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


_NOWHERE = {"HOME": "/proc/nowhere", "HF_HOME": "/proc/nowhere/hub", "TMPDIR": "/proc/nowhere/tmp"}


def test_F122_a_folder_needs_no_place_to_write_but_the_output(tmp_path: Path, checkpoint: Path) -> None:
    arguments = ("generate", "x", "--seconds", "0.1", "--seed", "7", "--device", "cpu", "-o", "out/")
    process = child("", *arguments, cwd=tmp_path, model=checkpoint, env=_NOWHERE)
    assert ended(process) == (0, "out/x-7.wav\n", "")


def test_F122_a_fetch_without_a_place_to_write_is_one_line(tmp_path: Path) -> None:
    environment = {**_NOWHERE, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    process = child("", "pull", "some/model", cwd=tmp_path, model=tmp_path, env=environment)
    status, out, error = ended(process)
    assert (status, out) == (1, "")
    assert error.startswith("error: ")
    assert error.count("\n") == 1
