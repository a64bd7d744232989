"""EnCodec in training: a sound, through few numbers, back to itself.

Source: Défossez et al., "High Fidelity Neural Audio Compression", 2022, section 3.4. The losses are distances of log
mel spectra, and of mel spectra and waveforms beside how much there is to be matched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.audio.mel import FLOOR, MultiScaleMel, mel_distance_db
from antiphon.errors import ConfigError
from antiphon.models.encodec import EncodecModel
from antiphon.nn.conv_weight import ConvWeight
from antiphon.training.average import holding
from antiphon.training.codebooks import CodebookUpkeep
from antiphon.training.discriminator import Adversary, AdversarySettings
from antiphon.training.objective import Batch, Losses
from antiphon.training.processes import Processes
from antiphon.training.settings import CodecLossWeights

# Latents among which codebooks are placed: some for each codeword.
_PLACED_BY = 8192


class CodecObjective:
    """Trains all of an EnCodec; a batch holds ``samples`` (B, C, N).

    Args:
        model: an EnCodec that takes clips whole and keeps their level. weights: of the losses.
        only_decoder: encoder and codebooks stay as they are, so that codes made before stay what they were.
        quantise_from: the step from which codebooks are used, placed by the latents before it, which pass as they are.
        processes: whose latents the codebooks stand for. adversary: learns against the codec; none by default.

    Raises:
        ConfigError: another codec, or an adversary with several processes.
    """

    def __init__(
        self,
        model: EncodecModel,
        *,
        weights: CodecLossWeights | None = None,
        quantise_from: int = 0,
        only_decoder: bool = False,
        processes: Processes | None = None,
        adversary: AdversarySettings | None = None,
    ) -> None:
        if adversary is not None and processes is not None and processes.count > 1:
            raise ConfigError(f"an adversary with {processes.count} processes", expected="one process")
        if model.config.chunk_length_s is not None or model.config.normalize:
            raise ConfigError("a codec with segments or normalised levels", expected="one that takes clips whole")
        self.model: nn.Module = model
        self.encodec = model
        self.codec = model.codec
        self.loss_weights = weights or CodecLossWeights()
        self.quantise_from = 0 if only_decoder else quantise_from
        self.only_decoder = only_decoder
        model.codec.encoder.requires_grad_(not only_decoder)
        self.upkeep = CodebookUpkeep(model.codec.quantizer, processes=processes)
        # half the windows for half the cost: each sample is still seen
        self.spectra = MultiScaleMel(model.config.sampling_rate, overlap=2)
        self.adversary = None if adversary is None else Adversary(adversary)
        self._step = 0
        self._placed = only_decoder
        self._recent = torch.zeros(0, model.config.hidden_size)

    def weight(self, batch: Batch) -> float:
        """Rows."""
        return float(len(batch["samples"]))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All convolutions and the LSTM; codebooks follow by themselves."""
        return [{"params": [p for p in self.model.parameters() if p.requires_grad]}]

    def before_training(self, batch: Batch) -> None:
        """Scales the layers to what a batch gives."""
        if not self.only_decoder:
            scale_layers(self.encodec, batch["samples"])

    def losses(self, batch: Batch) -> Losses:
        """The sums over rows of each loss."""
        sound = batch["samples"]
        rows = len(sound)
        with torch.no_grad() if self.only_decoder else contextlib.nullcontext():
            latents = self.codec.encoder(sound).float()  # (B, D, T)
            flat = latents.transpose(1, 2).reshape(-1, latents.shape[1])
            quantised, commitment = flat, flat.new_zeros(len(flat))
            if self._quantises(flat):
                quantised, _, commitment = self.upkeep.quantise(flat)
        back = quantised.view(rows, -1, latents.shape[1]).transpose(1, 2)
        rebuilt = self.codec.decoder(back).float()[..., : sound.shape[-1]]
        each = self._distances(sound.flatten(0, 1), rebuilt.flatten(0, 1))
        each["commitment"] = commitment.view(rows, -1).mean(dim=1)
        each["spread"] = (latents.pow(2).mean(dim=(1, 2)) - 1).pow(2)
        total = sum(getattr(self.loss_weights, name) * value.sum() for name, value in each.items())
        if self.adversary is not None and self._step >= self.adversary.settings.start and torch.is_grad_enabled():
            against = self.adversary.losses(sound.flatten(0, 1), rebuilt.flatten(0, 1))
            total = total + sum(getattr(self.adversary.settings, n) * value.sum() for n, value in against.items())
            each |= against | {"discriminator": self.adversary.watch(sound.flatten(0, 1), rebuilt.flatten(0, 1))}
        parts = {name: value.detach().sum() for name, value in each.items()}
        with torch.no_grad():
            parts["mel_db"] = 20 * parts["log_mel"]
            parts["si_sdr_db"] = si_sdr_db(sound.flatten(1), rebuilt.flatten(1)).sum()
        return Losses(torch.as_tensor(total), parts)

    def _quantises(self, latents: Tensor) -> bool:
        """Whether codebooks are used; before they are, the latents (R, D) are kept to place them by."""
        if not self._placed and torch.is_grad_enabled():
            everyones = self.upkeep.processes.gathered(latents.detach())
            self._recent = torch.cat([self._recent.to(latents.device), everyones])[-_PLACED_BY:]
            if not self.quantise_from:
                self._place()
        return self._placed

    def _place(self) -> None:
        self.upkeep.start(self._recent)
        self._placed, self._recent = True, self._recent[:0]

    def _distances(self, sound: Tensor, rebuilt: Tensor) -> dict[str, Tensor]:
        """(B * C, N) twice to losses (B * C,)."""
        self.spectra.to(sound.device)
        with torch.no_grad():
            aim = self.spectra(sound)
        got = self.spectra(rebuilt)
        relative = [
            (a - b).abs().mean(dim=(1, 2)) / (a.mean(dim=(1, 2)) + FLOOR) for a, b in zip(aim, got, strict=True)
        ]
        level = sound.abs().mean(dim=1) + FLOOR
        return {
            "log_mel": mel_distance_db(aim, got) / 20,
            "mel": torch.stack(relative).mean(dim=0),
            "waveform": (sound - rebuilt).abs().mean(dim=1) / level,
        }

    def after_step(self, step: int) -> None:
        """The codebooks follow, or are placed for the next step."""
        if not self.only_decoder:
            self.upkeep.follow()
        if self.adversary is not None:
            self.adversary.learn()
        self._step = step + 1
        if not self._placed and self._step >= self.quantise_from:
            self._place()

    def extra_state(self) -> dict[str, Tensor]:
        """The step, whether codebooks have been placed, or the latents by which they will be; the adversary."""
        state = {"step": torch.tensor(self._step), "placed": torch.tensor(self._placed), "recent": self._recent}
        if self.adversary is not None:
            state |= {f"adversary.{name}": tensor for name, tensor in self.adversary.state().items()}
        return state

    def load_extra_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes them back; an adversary that the run has not met yet begins anew."""
        self._step, self._placed, self._recent = int(state["step"]), bool(state["placed"]), state["recent"]
        own = {key.removeprefix("adversary."): one for key, one in state.items() if key.startswith("adversary.")}
        if self.adversary is not None and (own or self._step > self.adversary.settings.start):
            self.adversary.load_state(own)

    def is_whole(self) -> bool:
        """Not before the codebooks are in use: without them the losses are lower, and the codec is none."""
        return self._placed

    def save(self, folder: Path, tensors: Mapping[str, Tensor] | None) -> None:
        """Writes the codec."""
        with holding(self.model, tensors or {}):
            self.encodec.save_pretrained(folder)


def si_sdr_db(sound: Tensor, rebuilt: Tensor) -> Tensor:
    """The scale-invariant ratio (B,) of a sound (B, N) to what was added to it, in dB.

    Source: Le Roux et al., "SDR - half-baked or well done?", 2019.
    """
    scale = (sound * rebuilt).sum(dim=1) / sound.pow(2).sum(dim=1).clamp(min=1e-8)
    aim = scale[:, None] * sound
    noise = (rebuilt - aim).pow(2).sum(dim=1).clamp(min=1e-8)
    ratio: Tensor = 10 * (aim.pow(2).sum(dim=1).clamp(min=1e-8) / noise).log10()
    return ratio


@torch.no_grad()
def scale_layers(model: EncodecModel, samples: Tensor) -> None:
    """Scales each convolution so that what it gives for ``samples`` (B, C, N) has the deviation 1, without a bias.

    With random biases the latents of a fresh codec hardly depend on the sound, and training can stay there for long.
    The last layer of the decoder gives the sound's own level.

    Source: Mishkin and Matas, "All you need is a good init", 2016.
    """
    layers = [module for module in model.modules() if isinstance(module, ConvWeight)]
    for layer in layers:
        if layer.bias is not None:
            layer.bias.zero_()
    level = float(samples.std())
    handles = [layer.register_forward_hook(_scaling(level if layer is layers[-1] else 1.0)) for layer in layers]
    try:
        with torch.enable_grad():  # the layers run whole, not piece by piece, where their gradient could be asked for
            model.codec.decoder(model.codec.encoder(samples))
    finally:
        for handle in handles:
            handle.remove()


def _scaling(aim: float) -> Any:
    def scale(layer: Any, given: Any, out: Tensor) -> Tensor:
        factor = aim / float(out.detach().std().clamp(min=1e-5))
        with torch.no_grad():
            (layer.magnitude if layer.normed else layer.weight).mul_(factor)
        return out * factor

    return scale
