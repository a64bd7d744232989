"""What is heard in one sound: everything that can be told without knowing what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from antiphon.audio.clip import Audio
from antiphon.evaluation.classifier import Classifier
from antiphon.evaluation.defects import Defects, defects_of
from antiphon.evaluation.key import Key, key_of
from antiphon.evaluation.tempo import Tempo, tempo_of
from antiphon.evaluation.timbre import timbre_of


@dataclass(frozen=True, eq=False)
class Heard:
    """What was heard in a sound; ``style`` and ``lead`` are ``None`` where nobody was there to tell."""

    tempo: Tempo
    key: Key
    style: str | None
    lead: str | None
    defects: Defects
    timbre: Tensor


class Ear:
    """Hears sounds.

    Args:
        style, lead: classifiers for the style and for the instrument that plays the melody.
    """

    def __init__(self, *, style: Classifier | None = None, lead: Classifier | None = None) -> None:
        self._classifiers: Mapping[str, Classifier | None] = {"style": style, "lead": lead}

    def hear(self, audio: Audio, *, from_s: float = 0.0) -> Heard:
        """What there is to hear in a sound from a moment on.

        Raises:
            AudioError: what is left is shorter than 2 s.
        """
        left = audio.samples[:, round(from_s * audio.sampling_rate) :]
        timbre = timbre_of(left, audio.sampling_rate)
        told = {
            name: None if judge is None else judge.predict(timbre[None])[0] for name, judge in self._classifiers.items()
        }
        return Heard(
            tempo=tempo_of(left, audio.sampling_rate),
            key=key_of(left, audio.sampling_rate),
            style=told["style"],
            lead=told["lead"],
            defects=defects_of(left, audio.sampling_rate),
            timbre=timbre,
        )


def cut(audio: Audio, seconds: float) -> Audio:
    """The first seconds of a sound, or all of a shorter one."""
    return replace(audio, samples=audio.samples[:, : round(seconds * audio.sampling_rate)])
