"""The melody of a sound file as the numbers of its strongest pitch classes, however long it is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.audio import files
from antiphon.audio.header import Header
from antiphon.audio.passages import load_passage
from antiphon.audio.separation import separate
from antiphon.errors import DataError

# a frame of chroma sees half its window, and resampling a little further; a whole window is never filled up
_FURTHER_SAMPLES = 2048
_BLOCK_S = 60


def melody_frames(
    path: Path, extractor: Any, *, start_s: float, end_s: float, separated: bool = False, block_s: float = _BLOCK_S
) -> np.ndarray:
    """Gives the strongest pitch class of each frame of a passage, (F,) uint8: the extractor's for the passage alone.

    Memory does not grow with the passage, unless it is separated.

    Args:
        path: of a sound file. extractor: a ``MusicgenMelodyFeatureExtractor``. start_s, end_s: the passage; a file that
            ends earlier gives fewer frames. separated: without drums and bass, by Demucs.
        block_s: longer passages are heard in blocks of about this length.

    Raises:
        AudioError: a file that cannot be read. DataError: it ends before the passage begins.
    """
    header = files.read_header(path)
    first, last = round(start_s * header.rate_hz), min(round(end_s * header.rate_hz), header.samples)
    if not first < last:
        raise DataError(
            f"a melody of {header.seconds:.2f} s", expected=f"one that lasts until {start_s:g} s and longer"
        )
    if separated:
        sound = load_passage(
            path, header, start=first, count=last - first, rate_hz=header.rate_hz, channels=min(2, header.channels)
        )
        return _strongest(separate(sound, header.rate_hz).mean(axis=0), header.rate_hz, extractor)
    read, made, step, margin = _grid(header.rate_hz, extractor)
    block = step * max(1, round(block_s * extractor.sampling_rate / step))
    pieces = []
    whole = -(-(last - first) * made // read)  # samples of the passage at the extractor's rate
    for begin in range(0, whole, block):
        heard = max(0, begin - margin)
        from_, until = first + heard * read // made, min(last, first + (begin + block + margin) * read // made)
        frames = _strongest(_mono(path, header, from_, until), header.rate_hz, extractor)
        skipped = (begin - heard) // extractor.hop_length
        ends = begin + block >= whole
        pieces.append(frames[skipped:] if ends else frames[skipped : skipped + block // extractor.hop_length])
    return np.concatenate(pieces)


def _grid(rate_hz: int, extractor: Any) -> tuple[int, int, int, int]:
    """The two rates without their common factor; a step that is whole in both and in frames; a margin in steps."""
    common = math.gcd(rate_hz, extractor.sampling_rate)
    read, made = rate_hz // common, extractor.sampling_rate // common
    step = math.lcm(extractor.hop_length, made)
    return read, made, step, step * -(-(extractor.n_fft + _FURTHER_SAMPLES) // step)


def _mono(path: Path, header: Header, first: int, last: int) -> np.ndarray:
    sound: np.ndarray = load_passage(path, header, start=first, count=last - first, rate_hz=header.rate_hz, channels=1)[
        0
    ]
    return sound


def _strongest(mono: np.ndarray, rate_hz: int, extractor: Any) -> np.ndarray:
    features = extractor(mono, sampling_rate=rate_hz, truncation=False, independent_rows=True, return_tensors="np")
    classes: np.ndarray = features["input_features"][0].argmax(axis=-1).astype(np.uint8)
    return classes
