"""A picture of a melody that was heard above what was made of it: pitch classes over time, and where they agree."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.audio.chroma import PITCH_NAMES
from antiphon.audio.figure import GRID, INK, LIGHT, ORANGE, TEAL, clean, new_figure, round_ticks, write
from antiphon.audio.melody_agreement import MelodyAgreement

_EMPTY, _SAME, _OTHER, _HEARD = range(4)


def draw_melody(agreement: MelodyAgreement, path: str | os.PathLike[str], *, title: str = "") -> Path:
    """Writes the figure of ``melody_figure`` as PNG.

    Args:
        path: the file; replaced, whole, if it exists. title: above the picture, such as the prompt.

    Raises:
        MissingExtraError: matplotlib is not installed. AudioError: the file cannot be written.
    """
    return write(melody_figure(agreement), path, title=title)


def melody_figure(agreement: MelodyAgreement) -> Any:
    """A figure of matplotlib with two panels over one axis of time, each with a row for each pitch class.

    Where the piece has the pitch class that was heard, its frame is dark; where it has another one, that is orange and
    the one that was heard stays pale. The share of the dark ones is written above, beside what chance comes to.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = new_figure(12, 6.4)
    upper, lower = figure.subplots(2, 1, sharex=True)
    frames = np.arange(len(agreement.heard))
    heard = np.full((len(PITCH_NAMES), len(frames)), _EMPTY)
    heard[agreement.heard, frames] = _HEARD
    made = heard.copy()
    made[agreement.made, frames] = np.where(agreement.made == agreement.heard, _SAME, _OTHER)
    # a frame is centred on its moment, and the piece begins at 0
    edges_s = (np.arange(len(frames) + 1) - 0.5).clip(0) * agreement.frame_s
    _draw_classes(upper, heard, edges_s, heading="the melody that was heard")
    _draw_classes(lower, made, edges_s, heading="the strongest pitch class of what was made")
    _add_legend(lower, agreement)
    lower.set_xlabel("time in s", color=INK)
    lower.xaxis.set_major_locator(round_ticks(12))
    return figure


def _draw_classes(axes: Any, kinds: np.ndarray, edges_s: np.ndarray, *, heading: str) -> None:
    from matplotlib.colors import ListedColormap

    rows = np.arange(len(PITCH_NAMES) + 1) - 0.5
    colours = ListedColormap(["white", TEAL, ORANGE, LIGHT])
    axes.pcolormesh(edges_s, rows, kinds, cmap=colours, vmin=_EMPTY, vmax=_HEARD, rasterized=True)
    axes.set_yticks(range(len(PITCH_NAMES)), PITCH_NAMES)
    axes.set_ylabel("pitch class", color=INK)
    axes.set_title(heading, loc="left", fontsize=11, color=INK)
    for row in rows[1:-1]:
        axes.axhline(row, color=GRID, linewidth=0.6)
    clean(axes)


def _add_legend(axes: Any, agreement: MelodyAgreement) -> None:
    from matplotlib.patches import Patch

    same, chance = 100 * agreement.share, 100 * agreement.chance
    axes.legend(
        handles=[
            Patch(color=TEAL, label=f"as heard: {same:.0f} % of the time (by chance: {chance:.0f} %)"),
            Patch(color=ORANGE, label="another one"),
            Patch(color=LIGHT, label="missed"),
        ],
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=3,
        frameon=False,
        fontsize=10,
        labelcolor=INK,
        borderaxespad=0.2,
    )
