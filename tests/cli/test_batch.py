"""Many prompts from a file: rows, bad rows, and going on after an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon import Audio
from antiphon.cli.app import run
from antiphon.errors import AudioError
from antiphon.tasks.composer import Composer

_SHORT = ("--seconds", "0.1", "--device", "cpu")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_MODEL", str(checkpoint))


def sounds(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir() if path.suffix != ".jsonl")


def test_every_line_of_a_text_becomes_a_file(capsys: Any, compose: Any) -> None:
    Path("prompts.txt").write_text("calm piano\r\n\r\n  loud drums \n")
    assert run(["generate", "--prompts", "prompts.txt", "-o", "out", "--seed", "3", *_SHORT]) == 0
    told = capsys.readouterr()
    assert told.out.split() == ["out/calm-piano-3.wav", "out/loud-drums-4.wav"]
    assert told.err == "2 of 2 pieces made\n"
    want = compose("loud drums", seconds=0.1, seed=4)
    np.testing.assert_allclose(Audio.load("out/loud-drums-4.wav").samples, want.samples, atol=2**-15)


def test_objects_have_settings_names_and_seeds_of_their_own(capsys: Any, compose: Any) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "piano", "seconds": 0.2, "seed": 9, "output": "one.flac"},
        {"prompt": "piano", "guidance": 1, "temperature": 0.5, "top_k": 5, "top_p": 0.9, "window": 20, "stride": 10},
        {"prompt": "piano", "output": "deeper/two"},
    ]
    Path("prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = ["generate", "--prompts", "prompts.jsonl", "-o", "out/", "--seed", "3", "--format", "ogg", *_SHORT]
    assert run(command) == 0
    assert sorted(capsys.readouterr().out.split()) == ["out/deeper/two.ogg", "out/one.flac", "out/piano-4.ogg"]
    first, second = Audio.load("out/one.flac"), Audio.load("out/piano-4.ogg")
    assert (first.seed, len(first)) == (9, 6400)
    assert [second.parameters[name] for name in ("guidance", "temperature", "top_k", "top_p")] == [1, 0.5, 5, 0.9]
    assert second.parameters["stride_seconds"] == 10
    np.testing.assert_allclose(first.samples, compose("piano", seconds=0.2, seed=9).samples, atol=2**-15)


def test_rows_go_on_from_recordings_of_their_own(capsys: Any, compose: Any) -> None:
    for number in (1, 2):
        Audio(np.sin(np.arange(3200) / (10 * number)) * 0.3, 32_000).save(f"{number}.wav")
    rows = [{"prompt": "a", "continue": "1.wav", "seed": 1}, {"prompt": "a", "continue": "2.wav", "seed": 1}]
    Path("prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert run(["generate", "--prompts", "prompts.jsonl", "-o", "out", "--seconds", "0.3", "--device", "cpu"]) == 0
    for name, clip in zip(capsys.readouterr().out.split(), ("1.wav", "2.wav"), strict=True):
        want = compose("a", seconds=0.3, seed=1, continue_from=clip)
        np.testing.assert_allclose(Audio.load(name).samples, want.samples, atol=2**-15)


def test_stdin_is_read_as_text_or_as_objects(capsys: Any, monkeypatch: Any) -> None:
    import io

    for data, names in (
        (b"one\ntwo\n", ["one-1.wav", "two-2.wav"]),
        (b'{"prompt": "three", "seed": 5}', ["three-5.wav"]),
    ):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert run(["generate", "--prompts", "-", "--seed", "1", *_SHORT]) == 0
        assert capsys.readouterr().out.split() == names


def test_F126_a_bad_row_stops_no_other_and_is_told_at_the_end(capsys: Any) -> None:
    rows = [json.dumps({"prompt": "a", "seconds": 0.04, "output": f"{number}"}) for number in range(1, 101)]
    rows[36] = json.dumps({"prompt": "a", "seconds": -1})
    Path("prompts.jsonl").write_text("\n".join(rows))
    command = ["generate", "--prompts", "prompts.jsonl", "-o", "out", "--device", "cpu", "--guidance", "1", "--json"]
    assert run(command) == 1
    told = capsys.readouterr()
    records = [json.loads(line) for line in told.out.splitlines()]
    assert len(sounds("out")) == sum("path" in record for record in records) == 99
    (bad,) = [record for record in records if "error" in record]
    assert bad["row"] == 37
    assert "seconds=-1" in bad["error"]
    assert told.err.splitlines()[0].startswith("row 37: ")
    assert told.err.splitlines()[-1] == "99 of 100 pieces made; failed: row 37"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "no JSON"),
        ("5", "JSON of type int"),
        ("{}", "no prompt"),
        ('{"prompt": null}', "no prompt"),
        ('{"prompt": 5}', "prompt is of type int"),
        ('{"prompt": "x", "secnds": 1}', "seconds"),
        ('{"prompt": "x", "top_k": -1}', "top_k=-1"),
        ('{"prompt": "x", "window": "1"}', "window_seconds='1'"),
        ('{"prompt": "x", "stride": NaN}', "stride_seconds=nan"),
        ('{"prompt": "x", "seed": "1"}', "seed='1'"),
        ('{"prompt": "x", "output": "../x.wav"}', "inside the folder"),
        ('{"prompt": "x", "output": "/x.wav"}', "inside the folder"),
        ('{"prompt": "x", "output": "C:\\\\x.wav"}', "inside the folder"),
        ('{"prompt": "x", "output": "x.xyz"}', "xyz"),
        ('{"prompt": "x", "continue": "nowhere.wav"}', "nowhere.wav"),
        ('{"prompt": "x", "output": "taken/x.wav"}', "taken"),
        (b'{"prompt": "\xff"}', "no UTF-8"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_F126_each_way_a_row_can_be_bad_has_its_reason(row: Any, said: str, capsys: Any) -> None:
    Path("out").mkdir()
    Path("out/taken").write_text("a file")
    good = b'\n{"prompt": "good", "seed": 1}'
    Path("prompts.jsonl").write_bytes((row if isinstance(row, bytes) else row.encode()) + good)
    assert run(["generate", "--prompts", "prompts.jsonl", "-o", "out", *_SHORT]) == 1
    told = capsys.readouterr()
    assert told.err.startswith("row 1: ")
    assert said in told.err.splitlines()[0]
    assert told.err.splitlines()[-1] == "1 of 2 pieces made; failed: row 1"
    assert told.out == "out/good-1.wav\n"


def test_F126_a_row_that_fails_among_others_of_its_group_fails_alone(capsys: Any, monkeypatch: Any) -> None:
    compose = Composer.compose

    def fail(self: Any, prompt: list[str], **settings: Any) -> Any:
        if "bad" in prompt:
            raise AudioError("it is bad")
        return compose(self, prompt, **settings)

    monkeypatch.setattr(Composer, "compose", fail)
    Path("prompts.txt").write_text("one\nbad\ntwo\n")
    assert run(["generate", "--prompts", "prompts.txt", "--seed", "1", *_SHORT]) == 1
    told = capsys.readouterr()
    assert told.out.split() == ["one-1.wav", "two-3.wav"]
    assert told.err == "row 2: it is bad.\n2 of 3 pieces made; failed: row 2\n"


def test_F126_a_resumed_batch_makes_what_is_missing_with_the_seeds_it_had(capsys: Any) -> None:
    Path("prompts.txt").write_text("one\ntwo\none\n")
    command = ["generate", "--prompts", "prompts.txt", "-o", "out", *_SHORT]
    assert run(command) == 0
    made = {name: Path("out", name).read_bytes() for name in sounds("out")}
    assert len(made) == 3
    missing = next(name for name in made if name.startswith("two"))
    Path("out", missing).unlink()
    capsys.readouterr()
    assert run([*command, "--resume"]) == 0
    told = capsys.readouterr()
    assert told.out == f"out/{missing}\n"
    assert told.err == "2 of 3 pieces are finished already\n1 of 1 pieces made\n"
    assert {name: Path("out", name).read_bytes() for name in sounds("out")} == made
    assert run([*command, "--resume"]) == 0
    assert capsys.readouterr().err == "3 of 3 pieces are finished already\n"


def test_F126_rows_that_are_new_or_other_are_made_and_the_rest_stays(capsys: Any) -> None:
    Path("prompts.txt").write_text("one\ntwo\n")
    command = ["generate", "--prompts", "prompts.txt", "-o", "out", *_SHORT, "--resume"]
    assert run(command) == 0
    before = sounds("out")
    Path("prompts.txt").write_text("two\nthree\n")
    assert run(command) == 0
    assert [name for name in sounds("out") if name not in before] == [n for n in sounds("out") if n.startswith("three")]
    Path("prompts.txt").write_text("one\ntwo\nthree\n")
    assert run(command) == 0
    assert len(sounds("out")) == 3
    assert run([*command, "--guidance", "1"]) == 0  # other pieces of the same names
    assert len(sounds("out")) == 6


def test_F126_a_file_that_is_another_piece_is_neither_taken_for_finished_nor_replaced(capsys: Any) -> None:
    Path("prompts.txt").write_text("one\n")
    command = ["generate", "--prompts", "prompts.txt", "--seed", "1", *_SHORT]
    assert run(command) == 0
    Audio(np.zeros(100, np.float32), 32_000, prompt="another", seed=1).save("one-1.wav")
    other = Path("one-1.wav").read_bytes()
    capsys.readouterr()
    assert run([*command, "--resume"]) == 1
    assert "exists" in capsys.readouterr().err
    assert Path("one-1.wav").read_bytes() == other
    assert run([*command, "--resume", "--force"]) == 0
    assert Audio.load("one-1.wav").prompt == "one"


@pytest.mark.parametrize("plan", ["{", "[]", '{"output": "../x", "seed": 1, "asked": {}}', '{"output": "x"}', "5\n"])
def test_F126_a_damaged_plan_is_one_line(plan: str, capsys: Any) -> None:
    Path("prompts.txt").write_text("one\n")
    Path("antiphon-batch.jsonl").write_text(plan)
    assert run(["generate", "--prompts", "prompts.txt", "--resume", *_SHORT]) == 1
    told = capsys.readouterr().err
    assert "antiphon-batch.jsonl" in told.splitlines()[0]
    assert len(told.splitlines()) == 1


def test_F116_stdin_without_end_is_not_read_to_its_end(capsys: Any, monkeypatch: Any) -> None:
    class Endless:
        read_bytes = 0

        def read(self, size: int) -> bytes:
            self.read_bytes += size
            return b"x" * size

    endless = Endless()
    monkeypatch.setattr("antiphon.cli.prompt_file.MOST_BYTES", 1000)
    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": endless}))
    assert run(["generate", "--prompts", "-"]) == 2
    assert "prompts" in capsys.readouterr().err
    assert endless.read_bytes == 1001


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--prompts", "nowhere.txt"], "nowhere.txt"),
        (["--prompts", "."], "folder"),
        (["--prompts", "empty.txt"], "holds no prompt"),
        (["--prompts", "p.txt", "words"], "PROMPT"),
        (["--prompts", "p.txt", "--n", "2"], "--n"),
        (["--prompts", "p.txt", "-o", "x.wav"], "folder"),
        (["--prompts", "p.txt", "-o", "-"], "pipe"),
        (["words", "--resume"], "--prompts"),
        (["words", "--window", "10", "--stride", "10"], "stride_seconds=10"),
        (["words", "--window", "nan"], "window_seconds=nan"),
        (["words", "--loudness", "loud"], "--loudness"),
        (["words", "--quantize", "int3"], "--quantize"),
    ],
)
def test_F115_options_that_do_not_go_together_are_one_line_with_status_2(arguments, hint, capsys) -> None:
    Path("empty.txt").write_text("\n \n")
    Path("p.txt").write_text("a\n")
    assert run(["generate", *arguments]) == 2
    told = capsys.readouterr()
    assert hint in told.err
    assert (told.out, told.err.count("\n")) == ("", 1)
