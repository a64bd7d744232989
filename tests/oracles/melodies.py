"""Calls with melodies as the goldens describe them, for our models."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .given_text import without_text
from .goldens import Golden, golden

FACTS = golden("melody_mono").about
CASES = FACTS["cases"]
WITH_MELODY = [name for name, case in CASES.items() if case["melodies"]]
_LONGEST_DELAY = 3


def tune(name: str | None) -> np.ndarray:
    """A melody (N,) float32 by the formula that the golden was made with; one sample of silence for none."""
    if name is None:
        return np.zeros(1, np.float32)
    seconds, note_s, notes, levels = FACTS["tunes"][name]
    time = np.arange(round(seconds * FACTS["rate_hz"])) / FACTS["rate_hz"]
    number = (time / note_s).astype(int)
    pitches = np.array(notes, dtype=np.float64)[number % len(notes)]
    turns = 2 * math.pi * 440 * 2 ** ((pitches - 69) / 12) * time
    waves = 0.3 * np.sin(turns) + 0.1 * np.sin(2 * turns)
    return np.float32(waves * np.array(levels)[number % len(levels)])


def text_inputs(model: Any, texts: list[str | None]) -> dict[str, Tensor]:
    """Ids and mask as the processor gives them."""
    return without_text(model.text_encoder.tokenizer([text or "" for text in texts]), texts)


def one_hot(pitches: Tensor) -> Tensor:
    """Pitch classes as the features of a melody."""
    return torch.nn.functional.one_hot(pitches.long(), 12).float()


def composed(model: Any, source: Golden, case: dict[str, Any], **inputs: Any) -> Tensor:
    """Our codes (B, K, T)."""
    if case["prompt_frames"]:
        inputs["decoder_input_ids"] = source["prompt"][..., : case["prompt_frames"]].flatten(0, 1)
    return model.generate(
        **text_inputs(model, case["texts"]),
        **inputs,
        max_new_tokens=round(case["seconds"] * 50) - case["prompt_frames"] + _LONGEST_DELAY,
        do_sample=False,
        guidance_scale=case["guidance"],
        window_seconds=FACTS["window_seconds"],
        stride_seconds=FACTS["stride_seconds"],
        return_dict_in_generate=True,
    ).audio_codes


def starts_s(windows: int) -> list[float]:
    """Where so many windows begin."""
    return [number * FACTS["stride_seconds"] for number in range(windows)]
