"""Answers about sounds, predicted token by token from the true tokens before: what a listening model learns."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.errors import ConfigError, ParamError
from antiphon.lm.stream_loss import IGNORED, stream_losses
from antiphon.training.objective import Batch

PARTS = ("audio_encoder", "projector", "language_model")
_HEARD = ("input_features", "input_features_mask", "window_indices", "audio_features")


class AnswerForcing(nn.Module):
    """A listening model in training: a batch of conversations about sounds to the loss of its answers.

    Args:
        flamingo: a Music Flamingo or an Audio Flamingo 3. learn: which of ``PARTS`` do; the others are frozen, and in
            evaluation mode. What was frozen before stays so.

    Its modules are the parts.

    Raises:
        ConfigError: a part that there is not, or none.
    """

    def __init__(self, flamingo: Any, learn: Collection[str] = PARTS) -> None:
        super().__init__()
        odd = sorted(set(learn) - set(PARTS))
        if odd or not learn:
            raise ConfigError(f"learn={list(learn)!r}", expected=f"some of {list(PARTS)}")
        self._flamingo = (flamingo,)  # in a tuple: its modules are parts already
        core = flamingo.model
        self.parts = nn.ModuleDict(
            {
                "audio_encoder": core.audio_tower,
                "projector": core.multi_modal_projector,
                "language_model": nn.ModuleDict({"model": core.language_model, "lm_head": flamingo.lm_head}),
            }
        )
        self.frozen = [name for name in PARTS if name not in learn]
        for name in self.frozen:
            self.parts[name].requires_grad_(False)

    @property
    def flamingo(self) -> Any:
        """The model itself."""
        return self._flamingo[0]

    def train(self, mode: bool = True) -> AnswerForcing:
        """Training mode for what learns."""
        super().train(mode)
        for name in self.frozen:
            self.parts[name].eval()
        return self

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The summed cross-entropy of a batch's answers.

        Args:
            batch: ``input_ids``, ``attention_mask`` and ``labels`` (B, T) int64, -100 where nothing is learnt, and the
                sounds as the processor gives them: ``input_features`` (W, bands, N), ``input_features_mask`` (W, N)
                and ``window_indices`` (W,).

        Returns:
            Two float32 scalars: the loss in nats, which gradients follow, and how many of the tokens would be chosen
            rightly, detached.

        Raises:
            ParamError: labels of another shape than the ids.
        """
        return self.answer_losses(self.read(batch).last_hidden_state, batch["labels"])

    def read(self, batch: Batch) -> Any:
        """The model's output: ``last_hidden_state`` (B, T, D) and, of sounds, ``audio_hidden_states`` (F, D).

        Raises:
            ParamError: labels of another shape than the ids.
        """
        ids, labels = batch["input_ids"], batch["labels"]
        if labels.shape != ids.shape:
            raise ParamError(f"labels of shape {tuple(labels.shape)}", expected=f"{tuple(ids.shape)}, as the ids have")
        heard = {name: batch[name] for name in _HEARD if name in batch}
        return self.flamingo.model(
            ids, attention_mask=batch.get("attention_mask"), use_cache=False, return_dict=True, **heard
        )

    def answer_losses(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the right tokens of the last hidden states (B, T, D), both summed."""
        wanted = labels[:, 1:]
        counts = wanted != IGNORED
        # only these columns get logits: with sounds in the text they are few
        hidden, wanted = hidden[:, :-1][counts], wanted[counts]  # (N, D), (N,)
        total, _ = stream_losses(hidden[None], [self.flamingo.lm_head], wanted[None, None])
        return total, self._right(hidden, wanted)

    @torch.no_grad()
    def _right(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        right: Tensor = (self.flamingo.lm_head(hidden).argmax(-1) == wanted).sum().float()
        return right


def labels_in(batch: Batch) -> int:
    """How many tokens a batch is learnt from: the first of a row has none before it to be predicted from."""
    return int((F.pad(batch["labels"], (-1, 0)) != IGNORED).sum())
