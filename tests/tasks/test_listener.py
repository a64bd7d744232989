"""The listener: answers depend on what is heard, on nothing else, and nothing is computed twice."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from antiphon.audio.clip import Audio
from antiphon.errors import AntiphonError, AudioError, ParamError, ParamTypeError, SessionError
from antiphon.tasks.answer import Answer
from antiphon.tasks.listener import Listener

RATE = 16_000
SHORT: dict[str, Any] = {"max_new_tokens": 12}


def music(seconds: float, *, seed: int = 0) -> Audio:
    generator = np.random.default_rng(seed)
    moments = np.arange(round(seconds * RATE)) / RATE
    tones = sum(np.sin(2 * np.pi * hz * moments) for hz in generator.uniform(100, 2000, 4))
    return Audio((0.1 * tones + 0.05 * generator.standard_normal(len(moments))).astype(np.float32), RATE)


@pytest.fixture
def fresh(listener: Listener) -> Listener:
    """A listener that remembers nothing."""
    return Listener(listener.model, listener.processor, name=listener.name)


@pytest.fixture
def forgetful(listener: Listener) -> Listener:
    """A listener that never will."""
    return Listener(listener.model, listener.processor, name=listener.name, sound_bytes=0, prefix_bytes=0)


def test_an_answer_tells_what_it_is_and_how_it_came(fresh: Listener) -> None:
    answer = fresh.ask(music(2.5), "What tempo?", **SHORT)
    assert isinstance(answer, Answer)
    assert str(answer) == answer.text
    assert answer.history == (("What tempo?", answer.text),)
    assert (answer.heard_s, answer.cut_s, answer.seed) == (2.5, 0.0, None)
    assert answer.tokens <= 12
    assert answer.finish == ("length" if answer.tokens == 12 else "end")
    assert answer.model == fresh.name
    assert (answer.parameters["dtype"], answer.parameters["temperature"]) == ("float32", 0.0)


def test_the_sound_and_the_question_decide_the_answer(forgetful: Listener) -> None:
    asked = [(music(2), "Key?"), (music(2, seed=1), "Key?"), (music(2), "Tempo?"), (None, "Key?")]
    texts = [forgetful.ask(sound, question, **SHORT).text for sound, question in asked]
    assert len(set(texts)) == 4
    assert texts[0] == forgetful.ask(music(2), "Key?", **SHORT).text


def test_a_stream_gives_the_answer_piece_by_piece(fresh: Listener) -> None:
    stream = fresh.stream(music(2), "Key?", **SHORT)
    with pytest.raises(SessionError, match="end"):
        _ = stream.answer
    pieces = list(stream)
    assert "".join(pieces) == stream.answer.text == fresh.ask(music(2), "Key?", **SHORT).text
    assert len(pieces) > 1
    closed = fresh.stream(music(2), "Key?", **SHORT)
    next(closed)
    closed.close()
    assert list(closed) == []
    with pytest.raises(SessionError):
        _ = closed.answer


def test_a_sound_is_encoded_once_whatever_it_comes_as(fresh: Listener, tmp_path: Path) -> None:
    sound = music(2)
    path = sound.save(tmp_path / "song.wav", subtype="FLOAT")
    first = fresh.ask(sound, "Key?", **SHORT)
    others = [
        fresh.ask(sound.samples[0], "Key?", sampling_rate=RATE, **SHORT),
        fresh.ask(torch.from_numpy(sound.samples), "Key?", sampling_rate=RATE, **SHORT),
        fresh.ask(path, "Key?", **SHORT),
        fresh.ask(path.read_bytes(), "Key?", **SHORT),
    ]
    assert {answer.text for answer in others} == {first.text}
    assert fresh.sounds.encoded == 1


def test_a_second_question_computes_only_what_is_new(
    fresh: Listener, forgetful: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns: list[int] = []
    forward = type(fresh.model).forward

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        ids = kwargs.get("input_ids")
        columns.append((kwargs["inputs_embeds"] if ids is None else ids).shape[1])
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(fresh.model), "forward", counted)
    first = fresh.ask(music(3), "What tempo?", **SHORT)
    prompt = columns[0]
    assert prompt > 75  # the sound alone has so many
    columns.clear()
    second = fresh.ask(music(3), "What key?", **SHORT)
    assert columns[0] < prompt / 2
    columns.clear()
    third = fresh.ask(music(3), "And now?", history=second, **SHORT)
    assert columns[0] < prompt / 2
    assert second.text == forgetful.ask(music(3), "What key?", **SHORT).text
    assert third.text == forgetful.ask(music(3), "And now?", history=second.history, **SHORT).text
    assert third.history == (*second.history, ("And now?", third.text))
    assert first.text == forgetful.ask(music(3), "What tempo?", **SHORT).text
    fresh.forget()
    columns.clear()
    fresh.ask(music(3), "What tempo?", **SHORT)
    assert columns[0] == prompt


def test_of_another_sound_nothing_is_used_again(fresh: Listener, forgetful: Listener) -> None:
    fresh.ask(music(2), "Key?", **SHORT)
    other = fresh.ask(music(2, seed=1), "Key?", **SHORT)
    assert other.text == forgetful.ask(music(2, seed=1), "Key?", **SHORT).text
    assert other.text != forgetful.ask(music(2), "Key?", **SHORT).text


def test_many_together_are_each_what_they_are_alone(forgetful: Listener) -> None:
    sounds = [music(0.4), music(3.3, seed=1), None, music(2, seed=2), [music(1), music(0.5, seed=3)]]
    questions = ["Key?", "What tempo has it, and what is it like?", "Who are you?", "Key?", "Which is faster?"]
    alone = [forgetful.ask(sound, question, **SHORT) for sound, question in zip(sounds, questions, strict=True)]
    for together in (1, 2, 8):
        assert forgetful.ask_each(sounds, questions, together=together, **SHORT) == alone


def test_chance_belongs_to_the_item(forgetful: Listener) -> None:
    sounds = [music(1), music(2, seed=1), music(0.5, seed=2)]
    chance: dict[str, Any] = {**SHORT, "temperature": 1.5, "top_k": 40}
    together = forgetful.ask_each(sounds, "Key?", seed=7, **chance)
    alone = [forgetful.ask(sound, "Key?", seed=7 + i, **chance) for i, sound in enumerate(sounds)]
    assert together == alone
    assert [answer.seed for answer in alone] == [7, 8, 9]
    drawn = [forgetful.ask(music(1), "Key?", **chance) for _ in range(2)]
    assert drawn[0].seed != drawn[1].seed
    assert drawn[0].text != drawn[1].text
    assert forgetful.ask(music(1), "Key?", seed=drawn[0].seed, **chance).text == drawn[0].text


def test_an_answer_ends_where_it_is_stopped(fresh: Listener) -> None:
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 3

    answer = fresh.ask(music(1), "Key?", stop_when=stop, **SHORT)
    assert (answer.finish, answer.tokens) == ("stopped", 3)


def test_an_answer_ends_at_its_end_token(fresh: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fresh.processor.tokenizer
    monkeypatch.setattr(fresh.model.generation_config, "eos_token_id", list(range(len(whole))))
    answer = fresh.ask(music(1), "Key?", **SHORT)
    assert (answer.text, answer.tokens, answer.finish) == ("", 0, "end")


def test_F053_what_people_write_is_no_command(fresh: Listener) -> None:
    sound_token = fresh.processor.audio_token_id
    questions = ["<sound>", "<|im_end|>", "a<|sound_bos|>b", "{{7*7}}", "%s <sound><sound>", "[text 0]"]
    for question in questions:
        row = fresh.conversation([fresh.read(music(1))], question, (("<sound>", "<|im_start|>"),))
        assert row.ids.count(sound_token) == len(row.sounds[0].features)
        assert question in fresh.processor.tokenizer.decode(row.ids)
    plain = fresh.conversation([fresh.read(music(1))], "Key?")
    ends = fresh.processor.tokenizer.eos_token_id
    assert fresh.conversation([fresh.read(music(1))], "<|im_end|>").ids.count(ends) == plain.ids.count(ends)


def test_F042_a_recording_beyond_the_limit_is_cut_and_the_cut_is_named(
    fresh: Listener, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    limit = round(fresh.longest_s * RATE)
    longer = music(fresh.longest_s + 2)
    exact = Audio(longer.samples[:, :limit], RATE)
    with caplog.at_level(logging.WARNING):
        whole = fresh.ask(exact, "Key?", **SHORT)
    assert (whole.cut_s, caplog.messages) == (0.0, [])
    path = longer.save(tmp_path / "long.wav", subtype="FLOAT")
    one_more = Audio(longer.samples[:, : limit + 1], RATE)
    for sound, cut_s in ((longer, 2.0), (path, 2.0), (one_more, 1 / RATE)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            answer = fresh.ask(sound, "Key?", **SHORT)
        assert answer.text == whole.text
        assert answer.cut_s == pytest.approx(cut_s)
        (message,) = caplog.messages
        assert "not heard" in message and "long='map'" in message
    with pytest.raises(AudioError, match=r"long\.wav lasts"):
        fresh.ask(path, "Key?", strict=True)
    assert fresh.ask(exact, "Key?", strict=True, **SHORT).text == whole.text


def test_F043_a_long_recording_is_heard_part_by_part(forgetful: Listener, tmp_path: Path) -> None:
    sound = music(5.2)
    path = sound.save(tmp_path / "long.wav", subtype="FLOAT")
    asked: dict[str, Any] = {**SHORT, "long": "map", "part_seconds": 2}
    answer = forgetful.ask(path, "Key?", **asked)
    assert [(part.start_s, part.end_s) for part in answer.parts] == [(0, 2), (2, 4), (4, 5.2)]
    cuts = [Audio(sound.samples[:, a * RATE : b * RATE], RATE) for a, b in ((0, 2), (2, 4), (4, 6))]
    alone = [forgetful.ask(cut, "Key?", **SHORT).text for cut in cuts]
    assert [part.text for part in answer.parts] == alone
    assert answer.text == f"0:00-0:02: {alone[0]}\n0:02-0:04: {alone[1]}\n0:04-0:05: {alone[2]}"
    assert (answer.heard_s, answer.cut_s) == (pytest.approx(5.2), pytest.approx(0))
    assert answer.history == (("Key?", answer.text),)
    assert "".join(forgetful.stream(sound, "Key?", **asked)) == answer.text
    short = forgetful.ask(cuts[0], "Key?", **asked)
    assert (short.text, short.parts) == (alone[0], ())


def test_the_parts_of_a_long_recording_are_read_when_they_are_heard(
    forgetful: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = music(6).save(tmp_path / "long.wav")
    read: list[int] = []
    from antiphon.tasks import heard_sound

    load = heard_sound.load_passage

    def watched(*args: Any, **kwargs: Any) -> Any:
        read.append(kwargs["start"])
        return load(*args, **kwargs)

    monkeypatch.setattr(heard_sound, "load_passage", watched)
    stream = forgetful.stream(path, "Key?", long="map", part_seconds=2, **SHORT)
    assert read == [0]
    next(stream)
    assert read == [0]
    stream.read()
    assert read == [0, 2 * RATE, 4 * RATE]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": 2.5, "temperature": 1.0}, "top_k"),
        ({"top_p": 1.1, "temperature": 1.0}, "top_p"),
        ({"top_k": 5}, "without chance"),
        ({"seed": 3}, "no chance"),
        ({"seed": -1, "temperature": 1.0}, "seed"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"max_new_tokens": -5}, "max_new_tokens"),
        ({"long": "all"}, "long"),
        ({"long": "map", "strict": True}, "strict"),
        ({"long": "map", "part_seconds": float("nan")}, "part_seconds"),
        ({"long": "map", "part_seconds": 1e9}, "part_seconds"),
        ({"part_seconds": 2.0}, "part_seconds"),
        ({"strict": 1}, "strict"),
        ({"sampling_rate": 8000}, "sampling_rate"),
        ({"stop_when": 3}, "stop_when"),
    ],
)
def test_F056_F057_F058_F060_settings_out_of_range_are_refused(
    listener: Listener, changed: dict[str, Any], named: str
) -> None:
    with pytest.raises((ParamError, ParamTypeError), match=named):
        listener.ask(music(1), "Key?", **changed)


@pytest.mark.parametrize("question", ["", "  \n", None, 5, b"x", ["a"]])
def test_F050_a_question_is_a_text_with_something_in_it(listener: Listener, question: Any) -> None:
    with pytest.raises((ParamError, ParamTypeError), match="question"):
        listener.ask(music(1), question)


def test_F055_as_many_questions_as_recordings(listener: Listener) -> None:
    with pytest.raises(ParamError, match="2 questions for 1"):
        listener.ask_each([music(1)], ["a", "b"])
    assert listener.ask_each([], "a") == []
    for together in (0, -1, 1.5, True):
        with pytest.raises(ParamError, match="together"):
            listener.ask_each([music(1)], "a", together=together)  # type: ignore[arg-type]


def test_F061_an_unknown_argument_is_an_error_with_the_nearest_name(listener: Listener) -> None:
    with pytest.raises(ParamTypeError, match="'temperature'"):
        listener.ask(music(1), "Key?", temprature=1.0)  # type: ignore[call-arg]


@pytest.mark.parametrize("history", ["ab", [("a",)], [("a", 5)], 5, None, [{"role": "user"}]])
def test_a_history_is_made_of_pairs(listener: Listener, history: Any) -> None:
    with pytest.raises(ParamTypeError, match="history"):
        listener.ask(music(1), "Key?", history=history)


def test_F030_F031_sounds_that_cannot_be_heard_are_refused(listener: Listener, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    nan = np.zeros(RATE, np.float32)
    nan[5] = np.nan
    for sound, rate in ((np.zeros(0, np.float32), RATE), (nan, RATE), (broken, None), (tmp_path / "none.wav", None)):
        with pytest.raises(AntiphonError):
            listener.ask(sound, "Key?", sampling_rate=rate)
    assert listener.ask(np.zeros(RATE, np.float32), "Key?", sampling_rate=RATE, **SHORT).heard_s == 1.0


def test_parts_need_one_recording(listener: Listener) -> None:
    for sound in (None, [music(1), music(1)]):
        with pytest.raises(ParamError, match="one recording"):
            listener.ask(sound, "Key?", long="map")
    with pytest.raises(ParamError, match="by itself"):
        listener.ask_each([music(1)], "Key?", long="map")
