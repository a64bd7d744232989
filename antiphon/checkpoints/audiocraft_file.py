"""One file that audiocraft saved: a language model, a codec, or the mere name of a codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from antiphon.checkpoints import names as spellings
from antiphon.checkpoints.omegaconf_pickle import ALLOWED, is_node, plain
from antiphon.checkpoints.safe_pickle import PickleFile
from antiphon.checkpoints.xp_config import XpConfig
from antiphon.errors import CheckpointError, ConfigError

# where a training run keeps its best weights; under FSDP they are gathered in a place of their own
_BEST = ("fsdp_best_state", "best_state")
_NAME_LIMIT = 200


class AudiocraftFile:
    """An exported file (``state_dict.bin``, ``compression_state_dict.bin``) or a training run's ``checkpoint.th``.

    Tensors have the file's own names in the one spelling of weight norm that key tables know. Of a training run's
    checkpoint the best state is read.

    Attributes:
        pretrained: the name of the codec that the file stands for, which then holds no tensors.
        version: of audiocraft, as the file states it. stored: its names in its own spelling, in its order.

    Raises:
        CheckpointError: missing, damaged, not safe to read, or not audiocraft's.
    """

    def __init__(self, path: Path) -> None:
        self._file = PickleFile(path, pick=lambda content: _state(content, path), allow=ALLOWED)
        content: Mapping[str, Any] = self._file.content
        self.path = path
        self.metadata: dict[str, str] = {}
        named = content.get("pretrained")
        self.pretrained = named if isinstance(named, str) and 0 < len(named) <= _NAME_LIMIT else None
        self.version = str(content.get("version", ""))[:_NAME_LIMIT]
        self._config = content.get("xp.cfg")
        self.stored = list(self._file.infos)
        self._spelled = {new: old for old, new in spellings.canonical(self.stored).items()}
        self.infos = {new: self._file.infos[old] for new, old in self._spelled.items()}

    @property
    def config(self) -> XpConfig:
        """The configuration that the model was trained with.

        Raises:
            ConfigError: there is none, or it cannot be read.
        """
        if isinstance(self._config, str):
            return XpConfig.of_text(self._config, self.path)
        try:
            values = plain(self._config) if is_node(self._config) else self._config
        except RecursionError as error:
            raise ConfigError(f"{self.path}: xp.cfg is nested too deeply") from error
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"{self.path} has no xp.cfg",
                expected="the configuration that the model was trained with",
                fix="Export the training run again with audiocraft.utils.export",
            )
        return XpConfig(values, self.path)

    def read(self, name: str) -> torch.Tensor:
        """A tensor in memory of its own."""
        return self._file.read(self._spelled[name])

    def read_into(self, targets: Mapping[str, torch.Tensor]) -> None:
        """Fills the targets, casting among the floating point types."""
        self._file.read_into({self._spelled[name]: target for name, target in targets.items()})

    def mapped(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Those of the named tensors that lie in the file as a whole, as views of it."""
        views = self._file.views()
        found = {name: views[self._spelled[name]] for name in names}
        return {name: view for name, view in found.items() if view.is_contiguous()}

    def close(self) -> None:
        """Closes the file; safe to call twice."""
        self._file.close()


def _state(content: Any, path: Path) -> Mapping[str, Any]:
    """The tensors of an exported file or of a training run."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}", expected="what audiocraft saves: a dict")
    if "pretrained" in content:
        if not isinstance(content["pretrained"], str):
            raise CheckpointError(f"{path}: pretrained is {content['pretrained']!r}", expected="the name of a codec")
        return {}
    for name in _BEST:
        state = content.get(name)
        if isinstance(state, Mapping) and state:
            inner = state.get("model")
            return inner if isinstance(inner, Mapping) else state
    shown = ", ".join(sorted(map(str, content))[:5])
    raise CheckpointError(
        f"{path} holds no weights where audiocraft keeps them; it holds: {shown or 'nothing'}",
        expected="a dict with best_state, or with pretrained",
        fix="Give the files that audiocraft.utils.export wrote, or a training run's checkpoint.th",
    )
