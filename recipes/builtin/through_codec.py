"""Rendered pieces as the codec gives them back: what composed pieces sound like to one who has heard renders alone."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch

from antiphon.models.encodec import EncodecModel
from antiphon.training.coded_folder import CodedFolder


class ThroughCodec:
    """The pieces of a folder of codes as sound.

    Args:
        codes: what ``code_pieces`` wrote. codec: that they are of; both are opened where they are first needed, which
            may be another process.
    """

    def __init__(self, codes: Path, codec: Path) -> None:
        self._codes, self._codec = codes, codec

    @functools.cached_property
    def _opened(self) -> tuple[CodedFolder, dict[str, int], EncodecModel]:
        folder = CodedFolder(self._codes)
        places = {name: place for place, name in enumerate(folder.keys())}
        return folder, places, EncodecModel.from_pretrained(self._codec, dtype=torch.float32).eval()

    @torch.no_grad()
    def sound(self, name: str, start: int, count: int) -> tuple[np.ndarray, int]:
        """A passage (N,) float32 of a piece at the codec's rate, and the sample that it begins with, which is the first
        of the frame in which ``start`` lies."""
        folder, places, codec = self._opened
        hop = codec.config.hop_length
        first, frames = start // hop, -(-count // hop)
        codes = torch.from_numpy(folder.codes(places[name], first, frames).astype(np.int64))
        sound = codec.decode(codes[None, None], [None]).audio_values[0, 0, :count]
        return sound.numpy(), first * hop
