"""Steps of a Moshi as kyutai's package takes them: what is read of whom, and what comes out when.

Before a row's step ``o`` (from 0) each stream with the delay ``d`` shows its start token while ``o <= d``; later the
own streams show what was chosen in the step before, and the user's what came in ``d`` steps before. What comes out
after step ``o`` is what each own stream chose ``longest delay - d`` steps before, once every stream has chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

UNDECIDED = -2
# what the golden's script did to the rows: step -> the rows that begin anew, or stand still
RESETS = {100: 1}
STILL = {50: 0, 51: 0, 130: 1}


@dataclass
class Talk:
    """Greedy steps of all rows.

    Attributes:
        read, out, logits: of each step: columns (B, 1 + 2 K), what came out (B, 1 + K), logits of the text (B, V).
    """

    model: Any
    rows: int
    read: list[Tensor] = field(default_factory=list)
    out: list[Tensor] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = self.model.config
        self.books, self.delays = config.num_codebooks, config.delays
        self.start = [config.vocab_size, *[config.audio_vocab_size] * (2 * self.books)]
        self.state = self.model.lm.state(self.rows)
        self.chosen: list[list[list[int]]] = [[] for _ in range(self.rows)]
        self.heard: list[list[list[int]]] = [[] for _ in range(self.rows)]

    def reset(self, row: int) -> None:
        """Lets a row begin anew."""
        self.state.reset(torch.tensor([row]))
        self.chosen[row], self.heard[row] = [], []

    def step(self, user: Tensor, live: Tensor) -> None:
        """One step with the user's codes (B, K); rows that are not live stand still."""
        columns = [self._column(row, user[row].tolist()) if live[row] else self.start for row in range(self.rows)]
        self.read.append(torch.tensor(columns))
        moment, logits = self.model.lm.step(self.read[-1], self.state, live=None if live.all() else live)
        text = logits.argmax(-1)
        frame = self.model.lm.depth.sample(moment, text, lambda _, scores: scores.argmax(-1))
        decided = torch.cat([text[:, None], frame], dim=1)
        for row in range(self.rows):
            if live[row]:
                self.chosen[row].append(decided[row].tolist())
        self.logits.append(logits)
        self.out.append(torch.tensor([self._out(row, bool(live[row])) for row in range(self.rows)]))

    def _column(self, row: int, user: list[int]) -> list[int]:
        chosen, heard, at = self.chosen[row], self.heard[row], len(self.chosen[row])
        heard.append(user)
        own = [chosen[-1][k] if at > self.delays[k] else self.start[k] for k in range(1 + self.books)]
        later = range(1 + self.books, 1 + 2 * self.books)
        return own + [
            heard[at - self.delays[k]][k - 1 - self.books] if at > self.delays[k] else self.start[k] for k in later
        ]

    def _out(self, row: int, live: bool) -> list[int]:
        longest, chosen = max(self.delays), self.chosen[row]
        if not live or len(chosen) <= longest:
            return [UNDECIDED] * (1 + self.books)
        return [chosen[len(chosen) - 1 - longest + self.delays[k]][k] for k in range(1 + self.books)]
