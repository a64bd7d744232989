"""The documented base name of models that generate."""

from __future__ import annotations

from typing import Any

from antiphon.generation.config import GenerationConfig


class GenerationMixin:
    """Has ``generate`` and a ``generation_config`` of its own, which calls read and never change."""

    generation_config: GenerationConfig

    def generate(
        self,
        inputs: Any = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        synced_gpus: bool | None = None,
        streamer: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Generates; every family documents its own inputs and outputs."""
        raise TypeError(f"{type(self).__name__} does not generate")
