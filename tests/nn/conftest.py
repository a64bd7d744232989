"""The kernel for columns, watched: for the tests of its two files."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
from torch import Tensor

from antiphon.nn import transformer
from antiphon.nn.column_step import column_step
from antiphon.nn.native import library, stack


@pytest.fixture(params=["this machine", "plain"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    flags = [] if request.param == "this machine" else ["-DANTIPHON_PLAIN"]
    loaded = library.load(library.build(*flags))
    monkeypatch.setattr(stack, "native", lambda: loaded)
    return loaded


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each call whose columns could go at once, whether they did."""
    given: list[bool] = []

    def watched(*arguments: Any) -> Tensor | None:
        out = column_step(*arguments)
        given.append(out is not None)
        return out

    monkeypatch.setattr(transformer, "column_step", watched)
    return given
