"""Tiny T5 vocabularies, trained here from sentences about music, and the reference's tokenizers on them."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import transformers

from antiphon.text.t5_tokenizer import T5Tokenizer

GENRES = ["80s pop track", "lo-fi hip hop beat", "grunge song", "violin concerto", "techno groove"]
SOUNDS = ["with bassy drums and synth", "with a rolling bass line", "in a café, slow & warm", "for 2 guitars"]
TAILS = ["at 120 bpm", "full of naïve joy!", "(very loud)"]
SENTENCES = [" ".join(parts) for parts in itertools.product(GENRES, SOUNDS, TAILS)]

PROMPTS = [
    "80s pop track with bassy drums and synth",
    "",
    " ",
    "   leading and trailing   ",
    "two  spaces\tand a tab\nand a line",
    "caf\u00e9",  # NFC
    "cafe\u0301",  # NFD
    "ﬁne ① ｆｕｌｌ",  # compatibility characters
    "日本の太鼓 🥁🎻 drums",
    "👩🏽‍🎤 with joiners",
    "\u202eright to left\u202c موسيقى هادئة שיר",
    "?!... --- &&& ;;;",
    "</s>",
    "loud </s> drums <pad> and <unk> <extra_id_0><extra_id_3>",
    "\u2581drums \u2581",
    "line\r\nbreak \x1b[31mred\x1b[0m \ue000",
    "zero\u200bwidth\u00a0space\u3000wide",
    "word " * 5000,
    "x" * 5000,
]


@pytest.fixture(scope="session")
def prompts() -> list[str]:
    """Texts that tokenizers are known to disagree about."""
    return PROMPTS


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """The sentences the vocabularies are trained on."""
    return SENTENCES


def train(**options: Any) -> bytes:
    """A SentencePiece model of the sentences above."""
    writer = io.BytesIO()
    settings: dict[str, Any] = {
        "sentence_iterator": iter(SENTENCES),
        "model_writer": writer,
        "model_type": "unigram",
        "vocab_size": 150,
        "hard_vocab_limit": False,
        "minloglevel": 2,
        "num_threads": 1,
    }
    sentencepiece.SentencePieceTrainer.train(**settings | options)
    return writer.getvalue()


@pytest.fixture(scope="session")
def train_spiece() -> Callable[..., bytes]:
    """Trains a SentencePiece model; keywords are those of its trainer."""
    return train


@pytest.fixture(scope="session")
def spiece() -> bytes:
    """A ``spiece.model`` with T5's layout: pad 0, eos 1, unk 2, no bos."""
    return train(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)


@pytest.fixture(scope="session")
def spiece_folder(spiece: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds ``spiece.model`` and nothing else."""
    folder = tmp_path_factory.mktemp("spiece")
    (folder / "spiece.model").write_bytes(spiece)
    return folder


@pytest.fixture(scope="session")
def reference(spiece_folder: Path) -> Any:
    """The reference's T5 tokenizer on that model."""
    return transformers.T5Tokenizer.from_pretrained(spiece_folder)


@pytest.fixture(scope="session")
def json_folder(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the reference writes it: ``tokenizer.json`` and ``tokenizer_config.json``."""
    folder = tmp_path_factory.mktemp("json")
    reference.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def t5(json_folder: Path) -> T5Tokenizer:
    """Our T5 tokenizer on the files of the reference; tests must not change it."""
    return T5Tokenizer.from_pretrained(json_folder)
