"""Empty modules for what audiocraft imports and the oracles never call, so that its environment stays small.

audiocraft 1.3.0 pins torch 2.1 and twenty packages beside it. What it needs to compute is torch, torchaudio and einops;
for melodies also julius and librosa's filters; the rest reads files, draws, trains or separates stems. Importing this
module before audiocraft puts an empty module in the place of each of those; a name looked up in one gives another empty
thing, and calling any of them is an error that says so. Three have something real in them: of xformers audiocraft calls
two names although it leaves attention to torch; numba's decorators, which librosa puts on functions that nobody calls
here, leave them as they are; and demucs passes a sound through (``PassThrough``).
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
from torch import Tensor

UNUSED = (
    "audiocraft.solvers",
    "av",
    "demucs",
    "flashy",
    "huggingface_hub",
    "num2words",
    "numba",
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


class PassThrough:
    """In the place of a Demucs: one channel at audiocraft's rate, and the voice is the whole sound."""

    samplerate = 32_000
    audio_channels = 1
    sources = ("drums", "bass", "other", "vocals")

    def to(self, device: Any) -> PassThrough:
        """Itself."""
        return self

    @staticmethod
    def separated(model: PassThrough, sound: Tensor, device: Any = None) -> Tensor:
        """Stems (B, 4, C, N) of a sound (B, C, N)."""
        silence = torch.zeros_like(sound)
        return torch.stack([silence, silence, silence, sound], dim=1)

    @staticmethod
    def converted(sound: Tensor, from_hz: int, to_hz: int, channels: int) -> Tensor:
        """The sound (B, C, N) itself, which needs no other rate and no other channels."""
        if from_hz != to_hz or sound.shape[-2] != channels:
            raise NotImplementedError(f"{from_hz} to {to_hz} Hz, {sound.shape[-2]} to {channels} channels")
        return sound


def undecorated(*given: Any, **settings: Any) -> Any:
    """Numba's decorators, with and without arguments, for functions that stay as they are."""
    return given[0] if given and callable(given[0]) else lambda function: function


def install() -> None:
    """Puts the empty modules in place."""
    sys.meta_path.insert(0, UnusedFinder())
    compiler: Any = importlib.import_module("numba")
    compiler.jit = compiler.stencil = compiler.vectorize = compiler.guvectorize = undecorated
    separating = {
        "demucs.pretrained": {"get_model": lambda name: PassThrough()},
        "demucs.apply": {"apply_model": PassThrough.separated},
        "demucs.audio": {"convert_audio": PassThrough.converted},
    }
    for name, real in separating.items():
        vars(importlib.import_module(name)).update(real)
    attention: Any = importlib.import_module("xformers.ops")
    attention.unbind = torch.unbind
    attention.LowerTriangularMask = type("LowerTriangularMask", (), {})  # torch's attention is told "causal" instead


install()
