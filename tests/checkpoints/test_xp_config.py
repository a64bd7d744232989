"""The configuration inside audiocraft's files: YAML of plain values, and references between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from antiphon.checkpoints.plain_yaml import from_yaml, to_yaml
from antiphon.checkpoints.xp_config import XpConfig
from antiphon.errors import ConfigError

HERE = Path("here")
TEXT = """
sample_rate: 32000
open: ???
nothing: null
encodec:
  sample_rate: ${sample_rate}
  rates: [1, "${sample_rate}"]
twice: ${encodec.sample_rate}
section: ${encodec}
astray: ${no.such}
foreign: ${oc.env:HOME}
round: ${about}
about: ${round}
mixed: a ${sample_rate}
"""


def config(text: str = TEXT) -> XpConfig:
    return XpConfig.of_text(text, HERE)


def test_references_are_followed_also_through_sections_and_lists() -> None:
    xp = config()
    assert xp.get("twice") == xp.get("encodec.sample_rate") == xp.get("section.sample_rate") == 32000
    assert xp.get("encodec.rates") == [1, 32000]
    assert xp.section("encodec") == {"sample_rate": 32000, "rates": [1, 32000]}
    assert xp.section("nothing") == xp.section("absent") == {}
    assert xp.get("nothing") is None
    assert xp.get("absent", 5) == 5
    assert xp.text == TEXT


@pytest.mark.parametrize("name", ["astray", "foreign", "round", "mixed"])
def test_a_reference_that_leads_nowhere_is_named_when_it_is_needed(name: str) -> None:
    with pytest.raises(ConfigError, match=f"xp.cfg has .*{name if name != 'round' else 'round|about'}.*leads nowhere"):
        config().get(name)


@pytest.mark.parametrize(("name", "said"), [("absent", "lacks absent"), ("open", "leaves open open")])
def test_what_is_absent_or_left_open_is_named(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config().get(name)


@pytest.mark.parametrize(
    ("value", "kind", "right"),
    [(3, int, 3), (3.0, int, 3), (3, float, 3.0), (2.5, float, 2.5)],
)
def test_numbers_are_numbers_of_their_kind(value: Any, kind: type, right: Any) -> None:
    found = XpConfig({"n": value}, HERE).number("n", kind=kind)
    assert (found, type(found)) == (right, type(right))


@pytest.mark.parametrize("value", [True, "3", None, [3], 2.5, float("nan"), float("inf")])
def test_what_is_no_whole_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ConfigError, match="xp.cfg has n="):
        XpConfig({"n": value}, HERE).number("n")


def test_what_cannot_be_computed_is_refused_with_its_name_and_value() -> None:
    xp = XpConfig({"lm": {"norm": "rms", "lr": 3, "rope": True}}, HERE)
    with pytest.raises(ConfigError, match=r"here: xp.cfg has lm.norm='rms'. Expected 'layer_norm'"):
        xp.check("lm", {"norm": ("layer_norm", "layer_norm")}, ["lr", "rope"])
    with pytest.raises(ConfigError, match=r"lm.rope=True. Expected no such key"):
        xp.check("lm", {"norm": ("rms", "rms")}, ["lr"])
    with pytest.raises(ConfigError, match="lm.bias=True. Expected False"):  # absent, where it would be true
        xp.check("lm", {"bias": (False, True), "norm": ("rms", "rms")}, ["lr", "rope"])
    xp.check("lm", {"norm": ("rms", "rms")}, ["lr", "rope"])


def test_values_written_as_yaml_come_back() -> None:
    shared = [1, 2]
    values = {"b": shared, "a": shared, "text": "a: b", "umlaut": "ä", "none": None, "on": True, "half": 0.5}
    text = to_yaml(values)
    assert from_yaml(text) == values
    assert list(from_yaml(text)) == list(values)
    assert "&" not in text
    assert from_yaml(XpConfig(values, HERE).text) == values
