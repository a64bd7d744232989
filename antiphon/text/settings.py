"""The settings a tokenizer is made with, checked: whether they came from a caller or from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from antiphon.errors import ParamError, ParamTypeError, TokenizerError
from antiphon.text.padding import NO_MAX_LENGTH, SIDES
from antiphon.text.special_tokens import STANDARD_NAMES

TEMPLATE_FILE = "chat_template.jinja"
TEMPLATE_FOLDER = "additional_chat_templates"


def is_token_name(name: str, value: Any) -> bool:
    """Whether this keyword of a constructor names a special token."""
    is_token = isinstance(value, (str, AddedToken)) or (isinstance(value, Mapping) and "content" in value)
    return name in STANDARD_NAMES or (name.endswith("_token") and is_token)


def checked_side(name: str, value: Any) -> str:
    """``value`` as a side, or ``ParamError``."""
    if value not in SIDES:
        raise ParamError(f"{name}={value!r}", expected="'right' or 'left'")
    return str(value)


def checked_flag(name: str, value: Any) -> bool:
    """``value`` as a bool, or ``ParamTypeError``."""
    if not isinstance(value, bool):
        raise ParamTypeError(f"{name}={value!r}", expected="True or False")
    return value


def checked_max_length(value: Any) -> int:
    """``value`` as the most tokens a model takes; ``None`` is the number that stands for "not stated"."""
    if value is None:
        return NO_MAX_LENGTH
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ParamTypeError(f"model_max_length={value!r}", expected="an integer or None")
    if not 0 <= value < float("inf"):
        raise ParamError(f"model_max_length={value!r}", expected="an integer of at least 0, or None")
    return int(value)  # older files hold 1e30 as a float


def checked_template(value: Any) -> str | dict[str, str] | None:
    """A chat template as a string or a dict of strings; older files hold a list of {name, template}."""
    if isinstance(value, (list, tuple)) and all(isinstance(item, Mapping) and "name" in item for item in value):
        value = {item["name"]: item.get("template") for item in value}
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping) and all(isinstance(part, str) for pair in value.items() for part in pair):
        return dict(value)
    raise ParamTypeError(f"chat_template is of type {type(value).__name__}", expected="a string or a dict of strings")


def template_files(template: str | dict[str, str] | None) -> dict[str, str]:
    """The chat template files to write, by their path inside the folder."""
    named = {"default": template} if isinstance(template, str) else template or {}
    for name in named:
        # the name comes from a file and becomes a path
        if not name or Path(name).name != name or name.startswith("."):
            raise TokenizerError(f"chat template name {name!r}", expected="a plain name without folders")
    return {
        TEMPLATE_FILE if name == "default" else f"{TEMPLATE_FOLDER}/{name}.jinja": text for name, text in named.items()
    }
