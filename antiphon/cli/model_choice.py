"""Which model a command uses, and its loading."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import typer

from antiphon.checkpoints.built_in import MELODY, MUSIC, built_in
from antiphon.cli.terminal import say

MODEL_VARIABLE = "ANTIPHON_MODEL"
BIGGER = "a name on the Hub such as facebook/musicgen-small (its weights are CC-BY-NC-4.0)."


def model_name(model: str | None, *, melody: bool = False) -> str:
    """The model that was named, else the one in the variable, else the built-in one.

    Args:
        melody: the one that follows melodies.

    Raises:
        BadParameter: none of them is there.
    """
    name = model or os.environ.get(MODEL_VARIABLE)
    if name:
        return name
    own = MELODY if melody else MUSIC
    if built_in(own) is None:
        raise typer.BadParameter(
            f"no model was named and none came with this installation. Pass --model or set {MODEL_VARIABLE}: a folder, "
            f"or {BIGGER}"
        )
    say(f"model: the small built-in one, {own}; for better music name a bigger one with --model, {BIGGER}")
    return own


def load_composer(
    name: str, *, dtype: str | None, device: str | None, quantize: str | None, adapters: Sequence[str] = ()
) -> Any:
    """The composer of a checkpoint with adapters, each ``FOLDER`` or ``FOLDER:SCALE``; errors as ``load``."""
    from antiphon.tasks.adapters import ScaledAdapter
    from antiphon.tasks.load import load

    packed: dict[str, Any] = {} if quantize is None else {"quantize": quantize}
    if adapters:
        packed["adapters"] = [ScaledAdapter.parsed(adapter) for adapter in adapters]
    return load(name, dtype=dtype, device=device, **packed)
