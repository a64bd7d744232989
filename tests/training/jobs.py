"""Small things to train, for tests: a straight line, a micro codec, a micro decoder; and how to run them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from antiphon import EncodecConfig, EncodecModel, MusicgenDecoderConfig, MusicgenForCausalLM
from antiphon.training.codec import CodecObjective
from antiphon.training.loop import Trainer
from antiphon.training.music import MusicObjective
from antiphon.training.objective import Losses
from antiphon.training.processes import Processes
from antiphon.training.settings import RunSettings

RATE_HZ = 4000


class Stacked:
    """Data whose examples are tensors of equal shapes."""

    items = 20

    def __len__(self) -> int:
        return self.items

    def collate(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {name: torch.stack([one[name] for one in examples]) for name in examples[0]}


class Points(Stacked):
    """Points near a plane; where exactly is drawn anew each time. Item ``bad`` gives the value ``worth``."""

    def __init__(self, *, bad: int | None = None, worth: float = math.nan) -> None:
        self.bad, self.worth = bad, worth

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Tensor]:
        place = torch.tensor(generator.normal(size=3), dtype=torch.float32)
        value = place @ torch.tensor([1.0, -2.0, 0.5]) + 0.1 * index
        return {"place": place, "value": torch.tensor(self.worth) if index == self.bad else value}


class LineObjective:
    """A small network learns the points; ``seen`` is what a resumed run has to know beyond the weights."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.model: nn.Module = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.2), nn.Tanh(), nn.Linear(5, 1))
        self.seen = 0
        self.first: Tensor | None = None

    def weight(self, batch: dict[str, Any]) -> float:
        return float(len(batch["value"]))

    def losses(self, batch: dict[str, Any]) -> Losses:
        error = (self.model(batch["place"])[:, 0] - batch["value"]).square().sum()
        return Losses(error, {"squares": error.detach()})

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters())}]

    def before_training(self, batch: dict[str, Any]) -> None:
        self.first = batch["value"]

    def after_step(self, step: int) -> None:
        self.seen += step

    def extra_state(self) -> dict[str, Tensor]:
        return {"seen": torch.tensor(self.seen)}

    def load_extra_state(self, state: Mapping[str, Tensor]) -> None:
        self.seen = int(state["seen"])

    def is_whole(self) -> bool:
        return True

    def save(self, folder: Path, tensors: Mapping[str, Tensor] | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        held = dict(self.model.named_parameters()) if tensors is None else tensors
        (folder / "weights.json").write_text(json.dumps({name: t.tolist() for name, t in held.items()}))


class Tones(Stacked):
    """Short harmonic sounds."""

    def __init__(self, samples: int = 400) -> None:
        self.samples = samples

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Tensor]:
        times = np.arange(self.samples) / RATE_HZ + generator.uniform()
        pitch_hz = 110 * 2 ** (index / 12)
        sound = sum(np.sin(2 * np.pi * pitch_hz * k * times) / k for k in (1, 2, 3))
        return {"samples": torch.tensor(0.2 * sound, dtype=torch.float32)[None]}


def codec(**fields: Any) -> EncodecModel:
    """A codec of a few thousand numbers."""
    config = EncodecConfig(
        **{
            "sampling_rate": RATE_HZ,
            "target_bandwidths": [8.0],
            "upsampling_ratios": [5, 4],
            "num_filters": 4,
            "hidden_size": 8,
            "codebook_size": 16,
            "num_lstm_layers": 1,
            "use_causal_conv": False,
            **fields,
        }
    )
    torch.manual_seed(5)
    return EncodecModel(config)


class Codes(Stacked):
    """Random codes under random states of texts."""

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Tensor]:
        own = torch.Generator().manual_seed(index)
        codes = torch.randint(0, 16, (2, 9), generator=own)
        return {"codes": codes, "text_states": torch.randn(4, 16, generator=own)}


def decoder() -> MusicgenForCausalLM:
    """A decoder of two layers, with cross-attention, without dropout."""
    torch.manual_seed(7)
    config = MusicgenDecoderConfig(
        vocab_size=16,
        num_hidden_layers=2,
        ffn_dim=24,
        num_attention_heads=2,
        hidden_size=16,
        num_codebooks=2,
        dropout=0.0,
        pad_token_id=16,
        bos_token_id=16,
        max_position_embeddings=64,
    )
    return MusicgenForCausalLM(config)


def trainer(job: str, folder: Path, processes: Processes | None = None, **numbers: Any) -> Trainer:
    """A run of ``line``, ``codec`` or ``music`` in ``folder``."""
    settings = RunSettings(
        **{
            "steps": 12,
            "batch": 4,
            "learning_rate": 0.01,
            "warmup_steps": 3,
            "average_decay": 0.9,
            "log_every": 1,
            "held_out_every": 5,
            "held_out_batches": 2,
            "save_every": 4,
            **numbers,
        }
    )
    objective: Any
    if job == "line":
        objective, data = LineObjective(), Points()
    elif job == "codec":
        objective, data = CodecObjective(codec(), quantise_from=3, processes=processes), Tones()
    else:
        objective, data = MusicObjective(decoder()), Codes()
    return Trainer(objective, data, settings, folder, held_out=data, processes=processes)


def record(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's record, without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "examples_per_s"} for line in lines]
