"""The talker: recordings answered as they would be live, sessions for people, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import antiphon
from antiphon.audio.clip import Audio
from antiphon.errors import AntiphonError, AudioError, Cancelled, ConfigError, ParamError, ParamTypeError, SessionError
from antiphon.tasks.talk_session import TalkSession
from antiphon.tasks.talker import Talker
from antiphon.tasks.transcript import SpeechEvent, TextPiece, Transcript

RATE, FRAME = 24_000, 1920


def speech(seconds: float, *, seed: int = 0) -> Audio:
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32)
    return Audio(0.2 * noise, RATE)


def test_a_moshi_folder_gives_a_talker_that_knows_its_model(talker: Talker, talking_checkpoint: Path) -> None:
    assert isinstance(talker, Talker)
    assert repr(talker) == f"Talker({str(talking_checkpoint)!r}, 24000 Hz, on cpu)"
    assert (talker.sampling_rate, talker.frame_samples, talker.frame_s) == (RATE, FRAME, 0.08)
    assert (talker.settings.text_temperature, talker.settings.text_top_k) == (0.7, 25)
    assert (talker.settings.audio_temperature, talker.settings.audio_top_k) == (0.8, 250)


def test_a_rounded_talker_keeps_its_codec_in_float32(talking_checkpoint: Path, talker: Talker) -> None:
    half = antiphon.load(talking_checkpoint, dtype="bfloat16", device="cpu")
    assert half.model.decoder.dtype is torch.bfloat16
    theirs, ours = half.model.audio_encoder.state_dict(), talker.model.audio_encoder.state_dict()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    assert half.reply(speech(0.3), seed=1).audio.parameters["dtype"] == "bfloat16"


def test_a_talker_in_half_precision_stays_so_on_a_cpu_where_it_has_kernels(
    talking_checkpoint: Path, tmp_path: Path
) -> None:
    for stored, there in ((torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)):
        folder = tmp_path / str(stored)
        shutil.copytree(talking_checkpoint, folder)
        antiphon.MoshiForConditionalGeneration.from_pretrained(talking_checkpoint, dtype=stored).save_pretrained(folder)
        loaded = antiphon.load(folder, device="cpu")
        assert loaded.model.decoder.dtype is there
        assert loaded.model.audio_encoder.dtype is torch.float32


def test_adapters_change_what_is_said_and_are_told_of(talking_checkpoint: Path, talker: Talker, tmp_path: Path) -> None:
    adapted = antiphon.load(talking_checkpoint, device="cpu", adapters=[(adapter(talking_checkpoint, tmp_path), 0.5)])
    (told,) = adapted.adapters
    assert (told["name"], told["scale"]) == (str(tmp_path / "adapter"), 0.5)
    replies = [one.reply(speech(0.5), seed=5) for one in (adapted, talker)]
    assert not np.array_equal(*(reply.audio.samples for reply in replies))
    assert replies[0].audio.parameters["adapters"] == [told]
    assert talker.adapters == []


def adapter(checkpoint: Path, folder: Path) -> Path:
    """An adapter of the depth decoder's heads that is felt."""
    model = antiphon.MoshiForConditionalGeneration.from_pretrained(checkpoint)
    model.add_adapter({"r": 2, "target_parameters": ["depth_decoder.lm_heads.weight"], "init_lora_weights": False})
    model.save_adapter(folder / "adapter")
    return folder / "adapter"


def test_a_talker_takes_no_parts_from_elsewhere(talking_checkpoint: Path) -> None:
    with pytest.raises(AntiphonError, match="codec='elsewhere'"):
        antiphon.load(talking_checkpoint, codec="elsewhere")


def test_a_reply_is_what_a_session_says_frame_by_frame(talker: Talker) -> None:
    heard = speech(0.8)
    reply = talker.reply(heard, seed=5)
    session = talker.session(seed=5, first_frame="heard")
    sounds, pieces = zip(*(session.push(frame) for frame in heard.samples[0].reshape(-1, FRAME)), strict=True)
    assert np.array_equal(reply.audio.samples[0, FRAME:], np.concatenate(sounds))
    assert reply.transcript.text == "".join(piece.text for many in pieces for piece in many).strip()
    assert (reply.seed, reply.audio.seed, reply.stopped) == (5, 5, False)
    whole, _ = talker.session(seed=5, first_frame="heard").push(heard.samples[0])
    assert np.array_equal(whole, np.concatenate(sounds))


