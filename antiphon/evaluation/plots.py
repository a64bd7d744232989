"""Pictures of an evaluation: what was asked against what was heard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.audio.figure import GRID, INK, ORANGE, TEAL, clean, new_figure, write
from antiphon.evaluation.tempo import tempo_agreement

_COLOURS = {"right": TEAL, "octave": ORANGE, "wrong": INK}
_WORDS = {"right": "right", "octave": "another metrical level", "wrong": "wrong"}


def draw_tempos(found_bpm: Sequence[float], asked_bpm: Sequence[float], path: Path) -> Path:
    """Draws the tempos that were heard above those that were asked for, as PNG.

    Raises:
        MissingExtraError: matplotlib is not installed. AudioError: the file cannot be written.
    """
    figure = new_figure(7, 5.5)
    axes = figure.subplots()
    agreements = [tempo_agreement(found, asked) for found, asked in zip(found_bpm, asked_bpm, strict=True)]
    low, high = min((*found_bpm, *asked_bpm)), max((*found_bpm, *asked_bpm))
    axes.plot([low, high], [low, high], color=GRID, linewidth=1)
    for agreement, colour in _COLOURS.items():
        points = [place for place, one in enumerate(agreements) if one == agreement]
        at = [asked_bpm[p] for p in points], [found_bpm[p] for p in points]
        axes.scatter(*at, s=18, color=colour, label=f"{_WORDS[agreement]}: {len(points)}")
    axes.set_xlabel("asked, beats a minute", color=INK)
    axes.set_ylabel("heard, beats a minute", color=INK)
    axes.legend(frameon=False, labelcolor=INK)
    clean(axes)
    return write(figure, path, title="Tempo")


def draw_confusion(found: Sequence[str], asked: Sequence[str], path: Path, *, title: str) -> Path:
    """Draws how often each label was heard for each one that was asked for, as PNG; rows come to 100 %.

    Raises:
        MissingExtraError: matplotlib is not installed. AudioError: the file cannot be written.
    """
    names = sorted({*found, *asked})
    counts = np.zeros((len(names), len(names)))
    for heard, wanted in zip(found, asked, strict=True):
        counts[names.index(wanted), names.index(heard)] += 1
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 3.0 + 0.42 * len(names)
    figure = new_figure(size + 1, size)
    axes: Any = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.5 else INK
        axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("heard", color=INK)
    axes.set_ylabel("asked", color=INK)
    clean(axes)
    return write(figure, path, title=title)
