"""Texts to ids: the call of a tokenizer, and padding of what was encoded before."""

from __future__ import annotations

import inspect
import logging
from typing import Any, ClassVar

from tokenizers import Encoding, Tokenizer

from antiphon.batch import BatchEncoding
from antiphon.errors import ParamError, ParamTypeError, unknown_argument
from antiphon.text.backend import foreign_errors, plain_text_backend
from antiphon.text.padding import LengthPlan, as_encoding, collected, pad_rows
from antiphon.text.text_input import TextInput
from antiphon.text.vocabulary import Vocabulary

logger = logging.getLogger(__name__)


class TextEncoder(Vocabulary):
    """The calls that turn texts into ids; ``PreTrainedTokenizer`` adds construction and files.

    Source: ids, masks and lengths are those of transformers 5.23's ``TokenizersBackend``.
    """

    model_input_names: ClassVar[list[str]] = ["input_ids", "attention_mask"]

    padding_side: str
    truncation_side: str
    model_max_length: int
    pad_token_type_id: int
    split_special_tokens: bool
    _warned_of_length: bool

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        split_special_tokens: bool | None = None,
        verbose: bool = True,
        **unknown: Any,
    ) -> BatchEncoding:
        """Ids and masks of one text or a batch.

        Args:
            text: a string, or a list of strings (or of pairs, or of lists of words with ``is_split_into_words``).
            text_pair: a second text for each.
            padding, truncation, max_length, pad_to_multiple_of, padding_side, stride: see ``LengthPlan.make``.
            return_tensors: ``"pt"`` or ``"np"`` for (B, T) int64 arrays, one text being a batch of one; ``None`` for
                lists, one text without a batch level.
            split_special_tokens: overrides the tokenizer's own setting for this call.
            verbose: whether a text longer than the model takes is logged (once).

        Returns:
            ``input_ids`` and ``attention_mask`` (1 for real tokens), in this order, and what else was asked for.

        Raises:
            ParamError, ParamTypeError: unusable arguments, or rows of different length where arrays are asked for.
            TokenizerError: text that cannot be tokenised (NUL, half a surrogate pair).
        """
        for name in unknown:
            raise unknown_argument(name, inspect.signature(self).parameters, where=f"{type(self).__name__}()")
        plan = self._plan(
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            side=self.padding_side if padding_side is None else padding_side,
            stride=stride,
            multiple=pad_to_multiple_of,
        )
        texts = TextInput.check(text, text_pair, words=is_split_into_words)
        split = self.split_special_tokens if split_special_tokens is None else split_special_tokens
        groups = self._encode(texts, plan, add_special_tokens, is_split_into_words, split, return_overflowing_tokens)
        rows = [row for group in groups for row in group]
        wishes = {
            "token_type_ids": return_token_type_ids,
            "attention_mask": return_attention_mask,
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
            "length": return_length,
        }
        # None leaves the choice to what the model reads
        names = [name for name, wish in wishes.items() if (name in self.model_input_names if wish is None else wish)]
        data: dict[str, Any] = {name: [_entry(row, name) for row in rows] for name in ["input_ids", *names]}
        if return_overflowing_tokens:
            data["overflow_to_sample_mapping"] = [index for index, group in enumerate(groups) for _ in group]
        if verbose and max_length is None:
            self._warn_if_too_long(max(len(row.ids) for row in rows))
        if return_tensors is None and not texts.is_batch and not return_overflowing_tokens:
            data = {name: value[0] if isinstance(value[0], list) else value for name, value in data.items()}
        return as_encoding(data, return_tensors)

    def _plan(self, **arguments: Any) -> LengthPlan:
        plan = LengthPlan.make(model_max_length=self.model_max_length, **arguments)
        if plan.padding != "do_not_pad" and self.pad_token_id is None:
            raise ParamError(
                f"padding={arguments['padding']!r} and this tokenizer has no pad_token",
                fix="Set tokenizer.pad_token, for example to tokenizer.eos_token",
            )
        return plan

    def _encode(
        self, texts: TextInput, plan: LengthPlan, special: bool, words: bool, split: bool, overflow: bool
    ) -> list[list[Encoding]]:
        """The encodings of each row, cut and padded; more than one for a row only with ``overflow``."""
        with self._lock, foreign_errors("the text cannot be tokenised"):
            # truncation is a setting of the shared backend, hence the lock; padding is done on the results
            backend = self._plain_backend() if split else self._backend
            if plan.truncation != "do_not_truncate" and plan.max_length is not None:
                backend.enable_truncation(
                    plan.max_length, stride=plan.stride, strategy=plan.truncation, direction=self.truncation_side
                )
            try:
                encodings = backend.encode_batch(texts.rows, is_pretokenized=words, add_special_tokens=special)
            finally:
                backend.no_truncation()
        self._pad_encodings(encodings, plan)
        return [[encoding, *encoding.overflowing] if overflow else [encoding] for encoding in encodings]

    def _pad_encodings(self, encodings: list[Encoding], plan: LengthPlan) -> None:
        """Brings them to one length, in place, where the plan says so."""
        if plan.padding == "do_not_pad":
            return
        target = plan.target([len(encoding.ids) for encoding in encodings])
        for encoding in encodings:
            encoding.pad(
                target,
                direction=plan.side,
                pad_id=self.pad_token_id,
                pad_type_id=self.pad_token_type_id,
                pad_token=self.pad_token,
            )

    def _plain_backend(self) -> Tokenizer:
        if self._plain is None:
            self._plain = plain_text_backend(self._backend, self.all_special_tokens)
        return self._plain

    def _warn_if_too_long(self, length: int) -> None:
        if length > self.model_max_length > 0 and not self._warned_of_length:
            self._warned_of_length = True
            logger.warning(
                "a text has %d tokens, the model takes %d; pass truncation=True to cut it",
                length,
                self.model_max_length,
            )

    def encode(self, text: Any, text_pair: Any = None, **kwargs: Any) -> Any:
        """The ids of one text as a list of int (or what ``return_tensors`` asks for); arguments as in the call."""
        return self(text, text_pair, **kwargs)["input_ids"]

    def tokenize(
        self,
        text: str,
        pair: str | None = None,
        add_special_tokens: bool = False,
        *,
        split_special_tokens: bool | None = None,
    ) -> list[str]:
        """The pieces ``text`` is cut into, without the tokens around it unless asked for."""
        plan = self._plan(padding=False, truncation=None, max_length=None, side=self.padding_side)
        texts = TextInput.check(text, pair)
        if texts.is_batch:
            raise ParamTypeError("text is a list", expected="one string", fix="Call tokenize for each text")
        split = self.split_special_tokens if split_special_tokens is None else split_special_tokens
        return list(self._encode(texts, plan, add_special_tokens, False, split, False)[0][0].tokens)

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many tokens are put around a text, or around a pair of texts."""
        return int(self._backend.num_special_tokens_to_add(pair))

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pads what was encoded before: one mapping of ids, one of batches, or a list of mappings.

        Arguments and errors as in the call; ``input_ids`` must be there. Arrays come back as the kind they were, unless
        ``return_tensors`` says otherwise. Nothing is changed in place.
        """
        rows, is_batch, kind = collected(encoded_inputs)
        plan = self._plan(
            padding=padding,
            truncation=False,
            max_length=max_length,
            side=self.padding_side if padding_side is None else padding_side,
            multiple=pad_to_multiple_of,
        )
        mask = "attention_mask" in self.model_input_names if return_attention_mask is None else return_attention_mask
        pad_id = 0 if self.pad_token_id is None else self.pad_token_id
        padded = pad_rows(rows, plan, pad_id=pad_id, pad_type_id=self.pad_token_type_id, with_mask=mask)
        data = padded if is_batch else {name: values[0] for name, values in padded.items()}
        return as_encoding(data, return_tensors or kind)


def _entry(row: Encoding, name: str) -> Any:
    if name == "length":
        return len(row.ids)
    attribute = {"input_ids": "ids", "token_type_ids": "type_ids", "offset_mapping": "offsets"}.get(name, name)
    return getattr(row, attribute)
