"""The command itself: help, version, verbs, and how errors end it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

import antiphon
from antiphon.cli import app as module
from antiphon.cli.app import run
from antiphon.errors import AntiphonError


def test_version_and_help_answer(capsys: Any) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"antiphon {antiphon.__version__}\n"
    assert run(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(verb in told for verb in ("generate", "info", "pull", "quantize"))
    assert run(["generate", "--help"]) == 0
    told = capsys.readouterr().out
    for option in (
        "--output",
        "--seconds",
        "--seed",
        "--continue",
        "--model",
        "--guidance",
        "--temperature",
        "--top-k",
    ):
        assert option in told
    assert all(option in told for option in ("--top-p", "--n ", "--device", "--dtype", "--force", "--json"))


def test_main_ends_the_process_with_the_status(capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        module.main(["--version"])
    assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        module.main(["nonsense"])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (AntiphonError("it broke", fix="Mend it"), 1, "error: it broke. Mend it.\n"),
        (RuntimeError("odd\x1b[31m"), 1, "error: RuntimeError: odd\\x1b[31m (unexpected; ANTIPHON_DEBUG=1 shows"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (typer.Abort(), 130, "interrupted\n"),
        (BrokenPipeError(), 141, ""),
        (typer.BadParameter("no"), 2, "error: Invalid value: no"),
    ],
)
def test_every_way_to_end_has_its_status_and_its_line(raised: Any, status: int, said: str, monkeypatch, capsys) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr("antiphon.tasks.summary.summarise", fail)
    monkeypatch.setattr(module, "_silence", lambda: None)
    monkeypatch.delenv("ANTIPHON_DEBUG", raising=False)
    assert run(["info", "x"]) == status
    caught = capsys.readouterr()
    assert caught.err.startswith(said)
    assert caught.err.count("\n") <= 1
    assert "Traceback" not in caught.err
    assert caught.out == ""


def test_with_debugging_on_errors_are_raised(monkeypatch: Any) -> None:
    def fail(*_: Any) -> None:
        raise AntiphonError("it broke")

    monkeypatch.setattr("antiphon.tasks.summary.summarise", fail)
    monkeypatch.setenv("ANTIPHON_DEBUG", "1")
    with pytest.raises(AntiphonError, match="it broke"):
        run(["info", "x"])


def test_warnings_of_the_library_become_one_line_of_stderr_while_the_command_runs(monkeypatch, capsys) -> None:
    logger = logging.getLogger("antiphon")
    before = (list(logger.handlers), logger.propagate)

    def warn(*_: Any) -> None:
        logging.getLogger("antiphon.anything").warning("a\nb \x1b[2J %s", "c")
        raise AntiphonError("end")

    monkeypatch.setattr("antiphon.tasks.summary.summarise", warn)
    run(["info", "x"])
    assert capsys.readouterr().err == "warning: a\\nb \\x1b[2J c\nerror: end.\n"
    assert (list(logger.handlers), logger.propagate) == before


def python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """A fresh interpreter with nothing of this process but the path to the package."""
    root = str(Path(antiphon.__file__).parents[1])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": root, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False, **options)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["generate", "--help"], ["nonsense"]])
def test_F123_help_and_version_import_no_torch_and_answer_at_once(arguments: list[str]) -> None:
    code = (
        "import sys; from antiphon.cli.app import run; code = run(sys.argv[1:]);"
        "heavy = {'torch', 'numpy', 'huggingface_hub', 'tokenizers', 'rich'} & set(sys.modules);"
        "print('HEAVY', sorted(heavy), code)"
    )
    took = []
    for _ in range(3):  # the fastest of three: the machine may be busy
        started = time.monotonic()
        done = python("-c", code, *arguments)
        took.append(time.monotonic() - started)
    assert done.stdout.decode().splitlines()[-1] == f"HEAVY [] {2 if arguments == ['nonsense'] else 0}"
    assert min(took) < 1.0


def test_F123_importing_the_package_imports_no_torch() -> None:
    done = python("-c", "import sys, antiphon; print(antiphon.__version__, 'torch' in sys.modules)")
    assert done.stdout.decode().split() == [antiphon.__version__, "False"]


def test_F123_completion_answers_without_torch() -> None:
    environment = {"_ANTIPHON_COMPLETE": "complete_bash", "COMP_WORDS": "antiphon gen", "COMP_CWORD": "1"}
    code = "import sys; sys.argv = ['antiphon']; from antiphon.cli.app import main\ntry: main([])\n"
    code += "finally: print('TORCH', 'torch' in sys.modules)"
    done = python("-c", code, env=environment)
    assert b"generate" in done.stdout
    assert b"TORCH False" in done.stdout
