"""What processors of models that listen and answer share: recordings in windows, placeholders, and conversations."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from antiphon.batch import BatchFeature
from antiphon.checkpoints.audiocraft_folder import Elsewhere
from antiphon.checkpoints.json_files import read_json, write_json
from antiphon.errors import ParamError, ParamTypeError, unknown_argument
from antiphon.models.conversation import Part, recordings_in, with_answers
from antiphon.models.features import PROCESSOR_NAME
from antiphon.models.processing import ProcessorMixin, feature_extractor_in, tokenizer_in
from antiphon.models.recordings import Hearing, as_recordings
from antiphon.models.sound_windows import SoundWindows
from antiphon.text.chat_encoder import tokens_within
from antiphon.text.chat_template import Rendered, chat_template, chosen, conversations_of
from antiphon.text.placeholders import filled, places_of
from antiphon.text.settings import TEMPLATE_FILE, checked_template, template_files
from antiphon.text.text_input import checked_text
from antiphon.text.tokenizer_folder import write_files

IGNORED = -100
"""A label that no loss counts."""

OLDER_TEMPLATE_FILE = "chat_template.json"

_TEXT = ("padding", "truncation", "max_length", "padding_side", "pad_to_multiple_of", "add_special_tokens")
_SOUND = ("sampling_rate", "strict", "device", "do_normalize")
_OTHER = ("output_labels", "mask_user_text", "return_tensors", "text_kwargs", "audio_kwargs", "common_kwargs")


class ListeningProcessor(ProcessorMixin):
    """Texts with recordings among them to the inputs of a model that hears them.

    A recording may be a path, the bytes of a sound file, an ``Audio``, or samples (N,) or (C, N) at ``sampling_rate``;
    whatever it is, the model hears it as mono at its own rate.

    Args:
        feature_extractor: a ``WhisperFeatureExtractor``. tokenizer: a ``Qwen2Tokenizer``.
        chat_template: a Jinja template; the tokenizer's unless given.
        audio_token: stands for a recording in a text, and then as often as the recording has frames.
        max_audio_len: seconds of a recording that are heard. May be changed.

    Raises:
        ParamError: no such token in the vocabulary, or a length that is none.
    """

    # what files hold beside the feature extractor's settings
    setting_names: ClassVar[tuple[str, ...]] = ("audio_token", "max_audio_len")

    def __init__(
        self,
        feature_extractor: Any,
        tokenizer: Any,
        chat_template: str | dict[str, str] | None,
        audio_token: str,
        max_audio_len: float,
    ) -> None:
        super().__init__(feature_extractor, tokenizer)
        self.chat_template = checked_template(chat_template)
        self.audio_token = audio_token
        self.audio_token_id = self._id_of(audio_token)
        self.max_audio_len = max_audio_len
        self._hearing()  # a length that is none is refused at once

    def _id_of(self, token: str) -> int:
        found = self.tokenizer.convert_tokens_to_ids(token) if isinstance(token, str) else None
        if found is None or self.tokenizer.convert_ids_to_tokens(found) != token:
            raise ParamError(f"the tokenizer has no token {token!r}", expected="the tokenizer of the checkpoint")
        return int(found)

    @property
    def audio_token_ids(self) -> list[int]:
        """The ids that are sound and not text."""
        return [self.audio_token_id]

    @property
    def model_input_names(self) -> list[str]:
        """What a call can return."""
        return [*super().model_input_names, "input_features_mask", "window_indices"]

    def _hearing(self, strict: bool = False) -> Hearing:
        chunk_s = self.feature_extractor.chunk_length
        if not (isinstance(self.max_audio_len, (int, float)) and chunk_s <= self.max_audio_len < float("inf")):
            raise ParamError(
                f"max_audio_len={self.max_audio_len!r}", expected=f"seconds, at least one window ({chunk_s})"
            )
        return Hearing(self.sampling_rate, self.max_audio_len // chunk_s * chunk_s, strict)

    def __call__(self, text: Any, audio: Any = None, output_labels: bool | None = False, **kwargs: Any) -> BatchFeature:
        """A batch of texts, with the recordings that their placeholders stand for.

        Args:
            text: one or a list. audio: one recording, a list of them in the order of the placeholders, or for each text
                a list of its own.
            output_labels: also ``labels`` for training.
            kwargs: ``sampling_rate`` of samples in Hz; ``strict`` to refuse a recording longer than ``max_audio_len``
                instead of cutting it; ``device`` and ``do_normalize`` as the feature extractor takes them;
                ``padding`` (``True``), ``padding_side`` (``"left"``), ``truncation``, ``max_length``,
                ``pad_to_multiple_of`` and ``add_special_tokens`` as the tokenizer takes them. ``text_kwargs``,
                ``audio_kwargs`` and ``common_kwargs`` may hold them too. ``return_tensors`` is ``"pt"``.

        Returns:
            ``input_ids`` and ``attention_mask`` (B, T) int64. With recordings ``input_features`` (W, bands, F) float32,
            ``input_features_mask`` (W, F) int32 and ``window_indices`` (W,) int64, the number of each window within its
            recording, for the windows of all recordings in the order of the texts. Labels (B, T) are the ids, and -100
            for pads and sound.

        Raises:
            ParamError: counts that do not match, both named; an argument out of range. ParamTypeError: what is no text,
                no recording or no argument. AudioError: a recording that is damaged, too short or with ``strict`` too
                long. TokenizerError: a text that cannot be tokenised.
        """
        if kwargs.get("mask_user_text"):
            raise ParamError(
                "mask_user_text for texts that are rendered already",
                fix="Use apply_chat_template, which knows who speaks",
            )
        kwargs.pop("mask_user_text", None)
        texts = [text] if isinstance(text, str) else text
        if not isinstance(texts, (list, tuple)) or not texts:
            raise ParamTypeError(f"text is {text!r}"[:80], expected="a text or a list of at least one")
        for number, one in enumerate(texts):
            if not isinstance(one, str):
                raise ParamTypeError(f"text[{number}] is of type {type(one).__name__}", expected="a string")
        rows = [Rendered(checked_text(one, f"text[{number}]")) for number, one in enumerate(texts)]
        parts, counts = ([], None) if audio is None else as_recordings(audio)
        named = [Part(one, None, f"audio[{number}]") for number, one in enumerate(parts)]
        return self._inputs(rows, named, counts, output_labels=bool(output_labels), **kwargs)[0]

    def apply_chat_template(
        self,
        conversation: Any,
        chat_template: str | None = None,
        tools: Any = None,
        documents: Any = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        return_assistant_tokens_mask: bool = False,
        tokenize: bool = False,
        return_tensors: Any = "pt",
        return_dict: bool = False,
        processor_kwargs: dict[str, Any] | None = None,
        sanitize_control_tokens: bool = False,
        output_labels: bool | None = None,
        mask_user_text: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """A conversation, or a list of them, as the model was trained to read and hear it.

        Args:
            conversation: messages with a ``role`` and ``content``: a text, or parts, ``{"type": "text", "text": ...}``
                and ``{"type": "audio", "path" or "audio": ...}`` with the ``sampling_rate`` of samples.
            chat_template: another one, or the name of one. tools, documents, add_generation_prompt,
                continue_final_message: see ``ChatTemplate.render``.
            return_assistant_tokens_mask: also ``assistant_masks`` (B, T), 1 where the assistant speaks.
            tokenize: ids instead of text. return_dict: the whole batch instead of the ids alone.
            sanitize_control_tokens: what is written like a special token in the conversation is read as characters.
            output_labels, mask_user_text: labels, and only for what the assistant says.
            processor_kwargs, kwargs: arguments of a call; what the template asks for goes to it.

        Returns:
            Texts, ids (B, T), or a batch as a call gives it.

        Raises:
            ParamError, ParamTypeError, AudioError, TokenizerError, SecurityError: as a call and as rendering.
        """
        source = self._template(chat_template)
        settings, variables = self._divided(source, kwargs, processor_kwargs or {})
        settings["return_tensors"] = "pt" if return_tensors == "auto" else return_tensors
        labels = settings.pop("output_labels", False) if output_labels is None else output_labels
        only_answers = settings.pop("mask_user_text", False) if mask_user_text is None else mask_user_text
        if only_answers and not labels:
            raise ParamError(
                "mask_user_text without output_labels", expected="labels to mask", fix="Pass output_labels=True"
            )
        conversations, many = conversations_of(conversation)
        parts = [
            recordings_in(one, f"conversation {number}" if many else "conversation")
            for number, one in enumerate(conversations)
        ]
        fixed = {**variables, "tools": tools, "documents": documents}
        render = self._renderer(source, sanitize_control_tokens=sanitize_control_tokens, **fixed)
        rows = [
            render(one, add_generation_prompt=add_generation_prompt, continue_final_message=continue_final_message)
            for one in conversations
        ]
        if not tokenize:
            return [row.text for row in rows] if many else rows[0].text
        if only_answers or return_assistant_tokens_mask:
            rows = [
                with_answers(row, one, render, generation_prompt=add_generation_prompt)
                for row, one in zip(rows, conversations, strict=True)
            ]
        batch, answers = self._inputs(
            rows,
            [part for own in parts for part in own],
            [len(own) for own in parts],
            output_labels=bool(labels),
            only_answers=bool(only_answers),
            add_special_tokens=settings.pop("add_special_tokens", False),
            **settings,
        )
        if return_assistant_tokens_mask:
            batch["assistant_masks"] = answers
        return batch if return_dict else batch["input_ids"]

    def _renderer(self, source: str, **fixed: Any) -> Callable[..., Rendered]:
        """What renders one conversation, or the beginning of one."""

        def render(messages: Sequence[Any], **how: Any) -> Rendered:
            row: Rendered = self.tokenizer.render_chats([messages], source, **fixed, **how)[0]
            return row

        return render

    def _template(self, given: str | None) -> str:
        own = self.chat_template
        if own is None:
            return str(self.tokenizer.get_chat_template(given))
        return chosen(given, own, owner="the processor")

    @staticmethod
    def _divided(source: str, given: dict[str, Any], more: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arguments of a call, and variables of the template."""
        asked_for = chat_template(source).variables
        variables = {name: value for name, value in given.items() if name in asked_for}
        settings = {**{name: value for name, value in given.items() if name not in asked_for}, **more}
        known = (*_TEXT, *_SOUND, *_OTHER)
        for name in settings:
            if name not in known:
                raise unknown_argument(name, (*known, *asked_for), where="apply_chat_template")
        return settings, variables

    def _inputs(
        self,
        rows: list[Rendered],
        parts: list[Part],
        counts: list[int] | None,
        *,
        output_labels: bool,
        only_answers: bool = False,
        **given: Any,
    ) -> tuple[BatchFeature, Tensor]:
        """The batch of texts and the recordings of their placeholders, and where in it the assistant speaks."""
        for_text, for_sound = _settings(given)
        places = [places_of(row, self.audio_token) for row in rows]
        self._check_counts([len(found) for found in places], len(parts), counts)
        hearing = self._hearing(bool(for_sound.pop("strict", False)))
        sound = SoundWindows.of(parts, hearing, self.feature_extractor, **for_sound)
        fillings = iter([self.replacement(count) for count in sound.frames])
        rows = [
            filled(row, self.audio_token, found, [next(fillings) for _ in found])
            for row, found in zip(rows, places, strict=True)
        ]
        spoken = any(row.generated for row in rows)
        encoded = self.tokenizer.encode_rendered(rows, return_offsets_mapping=spoken, **for_text)
        offsets = encoded.pop("offset_mapping", None)
        batch = {name: torch.as_tensor(value, dtype=torch.int64) for name, value in _even(encoded).items()}
        found = int((batch["input_ids"] == self.audio_token_id).sum())
        if found != sum(sound.frames):
            raise ParamError(
                f"{found} of {sum(sound.frames)} tokens of sound are left in the ids",
                expected="all of them",
                fix="Leave truncation out, or give a larger max_length",
            )
        answers = torch.zeros_like(batch["input_ids"])
        if offsets is not None:
            inside = [tokens_within(row.generated, own) for row, own in zip(rows, offsets, strict=True)]
            answers = torch.tensor(inside, dtype=torch.int64)
        if output_labels:
            batch["labels"] = self._labels(batch["input_ids"], answers if only_answers else None)
        return BatchFeature({**batch, **sound.inputs}), answers

    def _check_counts(self, placeholders: list[int], recordings: int, counts: list[int] | None) -> None:
        token = self.audio_token
        if counts is not None and len(counts) != len(placeholders):
            raise ParamError(f"{len(placeholders)} texts and recordings for {len(counts)}", expected="as many")
        for number, (wanted, have) in enumerate(zip(placeholders, counts or placeholders, strict=True)):
            if wanted != have:
                raise ParamError(
                    f"text {number} has {wanted} {token} and {have} recordings",
                    expected="one placeholder for each recording, and none in other text",
                    fix="Write it once for each, or pass sanitize_control_tokens=True where it is meant as text",
                )
        if sum(placeholders) != recordings:
            raise ParamError(
                f"{sum(placeholders)} {token} in {len(placeholders)} texts and {recordings} recordings",
                expected="one placeholder for each recording",
            )

    def replacement(self, frames: int) -> str:
        """What stands in a text for a recording of so many frames."""
        return self.audio_token * frames

    def _labels(self, ids: Tensor, answers: Tensor | None) -> Tensor:
        """(B, T): the ids, and -100 for sound, pads, and with ``answers`` all that the assistant does not say."""
        labels = ids.clone()
        hidden = torch.isin(ids, torch.tensor(self.audio_token_ids))
        if self.tokenizer.pad_token_id is not None:
            hidden |= ids == self.tokenizer.pad_token_id
        if answers is not None:
            hidden |= answers == 0
        return labels.masked_fill_(hidden, IGNORED)

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """The texts of ids (B, T); arguments as the tokenizer's."""
        texts: list[str] = self.tokenizer.batch_decode(*args, **kwargs)
        return texts

    # files

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> list[str]:
        """Writes the files of both parts, the settings, and the chat template."""
        folder = Path(save_directory)
        written = super().save_pretrained(folder, **kwargs)
        settings = {name: getattr(self, name) for name in self.setting_names}
        write_json(folder / PROCESSOR_NAME, {**read_json(folder / PROCESSOR_NAME), **settings})
        return [*written, *write_files(folder, template_files(self.chat_template))]

    @classmethod
    def from_folder(cls, folder: Path, elsewhere: Elsewhere | None = None, **kwargs: Any) -> Self:
        """The processor of a folder; ``kwargs`` override its settings, and others the tokenizer's."""
        stated = read_json(folder / PROCESSOR_NAME) if (folder / PROCESSOR_NAME).exists() else {}
        names = ("chat_template", *cls.setting_names)
        settings = {name: stated[name] for name in cls.setting_names if name in stated}
        own = {name: kwargs.pop(name) for name in names if name in kwargs}
        tokenizer = tokenizer_in(folder, elsewhere, **kwargs)
        if (folder / TEMPLATE_FILE).exists():
            settings["chat_template"] = tokenizer.chat_template  # which has read it
        elif (folder / OLDER_TEMPLATE_FILE).exists():
            settings["chat_template"] = read_json(folder / OLDER_TEMPLATE_FILE).get("chat_template")
        return cls(feature_extractor_in(folder, elsewhere), tokenizer, **{**settings, **own})


