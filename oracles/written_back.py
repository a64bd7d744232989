"""What we write for audiocraft: each golden checkpoint converted there and back, for ``checkpoints.py`` to look at.

    python oracles/written_back.py FOLDER

Runs with our own environment. Of each kind there are two: with the configuration that the file came with, and with one
made anew.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

import antiphon
from antiphon.checkpoints.audiocraft_record import RECORD_FILE, TENSORS_FILE
from antiphon.models.t5 import T5Config, T5EncoderModel
from antiphon.tasks.conversion import convert
from antiphon.text.t5_tokenizer import T5Tokenizer

GOLDENS = Path(__file__).parent / "goldens"
TEXT_WIDTH = 24  # of the models in the goldens


def text_encoder(folder: Path) -> Path:
    """A T5 of that width with a tokenizer; neither gets into the files."""
    torch.manual_seed(0)
    T5EncoderModel(T5Config(vocab_size=110, d_model=TEXT_WIDTH, d_kv=4, d_ff=8, num_layers=1)).save_pretrained(folder)
    T5Tokenizer().save_pretrained(folder)
    return folder


def main() -> None:
    """Writes ``KIND-kept`` and ``KIND-anew`` below the folder."""
    root = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as home:
        text, codec = text_encoder(Path(home) / "t5"), Path(home) / "codec"
        antiphon.EncodecModel.from_pretrained(GOLDENS / "audiocraft_mono").save_pretrained(codec)
        for source in sorted(GOLDENS.glob("audiocraft_*")):
            kind = source.name.removeprefix("audiocraft_")
            middle = Path(home) / kind
            convert(source, middle, text_encoder=text, codec=None if kind == "mono" else codec)
            convert(middle, root / f"{kind}-kept")
            for name in (RECORD_FILE, TENSORS_FILE):
                (middle / name).unlink(missing_ok=True)
            convert(middle, root / f"{kind}-anew", text_encoder="t5-base")
            print(f"{kind}: written for audiocraft")


if __name__ == "__main__":
    main()