def test_the_conversation_has_the_user_left_and_the_reply_right_where_it_was_heard(talker: Talker) -> None:
    heard = speech(0.5)  # six frames and a quarter
    reply = talker.reply(heard, seed=5)
    assert (reply.stereo.channels, len(reply.stereo)) == (2, 8 * FRAME)
    assert np.array_equal(reply.stereo.samples[0, : len(heard)], heard.samples[0])
    assert not reply.stereo.samples[0, len(heard) :].any()
    assert np.array_equal(reply.stereo.samples[1], reply.audio.samples[0])
    assert not reply.audio.samples[0, :FRAME].any()
    assert reply.audio.samples[0, FRAME : 2 * FRAME].any()
    # the server's way answers with the second frame first
    later = talker.reply(heard, seed=5, first_frame="forgotten")
    assert not later.audio.samples[0, : 2 * FRAME].any()
    assert later.audio.samples[0, 2 * FRAME : 3 * FRAME].any()


def test_the_length_is_asked_for_and_the_user_is_silent_behind_a_recording(talker: Talker) -> None:
    heard = speech(0.4)
    short, long = (talker.reply(heard, seed=1, seconds=seconds) for seconds in (0.16, 0.96))
    assert (len(short.audio), len(long.audio)) == (3 * FRAME, 13 * FRAME)
    assert np.array_equal(short.audio.samples[0, : 3 * FRAME], long.audio.samples[0, : 3 * FRAME])
    assert not long.stereo.samples[0, len(heard) :].any()
    assert long.transcript.seconds == pytest.approx(13 * 0.08)


def test_recordings_of_other_rates_and_channels_are_converted(talker: Talker) -> None:
    stereo = np.stack([np.sin(np.arange(8000) / 9), np.cos(np.arange(8000) / 5)]).astype(np.float32)
    from_array = talker.reply(stereo, sampling_rate=16_000, seed=1)
    from_value = talker.reply(Audio(stereo, 16_000), seed=1)
    assert np.array_equal(from_array.audio.samples, from_value.audio.samples)
    assert len(from_array.audio) == 8 * FRAME  # half a second
    with pytest.raises(ParamError, match="sampling_rate"):
        talker.reply(stereo)


def test_the_transcript_has_pieces_words_events_and_entropies_with_their_times(talker: Talker, tmp_path: Path) -> None:
    silence, loud = np.zeros(10 * FRAME, np.float32), speech(0.8).samples[0]
    reply = talker.reply(Audio(np.concatenate([silence, loud, silence]), RATE), seed=2)
    transcript = reply.transcript
    told = json.loads(transcript.save(tmp_path / "words.json").read_text(encoding="utf-8"))
    assert told["text"] == transcript.text == reply.audio.prompt
    assert told["text"].split() == [entry["word"] for entry in told["words"]]
    assert "".join(piece["text"] for piece in told["pieces"]).strip() == told["text"]
    times = [piece["time_s"] for piece in told["pieces"]]
    assert times == sorted(times)
    assert all(time / 0.08 == pytest.approx(round(time / 0.08)) for time in times)
    user = [(event["what"], event["time_s"]) for event in told["events"] if event["who"] == "user"]
    assert user == [("start", 0.8), ("stop", pytest.approx(1.6 + 6 * 0.08))]
    assert ("moshi", "start") in [(event["who"], event["what"]) for event in told["events"]]
    assert [entry["time_s"] for entry in told["entropy_bits"]] == [round(0.08 * t, 3) for t in range(1, 31)]
    assert all(len(entry["audio"]) == 4 and 0 <= entry["text"] < 9 for entry in told["entropy_bits"])
    assert told["seconds"] == pytest.approx(31 * 0.08)


def test_words_are_made_of_pieces_and_begin_when_their_first_piece_does() -> None:
    pieces = [(" he", 1.0), ("llo", 1.5), (" you ", 2.0), ("a", 3.0), (" \n", 3.5), ("b c", 4.0)]
    transcript = Transcript(5.0, [TextPiece(text, time) for text, time in pieces])
    assert transcript.words == [("hello", 1.0), ("you", 2.0), ("a", 3.0), ("b", 4.0), ("c", 4.0)]
    assert transcript.text == "hello you a \nb c"


