"""The floors: a file imports from its own folder and from lower floors only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "antiphon"

FLOORS = (
    "nn",
    "audio",
    "text",
    "codecs",
    "encoders",
    "lm",
    "generation",
    "checkpoints",
    "models",
    "tasks",
    "training",
    "evaluation",
    "audiocraft",
    "cli",
)
GROUND = ("errors", "outputs", "batch", "part_files")
_RANK = {**dict.fromkeys(GROUND, 0), **{floor: number for number, floor in enumerate(FLOORS, 1)}}

# Comparisons and tests may use them; the package never does.
_STRANGERS = {"transformers", "torchaudio", "scipy", "librosa"}

_FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def imported_modules(source: str, package: str) -> Iterator[tuple[int, str]]:
    """The line and full name of everything that ``source``, a file of ``package``, imports or names as a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Constant) and re.fullmatch(r"antiphon(\.\w+)+", str(node.value)):
            yield node.lineno, str(node.value)  # a table for importlib


def breaches(source: str, file: str) -> list[str]:
    """What ``file`` (its path below the package) imports though it may not."""
    parts = file.removesuffix(".py").split("/")
    own = parts[0]
    found = []
    for line, module in imported_modules(source, ".".join(["antiphon", *parts[:-1]])):
        first, *rest = module.split(".")
        ours = first == "antiphon" and own in _RANK and rest not in ([], ["__version__"])
        # a public name taken from the package itself may come from any floor
        if first in _STRANGERS or (ours and _RANK.get(rest[0], len(_RANK)) > _RANK[own]):
            found.append(f"{file}:{line} imports {module}")
    return found


@pytest.mark.parametrize("file", _FILES)
def test_a_file_imports_from_its_own_folder_and_lower_floors_only(file: str) -> None:
    assert breaches((PACKAGE / file).read_text(encoding="utf-8"), file) == []


def test_every_file_stands_on_a_floor() -> None:
    exempt = {"__init__", "__main__"}
    homes = {file.removesuffix(".py").split("/")[0] for file in _FILES} - exempt
    assert homes <= _RANK.keys()


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("nn/conv.py", "from antiphon.models.t5 import T5Config"),
        ("nn/conv.py", "def late():\n    import antiphon.audio.files"),
        ("nn/conv.py", "from antiphon import audio"),
        ("nn/conv.py", "from ..checkpoints import store"),
        ("nn/conv.py", "from antiphon import load"),
        ("text/tokenizer.py", "TABLE = {'t5': 'antiphon.models.t5'}"),
        ("errors.py", "from antiphon.nn import conv"),
        ("batch.py", "from .tasks import load"),
        ("models/t5.py", "if TYPE_CHECKING:\n    from antiphon.tasks.load import load"),
        ("cli/app.py", "import transformers"),
        ("audio/resampling.py", "from scipy.signal import resample"),
        ("__init__.py", "from librosa import load"),
    ],
)
def test_an_import_from_above_or_from_a_stranger_is_found(file: str, source: str) -> None:
    assert breaches(source, file) != []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("models/t5.py", "from antiphon.encoders.t5 import encoder"),
        ("models/t5.py", "from .configuration import PreTrainedConfig\nfrom ..errors import ConfigError"),
        ("batch.py", "from antiphon.errors import ParamError"),
        ("audio/clip.py", "from antiphon import __version__"),
        ("__init__.py", "from antiphon.tasks.load import load"),
        ("__main__.py", "from antiphon.cli.app import main"),
        ("nn/conv.py", "import torch\nfrom torch import nn"),
    ],
)
def test_an_import_from_the_own_folder_or_below_is_allowed(file: str, source: str) -> None:
    assert breaches(source, file) == []


def test_the_design_page_lists_the_floors_in_this_order() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)(?:/|\.py)`", text, flags=re.MULTILINE)
    assert rows == [*GROUND, *FLOORS]
