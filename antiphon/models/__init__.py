"""The documented classes: thin, in the names the documents use.

Importing them gives the floors below access to the Hub: those read folders, and ask here for the folder of a name.
"""

from pathlib import Path
from typing import Any

from antiphon.checkpoints import hub
from antiphon.generation import config as _generation_config
from antiphon.text import tokenizer as _tokenizer


def _resolve_folder(name: Any, **access: Any) -> Path:
    for ignored in ("use_fast", "trust_remote_code", "proxies"):
        access.pop(ignored, None)
    patterns = ["*.json", "*.model", "*.jinja"]
    return hub.locate(name, patterns=patterns, **{key: value for key, value in access.items() if value is not None})


_generation_config.resolve_folder = _resolve_folder
_tokenizer.resolve_folder = _resolve_folder