def test_an_opening_of_words_and_voice_is_said_first(talker: Talker) -> None:
    voice = speech(0.4, seed=3)
    opening = talker.opening("hello good day", voice)
    assert (opening.frames, len(talker.tokenizer("hello good day")["input_ids"])) == (5, 3)
    assert opening.text[3:].tolist() == [3, 3]
    reply = talker.reply(speech(0.8), seed=1, opening=opening)
    assert reply.transcript.text.startswith("hello good day")
    own = talker.model.audio_encoder.codec
    with torch.no_grad():
        said = own.decode(own.encode(torch.from_numpy(voice.samples)[None], 4))[0, 0]
    torch.testing.assert_close(torch.from_numpy(reply.audio.samples[0, FRAME : 6 * FRAME]), said, atol=1e-5, rtol=1e-4)
    silent = talker.reply(speech(0.8), seed=1, opening=talker.opening("hello good day", voice, heard=False))
    assert not silent.audio.samples[0, : 6 * FRAME].any()
    assert np.array_equal(silent.audio.samples[0, 6 * FRAME :], reply.audio.samples[0, 6 * FRAME :])
    assert not silent.transcript.text.startswith("hello good day")
    long = talker.opening("hello good day hello good day", voice)
    assert (long.frames, long.codes[:, 5:].tolist()) == (6, [[-1]] * 4)
    for wrong in ({}, {"text": ""}, {"sound": speech(0.05)}):
        with pytest.raises(ParamError):
            talker.opening(**wrong)


def test_a_reply_that_is_stopped_keeps_what_was_said(talker: Talker) -> None:
    asked: list[float] = []
    heard = speech(0.8)
    whole = talker.reply(heard, seed=1)
    part = talker.reply(
        heard, seed=1, stop_when=lambda: len(asked) >= 4, on_progress=lambda share, done_s: asked.append(done_s)
    )
    assert part.stopped
    assert asked == pytest.approx([0.08, 0.16, 0.24, 0.32])
    assert np.array_equal(part.audio.samples, whole.audio.samples[:, : 5 * FRAME])
    assert part.audio.parameters["stopped"] is True
    with pytest.raises(Cancelled):
        talker.reply(heard, stop_when=lambda: True)


def test_sessions_of_several_rows_give_each_row_its_own(talker: Talker) -> None:
    heard = np.stack([speech(0.64, seed=seed).samples[0] for seed in (0, 1)])
    session = talker.session(2, seed=[4, 9])
    sound, pieces = session.push(heard)
    assert (sound.shape, session.seeds, session.batch) == ((2, 7 * FRAME), [4, 9], 2)
    for row, seed in enumerate((4, 9)):
        alone, said = talker.session(seed=seed).push(heard[row])
        np.testing.assert_allclose(sound[row], alone, atol=1e-5)
        assert [(p.text, p.time_s) for p in pieces if p.row == row] == [(p.text, p.time_s) for p in said]


def test_F071_a_row_that_begins_anew_in_mid_frame_is_a_new_conversation(talker: Talker) -> None:
    heard = np.stack([speech(0.8, seed=seed).samples[0] for seed in (0, 1)])
    undisturbed, _ = talker.session(2, seed=1).push(heard)
    session, cut = talker.session(2, seed=1), 4 * FRAME + 700
    before, _ = session.push(heard[:, :cut])
    assert session.held_samples == 700
    session.reset([1])
    after, pieces = session.push(heard[:, cut:])
    assert np.array_equal(np.concatenate([before, after], axis=1)[0], undisturbed[0])
    # its first frame, which is forgotten, began before; so it is what comes with whole frames from here on
    alone, said = talker.session(seed=2).push(np.concatenate([np.zeros(FRAME, np.float32), heard[1, 5 * FRAME :]]))
    np.testing.assert_allclose(after[1, FRAME:], alone, atol=1e-5)
    assert [(p.text, p.time_s) for p in pieces if p.row == 1] == [(p.text, p.time_s) for p in said]
    session.push(heard[:, :100])
    session.reset()
    assert session.held_samples == 0
    again, _ = session.push(heard)
    assert np.array_equal(again, undisturbed)