def _settings(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a call was given, for the text and for the sound; the defaults are those of a batch for generation."""
    common = given.pop("common_kwargs", None) or {}
    for_text = {**common, **(given.pop("text_kwargs", None) or {})}
    for_sound = dict(given.pop("audio_kwargs", None) or {})
    for_text |= {name: given.pop(name) for name in list(given) if name in (*_TEXT, "return_tensors")}
    for_sound |= {name: given.pop(name) for name in list(given) if name in _SOUND}
    for name in (*given, *(name for name in for_text if name not in (*_TEXT, "return_tensors"))):
        raise unknown_argument(name, (*_TEXT, *_SOUND, *_OTHER), where="the processor")
    for name in for_sound:
        if name not in _SOUND:
            raise unknown_argument(name, _SOUND, where="audio_kwargs")
    if for_text.pop("return_tensors", "pt") not in ("pt", None):
        raise ParamError("return_tensors other than 'pt'", expected="'pt': models take torch tensors")
    return {"padding": True, "padding_side": "left", **for_text}, for_sound


def _even(encoded: Any) -> dict[str, Any]:
    lengths = {len(row) for row in encoded["input_ids"]}
    if len(lengths) > 1:
        raise ParamError(
            f"texts of {sorted(lengths)} tokens without padding", expected="one length", fix="Pass padding=True"
        )
    return dict(encoded)
