"""The house style, as far as a program can see it; and that the pages point at things that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("antiphon", "tests", "examples", "benchmarks", "recipes")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_MAX_FILE_LINES = 600
_MAX_FUNCTION_LINES = 40
_VAGUE = {"utils", "util", "helpers", "helper", "misc", "base", "common"}

# Folders of one machine, and of the place the work was done at, mean nothing to anybody else.
_MACHINES = re.compile(r"(?<![\w.])/(?:work|root|home|opt|mnt|Users)/|(?<![\w.])/tmp/|\.\./shared\b|\bseeds/")
_UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX)\b")


def _python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def _named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def function_lines(source: str) -> Iterator[tuple[str, int]]:
    """Each function's name and its lines of code: no signature, no docstring, no comments, no empty lines."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
        own = lines[body[0].lineno - 1 : node.end_lineno] if body else []
        yield node.name, sum(bool(line.strip()) and not line.strip().startswith("#") for line in own)


def test_no_file_is_longer_than_a_person_reads_in_one_sitting() -> None:
    counts = {_named(p): len(p.read_text(encoding="utf-8").splitlines()) for p in _python_files(*FOLDERS)}
    assert {name: count for name, count in counts.items() if count > _MAX_FILE_LINES} == {}


def test_no_function_is_longer_than_forty_lines_of_code() -> None:
    long = [
        f"{_named(path)}: {name} has {count}"
        for path in _python_files("antiphon", "examples", "benchmarks", "recipes")
        for name, count in function_lines(path.read_text(encoding="utf-8"))
        if count > _MAX_FUNCTION_LINES
    ]
    assert long == []


def test_the_counting_of_lines_leaves_out_what_is_no_code() -> None:
    source = 'def one(\n    a: int,\n) -> int:\n    """Says."""\n\n    # why\n    b = a\n    return b\n'
    assert dict(function_lines(source)) == {"one": 2}


def test_no_file_is_named_after_nothing_in_particular() -> None:
    assert [_named(p) for p in _python_files(*FOLDERS) if p.stem in _VAGUE or p.parent.name in _VAGUE] == []


def _raises_not_implemented(tree: ast.Module) -> Iterator[int]:
    """Lines that raise it, except in ``__call__``, where the documented base classes ask for an override."""
    overridden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "__call__"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and id(node) not in overridden and "NotImplementedError" in ast.unparse(node):
            yield node.lineno


@pytest.mark.parametrize("path", _python_files("antiphon"), ids=_named)
def test_library_code_prints_nothing_asserts_nothing_and_is_finished(path: Path) -> None:
    source, tree = path.read_text(encoding="utf-8"), _parsed(path)
    found = [f"unfinished: {match.group()}" for match in _UNFINISHED.finditer(source)]
    found += [f"{line}: NotImplementedError" for line in _raises_not_implemented(tree)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):  # gone under -O
            found.append(f"{node.lineno}: assert")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            found.append(f"{node.lineno}: print")
    assert found == []


@pytest.mark.parametrize("path", _python_files("antiphon"), ids=_named)
def test_every_file_says_in_its_first_line_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(_parsed(path))
    assert docstring is not None
    assert docstring.splitlines()[0].endswith((".", "?", "!", ":", ","))


def _texts() -> list[Path]:
    single = [ROOT / name for name in ("Makefile", "pyproject.toml", "requirements.lock", ".ci/run")]
    return [*_python_files(*FOLDERS), *PAGES, *single]


def test_no_text_names_a_folder_of_one_machine() -> None:
    own = Path(__file__).resolve()
    found = [
        f"{_named(path)}:{number}: {line.strip()[:80]}"
        for path in _texts()
        if path.resolve() != own  # holds the patterns themselves
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if _MACHINES.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("text", ["see /work/main", "open('/tmp/x')", "cd ../shared", "`/home/me/x`", "seeds/a.json"])
def test_the_pattern_of_machine_folders_knows_one_when_it_sees_it(text: str) -> None:
    assert _MACHINES.search(text)


@pytest.mark.parametrize("text", ["checkpoints/work/x", "https://example.org/home/", "tmp_path", "$HOME/x"])
def test_the_pattern_of_machine_folders_leaves_other_paths_alone(text: str) -> None:
    assert not _MACHINES.search(text)


def _headings(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_every_link_of_a_page_leads_to_something(page: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = page if not name else page.parent / name
        if not place.exists() or (anchor and anchor not in _headings(place.read_text(encoding="utf-8"))):
            dead.append(target)
    assert dead == []


def test_the_lock_holds_plain_names_and_versions_only() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==[0-9][0-9A-Za-z.]*", line)] == []
    assert lines == sorted(lines, key=lambda line: re.split("==", line)[0].lower().replace("_", "-"))
    assert "torch==2.13.0" in lines
