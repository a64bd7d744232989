"""What was said beside what was measured: agreement, disagreement, and nothing to measure."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from antiphon.audio.clip import Audio
from antiphon.evaluation.fact_check import checked
from antiphon.tasks.facts import KEYS, Facts, Section

from .songs import RATE_HZ, chords, clicks

PROGRESSION = [0, 3, 4, 0, 5, 3, 4, 0]


def facts(**changes: Any) -> Facts:
    own: dict[str, Any] = {
        "genre": "folk",
        "tempo_bpm": 120,
        "key": "C major",
        "instruments": ("flute",),
        "mood": ("calm",),
        "structure": (Section(0, "all"),),
    }
    return Facts(**{**own, **changes})


@pytest.mark.parametrize(
    ("said", "source", "relation"),
    [(120, "measured", "right"), (60, "disagreement", "octave"), (97, "disagreement", "wrong")],
)
def test_a_tempo_is_measured_where_beats_are_clear(said: int, source: str, relation: str) -> None:
    field = checked(facts(tempo_bpm=said), Audio(clicks(120), RATE_HZ))["tempo_bpm"]
    assert (field.source, field.relation, field.said) == (source, relation, said)
    assert field.measured == pytest.approx(120, rel=0.015)
    assert field.value == (field.measured if source == "measured" else None)


@pytest.mark.parametrize(
    ("said", "source", "relation"),
    [
        ("A# minor", "measured", "right"),
        ("Bb minor", "measured", "right"),
        ("Db major", "disagreement", "relative"),
        ("C# major", "disagreement", "relative"),
        ("Bb major", "disagreement", "parallel"),
        ("E major", "disagreement", "wrong"),
    ],
)
def test_a_key_is_measured_whatever_it_is_called(said: str, source: str, relation: str) -> None:
    field = checked(facts(key=said), Audio(chords(PROGRESSION, 10, "minor"), RATE_HZ))["key"]
    assert (field.source, field.relation, field.said, field.measured) == (source, relation, said, "A# minor")
    assert field.value == ("A# minor" if source == "measured" else None)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_that_can_be_said_can_be_compared(key: str) -> None:
    assert checked(facts(key=key), Audio(chords(PROGRESSION[:2], 0, "major"), RATE_HZ))["key"].said == key


def test_what_cannot_be_measured_is_said() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 8 * RATE_HZ).astype(np.float32)
    for sound in (noise, np.zeros_like(noise), noise[: RATE_HZ // 2]):
        fields = checked(facts(), Audio(sound, RATE_HZ))
        assert {name: field.source for name, field in fields.items()} == dict.fromkeys(facts().to_dict(), "said")
        assert fields["tempo_bpm"].to_dict() == {"value": 120, "source": "said"}


def test_the_fields_are_json() -> None:
    fields = checked(facts(), Audio(clicks(90), RATE_HZ))
    told = json.loads(json.dumps({name: field.to_dict() for name, field in fields.items()}))
    assert list(told) == ["genre", "tempo_bpm", "key", "instruments", "mood", "structure"]
    assert told["tempo_bpm"]["value"] is None
    assert told["tempo_bpm"]["said"] == 120
    assert told["structure"] == {"value": [{"start_s": 0, "part": "all"}], "source": "said"}
