"""A listener whose encoder is also asked directly: which facts each passage has, and where in the beat each frame lies.

An answer has one token or two for each fact, and they reach the encoder through the whole of a language model that
cannot read yet. Asked directly, every passage tells of all its facts from the first step on, and every frame of the
tempo. What asks is thrown away.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.encoders.audio_encoder import MEL_A_FRAME
from antiphon.training.answer_forcing import PARTS, AnswerForcing, labels_in
from antiphon.training.job import Job
from antiphon.training.job_file import read_job
from antiphon.training.listening import ListeningObjective
from antiphon.training.loop import Progress
from antiphon.training.objective import Batch, Examples, Losses
from recipes.builtin.asked import AskedPieces
from recipes.builtin.counting import PHASES, phase_loss
from recipes.builtin.pieces import facts_by_name
from recipes.builtin.text_lessons import FACTS, Reader, known_answers
from recipes.builtin.through_codec import ThroughCodec

_BEAT = "beat"
# how much each counts, where a token of an answer counts 1; the tempo is what takes longest to be heard
_WEIGHTS = {**dict.fromkeys(FACTS, 0.15), "tempo": 0.5, _BEAT: 1.0}


class EarForcing(AnswerForcing):
    """``AnswerForcing`` whose losses end with those of the facts and of the beat.

    Args:
        facts: of each piece, by its name; see ``pieces.facts_of``.
    """

    def __init__(self, flamingo: Any, learn: Collection[str] = PARTS, *, facts: Mapping[str, dict[str, Any]]) -> None:
        super().__init__(flamingo, learn)
        self._facts, self._answers = facts, known_answers(facts.values())
        self.asked = (*FACTS, _BEAT)
        self._frame_s: float = flamingo.config.audio_frame_step * MEL_A_FRAME
        width = flamingo.config.text_config.hidden_size
        for name, known in self._answers.items():
            self.parts[name] = Reader(width, len(known))
        self.parts[_BEAT] = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, PHASES))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """As the base, with what is asked in the sum, and behind the right tokens in one tensor (1 + questions,).

        What is asked is a mean over passages, or frames, times the batch's labels: its weight is that of a token.

        Args:
            batch: of whole windows, one a row, with ``names`` and ``start_s`` (B,).
        """
        out = self.read(batch)
        total, right = self.answer_losses(out.last_hidden_state, batch["labels"])
        names = batch["names"]
        heard = out.audio_hidden_states.unflatten(0, (len(names), -1))  # (B, T, D)
        losses = [self._fact_loss(name, heard, names) for name in FACTS]
        losses.append(self._beat_loss(heard, names, batch["start_s"]))
        asked = torch.stack(losses) * labels_in(batch)
        weights = asked.new_tensor([_WEIGHTS[name] for name in self.asked])
        return total + weights @ asked, torch.cat([right[None], asked.detach()])

    def _fact_loss(self, name: str, heard: Tensor, names: list[str]) -> Tensor:
        told = [FACTS[name](self._facts[piece]) for piece in names]
        wanted = torch.tensor([self._answers[name].index(one) for one in told], device=heard.device)
        every = torch.ones(heard.shape[:2], device=heard.device)
        return F.cross_entropy(self.parts[name](heard, every).float(), wanted)

    def _beat_loss(self, heard: Tensor, names: list[str], start_s: Tensor) -> Tensor:
        tempo_bpm = torch.tensor([float(self._facts[piece]["tempo_bpm"]) for piece in names])
        first = start_s.cpu().double() / self._frame_s
        losses = phase_loss(self.parts[_BEAT](heard), tempo_bpm, frame_rate_hz=1 / self._frame_s, first=first)
        return losses / (heard.shape[0] * heard.shape[1])


class EarObjective(ListeningObjective):
    """``ListeningObjective`` with the losses of what is asked directly, in nats.

    Args:
        facts: of each piece, by its name.
    """

    def __init__(self, flamingo: Any, *, facts: Mapping[str, dict[str, Any]], **how: Any) -> None:
        self._facts = facts
        super().__init__(flamingo, **how)

    def _forcing(self, flamingo: Any, learn: Collection[str]) -> AnswerForcing:
        return EarForcing(flamingo, learn, facts=self._facts)

    def losses(self, batch: Batch) -> Losses:
        """As the base, with what is asked."""
        total, told = self.model(batch)
        asked: Any = self.model.asked
        return Losses(total, dict(zip(("right", *asked), told, strict=True)))


def train_listener(
    job: Path,
    runs: Path,
    *,
    through_codec: ThroughCodec | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Path:
    """Trains the listening model as a job's file says, or goes on, and gives the folder of its best weights.

    Args:
        through_codec: half of the passages are heard as it gives them back, where there is one.
    """
    file = read_job(job)

    def examples(processor: Any) -> tuple[Examples, Examples]:
        every = AskedPieces(
            runs / "pieces", runs / "asked", processor, seconds=file.data.seconds, through_codec=through_codec
        )
        return every.divided(file.data.held_out_share)

    objective = functools.partial(EarObjective, facts=facts_by_name(runs / "pieces"))
    return Job(file, examples=examples, listening_objective=objective).run(report=report)
