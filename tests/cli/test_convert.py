"""``antiphon convert``, in its own words and in those of the documents' scripts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from antiphon.cli.app import run
from antiphon.tasks import conversion

from ..checkpoints.originals import CODEC, MODEL, golden, write_text_encoder

# as the documents have them, behind the name of the script
SCRIPTS = {
    "R36": '--checkpoint="facebook/musicgen-melody" --pytorch_dump_folder /output/path',
    "R99": "--checkpoint small --pytorch_dump_folder /output/path --safe_serialization",
}


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_text_encoder(tmp_path_factory.mktemp("t5")))


def test_a_checkpoint_goes_there_and_back(text_encoder: str, tmp_path: Path, capsys: Any) -> None:
    there, back = tmp_path / "new" / "hf", tmp_path / "back"
    assert run(["convert", str(golden("mono")), str(there), "--text-encoder", text_encoder]) == 0
    told = capsys.readouterr()
    assert told.out == f"{there}\n"
    assert "hf: 135 tensors, 0.1 MiB" in told.err
    assert run(["convert", str(there), str(back)]) == 0
    assert sorted(path.name for path in back.iterdir()) == [CODEC, MODEL]


def test_info_tells_of_original_files_as_of_converted_ones(capsys: Any) -> None:
    assert run(["info", str(golden("mono"))]) == 0
    told = capsys.readouterr().out
    assert "4 codebooks at 50 frames a second" in told
    assert "state_dict.bin" in told
    assert "float16, float32" in told


@pytest.mark.row("R36", "R99")
@pytest.mark.parametrize("line", SCRIPTS.values(), ids=SCRIPTS)
def test_the_documented_commands_mean_the_same(
    line: str, tmp_path: Path, monkeypatch: Any, text_encoder: str, capsys: Any
) -> None:
    asked: list[tuple[Any, Any, Any]] = []
    kind = "melody" if "melody" in line else "mono"
    real = conversion.convert

    def convert(source: Any, destination: Any, **options: Any) -> Any:
        asked.append((source, destination, options["safe_serialization"]))
        options |= {"text_encoder": text_encoder, "codec": golden("mono") / CODEC}
        return real(golden(kind), tmp_path / "out", **options)

    monkeypatch.setattr(conversion, "convert", convert)
    assert run(["convert", *shlex.split(line)]) == 0
    source = "facebook/musicgen-melody" if kind == "melody" else "small"
    assert asked == [(source, Path("/output/path"), True)]
    assert capsys.readouterr().out == "/output/path\n"
    assert (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "source", "destination"),
    [
        (["a", "b"], "a", "b"),
        (["--checkpoint", "a", "b"], "a", "b"),
        (["a", "--pytorch_dump_folder", "b"], "a", "b"),
        (["--checkpoint", "a", "--pytorch_dump_folder", "b"], "a", "b"),
    ],
)
def test_source_and_destination_may_be_options(
    arguments: list[str], source: str, destination: str, monkeypatch: Any
) -> None:
    asked: list[Any] = []

    def convert(source: Any, destination: Any, **options: Any) -> Any:
        asked.append((source, destination, options["to"], options["dtype"], options["force"]))
        return conversion.Converted("hf", 1, 1)

    monkeypatch.setattr(conversion, "convert", convert)
    assert run(["convert", *arguments, "--to", "hf", "--dtype", "float16", "--force"]) == 0
    assert asked == [(source, Path(destination), "hf", "float16", True)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "both are needed"),
        (["a"], "both are needed"),
        (["--checkpoint", "a"], "both are needed"),
        (["a", "b", "--checkpoint", "c"], "SOURCE was given twice"),
        (["a", "--checkpoint", "c", "--pytorch_dump_folder", "d"], "SOURCE was given twice"),
        (["a", "b", "--pytorch_dump_folder", "d"], "DESTINATION was given twice"),
        (["a", "b", "--to", "onnx"], "onnx is none of hf, audiocraft, kyutai"),
        (["a", "b", "c"], "unexpected"),
    ],
)
def test_contradictions_are_misuse(arguments: list[str], said: str, capsys: Any) -> None:
    assert run(["convert", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_what_cannot_be_reached_is_one_line(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert run(["convert", str(golden("mono")), str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "needs 'google-t5/t5-base'" in line
    assert "--text-encoder" in line
    assert not (tmp_path / "out").exists()


def test_the_page_names_options_and_tests_that_exist(capsys: Any) -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "originals.md").read_text(encoding="utf-8")
    assert run(["convert", "--help"]) == 0
    known = set(re.findall(r"--[a-z][a-z_-]*", capsys.readouterr().out))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z_-]*", page)) <= known
    tests = re.findall(r"`((?:\w+/)+test_\w+\.py)`", page)
    assert len(tests) > 15
    assert [name for name in tests if not (root / "tests" / name).exists()] == []
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        compile(block, "originals.md", "exec")
    for name in re.findall(
        r"`([a-z-]+)`", page.split("stand for the\npublished models")[0].split("could\nbe either. ")[1]
    ):
        assert name == "stereo-" or name in conversion.SHORT_NAMES
