"""Which of how many processes this one is, and what they do together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from antiphon.errors import AntiphonError, ConfigError, ProcessError

_STARTER = "torchrun --nproc-per-node 2 -m antiphon train CONFIG"


@dataclass(frozen=True)
class Processes:
    """The processes of a run; one alone by default. What they do together all of them must call, in the same order.

    Attributes:
        rank: this one's number, from 0. count: how many there are. device: what this one computes on.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and reports."""
        return self.rank == 0

    def rows(self, batch: int) -> range:
        """This process's rows of a batch of all processes.

        Raises:
            ConfigError: the batch cannot be divided evenly.
        """
        share, rest = divmod(batch, self.count)
        if rest:
            raise ConfigError(f"batch={batch} for {self.count} processes", expected=f"a multiple of {self.count}")
        return range(self.rank * share, (self.rank + 1) * share)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, the same bits in each."""
        if self.count == 1:
            return values
        here = values.detach().to(self.device, copy=True)
        dist.all_reduce(here)
        return here.to(values.device)

    def from_first(self, values: Tensor) -> Tensor:
        """What the first process has, in all of them; of the same shape in each."""
        if self.count == 1:
            return values
        here = values.detach().to(self.device, copy=True).contiguous()
        dist.broadcast(here, src=0)
        return here.to(values.device)

    def gathered(self, values: Tensor) -> Tensor:
        """The rows (R, ...) of all processes one after the other; of the same shape in each."""
        if self.count == 1:
            return values
        here = values.detach().to(self.device).contiguous()
        each = [torch.empty_like(here) for _ in range(self.count)]
        dist.all_gather(each, here)
        return torch.cat(each).to(values.device)


@contextmanager
def joined(*, device: str | None = None, timeout_s: float = 600.0) -> Iterator[Processes]:
    """The processes that ``torchrun`` started, as long as the block lasts; one alone where it started none.

    Args:
        device: ``cpu`` or ``cuda``; by default CUDA where there is any. Processes of one machine take one GPU each.
        timeout_s: how long a process waits for another one before it gives up.

    Raises:
        ConfigError: fewer GPUs than processes, or some of what ``torchrun`` sets is missing.
        ProcessError: the processes don't find one another (a port that is taken, one that never starts), or one of them
            died or hangs while the others work.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(device=torch.device(kind))
        return
    if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise ConfigError(f"WORLD_SIZE={count} without {missing[0]}", fix=f"Start the processes by: {_STARTER}")
    place = _place(kind)
    with _named_losses(count):
        backend = "nccl" if place.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
        yield Processes(dist.get_rank(), count, place)
    dist.destroy_process_group()


def _place(kind: str) -> torch.device:
    """The device of this process among those of its machine."""
    if kind != "cuda":
        return torch.device(kind)
    number, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= there:
        raise ConfigError(
            f"process {number + 1} of this machine has no GPU", expected=f"at most {there} processes", fix=_STARTER
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


@contextmanager
def _named_losses(count: int) -> Iterator[None]:
    """Says what the errors of torch's channels between processes mean."""
    try:
        yield
    except AntiphonError:
        raise
    except RuntimeError as error:
        # gloo reports a closed connection, and its timeouts, as plain errors that carry its name
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise ProcessError(
            f"The {count} processes cannot work together: {str(error).splitlines()[0]}",
            fix="One of them died or hangs, see what it said; or the port is taken, choose another (--master-port)",
        ) from error
