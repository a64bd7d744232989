"""What a measurement ran on, and how fast its memory is: the limit of what reads all weights at every step."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import torch

_READ_BYTES = 1 << 30  # far more than any cache
_TRIES = 5


@dataclass(frozen=True)
class Machine:
    """A machine as far as it decides speed.

    Attributes:
        processor: its name. cores: that this process may use. threads: that the measurements use.
        system: operating system and architecture. read_gb_s: what the threads read of memory, 10**9 bytes a second.
    """

    processor: str
    cores: int
    threads: int
    system: str
    read_gb_s: float

    @classmethod
    def here(cls, threads: int, *, read_bytes: int = _READ_BYTES) -> Machine:
        """This machine; takes about a second and ``read_bytes`` of memory."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        system = f"{platform.system()} {platform.machine()}"
        return cls(_processor(), cores, threads, system, read_speed_gb_s(threads, read_bytes))


def read_speed_gb_s(threads: int, read_bytes: int = _READ_BYTES) -> float:
    """10**9 bytes a second at which ``threads`` sum up float32 numbers, the best of a few tries."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        block = torch.ones(max(1, read_bytes // 4))
        best = float("inf")
        for _ in range(_TRIES):
            begun = time.perf_counter()
            block.sum()
            best = min(best, time.perf_counter() - begun)
        return block.nbytes / best / 1e9
    finally:
        torch.set_num_threads(before)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
