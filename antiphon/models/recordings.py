"""Recordings to listen to: whatever a caller has of one, as mono samples at a model's rate, as long as it hears."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from antiphon.audio import files
from antiphon.audio.clip import Audio
from antiphon.audio.resampling import check_rate, resample
from antiphon.audio.samples import as_samples, to_channels
from antiphon.audio.stream import shown
from antiphon.errors import AudioError, ParamError

log = logging.getLogger(__name__)

# how much more than the limit is resampled, so that the end of what is heard has its neighbours
_MARGIN_S = 0.5


@dataclass(frozen=True)
class Hearing:
    """How recordings are heard.

    Args:
        rate_hz: of the model. longest_s: seconds of a recording that are heard.
        strict: whether a longer one is refused instead of cut.
    """

    rate_hz: int
    longest_s: float
    strict: bool = False

    def samples_of(self, given: Any, *, given_rate_hz: int | None = None, name: str = "audio") -> np.ndarray:
        """A recording as float32 (N,) at ``rate_hz``; what lies beyond ``longest_s`` is cut off, and a warning says so.

        Args:
            given: a path, the bytes of a sound file, an open one, an ``Audio``, or samples (N,) or (C, N).
            given_rate_hz: of samples; those that came without are taken to be at ``rate_hz``, with a warning.
            name: what messages call it.

        Raises:
            AudioError: it cannot be read, is empty or not finite, or with ``strict`` too long. ParamError: an address
                of the network, or a rate that cannot be. ParamTypeError: no recording.
        """
        if _is_file(given):
            samples, from_hz, seconds = self._read(given, name)
        else:
            samples, from_hz, seconds = self._taken(given, given_rate_hz, name)
        mono: np.ndarray = resample(to_channels(samples, 1), from_hz, self.rate_hz)[0]
        longest = round(self.longest_s * self.rate_hz)
        if len(mono) <= longest:
            return mono
        if self.strict:
            raise AudioError(
                f"{name} lasts {seconds:.2f} s",
                expected=f"at most {self.longest_s:g} s (max_audio_len)",
                fix="Cut it, or listen without strict=True, which hears its beginning",
            )
        log.warning(
            "%s lasts %.2f s and the model hears %g s: the last %.3g s are cut off",
            name,
            seconds,
            self.longest_s,
            seconds - self.longest_s,
        )
        return mono[:longest]

    def _read(self, given: Any, name: str) -> tuple[np.ndarray, int, float]:
        """Samples (C, N) of a file, little more of them than are heard, their rate, and the seconds of the whole."""
        _refuse_address(given, name)
        if isinstance(given, (str, os.PathLike)):
            given = os.fspath(given)
        samples, rate_hz = files.load(given, first_s=self.longest_s + _MARGIN_S)
        seconds = samples.shape[1] / rate_hz
        if seconds > self.longest_s:  # there may be more, which only the header tells
            seconds = max(seconds, files.read_header(given).seconds)
        return samples, rate_hz, seconds

    def _taken(self, given: Any, rate_hz: int | None, name: str) -> tuple[np.ndarray, int, float]:
        """The same of samples, which may be an ``Audio``."""
        if isinstance(given, Audio):
            given, rate_hz = given.samples, given.sampling_rate
        if rate_hz is None:
            log.warning(
                "no sampling_rate was given: %s is taken to be at %d Hz; another rate would go unnoticed",
                name,
                self.rate_hz,
            )
        from_hz = self.rate_hz if rate_hz is None else check_rate(rate_hz)
        samples = as_samples(given, name=name)
        seconds = samples.shape[1] / from_hz
        return samples[:, : round((self.longest_s + _MARGIN_S) * from_hz)], from_hz, seconds


def _is_file(given: Any) -> bool:
    array = isinstance(given, (np.ndarray, Tensor, Audio))
    return not array and (isinstance(given, (str, os.PathLike, bytes, bytearray)) or hasattr(given, "read"))


def _refuse_address(given: Any, name: str) -> None:
    address = given if isinstance(given, str) else ""
    scheme, found, _ = address.partition("://")
    if found and scheme.isalnum():
        raise ParamError(
            f"{name} is the address {shown(address)} ({scheme})",
            expected="a file of this machine, its bytes, or samples",
            fix="Download it first: nothing is fetched from the network here",
        )


def as_recordings(audio: Any) -> tuple[list[Any], list[int] | None]:
    """The recordings of a call, in order, and how many belong to each text where the caller says.

    ``audio`` is one recording, a list of them, or for each text a list of its own. A list of numbers is samples.

    Raises:
        AudioError: a list of nothing.
    """
    if not isinstance(audio, (list, tuple)):
        return [audio], None
    if not audio:
        raise AudioError("audio is empty", expected="at least one recording, or audio=None")
    if _is_number(audio[0]):
        return [audio], None
    if all(isinstance(item, (list, tuple)) and not (item and _is_number(item[0])) for item in audio):
        return [one for item in audio for one in item], [len(item) for item in audio]
    return list(audio), None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
