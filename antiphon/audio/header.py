"""What a sound file says of itself before it is decoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Header:
    """What a file states.

    Args:
        channels: how many. rate_hz: of sampling. samples: of a channel.
        cut_short: it was meant to be longer than it is.
    """

    channels: int
    rate_hz: int
    samples: int
    cut_short: bool = False

    @property
    def seconds(self) -> float:
        return self.samples / self.rate_hz
