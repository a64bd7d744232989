"""``load``: a checkpoint's name or folder to the task object that fits it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch

from antiphon.checkpoints import hub
from antiphon.checkpoints.audiocraft_folder import Elsewhere
from antiphon.checkpoints.built_in import MUSIC
from antiphon.checkpoints.checkpoint_folder import CheckpointFolder
from antiphon.errors import ConfigError, ParamTypeError
from antiphon.models import registry
from antiphon.models.auto import AutoProcessor, AutoTokenizer
from antiphon.models.configuration import dtype_of
from antiphon.models.devices import device_of
from antiphon.models.quantized import plan_of
from antiphon.tasks.adapters import ScaledAdapter, put_on
from antiphon.tasks.composer import Composer
from antiphon.tasks.listener import Listener
from antiphon.tasks.melody import follows_none
from antiphon.tasks.talker import Talker

_HALF = (torch.float16, torch.bfloat16)
_COMPOSED_BY = registry.model_types(registry.MUSIC)
_TALKED_BY = registry.model_types(registry.TALK)
_LISTENED_BY = registry.model_types(registry.LISTEN)


def load(
    name_or_dir: str | os.PathLike[str] = MUSIC,
    *,
    dtype: Any = None,
    device: Any = None,
    quantize: str | None = None,
    adapters: Sequence[Any] = (),
    text_encoder: str | os.PathLike[str] | None = None,
    codec: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    subfolder: str = "",
    force_download: bool = False,
) -> Any:
    """The task object of a checkpoint: a ``Composer`` for MusicGen and MusicGen Melody, a ``Talker`` for Moshi, and a
    ``Listener`` for Music Flamingo and Audio Flamingo 3.

    Args:
        name_or_dir: a folder, or a name on the Hub (``facebook/musicgen-small``, also with ``@revision``); unless told
            the small model that comes with the package (for melodies it has ``antiphon/musicgen-melody-mini``).
        dtype: of the weights; as they are stored (``"auto"``) unless told, but float32 for half precision on a CPU.
        device: ``"cpu"``, ``"cuda"``, ``"auto"``, ..; CUDA where there is one unless told.
        quantize: ``"int8"`` or ``"int4"`` for linear layers in so many bits; a checkpoint written so needs no word.
        adapters: LoRA adapters in PEFT's format, each a folder or a name on the Hub, or a pair of it and a scale; what
            several add is summed.
        text_encoder, codec: a folder or a name on the Hub, for a folder of audiocraft's own files, which only name
            their T5 and may only name their codec; by default what they name is taken from the Hub.
        revision, token, cache_dir, local_files_only, subfolder, force_download: how to reach the Hub.

    Raises:
        ConfigError: the checkpoint's model has no short way. CheckpointError: missing, damaged or unsafe files.
        AdapterError: an adapter that does not fit the model.
        ParamError: no such device, dtype or number of bits. CapacityError: it would not fit into memory.
    """
    scaled = [ScaledAdapter.of(one) for one in _listed(adapters)]
    place = device_of(("cuda" if torch.cuda.is_available() else "cpu") if device is None else device)
    wanted = dtype if dtype == "auto" else dtype_of(dtype)
    access: dict[str, Any] = {
        "revision": revision,
        "token": token,
        "cache_dir": cache_dir,
        "local_files_only": local_files_only,
        "subfolder": subfolder,
        "force_download": force_download,
    }
    parts = {key: place for key, place in (("text_encoder", text_encoder), ("codec", codec)) if place is not None}
    folder = hub.described(name_or_dir, **access)
    config = CheckpointFolder(folder, Elsewhere.taken_from(dict(parts), access)).values()
    kind = config.get("model_type")
    if kind not in (*_COMPOSED_BY, *_TALKED_BY, *_LISTENED_BY):
        raise ConfigError(
            f"{os.fspath(name_or_dir)!r} holds a model of type {kind!r}",
            expected=f"one of {sorted((*_COMPOSED_BY, *_TALKED_BY, *_LISTENED_BY))}, the types with a short way",
            fix="Use antiphon.AutoModel for the others",
        )
    if wanted is None and place.type == "cpu" and dtype_of(config.get("dtype", config.get("torch_dtype"))) in _HALF:
        wanted = torch.float32  # CPUs are slow in half precision
    # a task object is there to be used: weights in memory of their own are laid out for the step, which reads them
    # 10 % faster than through the file
    model = registry.model_class(kind, _role_of(kind)).from_pretrained(
        name_or_dir, dtype=wanted, device=place, quantize=quantize, copy=True, **parts, **access
    )
    origin: dict[str, Any] = {"revision": folder.name} if hub.is_cached(folder) else {}
    if (plan := plan_of(model)) is not None:
        origin["quantize"] = plan.kind
    if scaled:
        reach = {key: access[key] for key in ("token", "cache_dir", "local_files_only", "force_download")}
        origin["adapters"] = put_on(model, scaled, **reach)
    if kind in _TALKED_BY:
        tokenizer = AutoTokenizer.from_pretrained(name_or_dir, **access)
        model = _with_whole_codec(model, name_or_dir, access)
        return Talker(model, tokenizer, name=os.fspath(name_or_dir), origin=origin)
    processor = AutoProcessor.from_pretrained(name_or_dir, **parts, **access)
    taken = Listener if kind in _LISTENED_BY else Composer
    return taken(model, processor, name=os.fspath(name_or_dir), origin=origin)


def _role_of(kind: str) -> str:
    """What a model of that type does."""
    roles = {registry.TALK: _TALKED_BY, registry.LISTEN: _LISTENED_BY}
    return next((role for role, types in roles.items() if kind in types), registry.MUSIC)


def _with_whole_codec(model: Any, name_or_dir: str | os.PathLike[str], access: dict[str, Any]) -> Any:
    """The same with a codec in float32: it is small, and rounding is heard in its sound and seen in its codes."""
    if model.audio_encoder.dtype is not torch.float32:
        codec = type(model.audio_encoder).from_pretrained(name_or_dir, dtype=torch.float32, **access)
        model.audio_encoder = codec.to(model.device)
    return model


def _listed(adapters: Any) -> Sequence[Any]:
    if isinstance(adapters, (str, os.PathLike)) or not isinstance(adapters, Sequence):
        raise ParamTypeError(f"adapters={adapters!r}", expected="a list, also of one")
    return adapters


def check_follows_melodies(name_or_dir: str | os.PathLike[str]) -> None:
    """Refuses a checkpoint whose pieces cannot follow a melody, by its configuration alone.

    Raises:
        ParamError: it is of another kind. CheckpointError: there is no such checkpoint.
    """
    model_type = CheckpointFolder(hub.described(name_or_dir)).model_type()
    if model_type in _COMPOSED_BY and model_type != "musicgen_melody":
        raise follows_none(f"{os.fspath(name_or_dir)!r}")
