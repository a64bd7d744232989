"""Duplex sessions: any cut is the whole, rows keep to themselves, the user is heard in the right place, for hours."""

from __future__ import annotations

import gc
import time
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from antiphon.codecs.frame_buffer import FrameBuffer
from antiphon.codecs.mimi import MimiCodec
from antiphon.errors import NumericError, ParamError, SessionError
from antiphon.generation.duplex import Duplex, DuplexFrame
from antiphon.generation.duplex_settings import Opening
from antiphon.lm.speech_lm import SpeechLM
from antiphon.nn.streaming import state_bytes

from .talkers import FRAME, GREEDY, SMALL_FRAME, duplex, same, small_duplex, small_speech, sound, speech, tokens

FEW = settings(max_examples=5, deadline=None)


def pushed(session: Duplex, samples: Tensor, live: list[list[bool]] | None = None) -> list[DuplexFrame]:
    """Frame by frame."""
    frames = samples.split(session.frame_samples, dim=1)
    lives = [None] * len(frames) if live is None else live
    return [out for frame, going in zip(frames, lives, strict=True) for out in session.push(frame, going)]


def regrouped(session: Duplex, samples: Tensor, sizes: list[int]) -> list[DuplexFrame]:
    """In pieces of these sizes, over and over, through a buffer."""
    buffer, out, start, turn = FrameBuffer(session.rows, 1, session.frame_samples), [], 0, 0
    while start < samples.shape[1]:
        piece = samples[:, start : start + sizes[turn % len(sizes)]]
        out += session.push(buffer.push(piece[:, None])[:, 0])
        start, turn = start + piece.shape[1], turn + 1
    return out


@pytest.mark.row("R215")
@pytest.mark.parametrize(
    "sizes", [[1_000_000], [0, 1, SMALL_FRAME - 1, SMALL_FRAME, SMALL_FRAME + 1], [2 * SMALL_FRAME + 5]]
)
def test_F070_pieces_of_any_length_are_the_whole_bit_by_bit(sizes: list[int]) -> None:
    samples = small_speech(1, 14)
    assert same(pushed(small_duplex(seed=1), samples), regrouped(small_duplex(seed=1), samples, sizes))


@FEW
@given(sizes=st.lists(st.integers(0, 5 * SMALL_FRAME), min_size=1, max_size=6).filter(any))
def test_F070_random_cuts_are_the_whole_bit_by_bit(sizes: list[int]) -> None:
    samples = small_speech(2, 8)
    assert same(
        pushed(small_duplex(rows=2, seed=1), samples), regrouped(small_duplex(rows=2, seed=1), samples, sizes), (0, 1)
    )


@pytest.mark.parametrize("first_frame", ["forgotten", "kept", "heard"])
def test_F071_a_row_that_begins_anew_leaves_the_others_bit_identical(first_frame: Any) -> None:
    samples, asked = small_speech(3, 18), {"rows": 3, "seed": 1, "first_frame": first_frame}
    undisturbed, session = pushed(small_duplex(**asked), samples), small_duplex(**asked)
    out = pushed(session, samples[:, : 7 * SMALL_FRAME])
    session.reset([1])
    out += pushed(session, samples[:, 7 * SMALL_FRAME :])
    assert same(undisturbed, out, (0, 2))
    fresh = pushed(small_duplex(**asked), samples[:, 7 * SMALL_FRAME :])
    assert tokens(out[7:], 1) == tokens(fresh, 1)
    torch.testing.assert_close(sound(out[7:])[1], sound(fresh)[1], atol=1e-5, rtol=1e-4)


@FEW
@given(data=st.data())
def test_F071_a_row_that_stands_still_goes_on_as_if_nothing_had_been(data: st.DataObject) -> None:
    going = data.draw(st.lists(st.booleans(), min_size=10, max_size=10).filter(any))
    samples = small_speech(2, 10)
    out = pushed(small_duplex(rows=2, seed=1), samples, [[True, goes] for goes in going])
    assert same(out, pushed(small_duplex(rows=2, seed=1), samples), (0,))
    kept = [frame for frame, goes in zip(samples.split(SMALL_FRAME, dim=1), going, strict=True) if goes]
    alone = pushed(small_duplex(seed=2), torch.cat(kept, dim=1)[1:])
    assert tokens(out, 1) == tokens(alone)
    heard = [frame for frame, goes in zip(out, going, strict=True) if goes]
    torch.testing.assert_close(sound(heard)[1:], sound(alone), atol=1e-5, rtol=1e-4)
    assert all(not frame.samples[1].any() for frame, goes in zip(out, going, strict=True) if not goes)


