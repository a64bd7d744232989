"""The pipeline from sound and text to text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import antiphon
from antiphon import Audio
from antiphon.errors import ParamError, ParamTypeError
from antiphon.models.pipelines import AudioTextToTextPipeline

RATE = 16_000


@pytest.fixture(scope="module")
def pipe(listening_checkpoint: Path) -> Any:
    return antiphon.pipeline("audio-text-to-text", model=str(listening_checkpoint), device="cpu")


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> str:
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    return str(Audio(0.1 * noise, RATE).save(tmp_path_factory.mktemp("songs") / "song.wav", subtype="FLOAT"))


def chat(song: str, text: str = "What key?") -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "audio", "path": song}, {"type": "text", "text": text}]}]


def test_a_chat_comes_back_with_the_answer_that_generate_gives(pipe: Any, song: str) -> None:
    (made,) = pipe(text=chat(song), max_new_tokens=6)
    inputs = pipe.processor.apply_chat_template(chat(song), tokenize=True, add_generation_prompt=True, return_dict=True)
    ids = pipe.model.generate(**inputs, max_new_tokens=6)[0, inputs["input_ids"].shape[1] :]
    answer = pipe.tokenizer.decode(ids.tolist(), skip_special_tokens=True)
    assert made == {"input_text": chat(song), "generated_text": [*chat(song), {"role": "assistant", "content": answer}]}
    assert pipe(text=chat(song), max_new_tokens=6, return_full_text=False)[0]["generated_text"] == answer


def test_a_question_beside_its_recording_is_a_chat(pipe: Any, song: str) -> None:
    (made,) = pipe("What key?", audio=song, max_new_tokens=6)
    (same,) = pipe(chat(song), max_new_tokens=6, return_full_text=False)
    assert made == {"input_text": "What key?", "generated_text": same["generated_text"]}
    samples = Audio.load(song).samples[0]
    assert pipe("What key?", audio=samples, max_new_tokens=6) == [made]
    (full,) = pipe("What key?", audio=song, max_new_tokens=6, return_full_text=True)
    assert full["generated_text"] == "What key?" + made["generated_text"]
    (silent,) = pipe("What key?", max_new_tokens=6)
    assert silent["generated_text"] != made["generated_text"]


def test_a_list_becomes_a_list_of_which_each_is_as_alone(pipe: Any, song: str) -> None:
    chats = [chat(song), chat(song, "Who are you, and what is this?")]
    assert pipe(chats, max_new_tokens=6) == [pipe(one, max_new_tokens=6) for one in chats]
    asked = pipe(["a?", "b?"], audio=[song, None], generate_kwargs={"max_new_tokens": 6})
    assert asked == [pipe("a?", audio=song, max_new_tokens=6), pipe("b?", max_new_tokens=6)]


def test_items_have_seeds_of_their_own(pipe: Any, song: str) -> None:
    chance = {"do_sample": True, "max_new_tokens": 8}
    two = pipe([chat(song)] * 2, seed=5, **chance)
    assert two[1] == pipe(chat(song), seed=6, **chance)
    assert two[0] != two[1]


def test_the_task_is_implied_by_the_model(listening_checkpoint: Path, pipe: Any) -> None:
    assert isinstance(antiphon.pipeline(model=str(listening_checkpoint)), AudioTextToTextPipeline)
    assert isinstance(antiphon.pipeline(model=pipe.model, processor=pipe.processor), AudioTextToTextPipeline)
    with pytest.raises(ParamError, match="without a processor"):
        antiphon.pipeline("any-to-any", model=pipe.model)
    with pytest.raises(ParamError, match="tokenizer="):
        antiphon.pipeline("any-to-any", model=pipe.model, tokenizer=pipe.tokenizer)
    with pytest.raises(ParamTypeError, match="forward_params"):
        antiphon.pipeline(model=pipe.model, processor=pipe.processor, forward_params={})


@pytest.mark.parametrize("text", [None, 5, [5], [], b"x"])
def test_what_is_no_text_is_refused(pipe: Any, text: Any) -> None:
    if text == []:
        assert pipe(text) == []
        return
    with pytest.raises(ParamTypeError, match="text"):
        pipe(text)


def test_sounds_and_texts_have_to_match(pipe: Any, song: str) -> None:
    with pytest.raises(ParamError, match="2 texts"):
        pipe(["a", "b"], audio=[song])
    with pytest.raises(ParamError, match="beside a chat"):
        pipe(chat(song), audio=song)
    with pytest.raises(ParamTypeError, match="'temperature'"):
        pipe("a", temprature=1)
