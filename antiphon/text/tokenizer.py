"""The documented tokenizer: texts to ids and back, on top of a compiled tokenizer, with its files."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tokenizers import AddedToken, Tokenizer, processors

from antiphon.errors import ParamError, ParamTypeError, TokenizerError, unknown_argument
from antiphon.text import tokenizer_folder as files
from antiphon.text.backend import check_token_ids, foreign_errors, read_backend, sentencepiece_backend
from antiphon.text.chat_encoder import ChatEncoder
from antiphon.text.sentencepiece_model import SentencePieceModel
from antiphon.text.settings import (
    checked_flag,
    checked_max_length,
    checked_side,
    checked_template,
    is_token_name,
    template_files,
)
from antiphon.text.special_tokens import SpecialTokens
from antiphon.text.tokenizer_folder import TokenizerFolder

HUB_KEYWORDS = frozenset(
    {
        "revision",
        "token",
        "cache_dir",
        "local_files_only",
        "force_download",
        "proxies",
        "subfolder",
        "use_fast",
        "trust_remote_code",
    }
)


def local_folder(name: str | os.PathLike[str], **hub_kwargs: Any) -> Path:
    """The folder (or file) of the tokenizer ``name`` on this machine.

    Raises ``TokenizerError`` when there is nothing.
    """
    path = Path(name).expanduser()
    subfolder = hub_kwargs.get("subfolder")
    path = path / subfolder if subfolder else path
    if not path.exists():
        raise TokenizerError(
            f"there is no folder {str(path)!r}", expected="a folder with tokenizer.json or spiece.model"
        )
    return path


# Code that knows the Hub puts its own here; it gets the hub keywords that ``from_pretrained`` was given.
resolve_folder: Callable[..., Path] = local_folder


class PreTrainedTokenizer(ChatEncoder):
    """A tokenizer with the documented calls, from a ``tokenizer.json`` or a SentencePiece model.

    Args:
        tokenizer_object: the compiled tokenizer (copied).
        tokenizer_file: instead of it, the path of a ``tokenizer.json``.
        vocab_file: instead of it, the path of a SentencePiece model.
        unk_token, pad_token, eos_token, bos_token: the named tokens; added to the vocabulary where it lacks them.
            Any other ``*_token`` (``sep_token``, ``audio_token``) is a named token too.
        additional_special_tokens: further special tokens (``extra_special_tokens`` is the same).
        padding_side, truncation_side: ``"right"`` or ``"left"``.
        model_max_length: tokens the model takes; ``None`` for no stated limit.
        split_special_tokens: read special tokens in a text as plain characters. Unlike the reference this holds for
            Unigram models too.
        clean_up_tokenization_spaces: whether ``decode`` removes spaces before punctuation by default.
        chat_template: for ``apply_chat_template`` (a string, a dict of strings, or the list form of older files).
        add_bos_token, add_eos_token: when given, replace what the tokenizer adds around a text.
        added_tokens_decoder: added tokens by id, with flags.
        init_kwargs: anything else is kept and saved again.

    Every ``*_token`` answers as an attribute, and with ``_id`` behind it as its id; both are ``None`` when not set.
    A tokenizer may be used by many threads.

    Raises:
        TokenizerError: unreadable files, or tokens that do not belong to the vocabulary.
        ParamError, ParamTypeError: unusable arguments.

    Source: ids, masks and texts are those of transformers 5.23's ``TokenizersBackend``.
    """

    # the name other readers know this class by
    saved_class_name: str = "PreTrainedTokenizerFast"

    def __init__(
        self,
        *,
        tokenizer_object: Tokenizer | None = None,
        tokenizer_file: str | os.PathLike[str] | None = None,
        vocab_file: str | os.PathLike[str] | None = None,
        additional_special_tokens: Sequence[str | AddedToken] | None = None,
        extra_special_tokens: Any = None,
        padding_side: str | None = None,
        truncation_side: str | None = None,
        model_max_length: int | None = None,
        split_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool = False,
        chat_template: Any = None,
        add_bos_token: bool | None = None,
        add_eos_token: bool | None = None,
        added_tokens_decoder: Mapping[int, AddedToken] | None = None,
        sentencepiece_model: SentencePieceModel | None = None,
        **init_kwargs: Any,
    ) -> None:
        self._lock = threading.Lock()
        self._plain: Tokenizer | None = None
        self._warned_of_length = False
        self._sentencepiece = sentencepiece_model
        self._backend = self._make_backend(tokenizer_object, tokenizer_file, vocab_file)
        baked = self._take_baked_settings()
        named = {name: init_kwargs.pop(name) for name in list(init_kwargs) if is_token_name(name, init_kwargs[name])}
        named.update(init_kwargs.pop("model_specific_special_tokens", None) or {})
        if named.get("pad_token") is None and baked.get("pad_token"):
            named["pad_token"] = baked["pad_token"]
        self._special = SpecialTokens(named, extra_special_tokens or additional_special_tokens)
        self.padding_side = checked_side("padding_side", padding_side or baked.get("padding_side") or "right")
        self.truncation_side = checked_side(
            "truncation_side", truncation_side or baked.get("truncation_side") or "right"
        )
        self.model_max_length = checked_max_length(model_max_length)
        self.split_special_tokens = checked_flag("split_special_tokens", split_special_tokens)
        self.clean_up_tokenization_spaces = checked_flag("clean_up_tokenization_spaces", clean_up_tokenization_spaces)
        self.chat_template = checked_template(chat_template)
        self.pad_token_type_id = 0
        self.name_or_path = str(init_kwargs.pop("name_or_path", ""))
        self.init_kwargs: dict[str, Any] = init_kwargs
        self._register_tokens(dict(added_tokens_decoder or {}))
        if add_bos_token is not None or add_eos_token is not None:
            self._surround(bos=bool(add_bos_token), eos=bool(add_eos_token))

    def _make_backend(
        self,
        tokenizer_object: Tokenizer | None,
        tokenizer_file: str | os.PathLike[str] | None,
        vocab_file: str | os.PathLike[str] | None,
    ) -> Tokenizer:
        if tokenizer_object is not None:
            if not isinstance(tokenizer_object, Tokenizer):
                raise ParamTypeError(
                    f"tokenizer_object is of type {type(tokenizer_object).__name__}", expected="a tokenizers.Tokenizer"
                )
            return copy.deepcopy(tokenizer_object)
        if tokenizer_file is not None:
            path = Path(tokenizer_file)
            return read_backend(files.read_text(path, files.MAX_TOKENIZER_BYTES), str(path))
        if vocab_file is not None and self._sentencepiece is None:
            self._sentencepiece = SentencePieceModel.read(Path(vocab_file))
        if self._sentencepiece is None:
            raise ParamError("no vocabulary was given", expected="tokenizer_object, tokenizer_file or vocab_file")
        return sentencepiece_backend(self._sentencepiece, str(vocab_file or "the SentencePiece model"))

    def _take_baked_settings(self) -> dict[str, Any]:
        """Padding and truncation written into a tokenizer.json: as defaults they count, in the backend they go."""
        padding, truncation = self._backend.padding or {}, self._backend.truncation or {}
        self._backend.no_padding()
        self._backend.no_truncation()
        return {
            "pad_token": padding.get("pad_token"),
            "padding_side": padding.get("direction"),
            "truncation_side": truncation.get("direction"),
        }

    def _register_tokens(self, added: dict[int, AddedToken]) -> None:
        """Gives the backend every special token it does not have yet, the ones with a known id first and in order."""
        self._special.take_flags({str(token): token for token in added.values()})
        present = {repr(token) for token in self._backend.get_added_tokens_decoder().values()}
        wanted = [token for _, token in sorted(added.items()) if repr(token) not in present]
        spelled = {token.content for token in self._backend.get_added_tokens_decoder().values()}
        spelled.update(str(token) for token in wanted)
        for token in self._special:
            if str(token) not in spelled:
                wanted.append(AddedToken(token, special=True) if isinstance(token, str) else token)
                spelled.add(str(token))
        for token in wanted:
            if str(token) in self._special.as_map().values():
                token.special = True
        if wanted:
            with foreign_errors("the special tokens cannot be added to the vocabulary"):
                self._backend.add_tokens(wanted)

    def _surround(self, *, bos: bool, eos: bool, second: int = 1) -> None:
        """Makes the backend add ``bos_token`` before and ``eos_token`` behind a text; ``second``: type id in pairs."""
        before, after = self._special.get("bos_token") if bos else None, self._special.get("eos_token") if eos else None
        single = [token for token in (before, "$A:0", after) if token]
        pair = single + [f"{token}:{second}" for token in (before, "$B", after) if token]
        marks = [(token, self._id_of(token)) for token in dict.fromkeys((before, after)) if token]
        with foreign_errors("the tokens around a text cannot be set"):
            self._backend.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=marks)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Self:
        """The tokenizer saved in a folder or published under a name.

        Args:
            pretrained_model_name_or_path: a folder, a ``tokenizer.json``, a SentencePiece file or a Hub name.
            kwargs: ``revision``, ``token``, ``cache_dir``, ``local_files_only``, ``force_download``, ``proxies``,
                ``subfolder``, ``use_fast`` and ``trust_remote_code`` say where to look; no code of a repository is ever
                run. Everything else goes to the constructor and wins over the files.

        Raises:
            TokenizerError: nothing there, or unreadable; names the file.
        """
        hub = {name: kwargs.pop(name) for name in list(kwargs) if name in HUB_KEYWORDS}
        folder = resolve_folder(pretrained_model_name_or_path, **hub)
        tokenizer = cls.from_folder(folder, **kwargs)
        tokenizer.name_or_path = str(pretrained_model_name_or_path)
        return tokenizer

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str], **overrides: Any) -> Self:
        """The tokenizer in a local folder or file; ``overrides`` win over what the files say.

        Raises ``TokenizerError`` naming the file that is missing, damaged or does not fit the others.
        """
        found = TokenizerFolder.read(Path(folder))
        settings = found.config | {"added_tokens_decoder": found.added}
        vocabulary = cls._vocabulary_of(found, settings | overrides)
        try:
            tokenizer = cls(**settings | vocabulary | overrides)
        except (ParamError, ParamTypeError, TokenizerError) as error:
            raise TokenizerError(
                f"the tokenizer in {found.tokenizer_source} cannot be built: {error.what}",
                expected=error.expected,
                fix=error.fix,
            ) from error
        tokenizer.name_or_path = found.source
        if cls.saved_class_name == PreTrainedTokenizer.saved_class_name and found.tokenizer_class:
            tokenizer.saved_class_name = found.tokenizer_class  # a family we open without its own class
        check_token_ids(tokenizer._backend, found.added.items(), found.tokenizer_source)
        return tokenizer

    @classmethod
    def _vocabulary_of(cls, found: TokenizerFolder, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The constructor's keywords that carry the vocabulary; families that rebuild it do so here."""
        if found.tokenizer_text is not None:
            return {"tokenizer_object": read_backend(found.tokenizer_text, found.tokenizer_source)}
        model = found.sentencepiece
        if model is None:
            raise TokenizerError(f"{found.source} holds no vocabulary")
        named = {"unk_token": model.unk_id, "bos_token": model.bos_id, "eos_token": model.eos_id}
        named["pad_token"] = model.pad_id
        tokens = {name: model.token(token_id) for name, token_id in named.items() if not settings.get(name)}
        return {"sentencepiece_model": model} | {name: token for name, token in tokens.items() if token is not None}

    def save_pretrained(self, save_directory: str | os.PathLike[str], **unknown: Any) -> tuple[str, ...]:
        """Writes the tokenizer's files into ``save_directory`` (made if needed) and returns their paths.

        ``tokenizer.json``, ``tokenizer_config.json``, ``special_tokens_map.json``, the chat template if there is one,
        and the SentencePiece model this tokenizer came from. Raises ``TokenizerError`` where a file cannot be written.
        """
        for name in unknown:
            raise unknown_argument(name, ["save_directory"], where="save_pretrained")
        contents: dict[str, str | bytes] = {files.CONFIG_FILE: files.to_json(self._config())}
        contents[files.SPECIAL_TOKENS_FILE] = files.to_json(self._special_tokens())
        contents.update(template_files(self.chat_template))
        with self._lock:
            contents[files.TOKENIZER_FILE] = self._backend.to_str(pretty=True)
        if self._sentencepiece is not None:
            contents[files.SENTENCEPIECE_FILES[0]] = self._sentencepiece.content
        return files.write_files(Path(save_directory), contents)

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {"backend": "tokenizers"} | self.init_kwargs | self._special_tokens()
        config["model_max_length"] = self.model_max_length
        config["clean_up_tokenization_spaces"] = self.clean_up_tokenization_spaces
        config["tokenizer_class"] = self.saved_class_name
        usual = {"padding_side": "right", "truncation_side": "right", "split_special_tokens": False}
        config.update({name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value})
        return config

    def _special_tokens(self) -> dict[str, Any]:
        # "additional_special_tokens" is the one name that readers of every version understand
        further = {"additional_special_tokens": self.additional_special_tokens} if self._special.further else {}
        return self.special_tokens_map | further

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name_or_path!r}, vocab_size={self.vocab_size}, total={len(self)}, "
            f"model_max_length={self.model_max_length}, padding_side={self.padding_side!r}, "
            f"special_tokens={self.special_tokens_map})"
        )
