"""Empty modules for what audiocraft imports and the oracles never call, so that its environment stays small.

audiocraft 1.3.0 pins torch 2.1 and twenty packages beside it. What it needs to compute is torch, torchaudio and einops;
the rest reads files, draws, trains or separates stems. Importing this module before audiocraft puts an empty module in
the place of each of those; a name looked up in one gives another empty thing, and calling any of them is an error that
says so. Of xformers audiocraft calls two names although it leaves attention to torch; these two are real.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import Any

import torch

UNUSED = (
    "audiocraft.solvers",
    "av",
    "demucs",
    "flashy",
    "huggingface_hub",
    "julius",
    "librosa",
    "num2words",
    "soundfile",
    "spacy",
    "transformers",
    "xformers",
)


class Unused(ModuleType):
    """A module, or anything in it, that is there to be imported and not to be used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Unused(f"{self.__name__}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{self.__name__} stands in for a package that the oracles do without")


class UnusedFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the unused packages and their submodules as empty modules."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """The spec of an empty module, for the names above."""
        if not any(f"{fullname}.".startswith(f"{name}.") for name in UNUSED):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: Any) -> ModuleType:
        """The empty module."""
        return Unused(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


def install() -> None:
    """Puts the empty modules in place."""
    sys.meta_path.insert(0, UnusedFinder())
    attention: Any = importlib.import_module("xformers.ops")
    attention.unbind = torch.unbind
    attention.LowerTriangularMask = type("LowerTriangularMask", (), {})  # torch's attention is told "causal" instead


install()
