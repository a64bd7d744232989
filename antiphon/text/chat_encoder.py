"""Conversations to ids: a tokenizer's chat templates, and texts that a template wrote."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from tokenizers import Encoding

from antiphon.batch import BatchEncoding
from antiphon.errors import ParamError
from antiphon.text.backend import foreign_errors
from antiphon.text.chat_template import Rendered, Span, chat_template, chosen, conversations_of
from antiphon.text.encoder import TextEncoder
from antiphon.text.padding import as_encoding


class ChatEncoder(TextEncoder):
    """The calls that turn conversations into texts and ids.

    Source: texts and ids are those of transformers 5.23.
    """

    chat_template: str | dict[str, str] | None

    def get_chat_template(self, chat_template: str | None = None, tools: Any = None) -> str:
        """The source of the template that a call uses: one by its name or as it is, ``"tool_use"`` for tools where
        there is one, or the default.

        Raises:
            ParamError: there is none.
        """
        if chat_template is None and tools is not None and "tool_use" in (self.chat_template or ""):
            chat_template = "tool_use" if isinstance(self.chat_template, dict) else None
        return chosen(chat_template, self.chat_template, owner="the tokenizer")

    def apply_chat_template(
        self,
        conversation: Any,
        tools: Any = None,
        documents: Any = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        tokenize: bool = True,
        sanitize_control_tokens: bool = False,
        padding: bool | str = False,
        truncation: bool | str = False,
        max_length: int | None = None,
        return_tensors: Any = None,
        return_dict: bool = True,
        return_assistant_tokens_mask: bool = False,
        tokenizer_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """A conversation, or a list of them, as the model was trained to read it.

        Args:
            conversation: messages, dicts with ``role`` and ``content``; or a list of conversations.
            tools, documents: dicts for templates that know them. chat_template: another one, or the name of one.
            add_generation_prompt, continue_final_message: see ``ChatTemplate.render``.
            tokenize: ids instead of text. sanitize_control_tokens: what is written like a special token in the
                conversation is read as the characters it is written with.
            padding, truncation, max_length, return_tensors: as in a call.
            return_dict: ids with their mask; else the ids alone.
            return_assistant_tokens_mask: also ``assistant_masks``, 1 where a token is the assistant's.
            tokenizer_kwargs: further arguments of a call. kwargs: variables of the template.

        Raises:
            ParamError, ParamTypeError, TokenizerError, SecurityError: as rendering and as a call.
        """
        if return_assistant_tokens_mask and not (tokenize and return_dict):
            raise ParamError(
                "return_assistant_tokens_mask without tokenize and return_dict", expected="all of them, or none"
            )
        conversations, many = conversations_of(conversation)
        rows = self.render_chats(
            conversations,
            self.get_chat_template(chat_template, tools),
            sanitize_control_tokens=sanitize_control_tokens,
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            **kwargs,
        )
        if not tokenize:
            return [row.text for row in rows] if many else rows[0].text
        encoded = self.encode_rendered(
            rows,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            add_special_tokens=False,
            return_offsets_mapping=return_assistant_tokens_mask,
            **(tokenizer_kwargs or {}),
        )
        if return_assistant_tokens_mask:
            offsets = encoded.pop("offset_mapping")
            encoded["assistant_masks"] = [
                tokens_within(row.generated, places) for row, places in zip(rows, offsets, strict=True)
            ]
        data = dict(encoded) if many or return_tensors else {name: value[0] for name, value in encoded.items()}
        batch = as_encoding(data, return_tensors)
        return batch if return_dict else batch["input_ids"]

    def render_chats(
        self, conversations: Sequence[Any], source: str, *, sanitize_control_tokens: bool = False, **settings: Any
    ) -> list[Rendered]:
        """Each conversation as the template ``source`` writes it; ``settings`` as in ``ChatTemplate.render``.

        The template also sees the named special tokens.
        """
        control: Iterable[str] = ()
        if sanitize_control_tokens:
            control = {*self.all_special_tokens, *self.added_tokens_encoder}
        template = chat_template(source)
        variables = {**self.special_tokens_map, **settings}
        return [template.render(conversation, control_tokens=control, **variables) for conversation in conversations]

    def encode_rendered(self, rows: Sequence[Rendered], **settings: Any) -> BatchEncoding:
        """The ids of texts that a template wrote, with what is ``literal`` in them read as plain characters.

        ``settings`` are those of a call; where something is literal, those about padding, truncation, tensors, offsets
        and ``add_special_tokens=False`` only.
        """
        if not any(row.literal for row in rows):
            return self([row.text for row in rows], **settings)
        return self._encode_pieces(rows, **settings)

    def _encode_pieces(
        self,
        rows: Sequence[Rendered],
        *,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        add_special_tokens: bool = False,
        return_tensors: Any = None,
        return_offsets_mapping: bool = False,
    ) -> BatchEncoding:
        if add_special_tokens and self.num_special_tokens_to_add():
            raise ParamError("add_special_tokens=True for a conversation", expected="False: the template writes them")
        plan = self._plan(
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            side=self.padding_side if padding_side is None else padding_side,
            multiple=pad_to_multiple_of,
        )
        with self._lock, foreign_errors("the conversation cannot be tokenised"):
            encodings = [self._merged(row) for row in rows]
        if plan.truncation != "do_not_truncate" and plan.max_length is not None:
            for encoding in encodings:
                encoding.truncate(plan.max_length, direction=self.truncation_side)
        self._pad_encodings(encodings, plan)
        data: dict[str, Any] = {
            "input_ids": [encoding.ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
        }
        if return_offsets_mapping:
            data["offset_mapping"] = [encoding.offsets for encoding in encodings]
        return as_encoding(data, return_tensors)

    def _merged(self, row: Rendered) -> Encoding:
        """One text, piece by piece: a piece that is literal never becomes a token."""
        places = sorted({0, len(row.text), *(place for span in row.literal for place in span)})
        starts = {start for start, _ in row.literal}
        pieces = [
            (self._plain_backend() if start in starts else self._backend).encode(
                row.text[start:end], add_special_tokens=False
            )
            for start, end in pairwise(places)
        ]
        return Encoding.merge(pieces, growing_offsets=True)


def tokens_within(spans: Sequence[Span], offsets: Any) -> list[int]:
    """1 for each token that shares a character with one of ``spans``, 0 for others; ``offsets`` (T, 2)."""
    places = np.asarray(offsets).reshape(-1, 2)
    inside = np.zeros(len(places), dtype=bool)
    for start, end in spans:
        inside |= (places[:, 0] < end) & (places[:, 1] > start)
    return [int(one) for one in inside]
