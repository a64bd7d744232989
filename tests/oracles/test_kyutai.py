"""Models read from kyutai's files answer as kyutai's package did, whole and frame by frame."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import antiphon
from antiphon.codecs.frame_buffer import FrameBuffer

from ..checkpoints.kyutai_files import IN_8_BITS, KINDS, WITH_ADAPTER, answers, copied, golden
from .kyutai_talk import RESETS, STILL, UNDECIDED, Talk

ROWS, TOLERANCE = 2, 2e-4
CODEC_RESETS, CODEC_STILL = {17: 1}, {9: 0, 10: 0}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """One of the tiny checkpoints."""
    return str(request.param)


@pytest.fixture(scope="module")
def model(kind: str) -> Any:
    """Our model of it, in float32."""
    return opened(golden(kind))


def opened(folder: Path) -> Any:
    return antiphon.MoshiForConditionalGeneration.from_pretrained(folder, dtype="float32")


def thinned(model: Any, text: Tensor) -> Tensor:
    return text[..., :: model.config.vocab_size // 6]


def live_rows(step: int, still: dict[int, int]) -> Tensor:
    return torch.tensor([still.get(step) != row for row in range(ROWS)])


def at_once(model: Any, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of texts (B, T, V) and of codes (B, T, K, C) of columns that are read in one call."""
    hidden = model.lm.text(None, embedded=model.lm.embed(columns))
    told = columns[:, : model.config.num_codebooks].clamp(min=0).transpose(1, 2).flatten(0, 1)
    codes = model.lm.depth(told, hidden.flatten(0, 1)[:, None])
    return model.lm.head(hidden), codes.unflatten(0, hidden.shape[:2])


@torch.no_grad()
def test_columns_read_at_once_have_their_logits_past_the_window(model: Any, kind: str) -> None:
    asked = answers(kind, "language")
    wanted = asked["text_logits_at_once"]
    text, codes = at_once(model, asked["columns"][..., : wanted.shape[1]])
    assert wanted.shape[1] == 2 * model.config.sliding_window
    assert (thinned(model, text) - wanted).abs().max() < TOLERANCE
    assert (codes[..., ::8] - asked["code_logits_at_once"]).abs().max() < TOLERANCE


def noted(scores: list[Tensor], book: int, logits: Tensor) -> Tensor:
    """Any choice; the logits are kept."""
    scores.append(logits)
    return logits.argmax(-1)


@torch.no_grad()
def test_columns_read_one_by_one_have_their_logits_while_rows_begin_anew_and_stand_still(model: Any, kind: str) -> None:
    asked, books, state = answers(kind, "language"), model.config.num_codebooks, model.lm.state(ROWS)
    for step, column in enumerate(asked["columns"].unbind(-1)):
        live, told = live_rows(step, STILL), column[:, : books + 1].clamp(min=0)
        if step in RESETS:
            state.reset(torch.tensor([RESETS[step]]))
        moment, text = model.lm.step(column, state, live=None if live.all() else live)
        scores: list[Tensor] = []
        model.lm.depth.sample(moment, told[:, 0], functools.partial(noted, scores), forced=told[:, 1:])
        wanted_text, wanted_codes = asked["text_logits"][:, step], asked["code_logits"][:, step]
        assert (thinned(model, text) - wanted_text)[live].abs().max() < TOLERANCE, step
        assert (torch.stack(scores, dim=1)[..., ::8] - wanted_codes)[live].abs().max() < TOLERANCE, step


@pytest.mark.row("R215")
@torch.no_grad()
def test_greedy_tokens_beside_a_user_are_equal_over_220_steps(model: Any, kind: str) -> None:
    asked, talk = answers(kind, "language"), Talk(model, ROWS)
    for step, user in enumerate(asked["user"].unbind(-1)):
        if step in RESETS:
            talk.reset(RESETS[step])
        talk.step(user, live_rows(step, STILL))
    assert torch.equal(torch.stack(talk.read, dim=-1), asked["read"])
    assert torch.equal(torch.stack(talk.out, dim=-1), asked["out"])
    live = torch.stack([live_rows(step, STILL) for step in range(len(talk.out))], dim=1)
    apart = thinned(model, torch.stack(talk.logits, dim=1)) - asked["chosen_text_logits"]
    assert apart[live].abs().max() < TOLERANCE
    assert len(asked["user"][0, 0]) > 18 * model.config.sliding_window
    assert (asked["out"] != UNDECIDED).float().mean() > 0.9 and len(asked["out"][:, 1:].unique()) > 10


