"""What MusicGen Melody's decoder hears in front of its columns: a melody, and behind it the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from antiphon.audio.chroma import HOP_SAMPLES
from antiphon.errors import NumericError, ParamError
from antiphon.generation.windows import Window
from antiphon.models.musicgen_generation import Conditions


def null_melody(rows: int, pitch_classes: int, *, like: Tensor) -> Tensor:
    """The chroma (rows, 1, pitch_classes) of no melody: that of silence, in which the first pitch class counts."""
    chroma = like.new_zeros(rows, 1, pitch_classes)
    chroma[..., 0] = 1
    return chroma


def melody_prefix(model: Any, chroma: Tensor, mask: Tensor | None = None, *, first: int = 0) -> Tensor:
    """Chroma (B, F, C) as ``chroma_length`` places (B, P, D), from frame ``first`` on and over again.

    Args:
        mask: (B, F), 1 for the frames of a row that are repeated; the others come behind them.
    """
    if hasattr(model, "audio_enc_to_dec_proj"):
        chroma = model.audio_enc_to_dec_proj(chroma.to(model.audio_enc_to_dec_proj.weight))
    rows, frames, width = chroma.shape
    lengths = torch.full((rows,), frames) if mask is None else mask.bool().sum(dim=1).cpu()
    places = torch.arange(first, first + model.config.chroma_length) % lengths[:, None]  # (B, P)
    return chroma.gather(1, places.to(chroma.device)[..., None].expand(-1, -1, width))


def check_melody(model: Any, chroma: Any, mask: Any, rows: int | None, *, windows: bool = False) -> None:
    """Refuses what is no chroma for ``rows`` rows.

    Args:
        windows: (B, W, F, C) is one as well.

    Raises:
        ParamError: another shape, or a mask that does not fit. NumericError: numbers that are not finite.
    """
    classes = model.config.num_chroma
    shape = tuple(getattr(chroma, "shape", ()))
    kinds = (3, 4) if windows else (3,)
    fits = len(shape) in kinds and shape[-1] == classes and all(shape)
    if not isinstance(chroma, Tensor) or chroma.is_complex() or not fits:
        also = f", or (batch, windows, frames, {classes})" if windows else ""
        raise ParamError(
            f"input_features of shape {shape} and type {getattr(chroma, 'dtype', type(chroma).__name__)}",
            expected=f"chroma as a tensor (batch, frames, {classes}){also}",
            fix="Use the processor or the feature extractor of this checkpoint",
        )
    if rows is not None and shape[0] != rows:
        raise ParamError(f"{rows} texts and input_features of {shape[0]} melodies", expected="equal numbers")
    if not bool(torch.isfinite(chroma).all()):
        raise NumericError("input_features hold NaN or infinity", expected="finite chroma")
    if mask is None:
        return
    if tuple(getattr(mask, "shape", ())) != (shape[0], shape[-2]) or len(shape) != 3:
        raise ParamError(
            f"input_features_mask of shape {tuple(getattr(mask, 'shape', ()))} for input_features of shape {shape}",
            expected="(batch, frames)",
        )
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ParamError(
            "input_features_mask with other values than 0 and 1", expected="1 for the frames that are real"
        )
    real = mask.bool()
    if not bool(real[:, 0].all()) or bool((real[:, 1:] & ~real[:, :-1]).any()):
        raise ParamError("input_features_mask with gaps", expected="in each row ones, at least one, and zeros behind")


@dataclass
class MelodyHearing:
    """The conditions of each window of a piece: the text is always there, the melody goes on with the piece.

    Args:
        text: (B, M, D), zero where padded. text_mask: (B, M) where rows are independent: pads are nothing then.
        chroma: (B, F, C), cut anew for each window; (B, W, F, C), one for each window; or ``None``.
        chroma_mask: (B, F), as in ``melody_prefix``. guided: with unconditional rows.
    """

    model: Any
    text: Tensor
    text_mask: Tensor | None
    chroma: Tensor | None
    chroma_mask: Tensor | None
    guided: bool

    def __call__(self, windows: Sequence[Window], number: int) -> Conditions:
        """The conditions of one window."""
        melody = self._null() if self.chroma is None else self._melody(self.chroma, windows, number)
        states = torch.cat([melody, self.text], dim=1)
        if self.guided:
            states = torch.cat([states, torch.cat([self._null(), torch.zeros_like(self.text)], dim=1)])
        mask = None
        if self.text_mask is not None and not bool(self.text_mask.all()):
            mask = torch.cat([self.text_mask.new_ones(melody.shape[:2]), self.text_mask], dim=1)
            mask = torch.cat([mask, mask]) if self.guided else mask
        return Conditions(states, mask, in_front=True, own_places=self.text_mask is not None)

    def _null(self) -> Tensor:
        rows, classes = len(self.text), self.model.config.num_chroma
        return melody_prefix(self.model, null_melody(rows, classes, like=self.text)).to(self.text)

    def _melody(self, chroma: Tensor, windows: Sequence[Window], number: int) -> Tensor:
        first = 0
        if chroma.dim() == 4:
            if chroma.shape[1] != len(windows):
                raise ParamError(
                    f"input_features for {chroma.shape[1]} windows and a piece of {len(windows)}", expected="as many"
                )
            chroma = chroma[:, number]
        else:  # where the window lies in the piece; the first of several is not at 0 behind a long prompt
            codec = self.model.config.audio_encoder
            second = windows[number].first / codec.frame_rate
            # the published hop: only the feature extractor's file says it, which a model does not read
            first = round(second * codec.sampling_rate / HOP_SAMPLES)
        return melody_prefix(self.model, chroma, self.chroma_mask, first=first).to(self.text)


def text_places(model: Any, texts: Any, padding: Tensor | None, items: int) -> tuple[Tensor, Tensor | None]:
    """Text states (B, M, D) with their mask (B, M); no text is one place of zeros."""
    device = model.decoder.device
    if texts is None or texts.last_hidden_state is None:
        return torch.zeros(items, 1, model.config.decoder.hidden_size, dtype=model.decoder.dtype, device=device), None
    return model.project(texts.last_hidden_state, padding).to(device), None if padding is None else padding.to(device)


def own_text_places(mask: Tensor | None) -> Tensor | None:
    """The mask of rows by themselves: a text that is padding throughout keeps one place, as no text has it."""
    if mask is None:
        return None
    empty = ~mask.bool().any(dim=1)
    mask = mask.clone()
    mask[empty, 0] = 1
    return mask
