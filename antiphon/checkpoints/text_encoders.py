"""The text encoders that audiocraft's checkpoints name and do not hold: their sizes, and where they are found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FIELDS = ("d_model", "d_ff", "d_kv", "num_layers", "num_heads")
_T5 = {
    "t5-small": (512, 2048, 64, 6, 8),
    "t5-base": (768, 3072, 64, 12, 12),
    "t5-large": (1024, 4096, 64, 24, 16),
    "t5-3b": (1024, 16384, 128, 24, 32),
    "t5-11b": (1024, 65536, 128, 24, 128),
}
_FLAN = {
    "google/flan-t5-small": (512, 1024, 64, 8, 6),
    "google/flan-t5-base": (768, 2048, 64, 12, 12),
    "google/flan-t5-large": (1024, 2816, 64, 24, 16),
    "google/flan-t5-xl": (2048, 5120, 64, 24, 32),
    "google/flan-t5-xxl": (4096, 10240, 64, 24, 64),
}

# audiocraft's name: the documents' configuration
KNOWN: dict[str, dict[str, Any]] = {
    name: {"model_type": "t5", "feed_forward_proj": kind, **dict(zip(_FIELDS, sizes, strict=True))}
    for kind, table in (("relu", _T5), ("gated-gelu", _FLAN))
    for name, sizes in table.items()
}


def on_the_hub(name: str) -> str:
    """The repository of a text encoder; those that once had none of their own namespace have moved."""
    return name if "/" in name else f"google-t5/{name}"


def name_of(values: Mapping[str, Any]) -> str | None:
    """audiocraft's name of the text encoder with these sizes; ``None`` where it has none."""
    for name, known in KNOWN.items():
        if all(values.get(field) == known[field] for field in ("feed_forward_proj", *_FIELDS)):
            return name
    return None
