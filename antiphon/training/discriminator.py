"""An adversary of a codec: it learns to tell sounds from rebuilt ones, and the codec learns to mislead it.

Source: Défossez et al., "High Fidelity Neural Audio Compression", 2022, section 3.4: the discriminator over complex
spectra of several window lengths, hinge losses and the matching of features; smaller here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.errors import CheckpointError, ConfigError

_SLOPE = 0.2


@dataclass(frozen=True)
class AdversarySettings:
    """How a codec's adversary learns, and how much it counts.

    Attributes:
        start: the step from which it takes part. adversarial, features: the weights of misleading it, and of giving it
            the features of the sound. learning_rate: its own. filters: the width of its layers.
        windows: lengths of its spectra, in samples. seed: of its first weights.
    """

    start: int
    adversarial: float = 0.1
    features: float = 0.2
    learning_rate: float = 3e-4
    filters: int = 16
    windows: tuple[int, ...] = (1024, 512, 256)
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.start >= 0, self.filters >= 1, bool(self.windows), all(n >= 16 for n in self.windows))
        weights = (0 <= weight < float("inf") for weight in (self.adversarial, self.features))
        if not all(counts) or not all(weights) or not 0 < self.learning_rate < float("inf"):
            raise ConfigError(f"{self}", expected="no negative numbers, windows of 16 samples or more")


class _SpectrumJudge(nn.Module):
    """Judges a complex spectrum: real and imaginary parts as two channels of an image of time and frequency."""

    def __init__(self, window: int, filters: int) -> None:
        super().__init__()
        self.window = window
        self.register_buffer("hann", torch.hann_window(window), persistent=False)
        self.hann: Tensor
        first = nn.Conv2d(2, filters, (3, 9), padding=(1, 4))
        wider = [
            nn.Conv2d(filters, filters, (3, 9), stride=(1, 2), dilation=(reach, 1), padding=(reach, 4))
            for reach in (1, 2, 4)
        ]
        self.layers = nn.ModuleList([first, *wider])
        self.last = nn.Conv2d(filters, 1, (3, 3), padding=1)

    def forward(self, samples: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, N) to judgements (B, 1, frames, bands), high for sounds, and the features of each layer."""
        spectrum = torch.stft(
            samples, self.window, self.window // 4, window=self.hann, normalized=True, return_complex=True
        )
        x, features = torch.view_as_real(spectrum).permute(0, 3, 2, 1), list[Tensor]()  # (B, 2, frames, bins)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _SLOPE)
            features.append(x)
        return self.last(x), features


class Adversary:
    """A discriminator with an optimiser of its own.

    Args:
        settings: how it learns.
    """

    def __init__(self, settings: AdversarySettings) -> None:
        self.settings = settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.judges = nn.ModuleList(_SpectrumJudge(window, settings.filters) for window in settings.windows)
        self._named = dict(self.judges.named_parameters())
        self.optimizer = torch.optim.AdamW(self._named.values(), lr=settings.learning_rate, betas=(0.5, 0.9))
        self._rows = 0

    def losses(self, sound: Tensor, rebuilt: Tensor) -> dict[str, Tensor]:
        """What the codec should lessen, for each row of sounds (B, N) and rebuilt ones; the adversary does not learn.

        Sounds shorter than half a window are too short.
        """
        self.judges.to(sound.device).requires_grad_(False)
        misled, apart = [], []
        for judge in self.judges:
            with torch.no_grad():
                _, aims = judge(sound)
            judged, features = judge(rebuilt)
            misled.append(F.relu(1 - judged).mean(dim=(1, 2, 3)))
            apart += [
                (a - b).abs().mean(dim=(1, 2, 3)) / a.abs().mean(dim=(1, 2, 3)).clamp(min=1e-5)
                for a, b in zip(aims, features, strict=True)
            ]
        self.judges.requires_grad_(True)
        return {"adversarial": torch.stack(misled).mean(dim=0), "features": torch.stack(apart).mean(dim=0)}

    def watch(self, sound: Tensor, rebuilt: Tensor) -> Tensor:
        """Adds to the gradients of telling the one (B, N) from the other; gives the loss of each row."""
        told = [
            F.relu(1 - judge(sound)[0]).mean(dim=(1, 2, 3)) + F.relu(1 + judge(rebuilt.detach())[0]).mean(dim=(1, 2, 3))
            for judge in self.judges
        ]
        each = torch.stack(told).mean(dim=0)
        each.sum().backward()
        self._rows += len(each)
        return each.detach()

    def learn(self) -> None:
        """Takes a step with the gradients since the last one, a mean over their rows."""
        if not self._rows:
            return
        for parameter in self._named.values():
            if parameter.grad is not None:
                parameter.grad /= self._rows
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._rows = 0

    def state(self) -> dict[str, Tensor]:
        """Its weights, the moments of its optimiser and their steps."""
        held = {f"weight.{name}": parameter.detach() for name, parameter in self._named.items()}
        for name, parameter in self._named.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                held[f"{key}.{name}"] = value
        return held

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what ``state`` gave.

        Raises:
            CheckpointError: it is of another adversary, or of none.
        """
        for name, parameter in self._named.items():
            weight = state.get(f"weight.{name}")
            if weight is None or weight.shape != parameter.shape:
                raise CheckpointError("The state has no adversary like this", fix="Go on with the run's own settings")
            with torch.no_grad():
                parameter.copy_(weight)
            moments = {key: state.get(f"{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
            if moments["step"] is not None:
                self.optimizer.state[parameter] = {key: t.clone() for key, t in moments.items() if t is not None}
