"""The picture of a run: its losses over its steps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from antiphon.audio import figure
from antiphon.errors import ConfigError
from antiphon.training.record import read_record

_BESIDE = ("step", "kind", "examples_per_s", "learning_rate", "gradient_norm")
_COLUMNS = 3
_SMOOTHED = 0.9


def draw_curves(record: Path, path: str | os.PathLike[str], *, title: str = "") -> Path:
    """Draws every figure of a run's record, training and held out, as PNG.

    Args:
        record: a run's ``metrics.jsonl``.

    Raises:
        MissingExtraError: matplotlib is not installed. ConfigError: the record holds nothing to draw.
    """
    lines = read_record(record)
    names = list(dict.fromkeys(name for line in lines for name in line if name not in _BESIDE))
    names += [name for name in ("gradient_norm", "learning_rate") if any(name in line for line in lines)]
    if not names:
        raise ConfigError(f"{record} holds no figures", fix="Draw it when the run has taken some steps")
    rows = -(-len(names) // _COLUMNS)
    paper = figure.new_figure(4.2 * min(_COLUMNS, len(names)), 2.7 * rows)
    axes = paper.subplots(rows, min(_COLUMNS, len(names)), squeeze=False).flatten()
    for ax, name in zip(axes, names, strict=False):
        _draw(ax, name, lines)
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    return figure.write(paper, path, title=title)


def _draw(ax: Any, name: str, lines: Sequence[dict[str, Any]]) -> None:
    for kind, color in (("training", figure.LIGHT), ("held_out", figure.ORANGE)):
        points = [(line["step"], line[name]) for line in lines if line["kind"] == kind and line.get(name) is not None]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        if kind == "training":
            ax.plot(steps, values, color=color, linewidth=0.8)
            ax.plot(steps, _smooth(values), color=figure.TEAL, linewidth=1.6, label="training")
        else:
            ax.plot(steps, values, color=color, linewidth=1.6, marker="o", markersize=2.5, label="held out")
    ax.set_title(name, fontsize=10, color=figure.INK, loc="left")
    ax.grid(color=figure.GRID, linewidth=0.6)
    ax.tick_params(labelsize=8, colors=figure.INK)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    if name == "loss":
        ax.legend(fontsize=8, frameon=False)


def _smooth(values: Sequence[float]) -> list[float]:
    """A running mean that follows slowly."""
    out: list[float] = []
    for value in values:
        out.append(value if not out else _SMOOTHED * out[-1] + (1 - _SMOOTHED) * value)
    return out
