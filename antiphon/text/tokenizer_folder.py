"""The files of one tokenizer in a folder: read with limits and clear errors, and written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from antiphon.errors import ParamTypeError, TokenizerError
from antiphon.text.backend import added_tokens, foreign_errors, parse_json
from antiphon.text.sentencepiece_model import SentencePieceModel
from antiphon.text.settings import TEMPLATE_FILE, TEMPLATE_FOLDER
from antiphon.text.special_tokens import STANDARD_NAMES, as_token

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"
VOCABULARY_FILE, MERGES_FILE = "vocab.json", "merges.txt"
SENTENCEPIECE_FILES = ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model")

MAX_TOKENIZER_BYTES = 64 * 1024 * 1024
MAX_CONFIG_BYTES = 16 * 1024 * 1024
MAX_TEMPLATE_BYTES = 1024 * 1024

# what a configuration must never decide: which file is opened, which object is used, how it was loaded last time
PRIVATE_KEYS = frozenset(
    {
        "self",
        "tokenizer_object",
        "tokenizer_file",
        "vocab_file",
        "vocab",
        "merges",
        "merges_file",
        "sentencepiece_model",
        "source",
        "added_tokens_decoder",
        "name_or_path",
        "is_local",
        "local_files_only",
        "special_tokens_map_file",
        "files_loaded",
        "init_inputs",
        "device_map",
        "slow_tokenizer_class",
        "fast_tokenizer_files",
        "tokenizer_class",
    }
)


@dataclass
class TokenizerFolder:
    """What a folder holds, parsed but not yet built.

    ``config`` are the constructor's keywords from ``tokenizer_config.json`` and its older companions;
    ``added`` the added tokens by id with their flags; ``tokenizer`` the parsed ``tokenizer.json`` and
    ``tokenizer_text`` its text. Only where there is no tokenizer.json: ``sentencepiece`` the SentencePiece model, or
    ``vocabulary`` and ``merges``, the paths of a ``vocab.json`` and a ``merges.txt``.
    """

    source: str
    tokenizer_class: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    added: dict[int, AddedToken] = field(default_factory=dict)
    tokenizer_text: str | None = None
    tokenizer: dict[str, Any] | None = None
    tokenizer_source: str = ""
    sentencepiece: SentencePieceModel | None = None
    vocabulary: Path | None = None
    merges: Path | None = None

    @classmethod
    def read(cls, path: Path) -> TokenizerFolder:
        """The tokenizer in the folder ``path``, or the one file ``path`` (a ``tokenizer.json`` or a ``.model``).

        Raises ``TokenizerError`` naming the file: none there, damaged, or too large.
        """
        found = cls(source=str(path))
        if path.is_file():
            found._read_vocabulary(path)
            return found
        if not path.is_dir():
            raise TokenizerError(f"{path} does not exist", expected="a folder with tokenizer.json or spiece.model")
        names = [TOKENIZER_FILE, *SENTENCEPIECE_FILES, *sorted(item.name for item in path.glob("*_spm_*.model"))]
        if (path / MERGES_FILE).is_file():  # without them a vocab.json is no tokenizer
            names.append(VOCABULARY_FILE)
        vocabulary = next((path / name for name in names if (path / name).is_file()), None)
        if vocabulary is None:
            raise TokenizerError(
                f"{path} holds no tokenizer",
                expected=f"{TOKENIZER_FILE} or {SENTENCEPIECE_FILES[0]}",
                fix="Download the checkpoint with its tokenizer files",
            )
        found._read_vocabulary(vocabulary)
        found._read_config(path)
        found._read_templates(path)
        return found

    def _read_vocabulary(self, path: Path) -> None:
        self.tokenizer_source = str(path)
        if path.name == VOCABULARY_FILE:
            self.vocabulary, self.merges = path, path.with_name(MERGES_FILE)
        elif path.suffix == ".json":
            self.tokenizer_text = read_text(path, MAX_TOKENIZER_BYTES)
            self.tokenizer = parse_json(self.tokenizer_text, str(path))
            self.added = added_tokens(self.tokenizer, str(path))
        else:
            self.sentencepiece = SentencePieceModel.read(path)

    def _read_config(self, folder: Path) -> None:
        config = _read_object(folder / CONFIG_FILE)
        name = config.get("tokenizer_class")
        self.tokenizer_class = name if isinstance(name, str) else None
        written = config.get("added_tokens_decoder")
        if written is not None:  # files of transformers 4 keep the flags here; then the older companions do not count
            self.added = _added_tokens_of(written, str(folder / CONFIG_FILE))
        else:
            older = _read_object(folder / SPECIAL_TOKENS_FILE)
            further = older.pop("extra_special_tokens", None)
            config.update(older)
            if isinstance(further, list):  # here, and only here, the older file adds to the newer one
                known = config.get("extra_special_tokens") or []
                config["extra_special_tokens"] = [*known, *(item for item in further if item not in known)]
            elif further is not None:
                config["extra_special_tokens"] = further
            self._read_added_tokens(folder / ADDED_TOKENS_FILE, config)
        if self.tokenizer is not None:  # its post-processor says whether bos and eos are added
            config.pop("add_bos_token", None)
            config.pop("add_eos_token", None)
        self.config = {key: value for key, value in config.items() if key not in PRIVATE_KEYS}

    def _read_added_tokens(self, path: Path, config: Mapping[str, Any]) -> None:
        special = {str(config[name]) for name in STANDARD_NAMES if config.get(name)}
        for key in ("additional_special_tokens", "extra_special_tokens"):
            further = config.get(key)
            special.update(map(str, further if isinstance(further, (list, Mapping)) else ()))
        from_json = {str(token) for token in self.added.values()}
        for content, token_id in _read_object(path).items():
            if isinstance(token_id, bool) or not isinstance(token_id, int):
                raise TokenizerError(f"{path} gives {content!r} the id {token_id!r}", expected="an integer")
            if content not in from_json:
                is_special = content in special
                self.added[token_id] = AddedToken(content, normalized=not is_special, special=is_special)

    def _read_templates(self, folder: Path) -> None:
        templates: dict[str, str] = {}
        if (folder / TEMPLATE_FILE).is_file():
            templates["default"] = read_text(folder / TEMPLATE_FILE, MAX_TEMPLATE_BYTES)
        for path in sorted((folder / TEMPLATE_FOLDER).glob("*.jinja")):
            templates[path.stem] = read_text(path, MAX_TEMPLATE_BYTES)
        if templates:
            self.config["chat_template"] = templates["default"] if list(templates) == ["default"] else templates


def read_text(path: Path, limit_bytes: int) -> str:
    """The text of ``path`` (UTF-8, a byte order mark is dropped); ``TokenizerError`` when too large or unreadable."""
    try:
        size_bytes = path.stat().st_size
        if size_bytes > limit_bytes:
            raise TokenizerError(f"{path} has {size_bytes} bytes", expected=f"at most {limit_bytes} bytes")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise TokenizerError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path} is not UTF-8 text: {error}", fix="Download the file again") from error


def _read_object(path: Path) -> dict[str, Any]:
    return parse_json(read_text(path, MAX_CONFIG_BYTES), str(path)) if path.is_file() else {}


def _added_tokens_of(written: Any, source: str) -> dict[int, AddedToken]:
    found: dict[int, AddedToken] = {}
    with foreign_errors(f"{source} has an unusable added_tokens_decoder"):
        for token_id, value in written.items():
            try:
                token = as_token(value, name=f"added_tokens_decoder[{token_id}]")
            except ParamTypeError as error:
                raise TokenizerError(f"{source}: {error.what}", expected=error.expected) from error
            is_special = isinstance(value, Mapping) and bool(value.get("special", False))
            if isinstance(token, str):
                raise TokenizerError(f"{source} has the added token {token!r} without its flags", expected="an object")
            token.special = is_special
            found[int(token_id)] = token
    return found


def write_files(folder: Path, contents: Mapping[str, str | bytes]) -> tuple[str, ...]:
    """Writes ``contents`` (name: text or bytes) into ``folder`` and returns the paths, in order.

    Each file appears whole or not at all: it is written beside its place and then moved. Raises ``TokenizerError``
    naming the file that could not be written.
    """
    return tuple(_write_files(folder, contents))


def _write_files(folder: Path, contents: Mapping[str, str | bytes]) -> Iterator[str]:
    for name, content in contents.items():
        path = folder / name
        # the process id in the name lets a later start sweep what a killed process left
        part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as file:
                file.write(content.encode("utf-8") if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError as error:
            raise TokenizerError(f"{path} cannot be written: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):  # moved away, or never made
                part.unlink()
        yield str(path)


def to_json(value: Mapping[str, Any]) -> str:
    """``value`` as it is written to files: sorted, indented, characters as they are; tokens become their objects."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=_token_object) + "\n"


def _token_object(value: Any) -> Any:
    if isinstance(value, AddedToken):
        flags = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
        return {"__type": "AddedToken"} | {flag: getattr(value, flag) for flag in flags}
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
