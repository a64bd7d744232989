"""Processors of the reference and ours on the same files, small, and recordings for them."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import transformers

import antiphon

from .. import qwen2_tokenizers

RATE_HZ = 16000
CLASSES = {"music": "MusicFlamingoProcessor", "audio": "AudioFlamingo3Processor"}


def write(folder: Path, kind: str = "music", *, bands: int = 8, chunk_s: int = 1, **settings: Any) -> Path:
    """``folder`` with the files of a processor, as the reference writes them."""
    extractor = transformers.WhisperFeatureExtractor(feature_size=bands, chunk_length=chunk_s)
    tokenizer = qwen2_tokenizers.reference()
    made = getattr(transformers, CLASSES[kind])(
        extractor, tokenizer, chat_template=qwen2_tokenizers.TEMPLATE, **settings
    )
    made.save_pretrained(folder)
    return folder


def opened(folder: Path) -> tuple[Any, Any]:
    """Ours and the reference's."""
    return antiphon.AutoProcessor.from_pretrained(folder), transformers.AutoProcessor.from_pretrained(folder)


def recording(seconds: float, seed: int = 0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Mono noise that swells, float32 (N,)."""
    count = round(seconds * rate_hz)
    noise = np.random.default_rng(seed).standard_normal(count) * np.linspace(0.05, 0.3, count)
    return noise.astype(np.float32)


def wav(path: Path, samples: np.ndarray, rate_hz: int = RATE_HZ) -> Path:
    """A 16-bit file of samples (N,) or (N, C)."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def asked(*recordings: Any, text: str = "Describe this track.", **part: Any) -> list[dict[str, Any]]:
    """A conversation: a question, and recordings behind it."""
    parts = [{"type": "audio", "audio": one, **part} for one in recordings]
    return [{"role": "user", "content": [{"type": "text", "text": text}, *parts]}]


def answered(*recordings: Any, answer: str = "150 BPM in E major.", **part: Any) -> list[dict[str, Any]]:
    """The same with an answer."""
    return [*asked(*recordings, **part), {"role": "assistant", "content": [{"type": "text", "text": answer}]}]
