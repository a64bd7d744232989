"""Models whose linear layers are kept in 8 or 4 bits: which layers, how they come to be, and what they take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from antiphon.errors import CheckpointError, ParamError
from antiphon.lm.stream_decoder import StreamHeads
from antiphon.models.documented_names import places
from antiphon.models.quantization import HEAD_BITS, Quantization
from antiphon.nn.attention import Attention
from antiphon.nn.linear import Linear
from antiphon.nn.mlp import MLP, GatedMLP
from antiphon.nn.quantized_linear import QuantizedLinear

# Nearly all weights of a model lie in these, and each is read in full at every step. What is looked up row by row
# (embeddings), small (norms, projections between parts) or convolved (codecs) stays floating point.
_PARTS = (Attention, MLP, GatedMLP)
_HEADS = (StreamHeads,)


def _candidates(model: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """Path, layer, and whether it is a head, of the layers that rounding is for."""
    for path, part in model.named_modules():
        is_part, heads = isinstance(part, _PARTS + _HEADS), getattr(part, "rounded_heads", ())
        if is_part or heads:
            for name, layer in part.named_children():
                plain = type(layer) is Linear or isinstance(layer, QuantizedLinear)
                if plain and (is_part or name in heads):
                    yield f"{path}.{name}" if path else name, layer, isinstance(part, _HEADS) or name in heads


@dataclass(frozen=True)
class ToRound:
    """A plain layer that is to be rounded.

    Attributes:
        name: of its weight in the documents. number: of its weight in the stack of that name, else ``None``.
        bits: to round to.
    """

    layer: Linear
    name: str
    number: int | None
    bits: int


def layers_to_round(model: nn.Module, plan: Quantization) -> dict[str, ToRound]:
    """The plain layers that a plan rounds, by path; those of one stack come one after the other."""
    names = {
        id(tensor): (name, number if place.is_stack else None)
        for name, place in places(model).items()
        for number, tensor in enumerate(place.tensors)
    }
    chosen = {}
    for path, layer, is_head in _candidates(model):
        if isinstance(layer, Linear):
            name, number = names[id(layer.weight)]
            if not plan.keeps(name.removesuffix(".weight")):
                chosen[path] = ToRound(layer, name, number, plan.head_bits if is_head else plan.bits)
    return dict(sorted(chosen.items(), key=lambda item: item[1].name))


def rounded_layers(model: nn.Module) -> list[QuantizedLinear]:
    """The layers of a model that are in 8 or 4 bits."""
    return [layer for layer in model.modules() if isinstance(layer, QuantizedLinear)]


def round_layers(
    model: nn.Module, plan: Quantization, read: Callable[[str], Tensor], *, left_out: Collection[str] = ()
) -> None:
    """Puts rounded layers in the place of the plan's, one after the other, so that one weight at a time is in memory.

    Args:
        model: changed in place; it may be on ``meta``, and biases stay where they are.
        read: gives a weight (O, I), or a stack of them, by its name in the documents.
        left_out: names that it has not; these layers stay.
    """
    held, weight = "", torch.empty(0)
    for path, one in layers_to_round(model, plan).items():
        if one.name in left_out:
            continue
        if one.name != held:
            held, weight = one.name, read(one.name)
        made = QuantizedLinear.of(
            weight if one.number is None else weight[one.number],
            one.layer.bias,
            bits=one.bits,
            group_size=plan.inputs_a_scale,
        )
        _put(model, path, made)


def make_room(model: nn.Module, plan: Quantization, stored: Collection[str]) -> None:
    """Puts empty rounded layers in the place of those of which ``stored`` has no weight to multiply with."""
    for path, one in layers_to_round(model, plan).items():
        if one.name not in stored:
            with torch.device("meta"):
                made = QuantizedLinear(
                    one.layer.in_features,
                    one.layer.out_features,
                    bits=one.bits,
                    group_size=plan.inputs_a_scale,
                    bias=one.layer.bias is not None,
                )
            _put(model, path, made)


def check_filled(model: nn.Module, left_out: Collection[str]) -> None:
    """Raises ``CheckpointError`` where codes or scales are among what could not be read: there is no random start."""
    rounded = {id(t) for layer in rounded_layers(model) for t in (layer.codes, layer.scales)}
    lost = [
        name
        for name, place in places(model).items()
        if name in left_out and any(id(tensor) in rounded for tensor in place.tensors)
    ]
    if lost:
        raise CheckpointError(
            f"{len(lost)} tensor(s) of rounded weights are missing or of another shape, such as {lost[0]}",
            expected="all of them: strict=False cannot make them up",
        )


def plan_of(model: nn.Module) -> Quantization | None:
    """How a model's layers are rounded, for its checkpoint to say; ``None`` where none is.

    Raises:
        ParamError: in more than one way, or layers that are not looked for when it is loaded.
    """
    layers = rounded_layers(model)
    if not layers:
        return None
    found = {True: set[int](), False: set[int]()}
    sought = []
    for _, layer, is_head in _candidates(model):
        if isinstance(layer, QuantizedLinear):
            found[is_head].add(layer.bits)
            sought.append(layer)
    groups = {layer.group_size for layer in layers}
    if len(sought) != len(layers) or len(groups) > 1 or any(len(kinds) > 1 for kinds in found.values()):
        raise ParamError(
            f"the rounded layers of this {type(model).__name__} are of different kinds or in unusual places",
            expected="one number of bits and one group size in attention, feed-forward parts and heads",
            fix="Save it before rounding, or load the original with quantize=..",
        )
    return Quantization(min(found[False] or found[True]), groups.pop(), min(found[True], default=HEAD_BITS))


def forecast_bytes(model: nn.Module, dtype: torch.dtype, plan: Quantization | None = None) -> int:
    """Bytes that the weights and buffers of a floating point model come to in ``dtype``, rounded by a plan or not."""
    total, chosen, group_size = 0, {}, 1
    if plan is not None:
        chosen = {id(one.layer.weight): one.bits for one in layers_to_round(model, plan).values()}
        group_size = plan.inputs_a_scale
    for tensor in {id(t): t for t in (*model.parameters(), *model.buffers())}.values():
        if id(tensor) in chosen:
            outputs, inputs = tensor.shape
            total += outputs * (-(-inputs * chosen[id(tensor)] // 8) + 2 * -(-inputs // group_size))
        else:
            total += tensor.numel() * (dtype if tensor.is_floating_point() else tensor.dtype).itemsize
    return total


def _put(model: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, layer)
