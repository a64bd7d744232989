"""A three-minute piece, written to a WAV file while it is made; Ctrl-C keeps what is there.

Run it as ``python examples/long_piece.py FILE.wav [--model facebook/musicgen-small] [--quantize int4]``. Without a
model it makes a small random one beside the file: texture, not music.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing
from pathlib import Path

import antiphon
from antiphon.audio.wav_stream import WavWriter

sys.path.insert(0, str(Path(__file__).parent))
from random_checkpoint import make


def main() -> None:
    parser = argparse.ArgumentParser(description="Compose a long piece into a file that grows while it is made.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", help="a folder, or a name on the Hub; a small random one unless told")
    parser.add_argument("--quantize", choices=["int8", "int4"])
    parser.add_argument("--prompt", default="warm pads, slow piano, rain")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    compose = antiphon.load(asked.model or make(asked.file.with_name("random-model")), quantize=asked.quantize)
    chunks = compose.stream(asked.prompt, seconds=asked.seconds, seed=asked.seed)
    started, made_s = time.monotonic(), 0.0
    with (
        open(asked.file, "wb") as file,
        WavWriter(file, compose.sampling_rate, compose.channels) as wav,
        closing(chunks),
    ):
        try:
            for chunk in chunks:
                wav.write(chunk.samples)
                file.flush()  # so that a player can open what is there
                made_s += chunk.seconds
                print(f"{made_s:.1f} of {asked.seconds:.1f} s, made in {time.monotonic() - started:.1f} s", flush=True)
        except KeyboardInterrupt:
            print("stopped")
    print(f"{asked.file}: {made_s:.1f} s, seed {asked.seed}")


if __name__ == "__main__":
    main()
