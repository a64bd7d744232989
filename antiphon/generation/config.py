"""The settings of a generation: a mutable, validated object, its file, and which setting wins over which."""

from __future__ import annotations

import copy
import difflib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from antiphon.errors import CheckpointError, ConfigError, ParamError, unknown_argument
from antiphon.generation import config_file, fields
from antiphon.generation.precedence import refuse_unknown, require_single_beam, resolve, resolve_length

__all__ = [
    "FILE_NAME",
    "GLOBAL_DEFAULTS",
    "HONOURED",
    "KEPT",
    "GenerationConfig",
    "local_folder",
    "refuse_unknown",
    "require_single_beam",
    "resolve",
    "resolve_folder",
    "resolve_length",
]

logger = logging.getLogger(__name__)

FILE_NAME = "generation_config.json"
HONOURED = frozenset(fields.HONOURED)
KEPT = frozenset(fields.KEPT)
GLOBAL_DEFAULTS = fields.GLOBAL_DEFAULTS

_DECODERS = ("decoder", "generator", "text_config")
_RECORDED = ("output_attentions", "output_hidden_states", "output_scores", "output_logits")


def local_folder(name: str | os.PathLike[str], *, subfolder: str = "", **hub_kwargs: Any) -> Path:
    """The folder of a checkpoint on this machine; what comes with access to the Hub changes nothing.

    Raises:
        CheckpointError: there is no such folder, or ``subfolder`` leads out of it.
    """
    folder = Path(name)
    if not folder.is_dir():
        raise CheckpointError(f"there is no folder {os.fspath(name)!r}", expected="a local folder with a checkpoint")
    inner = (folder / subfolder).resolve()
    if not inner.is_relative_to(folder.resolve()):
        raise CheckpointError(
            f"subfolder={subfolder!r} leads out of {os.fspath(name)!r}", expected="a folder inside it"
        )
    return inner if subfolder else folder


# Code that knows the Hub puts its own here.
resolve_folder: Callable[..., Path] = local_folder


