"""Where a model lives: names of devices, and how much memory is free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from antiphon.errors import ParamError


def infer_device() -> str:
    """The best device of this machine: ``"cuda"``, ``"mps"`` or ``"cpu"``."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def devices() -> list[str]:
    """The devices of this machine."""
    found = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def device_of(name: Any) -> torch.device:
    """The device called ``name`` (a name, a number, ``"auto"`` or a torch device).

    Raises:
        ParamError: this machine has no such device; lists those it has.
    """
    if isinstance(name, bool) or name is None:
        raise ParamError(f"device={name!r}", expected=f"one of {devices()}")
    if isinstance(name, int):
        name = f"cuda:{name}"
    try:
        device = torch.device(infer_device() if name == "auto" else name)
    except RuntimeError as error:
        raise ParamError(f"device={name!r}", expected=f"one of {devices()}") from error
    full = str(device) if device.index is not None or device.type != "cuda" else "cuda:0"
    if full not in devices() and device.type not in ("meta", "cpu"):
        raise ParamError(f"device={name!r}", expected=f"one of {devices()}")
    return device


def whole_device(device: Any, device_map: Any) -> torch.device | None:
    """The one device that both arguments of a loader come to; ``None`` where a map names parts, or nothing is named.

    Raises:
        ParamError: this machine has no such device.
    """
    target = device if device_map is None else device_map
    if target is None or isinstance(target, dict):
        return None
    return device_of("auto" if target in ("balanced", "balanced_low_0", "sequential") else target)


def place(model: nn.Module, device: Any, device_map: Any) -> None:
    """Moves a model: whole to ``device``, or its parts as ``device_map`` says (a device, ``"auto"``, or prefixes)."""
    if isinstance(device_map, dict):
        parts = dict(model.named_modules())
        for prefix, target in sorted(device_map.items(), key=lambda item: len(item[0])):
            if prefix not in parts:
                known = [name for name, _ in model.named_children()]
                raise ParamError(f"device_map names {prefix!r}", expected=f"a part of the model, such as {known}")
            parts[prefix].to(device_of(target))
        return
    wanted = whole_device(device, device_map)
    if wanted is not None and wanted.type != "cpu":
        model.to(wanted)


def available_bytes() -> int | None:
    """Bytes of memory that could be taken without swapping; ``None`` where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


_NETWORKS = ("nfs", "cifs", "smb", "fuse.sshfs", "ceph", "glusterfs", "lustre", "9p", "afs", "beegfs")


def on_network(path: Path) -> bool:
    """Whether a path lies on a network file system; ``False`` where the system does not tell."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
            mounts = [line.split()[1:3] for line in file]
    except OSError:
        return False
    real = path.resolve()
    under = [(len(point), kind) for point, kind in mounts if real.is_relative_to(point)]
    return bool(under) and max(under)[1].startswith(_NETWORKS)
