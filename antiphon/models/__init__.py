"""The documented classes: thin, in the names the documents use.

Importing them gives the floors below access to the Hub: those read folders, and ask here for the folder of a name.
"""

import os
from pathlib import Path
from typing import Any

from antiphon.checkpoints import hub
from antiphon.generation import config as _generation_config
from antiphon.text import tokenizer as _tokenizer


def _resolve_folder(name: Any, **access: Any) -> Path:
    for ignored in ("use_fast", "trust_remote_code", "proxies"):
        access.pop(ignored, None)
    patterns = ["*.json", "*.model", "*.jinja", "merges.txt"]
    return hub.locate(name, patterns=patterns, **{key: value for key, value in access.items() if value is not None})


def _resolve_tokenizer(name: Any, **access: Any) -> Path:
    # a tokenizer may be a single file, which the Hub has no word for
    if isinstance(name, str | os.PathLike) and os.path.isfile(os.path.expanduser(name)):
        return _tokenizer.local_folder(name, **access)
    return _resolve_folder(name, **access)


_generation_config.resolve_folder = _resolve_folder
_tokenizer.resolve_folder = _resolve_tokenizer
