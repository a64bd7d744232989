"""The documented Music Flamingo scripts, call for call, on a small checkpoint, ``antiphon`` in transformers' place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import antiphon as library

from ..models.flamingo_processors import recording, wav

CRITIC = "List tempo, key and chords, then tell what the performance feels like."
ANSWER = "A dance track at 150 BPM in E major; bright synthesizers over a steady kick."


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two songs of different lengths and rates."""
    folder = tmp_path_factory.mktemp("songs")
    return [
        str(wav(folder / f"song_{number}.wav", recording(seconds, number, rate), rate))
        for number, (seconds, rate) in enumerate([(2.3, 16_000), (1.2, 44_100)], start=1)
    ]


@pytest.fixture(scope="module")
def opened(listening_checkpoint: Path) -> tuple[Any, Any]:
    processor = library.AutoProcessor.from_pretrained(listening_checkpoint)
    model = library.MusicFlamingoForConditionalGeneration.from_pretrained(listening_checkpoint, device_map="auto")
    return processor, model


def user(text: str, *songs: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}, *({"type": "audio", "path": s} for s in songs)]}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def answers(opened: tuple[Any, Any], chat: list[Any], *, tokens: int = 8) -> list[str]:
    """The lines that the three scripts of answering share."""
    processor, model = opened
    inputs = processor.apply_chat_template(chat, tokenize=True, add_generation_prompt=True, return_dict=True)
    inputs = inputs.to(model.device)
    inputs["input_features"] = inputs["input_features"].to(model.dtype)
    outputs = model.generate(**inputs, max_new_tokens=tokens)
    assert torch.equal(outputs[:, : inputs.input_ids.shape[1]].cpu(), inputs.input_ids.cpu())
    decoded: list[str] = processor.batch_decode(outputs[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
    return decoded


def test_the_script_of_one_question(opened: tuple[Any, Any], songs: list[str]) -> None:
    assert len(answers(opened, [user(CRITIC, songs[0])])) == 1


def test_the_script_of_several_turns(opened: tuple[Any, Any], songs: list[str]) -> None:
    chat = [user(CRITIC, songs[0]), said(ANSWER), user("Which instruments stand out?")]
    assert len(answers(opened, chat)) == 1


def test_the_script_of_a_batch(opened: tuple[Any, Any], songs: list[str]) -> None:
    chats = [[user(CRITIC, songs[0])], [user("Write down the words that are sung.", songs[1])]]
    together = answers(opened, chats)
    assert together == [answers(opened, chat)[0] for chat in chats]


def test_the_script_of_training(listening_checkpoint: Path, songs: list[str]) -> None:
    processor = library.AutoProcessor.from_pretrained(listening_checkpoint)
    model = library.MusicFlamingoForConditionalGeneration.from_pretrained(listening_checkpoint, device_map="auto")
    model.train()
    chats = [[user(CRITIC, song), said(answer)] for song, answer in zip(songs, (ANSWER, "Short."), strict=True)]
    inputs = processor.apply_chat_template(
        chats, tokenize=True, add_generation_prompt=True, return_dict=True, output_labels=True
    ).to(model.device)
    inputs["input_features"] = inputs["input_features"].to(model.dtype)
    loss = model(**inputs).loss
    loss.backward()
    assert loss.isfinite()
    learnt = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"audio_tower", "language_model", "multi_modal_projector"} <= learnt


def test_the_script_of_the_configuration() -> None:
    audio_config, text_config = library.AudioFlamingo3EncoderConfig(), library.Qwen2Config()
    configuration = library.MusicFlamingoConfig(audio_config, text_config)
    with torch.device("meta"):  # as it is written, with more parameters than a laptop holds
        model = library.MusicFlamingoForConditionalGeneration(configuration)
    assert sum(p.numel() for p in model.parameters()) > 7e9
    assert model.config.audio_config.num_hidden_layers == 32
    assert model.config.text_config.hidden_size == 4096
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    audio_config = library.AudioFlamingo3EncoderConfig(**small, num_mel_bins=8, max_source_positions=50)
    text_config = library.Qwen2Config(**small, num_key_value_heads=1, vocab_size=30)
    configuration = library.MusicFlamingoConfig(audio_config, text_config)
    assert library.MusicFlamingoForConditionalGeneration(configuration).config.text_config.vocab_size == 30


def test_the_script_of_the_first_answer(opened: tuple[Any, Any], songs: list[str]) -> None:
    processor, model = opened
    inputs = processor.apply_chat_template(
        [user(CRITIC, songs[0])], tokenize=True, add_generation_prompt=True, return_dict=True
    ).to(model.device, model.dtype)
    assert inputs.input_ids.dtype is torch.int64  # a dtype is for what is a float
    outputs = model.generate(**inputs, max_new_tokens=10)
    assert isinstance(processor.batch_decode(outputs[:, inputs.input_ids.shape[1] :])[0], str)
