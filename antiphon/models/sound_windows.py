"""Recordings cut into the windows that an encoder hears at once, as spectra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from antiphon.encoders.audio_encoder import frames_of
from antiphon.errors import AudioError
from antiphon.models.conversation import Part
from antiphon.models.recordings import Hearing


@dataclass(frozen=True)
class SoundWindows:
    """The windows of some recordings, in their order.

    Attributes:
        inputs: of the model; empty without recordings. frames: that come out of the encoder, for each recording.
    """

    inputs: dict[str, Tensor]
    frames: list[int]

    @classmethod
    def of(
        cls,
        parts: Sequence[Part],
        hearing: Hearing,
        extractor: Any,
        *,
        sampling_rate: int | None = None,
        device: Any = None,
        do_normalize: bool | None = None,
    ) -> Self:
        """The windows of ``parts``; the last one of a recording is filled up with silence.

        Args:
            extractor: a ``WhisperFeatureExtractor``, whose ``chunk_length`` a window has.
            sampling_rate: Hz of samples that do not bring their own. device, do_normalize: as the extractor's.

        Raises:
            AudioError: a recording of which no frame would be left; and as ``Hearing.samples_of``.
        """
        if not parts:
            return cls({}, [])
        windows: list[Any] = []
        numbers: list[int] = []
        owners: list[int] = []
        for owner, part in enumerate(parts):
            rate_hz = sampling_rate if part.rate_hz is None else part.rate_hz
            samples = hearing.samples_of(part.given, given_rate_hz=rate_hz, name=part.name)
            starts = range(0, len(samples), extractor.n_samples)
            windows += [samples[start : start + extractor.n_samples] for start in starts]
            numbers += range(len(starts))
            owners += [owner] * len(starts)
        made = extractor(
            windows,
            sampling_rate=hearing.rate_hz,
            return_attention_mask=True,
            padding="max_length",
            return_tensors="pt",
            device=device,
            do_normalize=do_normalize,
        )
        frames = torch.zeros(len(parts), dtype=torch.int64)
        frames.index_add_(0, torch.tensor(owners), frames_of(made["attention_mask"].sum(-1)))
        for count, part in zip(frames.tolist(), parts, strict=True):
            if not count:
                raise AudioError(
                    f"{part.name} is too short to be heard", expected="more than 20 ms of sound", fix="Leave it out"
                )
        return cls(
            {
                "input_features": made["input_features"],
                "input_features_mask": made["attention_mask"],
                "window_indices": torch.tensor(numbers, dtype=torch.int64),
            },
            frames.tolist(),
        )
