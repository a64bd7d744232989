"""The documented classes, arguments and defaults, as ``surface.json`` lists them.

There, ``[]`` says that the name is accepted, ``[value, ...]`` also that the default is one of these, and ``"kwargs"``
that it may pass through ``**kwargs``.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import torch

import antiphon

SURFACE: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "surface.json").read_text())


def found(name: str) -> Any:
    """The public object, or for what need not be public the one of that name in any module."""
    if not SURFACE[name].get("anywhere"):
        return getattr(antiphon, name)
    for module in pkgutil.walk_packages(antiphon.__path__, "antiphon."):
        if ".cli" not in module.name and ".tasks" not in module.name:
            value = vars(importlib.import_module(module.name)).get(name)
            if value is not None:
                return value
    raise AssertionError(f"{name} is nowhere")


def wrong_parameters(function: Any, expected: dict[str, Any]) -> list[str]:
    """What a signature lacks of the expected parameters and defaults."""
    have = inspect.signature(function).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in have.values())
    wrong = []
    for name, default in expected.items():
        if name not in have:
            if not (default == "kwargs" and takes_any):
                wrong.append(name)
        elif default and default != "kwargs" and plain(have[name].default) not in default:
            wrong.append(f"{name}={have[name].default!r}, documented {default}")
    return wrong


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.row("R38", "R111")
@pytest.mark.parametrize("name", [n for n, entry in SURFACE.items() if entry["kind"] == "config"])
def test_configurations_have_the_documented_fields_and_defaults(name: str) -> None:
    cls, config = found(name), found(name)()
    for field, defaults in SURFACE[name]["fields"].items():
        assert hasattr(config, field), field
        if defaults:
            assert plain(getattr(config, field)) in defaults, field
        changed = cls(**{field: getattr(config, field)})
        assert plain(getattr(changed, field)) == plain(getattr(config, field)), field
        assert field in inspect.signature(cls).parameters or field in config.to_dict(), field


@pytest.mark.row("R111")
@pytest.mark.parametrize("name", SURFACE)
def test_names_methods_and_arguments_are_the_documented_ones(name: str) -> None:
    entry, value = SURFACE[name], found(name)
    assert callable(value)
    wrong = wrong_parameters(value, entry.get("init", {}))
    for method, expected in entry.get("methods", {}).items():
        owner = getattr(value, method, None)
        assert callable(owner), method
        assert inspect.ismethod(owner) == bool(expected.get("classmethod")), method
        wrong += [f"{method}: {one}" for one in wrong_parameters(owner, expected["params"])]
    assert wrong == []


@pytest.mark.row("R88")
def test_the_documented_melody_names_are_public() -> None:
    listed = {name for name in antiphon.__all__ if name.startswith("MusicgenMelody")}
    parts = ("Config", "DecoderConfig", "FeatureExtractor", "Processor", "Model", "ForCausalLM")
    assert listed == {f"MusicgenMelody{part}" for part in (*parts, "ForConditionalGeneration")}


@pytest.mark.parametrize("name", [n for n, entry in SURFACE.items() if entry["kind"] == "model"])
def test_models_are_modules_that_save_and_load(name: str) -> None:
    cls = found(name)
    assert issubclass(cls, torch.nn.Module)
    assert issubclass(cls, antiphon.PreTrainedModel)
    assert callable(cls.from_pretrained)
    assert callable(cls.save_pretrained)


def test_every_public_name_is_sorted_listed_and_loads() -> None:
    listed = [name for name in antiphon.__all__ if name != "__version__"]
    assert listed == sorted(listed)
    assert set(listed) <= set(dir(antiphon))
    missing = []
    for name in listed:
        try:
            getattr(antiphon, name)
        except (ImportError, AttributeError) as error:
            missing.append(f"{name}: {error}")
    assert missing == []
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = antiphon.Nonsense
