"""Dialogues in tokens: kyutai's package in all it reads, chooses and puts out, and what the package has not."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from antiphon.errors import NumericError, ParamError
from antiphon.generation.column_ring import ColumnRing
from antiphon.generation.delays import DelayPattern
from antiphon.generation.dialogue import Dialogue, OwnFrame
from antiphon.generation.duplex_settings import DuplexSettings, Opening
from antiphon.lm.speech_lm import SpeechLM

from .talkers import GOLDENS, GREEDY, KINDS, dialogue, model, streams, tokens

RESETS, STILL = {100: [1]}, {50: [False, True], 51: [False, True], 130: [True, False]}  # of the oracle's run


def codes(rows: int, steps: int, *, seed: int = 0, books: int = 4) -> Tensor:
    return torch.randint(0, 16, (rows, books, steps), generator=torch.Generator().manual_seed(seed))


def run(session: Dialogue, user: Tensor, **live: Any) -> list[OwnFrame]:
    return [session.step(user[..., t], **live) for t in range(user.shape[-1])]


@pytest.mark.parametrize("kind", KINDS)
def test_columns_choices_and_frames_are_those_of_kyutais_package(kind: str) -> None:
    golden = {
        k: v if v.is_floating_point() else v.long()
        for k, v in load_file(GOLDENS / f"kyutai_{kind}" / "language.safetensors").items()
    }
    session, read, texts = dialogue(kind, rows=2, settings=GREEDY), [], []
    step = SpeechLM.step

    def looked_at(lm: SpeechLM, column: Tensor, state: Any, live: Tensor | None = None) -> Any:
        moment, logits = step(lm, column, state, live)
        read.append(column)
        texts.append(logits[:, :: lm.text.embedding.weight.shape[0] // 6][:, :6])
        return moment, logits

    ours: list[list[list[int]]] = [[], [], []]  # row 0, and row 1 before and after it begins anew
    theirs: list[list[list[int]]] = [[], [], []]
    with mock.patch.object(SpeechLM, "step", looked_at):
        for t in range(golden["user"].shape[-1]):
            if t in RESETS:
                session.reset(RESETS[t])
            live = STILL.get(t, [True, True])
            frame = session.step(golden["user"][..., t], live)
            for row in range(2):
                part = 2 * (row == 1 and t >= 100) or row
                if live[row]:
                    assert torch.equal(read[-1][row], golden["read"][row, :, t]), (t, row)
                    assert float((texts[-1][row] - golden["chosen_text_logits"][row, t]).abs().max()) < 2e-4
                ours[part] += tokens([frame], row)
                if int(golden["out"][row, 0, t]) != -2:
                    theirs[part].append(golden["out"][row, :, t].tolist())
    # the package also waits for the user's longest delay before it puts a frame out
    later = streams(kind).delays.max_delay - streams(kind).own.max_delay
    assert [part[: len(part) - later] for part in ours] == theirs
    assert sum(map(len, theirs)) > 400


def test_frames_come_as_soon_as_all_own_codebooks_are_there() -> None:
    for kind, delay in (("moshi", 1), ("grouped", 2)):
        books = streams(kind).codebooks
        frames = run(dialogue(kind, seed=1), codes(1, 5, books=books))
        assert [frame.whole for frame in frames] == [[t >= delay] for t in range(5)]
        assert [frame.heard for frame in frames] == [[t >= delay] for t in range(5)]


def test_a_rows_tokens_are_its_seeds_alone_or_beside_others() -> None:
    user = codes(3, 12)
    together = run(dialogue(rows=3, seed=[7, 8, 9]), user)
    for row in range(3):
        alone = run(dialogue(seed=7 + row), user[row : row + 1])
        assert tokens(together, row) == tokens(alone)
    assert tokens(together, 0) != tokens(run(dialogue(seed=8), user[:1]))


def test_a_new_seed_and_an_old_one_after_a_reset() -> None:
    user, session = codes(2, 8), dialogue(rows=2, seed=[3, 4])
    first = run(session, user)
    session.reset([1])
    again = run(session, user)
    assert tokens(again, 1) == tokens(first, 1)
    session.reset([1], seed=11)
    assert session.seeds == [3, 11]
    other = run(session, user)
    assert tokens(other, 1) == tokens(run(dialogue(rows=2, seed=[3, 11]), user), 1) != tokens(first, 1)


def test_an_opening_is_said_frame_by_frame_and_then_the_model_goes_on() -> None:
    for kind in KINDS:
        books = streams(kind).codebooks
        said = Opening(torch.tensor([9, -1, 11]), codes(1, 3, seed=4, books=books)[0])
        frames = tokens(run(dialogue(kind, seed=1, opening=said), codes(1, 9, books=books)))
        assert [frame[0] for frame in frames[:3:2]] == [9, 11]
        assert said.codes is not None
        assert torch.equal(torch.tensor([frame[1:] for frame in frames[:3]]).T, said.codes)
        plain = tokens(run(dialogue(kind, seed=1), codes(1, 9, books=books)))
        assert frames[3:] != plain[3:]


def test_a_silenced_opening_is_not_heard_and_changes_nothing_else() -> None:
    user, text = codes(2, 8), torch.tensor([9, 10])
    heard = run(dialogue(rows=2, seed=1, opening=Opening(text)), user)
    silent = run(dialogue(rows=2, seed=1, opening=[Opening(text, heard=False), Opening(text)]), user)
    assert tokens(heard, 0) == tokens(silent, 0)
    assert [frame.heard[0] for frame in silent] == [False] * 3 + [True] * 5
    assert [frame.heard[1] for frame in silent] == [False] + [True] * 7


def test_openings_are_taken_off_and_given_with_a_reset() -> None:
    session = dialogue(seed=2, settings=GREEDY, opening=Opening(torch.tensor([9])))
    assert tokens(run(session, codes(1, 3)))[0][0] == 9
    session.reset(opening=Opening(torch.tensor([12])))
    assert tokens(run(session, codes(1, 3)))[0][0] == 12
    session.reset(keep_opening=False)
    assert tokens(run(session, codes(1, 3))) == tokens(run(dialogue(settings=GREEDY), codes(1, 3)))


def test_a_penalty_counts_the_last_words_and_no_silence() -> None:
    user, vocabulary = codes(1, 40), streams().texts
    free = [frame[0] for frame in tokens(run(dialogue(settings=GREEDY), user))]
    settings = DuplexSettings(text_temperature=0, audio_temperature=0, repetition_penalty=1e6, repetition_context=5)
    session = dialogue(settings=settings)
    words = [token for frame in tokens(run(session, user)) if (token := frame[0]) not in (0, 3)]
    assert len(set(free)) < len(set(words)) < vocabulary
    assert all(len(set(words[i : i + 6])) == 6 for i in range(len(words) - 6))
    # a token of silence may follow itself
    quiet = dialogue(settings=settings, opening=Opening(torch.tensor([3] * 4)))
    run(quiet, user[..., :4])
    assert torch.equal(quiet._said, torch.full_like(quiet._said, -1))


def test_entropies_are_those_of_the_logits_in_bits() -> None:
    found: list[Tensor] = []
    step = SpeechLM.step

    def kept(lm: SpeechLM, *args: Any) -> Any:
        moment, logits = step(lm, *args)
        found.append(torch.distributions.Categorical(logits=logits).entropy() / torch.log(torch.tensor(2.0)))
        return moment, logits

    with mock.patch.object(SpeechLM, "step", kept):
        frames = run(dialogue(rows=2, seed=1), codes(2, 6))
    for t in range(1, 6):  # a frame's text was decided a step before its last codebook
        torch.testing.assert_close(frames[t].entropy[:, 0], found[t - 1], rtol=1e-5, atol=1e-5)
        assert frames[t].entropy.shape == (2, 5)
        assert bool((frames[t].entropy > 0).all())
        assert bool((frames[t].entropy[:, 1:] <= 4 + 1e-5).all())  # of 16 codes


def test_weights_that_are_not_finite_end_a_dialogue_with_an_error() -> None:
    session = dialogue(seed=1)
    nothing = torch.zeros(1, 1, 16), torch.full((1, 300), float("nan"))
    with mock.patch.object(SpeechLM, "step", return_value=nothing), pytest.raises(NumericError, match="step 0"):
        session.step(codes(1, 1)[..., 0])


@pytest.mark.parametrize(
    "settings",
    [
        *(
            {name: value}
            for name in ("text_temperature", "audio_temperature")
            for value in (-1, float("nan"), True, "1")
        ),
        *({"text_top_k": value} for value in (-1, 1.5, True)),
        *({"repetition_penalty": value} for value in (0, float("inf"), float("nan"))),
        *({"repetition_context": value} for value in (0, 5000)),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(ParamError, match=next(iter(settings))):
        DuplexSettings(**settings)


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    session = dialogue(rows=2, seed=1)
    with pytest.raises(ParamError, match=r"\(2, 4\)"):
        session.step(codes(2, 1, books=3)[..., 0])
    with pytest.raises(ParamError, match="live of 1 rows"):
        session.step(codes(2, 1)[..., 0], [True])
    with pytest.raises(ParamError, match="rows"):
        session.reset([2])
    with pytest.raises(ParamError, match="rows"):
        session.reset([1, 1])
    with pytest.raises(ParamError, match="tokens below 16"):
        session.reset([0], opening=Opening(torch.tensor([1]), torch.full((4, 1), 16)))
    with pytest.raises(ParamError, match="3 codebooks"):
        dialogue(opening=Opening(torch.tensor([1]), torch.zeros((3, 1), dtype=torch.int64)))
    for wrong in (torch.tensor([]), torch.tensor([1.0]), torch.tensor([-2]), torch.zeros((1, 1), dtype=torch.int64)):
        with pytest.raises(ParamError, match="an opening"):
            Opening(wrong)
    with pytest.raises(ParamError, match="delays"):
        Dialogue(model().lm, streams("grouped"))
    with pytest.raises(ParamError, match="rows=0"):
        dialogue(rows=0)
    assert tokens(run(session, codes(2, 4))) == tokens(run(dialogue(rows=2, seed=1), codes(2, 4)))


def test_a_ring_of_columns_is_the_delay_pattern() -> None:
    pattern, frames = DelayPattern((0, 2, 1)), 9
    ring, initial = ColumnRing(pattern, 1), torch.tensor([100, 101, 102])
    values = torch.arange(3 * frames).reshape(1, 3, frames)
    plan = pattern.build(torch.cat([initial[None, :, None], values], dim=2), pattern.columns(frames), 100)
    for s in range(1, frames + 1):
        ring.write_frame(values[..., s - 1], torch.tensor([s]))
        shown = ring.column(torch.tensor([s]), initial)[0]
        assert shown.tolist() == [
            int(p) if s > d else int(i) for p, d, i in zip(plan[0, :, s], pattern.delays, initial, strict=True)
        ]
        assert ring.frame(torch.tensor([s]), 2).tolist() == values[:, :2, s - 1].tolist()
