"""A bare decoder under ``model``, and what predicts from its states: the documented ways to reach and replace both."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn


class Headed:
    """The accessors of a language model with heads.

    Class attributes:
        head_name: the attribute that holds the head, or all of them.
    """

    head_name: ClassVar[str]
    model: Any

    def get_input_embeddings(self) -> nn.Module:
        """The bare decoder's embedding, or all of them."""
        embeddings: nn.Module = self.model.get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the bare decoder's embedding, or all of them."""
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The head, or all of them."""
        head: nn.Module = getattr(self, self.head_name)
        return head

    def set_output_embeddings(self, new_embeddings: Any) -> None:
        """Replaces the head, or all of them."""
        setattr(self, self.head_name, new_embeddings)

    def set_decoder(self, decoder: Any) -> None:
        """Replaces the bare decoder."""
        self.model = decoder

    def get_decoder(self) -> Any:
        """The bare decoder."""
        return self.model
