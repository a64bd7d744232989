"""What moves the weights: AdamW, and Muon for the matrices inside transformer layers where a run asks for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.errors import CheckpointError, ConfigError
from antiphon.nn.transformer import Transformer
from antiphon.training.settings import RunSettings
from antiphon.training.sharding import divided_like


class Optimizer:
    """The optimisers of a run behind one.

    Args:
        model: whose parameters the groups hold. groups: of an objective: ``params``, and where it says so
            ``weight_decay`` and ``lr_scale``, a factor on the learning rate. settings: of the run. processes: how many.

    Raises:
        ConfigError: a learning rate that is no number; Muon for a model without transformer layers, or for several
            processes.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019; Jordan et al., "Muon: An optimizer for
    hidden layers in neural networks", 2024, scaled as in Liu et al., "Muon is Scalable for LLM Training", 2025, so that
    one learning rate and one decay serve both.
    """

    def __init__(
        self, model: nn.Module, groups: list[dict[str, Any]], settings: RunSettings, *, processes: int = 1
    ) -> None:
        self._model = model
        matrices = _matrices(model) if settings.optimizer == "muon" else set[int]()
        if settings.optimizer == "muon" and processes > 1:
            raise ConfigError(
                f"optimizer='muon' for {processes} processes", expected="'adamw', because Muon needs matrices undivided"
            )
        if settings.optimizer == "muon" and not matrices:
            raise ConfigError("optimizer='muon' for a model without transformer layers", expected="'adamw'")
        plain, orthogonal = list[dict[str, Any]](), list[dict[str, Any]]()
        for group in groups:
            scale = group.pop("lr_scale", 1.0)
            group["peak"] = settings.learning_rate * scale
            if not math.isfinite(group["peak"]):
                raise ConfigError(f"a learning rate of {group['peak']}", expected="a finite one")
            for kind, chosen in ((plain, False), (orthogonal, True)):
                own = [parameter for parameter in group["params"] if (id(parameter) in matrices) is chosen]
                if own:
                    kind.append({**group, "params": own})
        common: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
        self._parts: list[torch.optim.Optimizer] = []
        if plain:
            self._parts.append(torch.optim.AdamW(plain, betas=settings.betas, fused=True, **common))
        if orthogonal:
            self._parts.append(torch.optim.Muon(orthogonal, adjust_lr_fn="match_rms_adamw", **common))
        self._part = {p: part for part in self._parts for group in part.param_groups for p in group["params"]}

    def zero_grad(self) -> None:
        """Lets go of all gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def step(self, rate_factor: float) -> None:
        """Moves the weights along their gradients, at ``rate_factor`` of the peak learning rate."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = group["peak"] * rate_factor
            part.step()

    def moments(self) -> dict[str, Tensor]:
        """What is remembered of the gradients of each trained parameter, by its name; divided as the parameters are.

        ``moment1`` is their running mean, and ``moment2`` AdamW's of their squares.
        """
        found = {}
        for name, parameter in self._model.named_parameters():
            kept = self._part[parameter].state.get(parameter, {}) if parameter in self._part else {}
            for key, tensor in kept.items():
                if key in _MOMENTS:
                    found[f"{_MOMENTS[key]}.{name}"] = tensor
        return found

    def set_moments(self, first: Mapping[str, Tensor], second: Mapping[str, Tensor], *, step: int) -> None:
        """Puts back what ``moments`` gave after ``step`` steps; of nothing at all nothing.

        Raises:
            CheckpointError: a trained parameter has none of it, or that of another optimiser.
        """
        trained = [(name, parameter) for name, parameter in self._model.named_parameters() if parameter.requires_grad]
        if not first:
            return
        adaptive = {name: isinstance(self._part[parameter], torch.optim.AdamW) for name, parameter in trained}
        missing = [name for name, _ in trained if name not in first or (name in second) is not adaptive[name]]
        if missing:
            raise CheckpointError(
                f"The state knows nothing that fits of {len(missing)} trained tensors, {missing[:3]} first",
                fix="Resume with the same model, the same trained parts and the same optimizer",
            )
        for name, parameter in trained:
            part = self._part[parameter]
            if not adaptive[name]:
                part.state[parameter] = {"momentum_buffer": divided_like(first[name], parameter)}
                continue
            part.state[parameter] = {
                "step": torch.tensor(float(step), device=parameter.device),
                "exp_avg": divided_like(first[name], parameter),
                "exp_avg_sq": divided_like(second[name], parameter),
            }


_MOMENTS = {"exp_avg": "moment1", "momentum_buffer": "moment1", "exp_avg_sq": "moment2"}


def _matrices(model: nn.Module) -> set[int]:
    """Identities of the matrices of all transformer layers, in which no token has a row of its own."""
    stacks = [module for module in model.modules() if isinstance(module, Transformer)]
    layers = [layer for stack in stacks for layer in stack.modules() if isinstance(layer, nn.Linear)]
    return {id(layer.weight) for layer in layers}
