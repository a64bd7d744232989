"""What a text encoder learns before it is heard: which style, lead, tempo and key a text speaks of.

A decoder alone teaches it slowly, because after the first beats a piece tells its tempo and key by itself. The lessons
need no sound. Their answers are read from the encoder's states as a decoder reads them, by attention, and what reads
them is thrown away.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon import T5EncoderModel
from antiphon.text.t5_tokenizer import T5Tokenizer
from recipes.builtin.pieces import facts_in

log = logging.getLogger(__name__)

STEPS = 800
_BATCH, _RATE, _WARMUP = 96, 1e-3, 50
_KEPT_BACK = 500
# tempos within 4 % of each other are the same to an ear
_TEMPO_STEP = math.log(1.04)

# what is asked, and the answer among the facts of a piece
FACTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "style": lambda facts: facts["style"],
    "lead": lambda facts: facts["lead"],
    "tempo": lambda facts: round(math.log(facts["tempo_bpm"]) / _TEMPO_STEP),
    "tonic": lambda facts: facts["tonic"],
    "mode": lambda facts: facts["mode"],
}


def known_answers(facts: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    """What may be answered to each of ``FACTS``, in order."""
    seen = list(facts)
    return {name: sorted({of(own) for own in seen}) for name, of in FACTS.items()}


@dataclass(frozen=True)
class Lesson:
    """A text and the facts of its piece, of which the text may tell any."""

    text: str
    facts: dict[str, Any]


def lessons_of(pieces: Path) -> list[Lesson]:
    """All texts of the rendered pieces."""
    return [Lesson(text, facts) for facts in facts_in(pieces) for text in facts.pop("texts")]


class Reader(nn.Module):
    """One query a question, and what its answer may be."""

    def __init__(self, width: int, answers: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(width) * width**-0.5)
        self.key, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.answer = nn.Linear(width, answers)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(B, M, D) of which ``mask`` (B, M) are real, to logits (B, A)."""
        scores = (self.key(states) @ self.query).masked_fill(mask == 0, -math.inf)
        heard = torch.einsum("bm,bmd->bd", scores.softmax(dim=1), self.value(states))
        logits: Tensor = self.answer(heard)
        return logits


def teach(
    encoder: T5EncoderModel, tokenizer: T5Tokenizer, lessons: Sequence[Lesson], *, steps: int = STEPS
) -> dict[str, float]:
    """Trains an encoder in place, and gives how often it is right on texts kept back, which may not tell all."""
    torch.manual_seed(0)
    rng = Random(0)
    answers = known_answers(one.facts for one in lessons)
    readers = nn.ModuleDict({name: Reader(encoder.config.d_model, len(known)) for name, known in answers.items()})
    trained = [*encoder.parameters(), *readers.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=_RATE, weight_decay=0.01, fused=True)

    def losses(batch: Sequence[Lesson]) -> tuple[Tensor, dict[str, float]]:
        given = tokenizer([one.text for one in batch], padding=True, return_tensors="pt")
        states = encoder(**given).last_hidden_state
        total, right = states.new_zeros(()), {}
        for name, of in FACTS.items():
            wanted = torch.tensor([answers[name].index(of(one.facts)) for one in batch])
            logits = readers[name](states, given["attention_mask"])
            total = total + F.cross_entropy(logits, wanted)
            right[name] = float((logits.argmax(-1) == wanted).float().mean())
        return total, right

    back = min(_KEPT_BACK, len(lessons) // 10)
    learnt, kept = lessons[back:], lessons[:back]
    encoder.train()
    for step in range(steps):
        share = min(1.0, (step + 1) / _WARMUP) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = _RATE * share
        total, right = losses(rng.choices(learnt, k=_BATCH))
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if step % 100 == 99:
            log.info("lesson %d: loss %.2f, right %s", step + 1, float(total.detach()), right)
    encoder.eval()
    with torch.no_grad():
        return losses(kept)[1]