def test_F071_rows_stand_still_with_whole_frames_only(talker: Talker) -> None:
    session, heard = talker.session(2, seed=1), np.zeros((2, 2 * FRAME), np.float32)
    session.push(heard)
    sound, pieces = session.push(heard, [True, False])
    assert sound[0].any()
    assert not sound[1].any()
    assert {piece.row for piece in pieces} <= {0}
    with pytest.raises(ParamError, match="whole frames"):
        session.push(heard[:, :7], [True, False])
    session.push(heard[:, :7])
    with pytest.raises(ParamError, match="7 held"):
        session.push(heard, [True, False])
    with pytest.raises(ParamError, match="live of 1 rows"):
        talker.session(2).push(heard, [True])


def test_F073_nothing_too_little_and_far_too_much_at_once_are_all_taken(talker: Talker) -> None:
    heard = speech(1.2).samples[0]
    session = talker.session(seed=1)
    sound, pieces = session.push(np.zeros(0, np.float32))
    assert (sound.shape, pieces) == ((0,), [])
    parts = [session.push(heard[:1])[0], session.push(heard[1:])[0]]
    assert [len(part) for part in parts] == [0, 14 * FRAME]
    assert np.array_equal(np.concatenate(parts), talker.session(seed=1).push(heard)[0])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e9])
def test_F073_samples_that_are_not_finite_are_refused_and_change_nothing(talker: Talker, wrong: float) -> None:
    session, heard = talker.session(seed=1), speech(0.4).samples[0]
    bad = heard.copy()
    bad[5] = wrong
    with pytest.raises(AudioError, match="sample 5"):
        session.push(bad)
    assert np.array_equal(session.push(heard)[0], talker.session(seed=1).push(heard)[0])


@pytest.mark.parametrize(
    ("pcm", "error"),
    [
        (np.zeros(FRAME, np.int16), ParamTypeError),
        (np.zeros((2, FRAME), np.float32), ParamError),
        (np.zeros((1, 1, FRAME), np.float32), ParamError),
        (None, ParamTypeError),
        ("sound.wav", ParamTypeError),
    ],
)
def test_what_is_no_sound_is_refused(talker: Talker, pcm: Any, error: type[AntiphonError]) -> None:
    with pytest.raises(error):
        talker.session().push(pcm)


def test_a_closed_session_takes_nothing_more(talker: Talker) -> None:
    with talker.session() as session:
        assert isinstance(session, TalkSession)
        session.push(torch.zeros(FRAME))
    for call in (lambda: session.push(np.zeros(1, np.float32)), session.reset):
        with pytest.raises(SessionError, match="closed"):
            call()


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"seconds": float("nan")}, "seconds"),
        ({"seconds": 0}, "seconds"),
        ({"seed": -1}, "seed"),
        ({"seed": [1]}, "seed"),
        ({"text_temperature": float("nan")}, "text_temperature"),
        ({"audio_top_k": -1}, "audio_top_k"),
        ({"first_frame": "lost"}, "first_frame"),
    ],
)
def test_values_out_of_range_are_refused_by_name(talker: Talker, asked: dict[str, Any], named: str) -> None:
    with pytest.raises(AntiphonError, match=named):
        talker.reply(speech(0.2), **asked)


def test_an_unknown_setting_is_refused(talker: Talker) -> None:
    with pytest.raises(TypeError, match="temperature"):
        talker.reply(speech(0.2), temperature=1.0)


def test_events_come_with_a_session_too(talker: Talker) -> None:
    session = talker.session(seed=1)
    moments = session.listen(np.concatenate([np.zeros(FRAME, np.float32), speech(0.16).samples[0]]))
    assert [event for moment in moments for event in moment.events if event.who == "user"] == [
        SpeechEvent("user", "start", 0.08)
    ]
    assert [moment.entropies[0] is None for moment in moments] == [True, False, False]


def test_another_kind_of_model_is_named_by_what_talks(tmp_path: Path) -> None:
    antiphon.MimiConfig().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"'mimi'.*moshi"):
        antiphon.load(tmp_path)
