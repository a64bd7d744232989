"""What we write for audiocraft and kyutai: each golden checkpoint converted there and back, for their scripts to read.

    python oracles/written_back.py FOLDER

Runs with our own environment. Of each kind there are two: with the configuration that the file came with, and with one
made anew. ``checkpoints.py`` looks at what is below ``FOLDER/audiocraft``, ``kyutai.py`` at ``FOLDER/kyutai``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

import antiphon
from antiphon.checkpoints.audiocraft_record import RECORD_FILE, TENSORS_FILE
from antiphon.checkpoints.kyutai_record import RECORD_FILE as KYUTAI_RECORD_FILE
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


def for_audiocraft(root: Path) -> None:
    """Writes ``KIND-kept`` and ``KIND-anew`` below the folder."""
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


def for_kyutai(root: Path) -> None:
    """Writes the same for kyutai's package."""
    with tempfile.TemporaryDirectory() as home:
        for source in sorted(GOLDENS.glob("kyutai_*")):
            kind = source.name.removeprefix("kyutai_")
            middle = Path(home) / kind
            convert(source, middle)
            convert(middle, root / f"{kind}-kept")
            (middle / KYUTAI_RECORD_FILE).unlink()
            convert(middle, root / f"{kind}-anew")
            print(f"{kind}: written for kyutai")


def main() -> None:
    """Writes both."""
    for_audiocraft(Path(sys.argv[1]) / "audiocraft")
    for_kyutai(Path(sys.argv[1]) / "kyutai")


if __name__ == "__main__":
    main()
