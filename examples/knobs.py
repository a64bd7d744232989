"""Draws the pictures of docs/knobs.md and docs/making-music.md, each from the code that the knob turns.

Run it as ``python examples/knobs.py [FOLDER]``; it needs matplotlib (the extra ``plot``) and half a minute.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import antiphon
from antiphon.audio.clip import Audio
from antiphon.audio.melody_agreement import MelodyAgreement
from antiphon.audio.melody_picture import melody_figure
from antiphon.generation.delays import DelayPattern
from antiphon.generation.guidance import ClassifierFreeGuidance
from antiphon.generation.sampling import Temperature, TopK, TopP
from antiphon.generation.windows import SlidingWindow
from antiphon.nn.rounding import restored, rounded

sys.path.insert(0, str(Path(__file__).parent))
from random_checkpoint import make

FRAME_RATE_HZ = 50
INK, GRID, TEAL, LIGHT, ORANGE, PALE = "#22303a", "#dfe5e8", "#1f6f78", "#8cc4c4", "#c8602b", "#c9d2d6"
TOKENS = 48
STREAMED_SECONDS = 10
STEP_MS = (12, 20, 40)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the pictures of docs/knobs.md and docs/making-music.md.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parents[1] / "docs" / "pictures")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        figure = draw()
        figure.savefig(folder / f"{name}.png", metadata={"Software": None})
        print(folder / f"{name}.png")


def canvas(width: float, height: float) -> Figure:
    """An empty figure, in inches of 100 pixels."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(width, height), dpi=100, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def cleaned(axes: Any, title: str = "", *, x: str = "", y: str = "") -> None:
    """Takes away what says nothing, and labels the rest."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(colors=INK, labelsize=9, length=3)
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)


def made_up_logits(fall: float) -> torch.Tensor:
    """Scores (1, TOKENS) that fall from the likeliest token on; the larger ``fall``, the surer the step."""
    return fall * torch.exp(-torch.arange(TOKENS) / 9.0)[None]


def shares(scores: torch.Tensor) -> np.ndarray:
    """The probability of each token in percent."""
    return 100 * scores.softmax(-1)[0].numpy()


def temperature() -> Figure:
    """One step at three temperatures."""
    figure = canvas(10, 3)
    scores, places = made_up_logits(5.0), np.arange(TOKENS)
    panels = figure.subplots(1, 3, sharey=True)
    for axes, value in zip(panels, (0.5, 1.0, 1.5), strict=True):
        axes.bar(places, shares(Temperature(value)(places, scores)), width=0.8, color=TEAL)
        axes.grid(axis="y", color=GRID)
        cleaned(axes, f"temperature {value:g}", x="tokens, likeliest first")
    panels[0].set_ylabel("probability in %", color=INK)
    return figure


def cuts() -> Figure:
    """What top-k and top-p leave of a sure step and of an unsure one."""
    figure = canvas(10, 5.2)
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    for row, (kind, fall) in enumerate((("a sure step", 5.0), ("an unsure step", 2.2))):
        scores, places = made_up_logits(fall), np.arange(TOKENS)
        for axes, name, cut in zip(panels[row], ("top_k 12", "top_p 0.8"), (TopK(12), TopP(0.8)), strict=True):
            kept = shares(cut(places, scores))
            axes.bar(places, shares(scores), width=0.9, color=PALE)
            axes.bar(places, kept, width=0.55, color=TEAL)
            axes.grid(axis="y", color=GRID)
            cleaned(axes, f"{name}, {kind}: {np.count_nonzero(kept)} tokens left")
        panels[row, 0].set_ylabel("probability in %", color=INK)
    for axes in panels[1]:
        axes.set_xlabel("tokens, likeliest first", color=INK)
    keys = [Patch(color=PALE, label="before the cut"), Patch(color=TEAL, label="what is drawn from")]
    panels[0, 1].legend(handles=keys, frameon=False, fontsize=9, labelcolor=INK)
    return figure


def guidance() -> Figure:
    """Two made-up predictions, and what guidance makes of them."""
    figure = canvas(10, 3)
    chance = torch.Generator().manual_seed(5)
    without = torch.randn(1, 24, generator=chance)
    wanted = torch.zeros(1, 24)
    wanted[0, [4, 5, 13, 18]] = torch.tensor([0.9, 0.6, 1.0, 0.7])
    both = torch.cat([without + wanted, without])
    shown = [("without the text", without)]
    shown += [("with it (guidance 1)", ClassifierFreeGuidance(1.0)(both))]
    shown += [(f"guidance {scale:g}", ClassifierFreeGuidance(scale)(both)) for scale in (3.0, 6.0)]
    colours = np.where(wanted[0] > 0, ORANGE, LIGHT)
    panels = figure.subplots(1, len(shown), sharey=True)
    for axes, (title, scores) in zip(panels, shown, strict=True):
        axes.bar(np.arange(24), shares(scores), width=0.8, color=colours)
        axes.grid(axis="y", color=GRID)
        cleaned(axes, title, x="tokens")
    panels[0].set_ylabel("probability in %", color=INK)
    keys = [Patch(color=ORANGE, label="fits the text"), Patch(color=LIGHT, label="others")]
    panels[1].legend(handles=keys, frameon=False, fontsize=9, labelcolor=INK, loc="upper left")
    return figure


def delays() -> Figure:
    """Which frame each codebook holds in each column, mono and stereo."""
    figure = canvas(10, 4.4)
    frames, marked = 8, 3
    panels = figure.subplots(2, 1, height_ratios=[4, 8])
    for axes, codebooks, channels in zip(panels, (4, 8), (1, 2), strict=True):
        pattern = DelayPattern.for_codebooks(codebooks, channels)
        numbered = torch.arange(frames + 1).expand(1, codebooks, -1)
        plan = pattern.build(numbered, pattern.columns(frames), pad=0)[0]
        for k, column in np.ndindex(*plan.shape):
            frame = max(0, int(plan[k, column]))
            colour = GRID if frame == 0 else ORANGE if frame == marked else LIGHT
            axes.barh(k, 0.94, left=column - 0.47, height=0.9, color=colour)
            dark = "white" if frame == marked else INK
            axes.text(column, k, str(frame or "–"), ha="center", va="center", fontsize=9, color=dark)
        names = [str(k + 1) if channels == 1 else f"{'LR'[k % 2]} {k // 2 + 1}" for k in range(codebooks)]
        axes.set_yticks(range(codebooks), names)
        axes.set_xticks(range(plan.shape[1]))
        axes.set_xlim(-0.5, plan.shape[1] - 0.5)
        axes.invert_yaxis()
        cleaned(axes, "mono" if channels == 1 else "stereo: left and right in turn", y="codebook")
        axes.spines[:].set_visible(False)
    panels[1].set_xlabel("column: one step of the model", color=INK)
    return figure


def windows() -> Figure:
    """How windows lie over three minutes."""
    figure = canvas(10, 3.4)
    axes = figure.subplots()
    sliding = SlidingWindow.of_seconds(30.0, 18.0, FRAME_RATE_HZ)
    laid = [] if sliding is None else list(sliding.windows(0, 180 * FRAME_RATE_HZ))
    for number, window in enumerate(laid):
        first, held, end = (frame / FRAME_RATE_HZ for frame in (window.first, window.held, window.end))
        axes.barh(number, held, left=first, height=0.7, color=LIGHT)
        axes.barh(number, end - first - held, left=first + held, height=0.7, color=TEAL)
    axes.set_yticks(range(len(laid)), [str(number + 1) for number in range(len(laid))])
    axes.set_xticks(np.arange(0, 181, 18))
    axes.set_xlim(0, 180)
    axes.grid(axis="x", color=GRID)
    axes.invert_yaxis()
    cleaned(axes, x="seconds of the piece", y="window")
    keys = [Patch(color=LIGHT, label="heard again, kept as it is"), Patch(color=TEAL, label="new")]
    axes.legend(handles=keys, frameon=False, fontsize=10, labelcolor=INK, loc="upper right")
    return figure


def streaming() -> Figure:
    """When each second is made and when it is heard, at three speeds."""
    steps = _steps_of_chunks()
    figure = canvas(10, 3.6)
    panels = figure.subplots(1, len(STEP_MS), sharey=True)
    for axes, step_ms in zip(panels, STEP_MS, strict=True):
        ready_s = np.array(steps) * step_ms / 1000
        axes.step([0, *ready_s], range(len(steps) + 1), where="post", color=TEAL, linewidth=2)
        free_s = 0.0
        for number, at_s in enumerate(ready_s):
            start_s = max(free_s, at_s)
            free_s = start_s + 1
            axes.plot([start_s, free_s], [number, number + 1], color=ORANGE, linewidth=2)
        axes.axvline(ready_s[-1], color=INK, linewidth=1, linestyle=":")
        axes.grid(color=GRID)
        axes.set_xlim(0, 22)
        cleaned(axes, f"{step_ms} ms a step: first sound after {ready_s[0]:.1f} s", x="seconds since the call")
    panels[0].set_ylabel("seconds of the piece", color=INK)
    keys = [
        Line2D([], [], color=TEAL, linewidth=2, label="made"),
        Line2D([], [], color=ORANGE, linewidth=2, label="heard"),
        Line2D([], [], color=INK, linewidth=1, linestyle=":", label="compose gives it all"),
    ]
    panels[0].legend(handles=keys, frameon=False, fontsize=9, labelcolor=INK, loc="lower right")
    return figure


def _steps_of_chunks() -> list[int]:
    """How many steps a real stream has taken when each second of sound appears."""
    done = 0

    def count(fraction: float, seconds: float) -> None:
        nonlocal done
        done += 1

    with tempfile.TemporaryDirectory() as folder:
        compose = antiphon.load(make(folder))
        chunks = compose.stream("calm piano", seconds=STREAMED_SECONDS, seed=1, on_progress=count)
        return [done for _ in chunks]


def loudness() -> Figure:
    """One sound as it is, and brought to a level in four ways."""
    figure = canvas(10, 6.2)
    sound = _drums_over_a_soft_tone()
    shown = {"as it is": sound}
    shown |= {f'loudness="{name}"': sound.normalised(name) for name in ("peak", "clip", "rms", "loudness")}
    panels = figure.subplots(len(shown), 1, sharex=True, sharey=True)
    for axes, (title, audio) in zip(panels, shown.items(), strict=True):
        columns = audio.samples[0].reshape(1000, -1)
        times = np.linspace(0, audio.seconds, 1001)
        axes.stairs(columns.max(1), times, baseline=columns.min(1), fill=True, color=TEAL)
        axes.axhspan(1.0, 1.6, color=ORANGE, alpha=0.12, linewidth=0)
        axes.axhspan(-1.6, -1.0, color=ORANGE, alpha=0.12, linewidth=0)
        peak_db = 20 * np.log10(audio.peak)
        cleaned(axes, f"{title}: peak {peak_db:+.1f} dBFS, {audio.loudness_lufs:.1f} LUFS".replace("-", "−"))
        axes.set_ylim(-1.4, 1.4)
        axes.set_yticks([-1, 0, 1])
        axes.set_xlim(0, audio.seconds)
    panels[-1].set_xlabel("seconds", color=INK)
    return figure


def _drums_over_a_soft_tone() -> Audio:
    """Six seconds with hits of different strength, the last one beyond full scale."""
    rate_hz, seconds = 32_000, 6
    time_s = np.arange(rate_hz * seconds) / rate_hz
    sound = 0.12 * np.sin(2 * np.pi * 440 * time_s) * (1 + 0.3 * np.sin(2 * np.pi * time_s / 3))
    noise = np.random.default_rng(3).uniform(-1, 1, time_s.size)
    for start_s, level in ((0.5, 0.15), (1.5, 0.25), (2.5, 0.15), (3.5, 0.3), (4.5, 1.2)):
        since_s = time_s - start_s
        sound += level * noise * np.where(since_s >= 0, np.exp(-since_s.clip(0) / 0.06), 0)
    return Audio(sound.astype(np.float32), rate_hz)


def rounding() -> Figure:
    """A group of 64 weights as they are and as 8 and 4 bits keep them."""
    figure = canvas(10, 5.2)
    weight = 0.02 * torch.randn(1, 64, generator=torch.Generator().manual_seed(2))
    panels = figure.subplots(2, 1, sharex=True, height_ratios=[2, 3])
    for axes, bits in zip(panels, (8, 4), strict=True):
        codes, scales = rounded(weight, bits)
        kept = restored(codes, scales, bits)
        if bits == 4:
            for level in range(16):
                axes.axhline((level - 8) * float(scales[0, 0]), color=GRID, linewidth=0.8)
        error = float((kept - weight).square().mean().sqrt() / weight.square().mean().sqrt())
        axes.plot(weight[0], "o", color=LIGHT, markersize=6)
        axes.plot(kept[0], "o", color=TEAL, markersize=2.8)
        cleaned(axes, f"int{bits}: {2**bits} levels, error {100 * error:.1f} % of the weights' size", y="weight")
    panels[1].set_xlabel("weights of one group", color=INK)
    keys = [("as stored", LIGHT, 6.0), ("as rounded", TEAL, 2.8)]
    dots = [Line2D([], [], marker="o", linestyle="", color=c, markersize=s, label=n) for n, c, s in keys]
    figure.legend(handles=dots, frameon=False, fontsize=9, labelcolor=INK, loc="upper right", ncols=2)
    return figure


def melody() -> Figure:
    """A tune, and a variation of it an octave higher that goes its own way in places."""
    tune = (0, 2, 4, 0, 0, 2, 4, 0, 4, 5, 7, 7, 4, 5, 7, 7)
    variation = (0, 2, 4, 7, 0, 2, 4, 0, 4, 5, 9, 7, 2, 5, 7, 7)
    return melody_figure(MelodyAgreement.of(_sung(variation, octave=1), _sung(tune, octave=0)))


def _sung(notes: tuple[int, ...], *, octave: int) -> Audio:
    time_s = np.arange(16_000) / 32_000
    waves = [np.sin(2 * np.pi * 261.63 * 2 ** (octave + note / 12) * time_s) * np.exp(-2 * time_s) for note in notes]
    return Audio(0.5 * np.concatenate(waves), 32_000)


PICTURES: dict[str, Callable[[], Figure]] = {
    "temperature": temperature,
    "cuts": cuts,
    "guidance": guidance,
    "delays": delays,
    "windows": windows,
    "streaming": streaming,
    "loudness": loudness,
    "rounding": rounding,
    "melody": melody,
}


if __name__ == "__main__":
    main()
