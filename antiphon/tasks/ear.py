"""The ear of a listener: sounds to what its encoder makes of them, the windows of several sounds together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antiphon.encoders.audio_encoder import frames_of

# Windows whose spectra are made at once, 1.5 MB each; the encoder takes as many of these together as are alike.
_TOGETHER = 64


class Ear:
    """Encodes sounds.

    Args:
        model: with ``get_audio_features`` of a ``MusicFlamingoForConditionalGeneration``. processor: its own.

    Attributes:
        sampling_rate: of the sounds, in Hz. window_samples: of a window. longest_s: what the model hears at once.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self._model = model
        self._extractor = processor.feature_extractor
        self.sampling_rate: int = int(self._extractor.sampling_rate)
        window_s = self._extractor.chunk_length
        self.window_samples: int = int(self.sampling_rate * window_s)
        self.longest_s: float = float(processor.max_audio_len // window_s * window_s)

    def encode(self, sounds: Sequence[np.ndarray]) -> list[Tensor]:
        """What the language model reads of each sound (N,): (F, D), F of all its windows together."""
        windows = [(sound, start) for sound in sounds for start in range(0, len(sound), self.window_samples)]
        made: list[Tensor] = []
        for first in range(0, len(windows), _TOGETHER):
            made += self._encode(windows[first : first + _TOGETHER])
        counts = [-(-len(sound) // self.window_samples) for sound in sounds]
        left = iter(made)
        return [torch.cat([next(left) for _ in range(count)]) for count in counts]

    def _encode(self, windows: Sequence[tuple[np.ndarray, int]]) -> list[Tensor]:
        """Each window's (F, D)."""
        chunks = [sound[start : start + self.window_samples] for sound, start in windows]
        features = self._extractor(
            chunks,
            sampling_rate=self.sampling_rate,
            return_attention_mask=True,
            padding="max_length",
            return_tensors="pt",
        )
        mask = features["attention_mask"]
        with torch.no_grad():
            heard = self._model.get_audio_features(
                features["input_features"].to(self._model.device),
                mask.to(self._model.device),
                window_indices=torch.tensor([start // self.window_samples for _, start in windows]),
            )
        return list(heard.split(frames_of(mask.sum(dim=-1)).tolist()))