@FEW
@given(turns=st.lists(st.booleans(), min_size=6, max_size=16))
def test_F071_two_sessions_side_by_side_do_not_mix(turns: list[bool]) -> None:
    samples = small_speech(2, len(turns))
    sessions, outs = [small_duplex(seed=1), small_duplex(seed=2)], [[], []]  # type: tuple[list[Duplex], list[list[DuplexFrame]]]
    counts = [0, 0]
    for turn in turns:
        who = int(turn)
        outs[who] += sessions[who].push(
            samples[who : who + 1, counts[who] * SMALL_FRAME : (counts[who] + 1) * SMALL_FRAME]
        )
        counts[who] += 1
    for who in (0, 1):
        if counts[who]:
            assert same(
                outs[who], pushed(small_duplex(seed=1 + who), samples[who : who + 1, : counts[who] * SMALL_FRAME])
            )


def test_F071_a_reset_of_all_rows_is_a_new_session() -> None:
    samples, session = small_speech(2, 6), small_duplex(rows=2, seed=1)
    first = pushed(session, samples)
    pushed(session, small_speech(2, 3, seed=5), [[True, False]] * 3)
    session.reset()
    assert same(first, pushed(session, samples), (0, 1))
    session.reset([1, 0])
    assert same(first, pushed(session, samples), (0, 1))


@pytest.mark.parametrize("part", ["ears", "model", "voice"])
def test_F079_after_an_error_within_a_step_the_session_refuses_until_it_begins_anew(part: str) -> None:
    where = {"ears": (MimiCodec, "encode_frames"), "model": (SpeechLM, "step"), "voice": (MimiCodec, "decode_frames")}
    samples, session = small_speech(2, 6), small_duplex(rows=2, seed=1)
    pushed(session, samples)
    broken = mock.patch.object(*where[part], side_effect=RuntimeError("the device is gone"))
    with broken, pytest.raises(RuntimeError, match="gone"):
        session.push(samples[:, :SMALL_FRAME])
    with pytest.raises(SessionError, match="failed"):
        session.push(samples[:, :SMALL_FRAME])
    with pytest.raises(SessionError, match="all of its rows"):
        session.reset([0])
    session.reset()
    assert same(pushed(session, samples), pushed(small_duplex(rows=2, seed=1), samples), (0, 1))


def test_F079_numbers_that_are_not_finite_end_one_session_and_no_other() -> None:
    one, other = small_duplex(seed=1), small_duplex(seed=1)
    nothing = torch.zeros(1, 1, 16), torch.full((1, 16), float("nan"))
    with mock.patch.object(SpeechLM, "step", return_value=nothing), pytest.raises(NumericError):
        one.push(small_speech(1, 1))
    assert len(other.push(small_speech(1, 3))) == 3


def held_bytes(session: Duplex) -> int:
    """Of everything that a session remembers."""
    ring = session.dialogue._state
    layers = [ring.layer(index).slots for index in range(len(ring))]
    kept = [*(part for slots in layers for part in (slots.keys, slots.values)), session.dialogue._said]
    kept += [session.dialogue._ring._held, session.dialogue._entropies._held]
    return state_bytes(kept) + int(session._ears.state_bytes) + int(session._voice.state_bytes)


def test_F072_four_thousand_steps_take_no_more_memory_and_no_more_time() -> None:
    session = small_duplex(seed=1)
    session.push(small_speech(1, 50))
    codes = torch.randint(0, 8, (1, 2), generator=torch.Generator().manual_seed(0))
    seconds, sizes, objects = [], [held_bytes(session)], []
    for _ in range(80):
        begun = time.thread_time()
        for _ in range(50):  # the codec's own test goes as far
            session.dialogue.step(codes)
        seconds.append(time.thread_time() - begun)
        sizes.append(held_bytes(session))
        objects.append(len(gc.get_objects()) if len(seconds) in (10, 80) else 0)
    session.push(small_speech(1, 50))
    assert session.dialogue.steps == [4100]
    assert {*sizes, held_bytes(session)} == {sizes[0]}
    assert objects[79] - objects[9] < 200
    assert sorted(seconds[60:])[5] < 1.5 * sorted(seconds[5:25])[5]


