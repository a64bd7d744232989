"""A model in training whose weights lie in pieces with all processes.

PyTorch's FSDP2 does it, with gloo on CPUs as with NCCL on GPUs: each process keeps its piece of the weights, of their
gradients, averages and moments; a layer is whole only while it computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from antiphon.nn.transformer import TransformerLayer
from antiphon.training.objective import Batch, Losses, Objective
from antiphon.training.processes import Processes

if TYPE_CHECKING:  # a second to import, and one process needs none of it
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor


class _ForwardPass(nn.Module):
    """An objective's losses as the forward pass of one module: FSDP gathers weights where such a pass begins.

    So an objective may call whatever parts of its model it likes.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.model = objective.model
        self._objective = (objective,)  # in a tuple, so that it is no module of this one

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        losses = self._objective[0].losses(batch)
        return losses.total, losses.parts


class ModelPieces:
    """An objective's model, divided among processes; left as it is where there is but one.

    All processes begin with the first one's tensors. Parameters are replaced: whatever refers to them is made later.
    """

    def __init__(self, objective: Objective, processes: Processes) -> None:
        self._objective = objective
        self._divided: list[FSDPModule] = []
        if processes.count > 1:
            self._divide(processes)

    def _divide(self, processes: Processes) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        model = self._objective.model
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                tensor.copy_(processes.from_first(tensor))
        self._pass = _ForwardPass(self._objective)
        mesh = init_device_mesh(processes.device.type, (processes.count,))
        # what is computed in bfloat16 is decided by autocast, as in one process; gradients are summed in float32
        policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
        layers = [module for module in model.modules() if isinstance(module, TransformerLayer)]
        for module in [*layers, self._pass]:
            self._divided.append(fully_shard(module, mesh=mesh, mp_policy=policy))

    def losses(self, batch: Batch, *, ends_step: bool = True) -> Losses:
        """The objective's losses; gradients are exchanged after the batch that ends a step."""
        if not self._divided:
            return self._objective.losses(batch)
        self._divided[-1].set_requires_gradient_sync(ends_step)
        total, parts = self._pass(batch)
        if not torch.is_grad_enabled():  # no backward pass will divide the weights again
            for module in self._divided:
                module.reshard()
        return Losses(total, parts)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """The model with whole weights in every process, to be read or saved: what is written into them is lost."""
        # FSDP's own way to make them whole is undone by the first look at a state_dict
        places = [
            (module, name, parameter)
            for module in (self._objective.model.modules() if self._divided else ())
            for name, parameter in module.named_parameters(recurse=False)
        ]
        together = {id(parameter): parameter for _, _, parameter in places}  # tied ones once
        copies = {key: nn.Parameter(whole(one.detach()), one.requires_grad) for key, one in together.items()}
        for module, name, parameter in places:
            setattr(module, name, copies[id(parameter)])
        try:
            yield
        finally:
            for module, name, parameter in places:
                setattr(module, name, parameter)


def piece(tensor: Tensor) -> Tensor:
    """What this process has of a tensor, on the same memory: all of it where it is not divided."""
    return cast("DTensor", tensor).to_local() if _divided(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """A tensor that may be divided, whole in every process; all of them must call it."""
    return cast("DTensor", tensor).full_tensor() if _divided(tensor) else tensor


def divided_like(tensor: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, the same in every process, divided as ``other`` is, with its device and dtype."""
    tensor = tensor.to(device=other.device, dtype=other.dtype)
    if not _divided(other):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    pattern = cast("DTensor", other)
    # each process cuts its own piece, nothing is sent
    return distribute_tensor(tensor, pattern.device_mesh, pattern.placements, src_data_rank=None)


def _divided(tensor: Tensor) -> bool:
    return hasattr(tensor, "placements")
