"""The paper that pictures are drawn on: a figure of matplotlib (the extra ``plot``), its colours, and its file."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from antiphon.audio.destination import destination
from antiphon.errors import missing_extra

TEAL, LIGHT, ORANGE, INK, GRID = "#1f6f78", "#8cc4c4", "#c8602b", "#22303a", "#dfe5e8"
_DPI = 110
_TITLE_CHARACTERS = 1000  # more than any picture has room for
_TITLE_SHARE = 0.96  # of the width, at most


def check_can_draw() -> None:
    """Raises ``MissingExtraError`` where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401  # only to see whether it is there
    except ImportError as error:
        raise missing_extra("matplotlib", "plot", purpose="Drawing a sound") from error


def new_figure(width: float, height: float) -> Any:
    """An empty figure of so many inches.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_can_draw()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # a Figure of its own: pyplot keeps every figure in global state
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def write(figure: Any, path: str | os.PathLike[str], *, title: str) -> Path:
    """Writes a figure as PNG with a line above it, unless that is empty, cut to its width; whole or not at all.

    Raises:
        AudioError: the file cannot be written.
    """
    heading = " ".join(title.split())[:_TITLE_CHARACTERS]
    with warnings.catch_warnings():
        # a prompt may hold characters the font lacks: they show as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        if heading:
            _put_above(figure, heading)
        with destination(Path(path)) as file:
            figure.savefig(file, format="png")
    return Path(path)


def _put_above(figure: Any, heading: str) -> None:
    """A heading that is as long as there is room for."""
    line = figure.suptitle(heading, fontsize=13, color=INK, parse_math=False)
    room = _TITLE_SHARE * figure.bbox.width
    while (width := line.get_window_extent(figure.canvas.get_renderer()).width) > room and heading:
        heading = heading[: min(len(heading) - 1, int(len(heading) * room / width))]
        line.set_text(heading.rstrip() + "…")


def round_ticks(bins: int) -> Any:
    """A locator of at most so many round numbers."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=bins, steps=[1, 2, 2.5, 5, 10])


def clean(axes: Any) -> None:
    """Leaves of a frame what is read."""
    axes.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)
    axes.tick_params(colors=INK, labelsize=9)
