"""The numbers of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.errors import ConfigError

PRECISIONS = ("fp32", "bf16")
OPTIMIZERS = ("adamw", "muon")


@dataclass(frozen=True)
class RunSettings:
    """How long and how fast a run learns, and what it leaves behind.

    Attributes:
        steps: updates of the weights. batch: rows of an update, over all processes. micro_batch: rows of one pass of
            one process, ``None``: all of its rows; gradients are accumulated.
        learning_rate: the peak, reached after ``warmup_steps``; half a cosine leads to ``final_share`` of it.
        optimizer: ``adamw``, or ``muon``: Muon for the matrices of transformer layers, AdamW for all else.
        clip_norm: gradients longer than this are shortened to it; 0: never.
        average_decay: of the running average of the weights, which is what is saved; 0: none is kept.
        precision: ``fp32``, or ``bf16``: products in bfloat16, weights and sums in float32.
        checkpoint_layers: keep no activations inside layers and compute them again, for memory.
        seed: of the order of the data and of all that is random.
        workers: processes that read data in advance.
        log_every, held_out_every, save_every: steps between lines of the record, looks at held-out data, and states.
        held_out_batches: of ``batch`` rows, at each look. keep: states that are kept.
        watch: the held-out figure whose lowest value marks the best weights.
        timeout_s: how long a process of several waits for another one before the run ends.
    """

    steps: int
    batch: int = 16
    micro_batch: int | None = None
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    final_share: float = 0.05
    optimizer: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    average_decay: float = 0.999
    precision: str = "fp32"
    checkpoint_layers: bool = False
    seed: int = 0
    workers: int = 0
    log_every: int = 10
    held_out_every: int = 500
    held_out_batches: int = 4
    save_every: int = 500
    keep: int = 2
    watch: str = "loss"
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "log_every", "held_out_every", "held_out_batches", "save_every", "keep"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        self._check("micro_batch", self.micro_batch is None or self.micro_batch >= 1, "at least 1")
        self._check("learning_rate", 0 < self.learning_rate < float("inf"), "above 0")
        self._check("warmup_steps", 0 <= self.warmup_steps <= self.steps, f"0 to {self.steps}, the steps of the run")
        self._check("timeout_s", 0 < self.timeout_s < float("inf"), "above 0")
        self._check("final_share", 0 <= self.final_share <= 1, "0 to 1")
        self._check("betas", len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas), "two, 0 to under 1")
        for name in ("weight_decay", "clip_norm", "workers", "seed"):
            self._check(name, 0 <= getattr(self, name) < float("inf"), "0 or more")
        self._check("average_decay", 0 <= self.average_decay < 1, "0 to under 1")
        self._check("optimizer", self.optimizer in OPTIMIZERS, f"one of {OPTIMIZERS}")
        self._check("precision", self.precision in PRECISIONS, f"one of {PRECISIONS}")

    def _check(self, name: str, good: bool, expected: str) -> None:
        if not good:
            raise ConfigError(f"{name}={getattr(self, name)!r}", expected=expected)


@dataclass(frozen=True)
class CodecLossWeights:
    """How much each loss of a codec counts.

    Attributes:
        log_mel: of the difference of log10 mel magnitudes. mel: of the difference of mel magnitudes, relative to the
            sound's. waveform: of the difference of samples, relative to the sound's. commitment: of what the codewords
            leave. spread: of how far the mean square of the latents is from 1, which bounds them.
    """

    log_mel: float = 2.0
    mel: float = 0.4
    waveform: float = 1.0
    commitment: float = 0.1
    spread: float = 0.02


@dataclass(frozen=True)
class SpeechLossWeights:
    """How much each loss of a speech model counts.

    Attributes:
        first_codebook: of the codebook that holds what is said, beside 1 for each of the others, whose mean counts as
            much as the text. text_padding: of frames on which no word is, beside 1 for those of words.

    Source: the defaults of kyutai's moshi-finetune; its example for adapters gives the first codebook 100.
    """

    first_codebook: float = 1.0
    text_padding: float = 0.5

    def __post_init__(self) -> None:
        for name in ("first_codebook", "text_padding"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name}={getattr(self, name)!r}", expected="0 or more")