class GenerationConfig:
    """How to generate: lengths, samplers, guidance, special tokens, what to return.

    Every documented field is an attribute and a keyword; ``None`` leaves it unset, and a call then takes the model's
    own value, then the global default (``max_length`` 20, ``top_k`` 50, ``temperature`` 1.0, ``do_sample`` False,
    ``num_return_sequences`` 1, ``use_cache`` True). A value is checked when it is set. Keywords that are no field are
    kept as attributes and saved.

    Beside the documented fields: ``seed`` (an int s gives the items s, s + 1, ..; or a list), ``independent_rows``
    (each row as if it were alone), ``batch_invariant`` (equal bits whatever the batch, at a cost), ``window_seconds``
    and ``stride_seconds`` (how much of a long piece the model sees at once, and how far the windows lie apart),
    ``cache_dtype`` (what keys and values are kept in: "float32", "bfloat16", "float16" or "int8"; as they come unless
    told).

    Raises:
        ParamError: a field got a value it may not hold, or two fields contradict each other.

    Source: the names, defaults and file of transformers 5.23's ``GenerationConfig``.
    """

    max_length: int | None
    max_new_tokens: int | None
    min_length: int | None
    min_new_tokens: int | None
    max_time: float | None
    stop_strings: str | list[str] | None
    do_sample: bool | None
    num_beams: int | None
    length_penalty: float | None
    early_stopping: bool | str | None
    use_cache: bool | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    repetition_penalty: float | None
    no_repeat_ngram_size: int | None
    bad_words_ids: list[list[int]] | None
    suppress_tokens: list[int] | None
    guidance_scale: float | None
    num_return_sequences: int | None
    output_attentions: bool | None
    output_hidden_states: bool | None
    output_scores: bool | None
    output_logits: bool | None
    return_dict_in_generate: bool | None
    pad_token_id: int | None
    bos_token_id: int | None
    eos_token_id: int | list[int] | None
    decoder_start_token_id: int | None
    seed: int | list[int] | None
    independent_rows: bool | None
    batch_invariant: bool | None
    window_seconds: float | None
    stride_seconds: float | None
    cache_dtype: str | None

    def __init__(self, **kwargs: Any) -> None:
        kwargs.pop("_commit_hash", None)
        for name in (*fields.HONOURED, *fields.KEPT, "_from_model_config", "transformers_version"):
            setattr(self, name, kwargs.pop(name, None))
        # a model's config holds much that is no setting of a generation: nothing unknown is taken from it
        for name, value in {} if self._from_model_config else kwargs.items():
            setattr(self, name, value)
        self.validate()

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in vars(self) and (near := _nearest(name, cutoff=0.85)):
            logger.warning("a generation config got an unknown field %r; did you mean %r?", name, near)
        object.__setattr__(self, name, fields.check_field(name, value))

    def __getattr__(self, name: str) -> Any:
        # reached only for what is neither a field nor an unknown key that was set
        near = _nearest(name)
        raise AttributeError(f"GenerationConfig has no field {name!r}" + (f"; did you mean {near!r}?" if near else ""))

    def __eq__(self, other: object) -> bool:
        """Equal when every field and unknown key is, whatever file or version they came from."""
        if not isinstance(other, GenerationConfig):
            return NotImplemented
        return _without_metadata(self.to_dict()) == _without_metadata(other.to_dict())

    __hash__ = None  # type: ignore[assignment]  # mutable, and equal by value

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string(ignore_metadata=True)}"

    def validate(self) -> None:
        """Checks every field again, and the fields against each other.

        Raises:
            ParamError: naming the field, or both fields of a contradiction.
        """
        for name, value in list(vars(self).items()):
            fields.check_field(name, value)
        sequences, beams = self.num_return_sequences or 1, self.num_beams or 1
        if sequences > 1 and beams == 1 and self.do_sample is not True:
            raise ParamError(
                f"num_return_sequences={sequences} with do_sample={self.do_sample}: all would be equal",
                expected="num_return_sequences=1 without sampling",
                fix="Pass do_sample=True",
            )
        if beams > 1 and sequences > beams:
            raise ParamError(f"num_return_sequences={sequences}", expected=f"at most num_beams={beams}")
        fewest, most = self.min_new_tokens, self.max_new_tokens
        if fewest is not None and most is not None and fewest > most:
            raise ParamError(f"min_new_tokens={fewest}", expected=f"at most max_new_tokens={most}")

    def to_dict(self) -> dict[str, Any]:
        """Every field and unknown key, unset ones as ``None``; a copy."""
        return copy.deepcopy(vars(self))

    def to_diff_dict(self) -> dict[str, Any]:
        """The fields that are set and the unknown keys; a copy."""
        return {
            k: v
            for k, v in self.to_dict().items()
            if v is not None or not (k in HONOURED or k in KEPT or k in fields.METADATA)
        }

    def to_json_string(self, use_diff: bool = True, ignore_metadata: bool = False) -> str:
        """JSON with sorted keys, two spaces of indent and a newline at its end.

        Args:
            use_diff: only what is set; False writes every field.
            ignore_metadata: leaves out what tells where the config came from.
        """
        content = self.to_diff_dict() if use_diff else self.to_dict()
        if ignore_metadata:
            content = _without_metadata(content)
        return json.dumps(_jsonable(content), indent=2, sort_keys=True) + "\n"

    def copy(self) -> GenerationConfig:
        """An independent copy."""
        return copy.deepcopy(self)

    def update(self, **kwargs: Any) -> dict[str, Any]:
        """Sets the fields and unknown keys that this config has, and returns the keywords it has not.

        Raises:
            ParamError: a value is refused; the config is then as it was.
        """
        known = {name: value for name, value in kwargs.items() if name in vars(self)}
        trial = self.copy()
        for name, value in known.items():
            setattr(trial, name, value)
        trial.validate()
        vars(self).update({name: vars(trial)[name] for name in known})
        return {name: value for name, value in kwargs.items() if name not in known}

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], *, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """A config from a mapping; keywords win over its entries.

        Returns:
            The config, or with ``return_unused_kwargs`` the pair of it and the keywords that are no field; these are
            not kept then.
        """
        unused = {k: v for k, v in kwargs.items() if k not in HONOURED and k not in KEPT and k not in config_dict}
        taken = {k: v for k, v in kwargs.items() if not return_unused_kwargs or k not in unused}
        config = cls(**{**config_dict, **taken})
        return (config, unused) if return_unused_kwargs else config

    @classmethod
    def from_model_config(cls, model_config: Any) -> GenerationConfig:
        """The settings that a model's config (a mapping, or an object with ``to_dict``) and its decoder's hold."""
        outer: Mapping[str, Any] = model_config if isinstance(model_config, Mapping) else model_config.to_dict()
        found = {k: v for k, v in outer.items() if v is not None and not k.startswith("_")}
        config = cls(**{**found, "_from_model_config": True})
        inner = next((outer[name] for name in _DECODERS if outer.get(name)), outer)
        inner = inner if isinstance(inner, Mapping) else inner.to_dict()
        for name in (*HONOURED, *KEPT):
            if getattr(config, name) is None and inner.get(name) is not None:
                setattr(config, name, inner[name])
        if not config.return_dict_in_generate and any(getattr(config, name) for name in _RECORDED):
            config.return_dict_in_generate = True
        return config

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name: str | os.PathLike[str],
        config_file_name: str | None = None,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str = "main",
        subfolder: str = "",
        proxies: dict[str, str] | None = None,
        return_unused_kwargs: bool = False,
        **kwargs: Any,
    ) -> Any:
        """The config of a checkpoint's folder (``generation_config.json`` there, or ``config_file_name``).

        Args:
            pretrained_model_name: a folder, or a name that ``resolve_folder`` knows.
            return_unused_kwargs: return a pair, the config and the keywords that are no field.
            kwargs: fields that win over the file's.

        Raises:
            CheckpointError: the folder or file is missing, or the file is no JSON object.
            ConfigError: the file holds a value that its field may not hold.
        """
        hub: dict[str, Any] = {
            "cache_dir": cache_dir,
            "force_download": force_download,
            "local_files_only": local_files_only,
        }
        hub |= {"token": token, "revision": revision, "proxies": proxies}
        folder = resolve_folder(pretrained_model_name, subfolder=subfolder, **hub)
        path = config_file.file_in(folder, config_file_name or FILE_NAME)
        content = config_file.read(path)
        try:
            config = cls(**content)
        except ParamError as error:
            raise ConfigError(f"{path}: {error.what}", expected=error.expected, fix=error.fix) from error
        ignored = {name: content[name] for name in sorted(content) if fields.asks_for_something(name, content[name])}
        if ignored:
            logger.warning("%s sets fields that are kept but not followed: %s", path, ignored)
        unused = config.update(**kwargs)
        if return_unused_kwargs:
            return config, unused
        for name, value in unused.items():
            setattr(config, name, value)
        return config

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        config_file_name: str | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Writes what is set to ``generation_config.json`` (or ``config_file_name``) in a folder, made if missing.

        The file appears whole or not at all.

        Raises:
            ParamError: a field holds what it may not hold, or ``push_to_hub`` is asked for.
            CheckpointError: the path is a file, or the file cannot be written.
        """
        if push_to_hub:
            raise ParamError("push_to_hub=True", expected="False", fix="Save to a folder and upload it: hf upload")
        for name in kwargs:
            raise unknown_argument(name, ("save_directory", "config_file_name"), where="save_pretrained")
        self.validate()
        folder = Path(save_directory)
        if folder.exists() and not folder.is_dir():
            raise CheckpointError(f"{os.fspath(save_directory)!r} is a file", expected="a folder to save into")
        config_file.write(config_file.file_in(folder, config_file_name or FILE_NAME), self.to_json_string())


def _without_metadata(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in fields.METADATA}


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _jsonable(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(one) for one in value]
    return value.to_dict() if hasattr(value, "to_dict") else value


def _nearest(name: str, cutoff: float = 0.6) -> str | None:
    """The field that ``name`` may have been meant for; ``None`` for fields themselves and for private names."""
    if name in HONOURED or name in KEPT or name.startswith("_"):
        return None
    return next(iter(difflib.get_close_matches(name, [*HONOURED, *KEPT], n=1, cutoff=cutoff)), None)
