"""The built-in listener's recipe: vocabulary, template, data, beginning, judging, handing out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import antiphon
from antiphon.checkpoints.store import open_weights
from recipes.builtin import hearing
from recipes.builtin.asked import AskedPieces, conversations_in, write_conversations
from recipes.builtin.handing_out import hand_out_listener
from recipes.builtin.listener import listener_config, place_positions, vocabulary
from recipes.builtin.pieces import held_out_piece
from recipes.builtin.questions import ANSWERS
from recipes.builtin.songs.composer import compose

TEXTS = ["What tempo and key?", "128 bpm, F# minor", "128 bpm, Db major", "What style is it?", "80s pop"]


def test_the_vocabulary_gives_back_all_it_reads_and_has_the_tokens_of_a_listener() -> None:
    tokenizer = vocabulary(TEXTS, tokens=400)
    for text in (*TEXTS, "Ünlike anything: {42}"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("What tempo and key?")["input_ids"]) < 8
    for token in ("<sound>", "<|sound_bos|>", "<|sound_eos|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"):
        assert len(tokenizer(token)["input_ids"]) == 1
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


def test_conversations_are_written_once_and_are_those_of_the_composed_pieces(begun: Path, pieces: Path) -> None:
    asked = begun.parent / "asked"
    told = list(conversations_in(asked))
    assert [len(own) for own in told] == [12] * 5
    for seed, own in enumerate(told):
        piece = compose(seed, seconds=12.0)
        answers = {one.answer for turns in own for one in turns}
        assert answers & {ANSWERS["tempo"](piece), ANSWERS["key"](piece), ANSWERS["style"](piece)}
    before = [file.read_bytes() for file in sorted(asked.iterdir())]
    write_conversations(pieces, asked)
    assert [file.read_bytes() for file in sorted(asked.iterdir())] == before


def test_pieces_that_are_composed_otherwise_now_are_refused(pieces: Path, tmp_path: Path) -> None:
    row = json.loads((pieces / "facts-00000.jsonl").read_text().splitlines()[0])
    (tmp_path / "facts-00000.jsonl").write_text(json.dumps({**row, "tempo_bpm": 7}) + "\n")
    with pytest.raises(ValueError, match="seed 0"):
        write_conversations(tmp_path, tmp_path / "asked")


def test_passages_come_from_their_own_piece_with_a_conversation_about_it(begun: Path, pieces: Path) -> None:
    processor = antiphon.AutoProcessor.from_pretrained(begun)
    data = AskedPieces(pieces, begun.parent / "asked", processor, seconds=10)
    told = list(conversations_in(begun.parent / "asked"))
    assert len(data) == 5
    for place in range(5):
        one = data.example(place, np.random.default_rng(place))
        assert one["name"] == str(place)
        assert one["samples"].shape == (160_000,)
        assert abs(float(np.median(one["samples"])) - 1000 * (place + 1) / 32768) < 1e-3
        assert one["turns"] in told[place]
    learnt, kept = data.divided(0.4)
    assert [learnt.name(place) for place in range(len(learnt))] == ["0", "1", "2"]
    assert [kept.name(place) for place in range(len(kept))] == ["3", "4"]
    batch = data.collate([data.example(place, np.random.default_rng(0)) for place in (0, 4)])
    assert batch["input_features"].shape == (2, 128, 1000)
    assert int((batch["input_ids"] == processor.audio_token_id).sum()) == 500


def test_transformers_opens_the_beginning_and_reads_a_conversation_alike(begun: Path) -> None:
    theirs = transformers.AutoProcessor.from_pretrained(begun)
    ours = antiphon.AutoProcessor.from_pretrained(begun)
    sound = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    asked = [
        {
            "role": "user",
            "content": [{"type": "audio", "audio": sound}, {"type": "text", "text": "What key is it in?"}],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "A minor"}]},
        {"role": "user", "content": [{"type": "text", "text": "Are there drums?"}]},
    ]
    wanted = theirs.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert ours.apply_chat_template(asked, tokenize=False, add_generation_prompt=True) == wanted
    assert wanted.endswith("<|im_start|>assistant\n")


def test_it_is_as_small_as_was_promised_when_it_is_handed_out(begun: Path, tmp_path: Path) -> None:
    size = hand_out_listener(begun, tmp_path / "out")
    assert size == sum(file.stat().st_size for file in (tmp_path / "out").iterdir()) < 16e6
    with open_weights(tmp_path / "out") as weights:
        assert {weights[name].dtype for name in weights} == {torch.float16}
    model = antiphon.MusicFlamingoForConditionalGeneration.from_pretrained(tmp_path / "out", dtype=torch.float32)
    positions = model.model.audio_tower.encoder.positions.weight
    assert 0.6 < float(positions.std()) < 0.8
    assert (tmp_path / "out" / "README.md").is_file()
    assert model.generation_config.eos_token_id == model.config.text_config.eos_token_id


def test_answers_are_judged_beside_chance() -> None:
    held_out = [held_out_piece(number, seconds=2.0) for number in range(6)]
    right = {kind: [tell(piece) for piece in held_out] for kind, tell in ANSWERS.items()}
    found = hearing.judged(right, held_out)
    assert all(score["right"] == 1 for score in found.values())
    assert all(score["chance"] < 0.8 for name, score in found.items() if name not in ("mode", "drums"))
    always = {kind: [texts[0]] * 6 for kind, texts in right.items()}
    found = hearing.judged(always, held_out)
    assert all(score["right"] == pytest.approx(score["chance"]) for score in found.values())
    doubled = {**right, "tempo": [f"{2 * piece.tempo_bpm} bpm" for piece in held_out]}
    found = hearing.judged(doubled, held_out)
    assert found["tempo within 8 %"]["right"] == 0
    assert found["tempo within 4 %, or half or double"]["right"] == 1
    assert hearing.judged({**right, "tempo": ["80s blues"] * 6}, held_out)["tempo within 4 %"]["right"] == 0


def test_a_checkpoint_is_asked_about_every_sound(begun: Path) -> None:
    processor: Any = antiphon.AutoProcessor.from_pretrained(begun)
    torch.manual_seed(0)
    model = antiphon.MusicFlamingoForConditionalGeneration(
        listener_config(processor, ear=(32, 1), width=32, layers=1, heads=2)
    ).eval()
    place_positions(model)
    sounds = [np.random.default_rng(n).normal(0, 0.1, 8000).astype(np.float32) for n in range(3)]
    answers = hearing.answers_about(model, processor, sounds, "What key is it in?")
    assert len(answers) == 3
    assert hearing.answers_about(model, processor, sounds[1:2], "What key is it in?") == answers[1:2]
