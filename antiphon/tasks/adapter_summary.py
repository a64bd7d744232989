"""What an adapter's folder holds."""

from __future__ import annotations

import os
from dataclasses import dataclass

from antiphon.checkpoints.peft_files import read_adapter


@dataclass(frozen=True)
class AdapterSummary:
    """What an adapter is.

    Attributes:
        base: the model that it says it was made for. ranks: all that occur. alpha, use_rslora: as its file says.
        layers: how many it is on; targets: what these are called. whole: modules that it brings whole.
        parameters: numbers in it. bytes: of them.
    """

    name: str
    base: str | None
    ranks: list[int]
    alpha: float
    use_rslora: bool
    layers: int
    targets: list[str]
    whole: list[str]
    parameters: int
    bytes: int

    @classmethod
    def of(cls, name: str | os.PathLike[str]) -> AdapterSummary:
        """The summary of a folder, or of an adapter on the Hub; its files are read whole, as they are small.

        Raises:
            AdapterError: of another kind than LoRA, or damaged. CheckpointError: no such adapter.
        """
        adapter = read_adapter(name)
        tensors = adapter.tensors().values()
        return cls(
            name=os.fspath(name),
            base=adapter.config.base_model_name_or_path,
            ranks=sorted({adapter.config.rank_of(layer) for layer in adapter.low_rank}),
            alpha=adapter.config.lora_alpha,
            use_rslora=adapter.config.use_rslora,
            layers=len(adapter.low_rank),
            targets=sorted({layer.rpartition(".")[2] for layer in adapter.low_rank}),
            whole=sorted(adapter.whole),
            parameters=adapter.parameters,
            bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        )