@torch.no_grad()
@pytest.mark.parametrize(
    ("changes", "names"), [(WITH_ADAPTER, ["lora_beside", "lora_added"]), (IN_8_BITS, ["rounded"])]
)
def test_adapters_and_weights_in_8_bits_give_their_logits(
    tmp_path: Path, changes: dict[str, Any], names: list[str]
) -> None:
    asked = answers("moshi", "language")
    model = opened(copied("moshi", tmp_path, **changes))
    text, _ = at_once(model, asked["columns"][..., :24])
    for name in names:
        assert (thinned(model, text) - asked[name]).abs().max() < TOLERANCE
        assert (asked[name] - asked["text_logits_at_once"]).abs().max() > 100 * TOLERANCE


@torch.no_grad()
def test_the_codec_gives_its_latents_codes_and_sound(model: Any, kind: str) -> None:
    asked, codec = answers(kind, "codec"), model.audio_encoder
    sound = asked["sound"].float()
    assert (codec.codec.encoder(sound) - asked["latents"]).abs().max() < 1e-5
    assert torch.equal(codec.encode(sound).audio_codes, asked["codes"])
    assert (codec.decode(asked["codes"]).audio_values - asked["decoded"]).abs().max() < 1e-5


@torch.no_grad()
def test_a_last_frame_that_is_not_whole_is_filled_up_with_silence(model: Any, kind: str) -> None:
    asked, codec = answers(kind, "codec"), model.audio_encoder.codec
    buffer = FrameBuffer(ROWS, 1, codec.frame_samples)
    part = asked["sound"].float()[..., : 5 * codec.frame_samples + 7]
    state = codec.encoder_state(ROWS)
    codes = [codec.encode_frames(frames, state) for frames in (buffer.push(part), buffer.flush())]
    assert torch.equal(torch.cat(codes, dim=-1), asked["codes_of_a_part"])


@torch.no_grad()
def test_the_codec_frame_by_frame_gives_the_same_while_rows_begin_anew_and_stand_still(model: Any, kind: str) -> None:
    asked, codec = answers(kind, "codec"), model.audio_encoder.codec
    encoder, decoder, latents = codec.encoder_state(ROWS), codec.decoder_state(ROWS), codec.encoder_state(ROWS)
    size = codec.frame_samples
    for at, frame in enumerate(asked["sound"].float().split(size, dim=-1)):
        live = live_rows(at, CODEC_STILL)
        if at in CODEC_RESETS:
            for state in (encoder, decoder, latents):
                state.reset([CODEC_RESETS[at]])
        now = None if live.all() else live
        found = latents.padding.push(codec.encoder, frame, cache=latents.ring, live=now)
        assert (found - asked["streamed_latents"][..., at : at + 1])[live].abs().max() < 1e-5, at
        codes = codec.encode_frames(frame, encoder, now)
        assert torch.equal(codes[live], asked["streamed_codes"][..., at : at + 1][live]), at
        heard = codec.decode_frames(asked["codes"][..., at : at + 1], decoder, now)
        wanted = asked["streamed_decoded"][..., at * size : (at + 1) * size]
        assert (heard - wanted)[live].abs().max() < 1e-5, at


def test_the_packages_own_stream_leaves_its_whole_where_the_window_is_full(model: Any, kind: str) -> None:
    """A frame is two columns, and its ring has a slot for each column of the window: one key is lost to the first."""
    asked = answers(kind, "codec")
    full = model.config.audio_encoder_config.sliding_window // 2
    apart = (asked["published_latents"] - asked["latents"]).abs().amax(dim=(0, 1))
    assert apart[:full].max() < 1e-5 < 1e-3 < apart[full:].min()
