"""The demo: three pieces from words and one after a melody, by the small models that come with the package, and what a
third one hears in them.

Run it as ``make demo``, or ``python examples/demo.py [FOLDER]``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import antiphon
from antiphon.audio.clip import Audio
from antiphon.audio.melody_picture import draw_melody
from antiphon.audio.picture import draw
from antiphon.checkpoints.built_in import LISTENER, MELODY, MUSIC, built_in
from antiphon.cli.model_choice import BIGGER

SECONDS = 8.0
PROMPTS = (
    "80s pop track with bassy drums and synth",
    "90s rock song with loud guitars and heavy drums",
    "80s blues track with groovy saxophone",
)
FOLLOWING = "calm classical piano"
TUNE = (0, 2, 4, 0, 0, 2, 4, 0, 4, 5, 7, 7, 4, 5, 7, 7)  # Frère Jacques, in semitones above the middle C
NOTE_SECONDS, MIDDLE_C_HZ = 0.5, 261.63
QUESTIONS = ("What style is it?", "What tempo and key?", "Which instruments do you hear?")


@dataclass
class Made:
    """A sound of the demo: where it lies, and how long it took (``None``: it was played by rule)."""

    path: Path
    audio: Audio
    took_s: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description="Compose a few pieces with the small built-in models.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("demo"))
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    print(f"The small built-in models compose: {MUSIC} and {MELODY}, of 14 and 12 million parameters,")
    print("trained by this repository's own recipe on two CPU cores. They know seventeen styles.")
    print(f"For better music name a bigger model: {BIGGER}\n")
    made = from_words(folder) + after_melody(folder)
    for one in made:
        draw(one.audio, one.path.with_suffix(".png"), title=one.audio.prompt or one.path.stem)
    print(table(made))
    print("Beside each sound lies a picture of it (.png). followed-melody.png shows above the melody that was heard,")
    print("and below what was made of it: dark where the strongest pitch class is the one that was heard.")
    if built_in(LISTENER) is not None:
        print(f"\nAnother small model, {LISTENER}, has listened to the pieces. It was not told their words:\n")
        print(answers(made))


def from_words(folder: Path) -> list[Made]:
    """A piece for each of the prompts."""
    compose = antiphon.load()
    made = []
    for number, prompt in enumerate(PROMPTS, start=1):
        started = time.monotonic()
        audio = compose(prompt, seconds=SECONDS, seed=number)
        took_s = time.monotonic() - started
        path = folder / f"prompt-{number}.wav"
        audio.save(path)
        made.append(Made(path, audio, took_s))
    return made


def after_melody(folder: Path) -> list[Made]:
    """A tune by rule, and a piece whose model hears it; their pitch classes are drawn one above the other."""
    compose = antiphon.load(MELODY)
    time_s = np.arange(round(NOTE_SECONDS * compose.sampling_rate)) / compose.sampling_rate
    phases = [2 * np.pi * MIDDLE_C_HZ * 2 ** (note / 12) * time_s for note in TUNE]
    plucked = [(np.sin(phase) + np.sin(2 * phase) / 3) * np.exp(-3 * time_s) for phase in phases]
    melody = Audio(0.4 * np.concatenate(plucked).astype(np.float32), compose.sampling_rate)
    melody.save(folder / "melody.wav")
    started = time.monotonic()
    audio = compose(FOLLOWING, seconds=SECONDS, seed=5, melody=melody)
    took_s = time.monotonic() - started
    audio.save(folder / "followed.wav")
    draw_melody(compose.agreement(audio, melody), folder / "followed-melody.png", title=f"{FOLLOWING}, after a melody")
    return [Made(folder / "melody.wav", melody, None), Made(folder / "followed.wav", audio, took_s)]


def answers(made: list[Made]) -> str:
    """What the listening model says of each piece, beside the words that it was made from."""
    listener = antiphon.load(LISTENER)
    lines = []
    for one in made:
        if one.audio.prompt:
            lines += [f"{one.path}: asked for was {one.audio.prompt!r}"]
            lines += [f"  {question:<32} {listener.ask(one.audio, question)}" for question in QUESTIONS]
    return "\n".join(lines) + "\n"


def table(made: list[Made]) -> str:
    """What lies where; the real-time factor is seconds of computing for a second of sound."""
    width = max(len(str(one.path)) for one in made) + 2
    lines = [f"{'file':<{width}}{'seconds':>8}{'peak':>7}{'rms dBFS':>10}{'took s':>8}{'real-time factor':>18}  words"]
    for one in made:
        took, factor = "-", "-"
        if one.took_s is not None:
            took, factor = f"{one.took_s:.2f}", f"{one.took_s / one.audio.seconds:.3f}"
        level = f"{one.audio.seconds:>8.2f}{one.audio.peak:>7.3f}{one.audio.rms_dbfs:>10.1f}"
        lines.append(f"{one.path!s:<{width}}{level}{took:>8}{factor:>18}  {one.audio.prompt or '-'}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
