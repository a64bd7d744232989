"""A text encoder learns what texts speak of, before it is heard by a decoder."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from antiphon import T5Config, T5EncoderModel
from antiphon.training.text_vocabulary import text_vocabulary
from recipes.builtin.text_lessons import Lesson, lessons_of, teach


def _lessons() -> list[Lesson]:
    """Texts that tell all, in an order without a pattern."""
    found = []
    for number in range(400):
        style, lead = ("waltz", "techno", "blues")[number * 7 % 3], ("flute", "piano")[number * 5 % 2]
        tempo, tonic, mode = (60, 90, 140)[number * 11 % 3], (0, 9)[number * 3 % 2], ("major", "minor")[number // 7 % 2]
        text = f"{style} track with {lead}, {tempo} bpm, in {'CA'[tonic == 9]} {mode}"
        facts = {"style": style, "lead": lead, "tempo_bpm": tempo, "tonic": tonic, "mode": mode}
        found.append(Lesson(text, facts))
    return found


def test_facts_are_told_from_texts_that_were_kept_back() -> None:
    lessons = _lessons()
    tokenizer = text_vocabulary([lesson.text for lesson in lessons], pieces=260)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2, dropout_rate=0.0
    )
    encoder = T5EncoderModel(config)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    right = teach(encoder, tokenizer, lessons, steps=150)
    assert set(right) == {"style", "lead", "tempo", "tonic", "mode"}
    assert min(right.values()) > 0.95
    assert any(not torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_lessons_are_all_texts_with_the_facts_of_their_piece(tmp_path: Path) -> None:
    rows = [{"seed": n, "style": "waltz", "texts": [f"a {n}", f"b {n}"]} for n in range(3)]
    (tmp_path / "facts-00000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lessons = lessons_of(tmp_path)
    assert [lesson.text for lesson in lessons] == ["a 0", "b 0", "a 1", "b 1", "a 2", "b 2"]
    assert lessons[3].facts == {"seed": 1, "style": "waltz"}
