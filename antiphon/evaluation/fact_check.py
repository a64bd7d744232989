"""What a model says of a recording beside what its signal says: tempo and key are measured, and marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from antiphon.audio.chroma import PITCH_NAMES
from antiphon.audio.clip import Audio
from antiphon.evaluation.key import MODES, Key, Mode, key_agreement, key_of
from antiphon.evaluation.tempo import Tempo, tempo_agreement, tempo_of
from antiphon.tasks.facts import Facts

Source = Literal["said", "measured", "disagreement"]

# Below these a measurement is no more than a guess. Of 6 s of noise the tempo has less than 0.15, of music more than 0.3;
# in less time noise may have 0.5 by chance. The key of a piece has more than 0.7.
_LONG_ENOUGH_S, _SURE_OF_TEMPO, _SURE_OF_KEY = 6.0, 0.2, 0.6
_NAMES = tuple(name.replace("♯", "#") for name in PITCH_NAMES)
_FLATS = {"D": "C#", "E": "D#", "G": "F#", "A": "G#", "B": "A#"}


@dataclass(frozen=True)
class Checked:
    """A field of a description.

    Attributes:
        value: of it; ``None`` where model and signal disagree. source: ``"said"`` by the model alone, ``"measured"`` in
            the signal, and then the model said the same, or in ``"disagreement"``. said, measured: what each gave,
            ``None`` where nothing could be measured.
        relation: how what was said stands to what was measured, as ``tempo_agreement`` and ``key_agreement`` call it.
    """

    value: Any
    source: Source
    said: Any
    measured: Any = None
    relation: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, without what is not there."""
        told: dict[str, Any] = {"value": self.value, "source": self.source}
        if self.measured is not None:
            told |= {"said": self.said, "measured": self.measured, "relation": self.relation}
        return told


def checked(facts: Facts, audio: Audio) -> dict[str, Checked]:
    """Each field of a description, those that can be measured compared with the sound.

    Raises:
        AudioError: a sound that cannot be used.
    """
    said = facts.to_dict()
    fields = {name: Checked(value, "said", value) for name, value in said.items()}
    if audio.seconds >= _LONG_ENOUGH_S:
        fields["tempo_bpm"] = _tempo(facts.tempo_bpm, tempo_of(audio.samples, audio.sampling_rate))
    fields["key"] = _key(facts.key, key_of(audio.samples, audio.sampling_rate))
    return fields


def _tempo(said: int, found: Tempo) -> Checked:
    if not found.confidence >= _SURE_OF_TEMPO:
        return Checked(said, "said", said)
    measured = round(found.bpm, 1)
    relation = tempo_agreement(found.bpm, said)
    if relation == "right":
        return Checked(measured, "measured", said, measured, relation)
    return Checked(None, "disagreement", said, measured, relation)


def _key(said: str, found: Key) -> Checked:
    if not found.score >= _SURE_OF_KEY:
        return Checked(said, "said", said)
    measured = f"{_NAMES[found.tonic]} {found.mode}"
    relation = key_agreement(found, *_key_named(said))
    if relation == "right":
        return Checked(measured, "measured", said, measured, relation)
    return Checked(None, "disagreement", said, measured, relation)


def _key_named(name: str) -> tuple[int, Mode]:
    """The tonic, 0 for C to 11 for B, and the mode of a key as ``Facts`` has it."""
    tonic, mode = name.split()
    sharp = _FLATS[tonic[0]] if tonic.endswith("b") else tonic
    return _NAMES.index(sharp), next(known for known in MODES if known == mode)
