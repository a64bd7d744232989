"""Where a training job's adapters go."""

from __future__ import annotations

from typing import Any

from torch import nn

from antiphon.models.adapter_stacks import Stacks
from antiphon.models.moshi import MoshiForConditionalGeneration
from antiphon.training.job_file import LISTENING_LAYERS, JobFile

_MUSIC = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
# the codec, too, has layers that end with these names
_MOSHI, _MOSHI_STACKS = r"decoder\..*\.(linear|fc1|fc2)", "depth_decoder.layers."


def adapted(model: nn.Module, file: JobFile) -> dict[str, Any]:
    """The layers and stacks that get an adapter, as fields of ``LoraConfig``: those that the file names, else those of
    attention and feed-forward parts; of a listening model in the parts that learn, unless told in its language model.
    """
    told = {"target_modules": file.lora and file.lora.targets, "target_parameters": file.lora and file.lora.stacks}
    named = {field: list(names) for field, names in told.items() if names}
    if file.objective == "listening":
        return {**named, "target_modules": _of_parts(file.listening.learn or ("language_model",), named)}
    return named or _usual(model)


def _usual(model: nn.Module) -> dict[str, Any]:
    if not isinstance(model, MoshiForConditionalGeneration):
        return {"target_modules": list(_MUSIC)}
    stacks = [f"{name}.weight" for name in Stacks.of(model).layers if name.startswith(_MOSHI_STACKS)]
    return {"target_modules": _MOSHI, "target_parameters": stacks}


def _of_parts(parts: tuple[str, ...], named: dict[str, list[str]]) -> str:
    """A pattern of the whole names of layers, which exist by the same name in several parts."""
    places = [(name, named.get("target_modules", layers)) for name, layers in map(LISTENING_LAYERS.__getitem__, parts)]
    return "|".join(rf".*\b{part}\.(.*\.)?({'|'.join(layers)})" for part, layers in places)
