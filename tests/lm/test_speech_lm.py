"""One step over all streams: columns one by one through a ring are the whole, and rows keep to themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from antiphon.errors import ParamError
from antiphon.lm.depth_decoder import DepthDecoder
from antiphon.lm.speech_lm import SpeechLM
from antiphon.lm.text_decoder import TextDecoder
from antiphon.lm.zero_token import ZERO

BOOKS, TEXTS, CODES, WINDOW = 2, 11, 6, 4


@pytest.fixture(scope="module")
def lm() -> SpeechLM:
    sizes = {"layers": 2, "heads": 2, "head_width": 8, "hidden": 24, "act": "silu", "eps": 1e-6}
    text = TextDecoder(vocabulary=TEXTS + 1, width=16, kv_heads=1, base=100.0, window=WINDOW, **sizes)  # type: ignore[arg-type]
    depth = DepthDecoder(
        codebooks=BOOKS,
        text_vocabulary=TEXTS,
        audio_vocabulary=CODES,
        input_width=16,
        width=16,
        kv_heads=2,
        window=BOOKS,
        **sizes,  # type: ignore[arg-type]
    )
    tables = nn.ModuleList(nn.Embedding(CODES + 1, 16) for _ in range(2 * BOOKS))
    head = nn.Linear(16, TEXTS, bias=False)
    generator = torch.Generator().manual_seed(0)
    for module in (text, depth, tables, head):
        for parameter in module.eval().parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.4, generator=generator)
    return SpeechLM(text, head, list(tables), depth)


def columns(rows: int, count: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, CODES, (rows, 1 + 2 * BOOKS, count), generator=generator)


@torch.no_grad()
def whole(lm: SpeechLM, given: Tensor) -> Tensor:
    logits: Tensor = lm.head(lm.text(None, embedded=lm.embed(given)))
    return logits


def test_columns_one_by_one_are_the_whole_past_the_window(lm: SpeechLM) -> None:
    given, state = columns(2, 3 * WINDOW), lm.state(2)
    assert lm.streams == 5
    steps = [lm.step(column, state) for column in given.unbind(2)]
    torch.testing.assert_close(
        torch.stack([logits for _, logits in steps], dim=1), whole(lm, given), atol=1e-5, rtol=1e-4
    )
    frame = lm.depth.sample(steps[-1][0], torch.tensor([1, 2]), lambda _, logits: logits.argmax(dim=-1))
    assert frame.shape == (2, BOOKS)


def test_rows_stand_still_and_are_reset_alone(lm: SpeechLM) -> None:
    given, state = columns(2, 9), lm.state(2)
    heard = []
    for t, column in enumerate(given.unbind(2)):
        live = torch.tensor([t % 3 != 1, True])
        if t == 5:
            state.reset(torch.tensor([1]))
        _, logits = lm.step(column, state, live)
        if t % 3 != 1:
            heard.append(t)
            torch.testing.assert_close(logits[0], whole(lm, given[:1, :, heard])[0, -1], atol=1e-5, rtol=1e-4)
        if t >= 5:
            torch.testing.assert_close(logits[1], whole(lm, given[1:, :, 5 : t + 1])[0, -1], atol=1e-5, rtol=1e-4)


def test_a_stream_that_says_nothing_adds_nothing(lm: SpeechLM) -> None:
    given = columns(1, 1)
    silent = given.clone()
    silent[:, 2] = ZERO
    difference = lm.embed(given) - lm.embed(silent)
    torch.testing.assert_close(difference[0, 0], lm.tables[1].weight[given[0, 2, 0]])


def test_columns_of_another_shape_are_refused(lm: SpeechLM) -> None:
    with pytest.raises(ParamError, match=r"\(rows, 5, columns\)"):
        lm.embed(columns(1, 1)[:, :4])
