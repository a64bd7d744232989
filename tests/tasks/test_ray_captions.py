"""Captions by several workers: the lines that one listener gives, whoever makes them.

Ray itself is not needed here: what is used of it is played by a stand-in that hands batches to workers in turn.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from antiphon.audio.clip import Audio
from antiphon.errors import MissingExtraError
from antiphon.tasks.captioner import Caption, Captioner, Failure
from antiphon.tasks.listener import Listener
from antiphon.tasks.ray_captions import CaptionWorker, ray_captions

RATE = 16_000
ASKED: dict[str, Any] = {"max_new_tokens": 4}


class _Dataset:
    """Rows, and what is done with them."""

    def __init__(self, rows: list[dict[str, Any]], seen: dict[str, Any]) -> None:
        self._rows, self._seen = rows, seen

    def map_batches(
        self, kind: Any, *, fn_constructor_args: Any, batch_size: int, batch_format: str, compute: int, num_gpus: int
    ) -> _Dataset:
        self._seen |= {"batch_size": batch_size, "batch_format": batch_format, "compute": compute, "num_gpus": num_gpus}
        workers = [kind(*fn_constructor_args) for _ in range(compute)]
        starts = range(0, len(self._rows), batch_size)
        made: list[dict[str, Any]] = []
        for number, first in reversed(list(enumerate(starts))):  # nobody promises an order
            rows = self._rows[first : first + batch_size]
            batch = {"path": np.array([row["path"] for row in rows], dtype=object)}
            out = workers[number % compute](batch)
            made += [dict(zip(out, values, strict=True)) for values in zip(*out.values(), strict=True)]
        return _Dataset(made, self._seen)

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        yield from self._rows


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Ray's stand-in; what it was asked for."""
    seen: dict[str, Any] = {}
    module, data = ModuleType("ray"), ModuleType("ray.data")

    def from_items(rows: list[dict[str, Any]], *, override_num_blocks: int) -> _Dataset:
        seen["blocks"] = override_num_blocks
        return _Dataset(rows, seen)

    told: dict[str, Any] = {
        "data": data,
        "is_initialized": lambda: "started" in seen,
        "init": lambda **kwargs: seen.update(started=True),
        "cluster_resources": lambda: {"CPU": 2.0},
    }
    for name, value in told.items():
        setattr(module, name, value)
    data.from_items = from_items  # type: ignore[attr-defined]
    data.ActorPoolStrategy = lambda *, size: size  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", module)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    return seen


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for number in range(5):
        noise = np.random.default_rng(number).standard_normal(2000 + 300 * number).astype(np.float32)
        Audio(0.1 * noise, RATE).save(tmp_path / f"{number}.wav")
    (tmp_path / "3.wav").write_bytes(b"RIFF")
    odd = tmp_path / os.fsdecode(b"odd\xff.wav")
    odd.write_bytes((tmp_path / "0.wav").read_bytes())
    return [*(tmp_path / f"{number}.wav" for number in range(5)), odd]


def test_workers_give_the_lines_that_one_listener_gives(
    ray: dict[str, Any], files: list[Path], listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.tasks.ray_captions.load", lambda model, **loading: listener)
    loading = {"device": "cpu"}
    made = list(ray_captions(files, "model", workers=2, loading=loading, question="Key?", together=2, asked=ASKED))
    alone = list(Captioner(listener, question="Key?", together=1, **ASKED).captions(files))
    assert [one.path for one in made] != files
    assert {one.path: one for one in made} == {one.path: one for one in alone}
    assert [type(one) for one in alone] == [Caption, Caption, Caption, Failure, Caption, Caption]
    assert ray == {"blocks": 3, "batch_size": 2, "batch_format": "numpy", "compute": 2, "num_gpus": 0, "started": True}


def test_a_worker_loads_its_listener_once(
    listener: Listener, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []

    def load(model: str, **loading: Any) -> Listener:
        loaded.append((model, loading))
        return listener

    monkeypatch.setattr("antiphon.tasks.ray_captions.load", load)
    worker = CaptionWorker("model", {"dtype": "float32"}, "Key?", 2, ASKED)
    for _ in range(2):
        worker({"path": np.array([os.fsencode(files[0])], dtype=object)})
    assert loaded == [("model", {"dtype": "float32"})]


def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"antiphon\[ray\]"):
        next(ray_captions([Path("a.wav")], "model", workers=2, loading={}, asked={}))