def test_what_the_user_says_counts_from_its_own_step_on_and_not_before() -> None:
    samples, place = speech(1, 16), 9
    other = samples.clone()
    other[:, place * FRAME : (place + 1) * FRAME] = speech(1, 1, seed=9)
    found: list[list[Tensor]] = []
    for heard in (samples, other):
        logits: list[Tensor] = []
        step = SpeechLM.step

        def kept(lm: SpeechLM, *args: Any, into: list[Tensor] = logits, step: Any = step) -> Any:
            moment, scores = step(lm, *args)
            into.append(scores)
            return moment, scores

        with mock.patch.object(SpeechLM, "step", kept):
            pushed(duplex(settings=GREEDY), heard)
        found.append(logits)
    differences = [float((a - b).abs().max()) for a, b in zip(*found, strict=True)]
    assert differences[:place] == [0.0] * place
    assert differences[place] > 1e-2  # at once, by the codebook without a delay
    assert max(differences[place + 1 :]) > 1e-2


def test_silence_differs_from_speech_and_two_recordings_give_two_replies() -> None:
    silence, one, other = torch.zeros(1, 20 * FRAME), speech(1, 20), speech(1, 20, seed=4)
    replies = [tokens(pushed(duplex(seed=1), samples)) for samples in (silence, one, other, one)]
    assert replies[1] == replies[3]
    assert replies[0] != replies[1] != replies[2] != replies[0]


def test_the_first_frame_is_forgotten_kept_or_heard() -> None:
    samples = speech(1, 10)
    other = torch.cat([speech(1, 1, seed=8), samples[:, FRAME:]], dim=1)
    found = {
        choice: [pushed(duplex(settings=GREEDY, first_frame=choice), heard) for heard in (samples, other)]  # type: ignore[arg-type]
        for choice in ("forgotten", "kept", "heard")
    }
    # forgotten: neither the model nor the codec knows of it
    assert same(*found["forgotten"])
    # heard: the model makes a step more, so that an answer comes with the first frame
    assert [frames[0].own.whole for frames, _ in found.values()] == [[False], [False], [True]]
    assert tokens(found["heard"][0]) != tokens(found["heard"][1])
    # kept: no column holds its codes, but what the codec makes of the next frames may depend on it
    assert not found["kept"][0][0].samples.any()
    assert tokens(found["kept"][0]) != tokens(found["forgotten"][0])


def test_a_session_whose_first_frame_is_heard_is_one_that_was_told_it_twice() -> None:
    samples = speech(1, 9)
    session, codes = duplex(settings=GREEDY, first_frame="heard"), []
    encode = session._codec.encode_frames

    class Listening:
        frame_samples = FRAME
        decoder_state, decode_frames = session._codec.decoder_state, session._codec.decode_frames

        def encode_frames(self, *args: Any) -> Tensor:
            codes.append(encode(*args))
            return codes[-1]

    session._codec = Listening()  # type: ignore[assignment]
    out = pushed(session, samples)
    plain = duplex(settings=GREEDY).dialogue
    told = [plain.step(one[..., 0]) for one in [codes[0], *codes]]
    assert tokens(out) == tokens(told)


def test_a_silenced_opening_makes_no_sound_and_the_codec_goes_on() -> None:
    samples, text = small_speech(2, 10), torch.tensor([9, 10, 11, 12])
    heard = pushed(small_duplex(rows=2, seed=1, opening=Opening(text)), samples)
    silent = pushed(small_duplex(rows=2, seed=1, opening=[Opening(text, heard=False), None]), samples)
    assert all(frame.samples[0].any() for frame in heard[1:])
    assert not sound(silent[:5])[0].any()
    assert torch.equal(sound(silent[5:])[0], sound(heard[5:])[0])
    assert silent[3].samples[1].any()


def test_steps_of_one_shape_say_the_same_up_to_rounding() -> None:
    samples = small_speech(1, 20)
    out, still = (pushed(small_duplex(seed=1, still_shapes=shapes), samples) for shapes in (False, True))
    assert tokens(out) == tokens(still)
    torch.testing.assert_close(sound(out), sound(still), atol=1e-5, rtol=1e-4)


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    session = small_duplex(rows=2, seed=1)
    for samples, live in (
        (small_speech(1, 1), None),
        (small_speech(2, 1)[:, 1:], None),
        (small_speech(2, 1), [True]),
        (torch.zeros(2), None),
    ):
        with pytest.raises(ParamError, match="a multiple of 8"):
            session.push(samples, live)
    with pytest.raises(ParamError, match="rows"):
        session.reset([3])
    with pytest.raises(ParamError, match="first_frame='lost'"):
        small_duplex(first_frame="lost")
    assert session.push(torch.zeros(2, 0)) == []
    assert same(pushed(session, small_speech(2, 4)), pushed(small_duplex(rows=2, seed=1), small_speech(2, 4)), (0, 1))
    assert session.push(small_speech(2, 1), [False, False])[0].own.whole == [False, False]
