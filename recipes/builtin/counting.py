"""A decoder that counts: while it learns, it also tells where in the beat each frame lies, and what will be sung.

Nothing in the codes of a beginning asks for the exact tempo of its text: a tempo that is wrong by a few percent costs
the first beats nearly nothing, so a decoder reads it late. Where in the beat a frame lies follows from the tempo and
the frame's number, and is wrong everywhere when the tempo is.

In the same way hardly anything in the codes asks for the melody that is to be followed: what sounds now is mostly known
from what sounded before. So a decoder that hears a melody also tells the melody's pitch class half a second ahead.

The heads that tell these are thrown away.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.audio.chroma import HOP_SAMPLES
from antiphon.training.job import Job
from antiphon.training.job_file import read_job
from antiphon.training.loop import Progress
from antiphon.training.music import MusicObjective
from antiphon.training.objective import Batch, Losses
from antiphon.training.teacher_forcing import TeacherForcing
from recipes.builtin.pieces import facts_by_name

JOBS = Path(__file__).parent / "jobs"
PHASES, PITCHES = 24, 12
AHEAD_S = 0.5
# how much either counts, where a codebook's code counts 1
_WEIGHT = 0.5


class CountingForcing(TeacherForcing):
    """``TeacherForcing`` whose losses end with that of the beat and, of a model that hears melodies, of the melody.

    Args:
        tempo_bpm: the tempo of each item, by its name.
    """

    def __init__(self, music: Any, *, tempo_bpm: Mapping[str, float], **how: Any) -> None:
        super().__init__(music, **how)
        self.tempo_bpm = tempo_bpm
        self.told = {"beat": PHASES}
        if not self.decoder.model.cross_attends:
            self.told["melody"] = PITCHES
        width = self.decoder.config.hidden_size
        for name, answers in self.told.items():
            self.parts[name] = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, answers))
        codec = self.music.config.audio_encoder
        self._frame_rate_hz, self._rate_hz = codec.frame_rate, codec.sampling_rate

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """As the base, with what is told in the sum, and behind the streams in each (K + 1 or 2,).

        Args:
            batch: with ``names``, one a row.
        """
        hidden, labels = self.last_states(batch)
        total, each = self.losses_of(hidden, labels)
        own = hidden[:, : batch["codes"].shape[-1]]
        losses = [self._beat_loss(own, batch)]
        if "melody" in self.told:
            losses.append(self._melody_loss(own, batch))
        told = torch.stack(losses)
        return total + _WEIGHT * len(each) * told.sum(), torch.cat([each, told.detach()])

    def _melody_loss(self, hidden: Tensor, batch: Batch) -> Tensor:
        """The summed cross-entropy of the pitch class that the melody will have, where there is one."""
        chroma, mask = batch.get("input_features"), batch.get("input_features_mask")
        if chroma is None:
            return hidden.sum() * 0.0
        at_s = torch.arange(hidden.shape[1], device=hidden.device) / self._frame_rate_hz + AHEAD_S
        at = (at_s * self._rate_hz / HOP_SAMPLES).round().long()
        there = (at < chroma.shape[1])[None].repeat(len(chroma), 1)
        at = at.clamp(max=chroma.shape[1] - 1)
        if mask is not None:
            there &= mask[:, at] > 0
        for name in ("dropped", "melody_dropped"):
            if batch.get(name) is not None:
                there &= ~batch[name][:, None]
        logits = self.parts["melody"](hidden).float()
        losses = F.cross_entropy(logits.transpose(1, 2), chroma[:, at].argmax(-1), reduction="none")
        return losses.masked_fill(~there, 0.0).sum()

    def _beat_loss(self, hidden: Tensor, batch: Batch) -> Tensor:
        """The summed cross-entropy of the phases in the beat of frames with states (B, T, D)."""
        return phase_loss(
            self.parts["beat"](hidden),
            torch.tensor([self.tempo_bpm[name] for name in batch["names"]]),
            frame_rate_hz=self._frame_rate_hz,
            own=batch.get("frames"),
            first=batch.get("first"),
        )


def phase_loss(
    logits: Tensor,
    tempo_bpm: Tensor,
    *,
    frame_rate_hz: float,
    own: Tensor | None = None,
    first: Tensor | None = None,
) -> Tensor:
    """The summed cross-entropy of logits (B, T, ``PHASES``) of where frames lie in the beat; a phase between two of
    them counts for both. The rest as of ``phases``."""
    there = phases(tempo_bpm, frames=logits.shape[1], frame_rate_hz=frame_rate_hz, own=own, first=first)
    lower, share, counts = (one.to(logits.device) for one in there)
    chances = logits.float().log_softmax(dim=-1)
    below = chances.gather(-1, lower[..., None])[..., 0]
    above = chances.gather(-1, ((lower + 1) % PHASES)[..., None])[..., 0]
    return -torch.lerp(below, above, share).masked_fill(~counts, 0.0).sum()


def phases(
    tempo_bpm: Tensor, *, frames: int, frame_rate_hz: float, own: Tensor | None = None, first: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Where in the beat frames lie, in ``PHASES`` parts of it.

    Args:
        tempo_bpm: (B,). frames: T. own: (B,) int64, how many frames are a row's own, all by default.
        first: (B,), the number of each row's first frame in its piece, 0 by default; it may lie between two.

    Returns:
        (B, T): the part that a frame lies in, int64; how far it lies on the way to the next, 0 to 1; and whether the
        frame is the row's own.
    """
    number = torch.arange(frames)[None]
    counts = number < (torch.full(tempo_bpm.shape, frames) if own is None else own.cpu())[:, None]
    if first is not None:
        number = number + first.cpu()[:, None]
    # in float64: a phase of the last beat is as exact as one of the first
    phase = (number * (tempo_bpm.double()[:, None] / 60 / frame_rate_hz)).remainder(1.0) * PHASES
    lower = phase.floor()
    return lower.long() % PHASES, (phase - lower).float(), counts


class CountingObjective(MusicObjective):
    """``MusicObjective`` that also learns to tell the beat, and what will be sung: ``beat`` and ``melody``, in nats.

    Args:
        tempo_bpm: the tempo of each item, by its name.
    """

    def __init__(self, music: Any, *, tempo_bpm: Mapping[str, float], **how: Any) -> None:
        self._tempo_bpm = tempo_bpm
        super().__init__(music, **how)

    def _forcing(self, music: Any, **how: Any) -> TeacherForcing:
        return CountingForcing(music, tempo_bpm=self._tempo_bpm, **how)

    def losses(self, batch: Batch) -> Losses:
        """As the base, with what is told."""
        total, each = self.model(batch)
        told: Any = self.model.told
        codebooks = len(each) - len(told)
        names = [*(f"codebook_{k}" for k in range(codebooks)), *told]
        return Losses(total / codebooks, dict(zip(names, each, strict=True)))


def tempos_of(pieces: Path) -> dict[str, float]:
    """The tempo of every rendered piece, by the name that coded music has for it."""
    return {name: facts["tempo_bpm"] for name, facts in facts_by_name(pieces).items()}


def train_counting(job: Path, pieces: Path, *, report: Callable[[Progress], None] | None = None) -> Path:
    """Trains a music model as a job's file says while it counts, or goes on, and gives the folder of its weights."""
    objective = functools.partial(CountingObjective, tempo_bpm=tempos_of(pieces))
    return Job(read_job(job), music_objective=objective).run(report=report)
