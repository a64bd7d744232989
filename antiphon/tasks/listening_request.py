"""What a listener is asked for beside the question: the arguments of a call, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from antiphon.errors import ParamTypeError, unknown_argument
from antiphon.generation.philox import item_seeds
from antiphon.tasks.answering import StopWhen
from antiphon.tasks.heard_sound import Long, Reach
from antiphon.tasks.listening_settings import ListeningSettings, checked_seed


class Asking(TypedDict, total=False):
    """The arguments of a question beside itself; ``Listener.ask`` explains them."""

    sampling_rate: int | None
    long: Long
    strict: bool
    part_seconds: float | None
    seed: Any
    temperature: float
    top_k: int
    top_p: float
    max_new_tokens: int
    stop_when: StopWhen | None


class ListeningRequest:
    """A checked call: settings, reach and seed.

    Raises:
        ParamError, ParamTypeError: a value out of range, or an unknown name.
    """

    def __init__(self, longest_s: float, asked: Mapping[str, Any]) -> None:
        for name in asked:
            if name not in Asking.__annotations__:
                raise unknown_argument(name, Asking.__annotations__, where="the listener")
        chosen = {name: asked[name] for name in ListeningSettings.__annotations__ if name in asked}
        self.settings = ListeningSettings(**chosen)
        self.seed = checked_seed(asked.get("seed"), self.settings)
        self.reach = Reach(longest_s, asked.get("long", "cut"), asked.get("strict", False), asked.get("part_seconds"))
        self.sampling_rate = asked.get("sampling_rate")
        self.stop_when = asked.get("stop_when")
        if self.stop_when is not None and not callable(self.stop_when):
            raise ParamTypeError(
                f"stop_when is of type {type(self.stop_when).__name__}", expected="a callable, or None"
            )

    def seeds(self, items: int) -> list[int | None]:
        """One for each of the items, where chance is involved."""
        return list(item_seeds(self.seed, items)) if self.settings.samples else [None] * items
