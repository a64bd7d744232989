"""Where adapters go in training unless one says it."""

from __future__ import annotations

from typing import Any

from torch import nn

from antiphon.models.adapter_stacks import Stacks
from antiphon.models.moshi import MoshiForConditionalGeneration

_MUSIC = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
# the codec, too, has layers that end with these names
_MOSHI, _MOSHI_STACKS = r"decoder\..*\.(linear|fc1|fc2)", "depth_decoder.layers."


def usual_places(model: nn.Module) -> dict[str, Any]:
    """The layers of attention and feed-forward parts of a language model, of Moshi's both decoders, as fields of
    ``LoraConfig``."""
    if not isinstance(model, MoshiForConditionalGeneration):
        return {"target_modules": list(_MUSIC)}
    stacks = [f"{name}.weight" for name in Stacks.of(model).layers if name.startswith(_MOSHI_STACKS)]
    return {"target_modules": _MOSHI, "target_parameters": stacks}
