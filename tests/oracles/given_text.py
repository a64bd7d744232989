"""Texts whose states are given, in the places of a tokenizer and of a text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.outputs import BaseModelOutput

END = 1  # what the tokenizer of a T5 makes of an empty text


class GivenText(nn.Module):
    """A tokenizer and a text encoder that know a few texts.

    Args:
        states: (M, D) of each text. config: of the text encoder whose place it takes.
    """

    def __init__(self, states: dict[str, Tensor], config: Any) -> None:
        super().__init__()
        self.config = config
        self.texts, rows = {"": [END]}, [torch.zeros(1, config.hidden_size), torch.ones(1, config.hidden_size)]
        for text, own in states.items():
            first = sum(len(row) for row in rows)
            self.texts[text] = list(range(first, first + len(own)))
            rows.append(own)
        self.states = nn.Parameter(torch.cat(rows), requires_grad=False)

    @property
    def device(self) -> torch.device:
        return self.states.device

    def tokenizer(self, texts: Sequence[str], padding: bool = True, return_tensors: str = "pt") -> dict[str, Tensor]:
        """Ids and mask (B, M) of texts, filled up behind."""
        ids = [torch.tensor(self.texts[text]) for text in texts]
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(own) for own in ids], batch_first=True)
        return {"input_ids": nn.utils.rnn.pad_sequence(ids, batch_first=True), "attention_mask": mask}

    def forward(self, input_ids: Tensor | None = None, attention_mask: Any = None, **kwargs: Any) -> BaseModelOutput:
        """The states (B, M, D) of ids."""
        return BaseModelOutput(self.states[input_ids])


def without_text(tokens: dict[str, Tensor], texts: Sequence[str | None]) -> dict[str, Tensor]:
    """The tokens with nothing real in the rows that have no text."""
    real = torch.tensor([[bool(text)] for text in texts])
    return {**tokens, "attention_mask": tokens["attention_mask"] * real}


def processor(given: GivenText, feature_extractor: Any) -> Any:
    """What stands for a processor."""
    return SimpleNamespace(tokenizer=given.tokenizer, feature_extractor=feature_extractor)
