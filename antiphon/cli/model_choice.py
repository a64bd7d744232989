"""Which model a command uses, and its loading."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import typer

MODEL_VARIABLE = "ANTIPHON_MODEL"


def model_name(model: str | None) -> str:
    """The model that was named, or the one in the variable.

    Raises:
        BadParameter: neither is there.
    """
    name = model or os.environ.get(MODEL_VARIABLE)
    if not name:
        raise typer.BadParameter(
            f"no model was named and none is built in yet. Pass --model or set {MODEL_VARIABLE}: a folder, or a name "
            "on the Hub such as facebook/musicgen-small (its weights are CC-BY-NC-4.0)."
        )
    return name


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
