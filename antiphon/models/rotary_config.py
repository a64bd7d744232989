"""What configurations of models with rotary positions say about them, in both of the documents' spellings."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from antiphon.errors import ConfigError
from antiphon.models.configuration import PreTrainedConfig

# Subclasses declare it, at its place among their fields.
_FIELD = "rope_parameters"


class RotaryConfig(PreTrainedConfig):
    """Base of configurations with ``rope_parameters``, of which ``rope_theta`` is the older spelling.

    Class attributes:
        default_theta: the base where nothing is said.
    """

    default_theta: ClassVar[float] = 10000.0

    @property
    def rope_theta(self) -> float:
        """The base of the angles."""
        theta: float = self[_FIELD]["rope_theta"]
        return theta

    @rope_theta.setter
    def rope_theta(self, value: Any) -> None:
        setattr(self, _FIELD, {**(self.get(_FIELD) or {}), "rope_theta": value})

    def derive(self) -> None:
        """Fills ``rope_parameters``."""
        stated = {} if self[_FIELD] is None else self[_FIELD]
        if isinstance(stated, dict):
            setattr(self, _FIELD, {"rope_type": "default", "rope_theta": self.default_theta, **stated})

    def validate_architecture(self) -> None:
        """Checks ``rope_parameters``; raises ``ConfigError`` for kinds of rotary positions that we do not compute."""
        self.check_rotary(self[_FIELD])

    def check_rotary(self, stated: dict[str, Any]) -> None:
        """Raises ``ConfigError`` unless ``stated`` names plain rotary positions with a base, and nothing else."""
        theta: Any = stated.get("rope_theta")
        plain = type(theta) in (int, float) and math.isfinite(theta) and theta > 0
        if not plain or stated != {"rope_type": "default", "rope_theta": theta}:
            raise ConfigError(
                f"{type(self).__name__}.rope_parameters={self[_FIELD]!r}",
                expected="rope_type 'default' and a rope_theta above 0, and nothing else",
            )
