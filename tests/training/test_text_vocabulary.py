"""The vocabulary made from texts: whole tempi and keys, words, spelling; read by us and by the reference alike."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import transformers

import antiphon
from antiphon.errors import ConfigError
from antiphon.training.text_vocabulary import KEYS, TEMPI, text_vocabulary

STYLES = ("80s pop", "90s rock", "lo-fi hip hop", "waltz", "reggae", "bossa nova", "ambient")
SOUNDS = ("synth", "bassy drums", "loud guitars", "groovy saxophone", "a piano", "violins", "an organ")


def captions(count: int = 300) -> list[str]:
    chance = random.Random(0)
    return [
        f"{chance.choice(STYLES)} track with {chance.choice(SOUNDS)} and {chance.choice(SOUNDS)}, "
        f"{chance.randint(60, 180)}{chance.choice(['bpm', ' bpm'])}, "
        f"in {chance.choice(KEYS)} {chance.choice(['major', 'minor'])}"
        for _ in range(count)
    ]


def test_tempi_and_keys_are_one_piece_each_whatever_stands_behind() -> None:
    tokenizer = text_vocabulary(captions())
    assert all(tokenizer.tokenize(f"a {word}") == ["\u2581a", f"\u2581{word}"] for word in (*TEMPI, *KEYS))
    assert tokenizer.tokenize("120bpm, C#, Db.") == ["\u2581120", "bpm", ",", "\u2581C#", ",", "\u2581Db", "."]


def test_words_of_the_texts_are_pieces_and_others_are_spelt() -> None:
    tokenizer = text_vocabulary(captions())
    known = "80s pop track with bassy drums and synth"
    assert tokenizer.tokenize(known) == ["\u2581" + word for word in known.split()]
    assert tokenizer.tokenize("lo-fi") == ["\u2581lo", "-", "fi"]
    alike = tokenizer.tokenize("drum guitar")
    assert len(alike) < len("drum guitar")
    for text in (known, "Xylophone & 1999's zither!", "90 bpm"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer.unk_token_id in tokenizer("\u97f3\u697d")["input_ids"]


def test_characters_of_the_texts_are_known() -> None:
    tokenizer = text_vocabulary([*captions(), "pi\u00f1ata"])
    assert tokenizer.decode(tokenizer("a\u00f1o")["input_ids"], skip_special_tokens=True) == "a\u00f1o"


def test_the_size_is_what_was_asked_for_and_the_order_of_texts_does_not_matter() -> None:
    texts = captions()
    tokenizer = text_vocabulary(texts, pieces=300)
    assert len(tokenizer) == 300
    assert tokenizer.get_vocab() == text_vocabulary(texts[::-1], pieces=300).get_vocab()
    assert len(text_vocabulary(["one word"], pieces=5000)) < 5000


def test_the_most_frequent_words_come_first_where_there_is_little_room() -> None:
    texts = ["rare", *["common"] * 5, "common rare", "common"]
    small = text_vocabulary(texts, pieces=99, whole=())
    assert "\u2581common" in small.get_vocab()
    assert "\u2581rare" not in small.get_vocab()


def test_the_reference_reads_the_same_ids_from_the_folder(tmp_path: Path) -> None:
    tokenizer = text_vocabulary(captions())
    tokenizer.save_pretrained(tmp_path)
    texts = [*captions(20), "Xylophone at 121bpm, \u97f3", "", "  two   spaces "]
    for opened in (
        antiphon.T5Tokenizer.from_pretrained(tmp_path),
        antiphon.AutoTokenizer.from_pretrained(tmp_path),
        transformers.AutoTokenizer.from_pretrained(tmp_path),
        transformers.T5TokenizerFast.from_pretrained(tmp_path),
    ):
        assert opened(texts)["input_ids"] == tokenizer(texts)["input_ids"]


@pytest.mark.parametrize(("texts", "pieces"), [([], 512), (["", " \n"], 512), (["a song"], 100)])
def test_what_makes_no_vocabulary_is_refused(texts: list[str], pieces: int) -> None:
    with pytest.raises(ConfigError):
        text_vocabulary(texts, pieces=pieces)
