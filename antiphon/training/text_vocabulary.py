"""A small vocabulary for texts about music, made from the texts that a model learns from."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence

from antiphon.errors import ConfigError
from antiphon.text.backend import WORD_START
from antiphon.text.t5_tokenizer import T5Tokenizer

TEMPI = tuple(str(bpm) for bpm in range(60, 181))
KEYS = tuple(note + sign for note in "ABCDEFG" for sign in ("", "#", "b"))

_NAMED = ("<pad>", "</s>", "<unk>")
_CHARACTERS = string.ascii_letters + string.digits + string.punctuation
# Letters with a sharp behind, decades, numbers: each is a word of its own, also inside "120bpm" and "lo-fi".
_WORD = re.compile(r"\d+s?\b|\d+|[^\W\d_]+#?")
# Scores are logarithms of chances. A text is cut where they sum up highest: so into the fewest fragments where it is no
# word, and into letters where it is not even that.
_FRAGMENT, _LETTER = -30.0, -40.0
_LONGEST_FRAGMENT = 8


def text_vocabulary(texts: Iterable[str], *, pieces: int = 512, whole: Sequence[str] = (*TEMPI, *KEYS)) -> T5Tokenizer:
    """A T5 tokenizer that knows the words of ``texts``.

    The most frequent words are a piece each, then what words have in common. Every printable ASCII character is a piece
    too, as is every character of the texts: any word can be spelt, and one like those of the texts shares their pieces.

    Args:
        pieces: in all; fewer where the texts have no more to give.
        whole: words that are one piece at any rate, by default the tempi from 60 to 180 and the names of keys: what a
            model shall tell apart must not share its pieces.

    Raises:
        ConfigError: no text, or too few pieces for the characters and whole words.
    """
    kept = [text for text in texts if text.strip()]
    if not kept:
        raise ConfigError("no texts to make a vocabulary from")
    characters = {*_CHARACTERS, *(letter for text in kept for letter in text if not letter.isspace())}
    scores = dict.fromkeys([*_NAMED, *(WORD_START + word for word in whole)], 0.0)
    scores |= dict.fromkeys(sorted({WORD_START, *characters}), _LETTER)
    if len(scores) > pieces:
        raise ConfigError(f"{pieces} pieces", expected=f"at least {len(scores)}: characters, whole words, three tokens")
    words = _words(kept)
    for piece, score in [*_most_frequent(words), *_fragments(words)]:
        if len(scores) == pieces:
            break
        scores.setdefault(piece, score)
    return T5Tokenizer(vocab=list(scores.items()), extra_ids=0)


def _words(texts: Iterable[str]) -> Counter[str]:
    """How often each word comes, those behind white space with their mark."""
    return Counter(
        (WORD_START if match.start() == 0 else "") + match[0]
        for text in texts
        for part in text.split()
        for match in _WORD.finditer(part)
    )


def _most_frequent(words: Counter[str]) -> list[tuple[str, float]]:
    total = words.total()
    ranked = sorted(words.items(), key=lambda entry: (-entry[1], entry[0]))
    return [(word, math.log(count / total)) for word, count in ranked if len(word) > 1]


def _fragments(words: Counter[str]) -> list[tuple[str, float]]:
    """What words are made of, that which spares most letters in most of them first."""
    shared: Counter[str] = Counter()
    for word in words:
        spans = ((a, b) for a in range(len(word)) for b in range(a + 2, min(len(word), a + _LONGEST_FRAGMENT) + 1))
        shared.update({word[first:end] for first, end in spans})
    ranked = sorted(shared.items(), key=lambda entry: (entry[1] == 1, -entry[1] * (len(entry[0]) - 1), entry[0]))
    return [(piece, _FRAGMENT) for piece, _ in ranked]
