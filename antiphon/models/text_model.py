"""Models of text: what the documented classes around a text decoder share, bare and with a head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from antiphon.errors import ParamError, ParamTypeError
from antiphon.generation.config import GenerationConfig
from antiphon.lm.text_decoder import TextDecoder
from antiphon.lm.text_loss import kept_columns, next_token_loss
from antiphon.models.generation_mixin import GenerationMixin
from antiphon.models.headed import Headed
from antiphon.models.musicgen_generation import Callers
from antiphon.models.pretrained import PreTrainedModel, recorded, returned
from antiphon.nn.kv_cache import DynamicCache, KVCache
from antiphon.nn.linear import Linear
from antiphon.nn.norms import RMSNorm
from antiphon.outputs import BaseModelOutputWithPast, CausalLMOutputWithPast, ModelOutput


def initialise_text(model: nn.Module, deviation: float) -> None:
    """Normal weights of that deviation, zeros for biases and a padding token, ones in normalisations.

    Documented models inside have initialised themselves, and are left alone.
    """
    inner = {
        id(m)
        for part in model.modules()
        if isinstance(part, PreTrainedModel) and part is not model
        for m in part.modules()
    }
    for module in model.modules():
        if id(module) in inner:
            continue
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=deviation)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                nn.init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, RMSNorm):
            nn.init.ones_(module.weight)


def with_rows(head: Any, rows: int) -> Linear:
    """A head like ``head`` over ``rows`` tokens, whose new rows are zeros; the head itself where it has as many."""
    if head.out_features == rows:
        own: Linear = head
        return own
    made = Linear(head.in_features, rows, bias=False, device=head.weight.device, dtype=head.weight.dtype)
    kept = min(rows, head.out_features)
    with torch.no_grad():
        made.weight.zero_()
        made.weight[:kept] = head.weight[:kept]
    return made


def check_cache(past_key_values: Any) -> None:
    """Raises ``ParamTypeError`` for past keys and values that are no cache."""
    if past_key_values is not None and not isinstance(past_key_values, KVCache):
        raise ParamTypeError(
            f"past_key_values of class {type(past_key_values).__name__}",
            expected="a cache, such as DynamicCache()",
        )


def cache_wanted(use_cache: bool | None, labels: Tensor | None, past_key_values: Any) -> bool | None:
    """``use_cache`` of a call: a training step has no next column."""
    learns = labels is not None and torch.is_grad_enabled() and past_key_values is None
    return False if learns else use_cache


def _hiding(mask: Tensor) -> Tensor | None:
    """A mask (B, S) if it hides anything: without one attention takes a quicker way."""
    return None if mask.dim() == 2 and bool((mask != 0).all()) else mask


class TextModel(PreTrainedModel):
    """A text decoder without its head; subclasses make ``text`` from their configuration."""

    base_model_prefix = "model"
    text: TextDecoder

    def initialise(self) -> None:
        initialise_text(self, self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        return self.text.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text.embedding = value  # type: ignore[assignment]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        cache_position: Tensor | None = None,
    ) -> Any:
        """Hidden states of the next T columns.

        Args:
            input_ids: (B, T) int64, or inputs_embeds: (B, T, D), which have priority.
            attention_mask: (B, S) over all columns so far, 1 for real ones; or (B, 1, T, S), which then says all.
            position_ids: (B, T) int64; by default ``cache_position`` (T,), else counted on from the cache.
            past_key_values: a cache, written in place and returned; made where ``use_cache`` asks for one.

        Returns:
            ``BaseModelOutputWithPast`` with ``last_hidden_state`` (B, T, D), or a tuple.

        Raises:
            ParamError: neither ids nor embeddings, or ids without an embedding. ParamTypeError: past keys and values
                that are no cache.
        """
        check_cache(past_key_values)
        if inputs_embeds is None:
            self._check_ids(input_ids)
        columns: Any = input_ids if inputs_embeds is None else inputs_embeds
        if isinstance(attention_mask, Tensor) and columns.shape[1] > 1:
            attention_mask = _hiding(attention_mask)
        if position_ids is None and cache_position is not None:
            position_ids = cache_position[None]
        if past_key_values is None and self.makes_cache(use_cache):
            past_key_values = DynamicCache()
        record = recorded(self.config, output_hidden_states, output_attentions)
        hidden = self.text(
            input_ids,
            embedded=inputs_embeds,
            padding=attention_mask,
            positions=position_ids,
            cache=past_key_values,
            record=record,
        )
        hidden_states, attentions, _ = record.tuples()
        output = BaseModelOutputWithPast(
            last_hidden_state=hidden,
            past_key_values=past_key_values,
            hidden_states=hidden_states,
            attentions=attentions,
        )
        return returned(output, return_dict, self.config)

    def _check_ids(self, ids: Any) -> None:
        if not isinstance(ids, Tensor):
            raise ParamError("neither input_ids nor inputs_embeds were given", fix="Give one of them")
        if ids.dim() != 2 or ids.dtype not in (torch.int64, torch.int32):
            raise ParamError(f"input_ids of shape {tuple(ids.shape)} and dtype {ids.dtype}", expected="int64 (B, T)")


class HeadedText(Headed, PreTrainedModel, GenerationMixin):
    """A model with a head over text, whatever it hears; subclasses make ``model`` and ``lm_head``."""

    base_model_prefix = "model"
    head_name = "lm_head"
    lm_head: nn.Module
    generation_config: GenerationConfig

    def initialise(self) -> None:
        initialise_text(self, self.config.get_text_config().initializer_range)

    def _told(self, out: Any, labels: Tensor | None, logits_to_keep: int | Tensor, return_dict: bool | None) -> Any:
        """What a call gives, or its tuple, from what the model without a head gave."""
        hidden = kept_columns(out.last_hidden_state, logits_to_keep)
        logits = self.lm_head(hidden)
        loss = None if labels is None else next_token_loss(logits, labels)
        return returned(self._output(out, loss, logits, hidden), return_dict, self.config)

    def _output(self, out: Any, loss: Tensor | None, logits: Tensor, hidden: Tensor) -> ModelOutput:
        """What a call gives: of the model without a head ``out``, and of the columns kept ``hidden`` (B, T, D)."""
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=out.past_key_values,
            hidden_states=out.hidden_states,
            attentions=out.attentions,
        )

    @torch.no_grad()
    def generate(
        self,
        inputs: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        synced_gpus: bool | None = None,
        streamer: Any = None,
        **kwargs: Any,
    ) -> Any:
        """A text that goes on.

        Args:
            inputs: (B, L0) int64 (also as ``input_ids``), or ``inputs_embeds`` (B, L0, D).
            logits_processor, stopping_criteria: lists of callables over ids (B, L) and scores (B, V).
            kwargs: fields of the generation configuration; ``attention_mask`` (B, L0), which is told by the pad token
                where it is left out; ``position_ids``, ``past_key_values``; ``tokenizer`` for ``stop_strings``;
                ``prefix_allowed_tokens_fn``.

        Returns:
            (B * num_return_sequences, L) int64, the prompt first, or ``GenerateDecoderOnlyOutput``.

        Raises:
            ParamError: a value out of range. ParamTypeError: an unknown argument.
        """
        from antiphon.models.text_generation import generate_text

        callers = Callers(logits_processor, stopping_criteria, streamer)
        return generate_text(self, inputs, generation_config, callers, kwargs)


class TextForCausalLM(HeadedText):
    """A text decoder with its head."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        cache_position: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
    ) -> Any:
        """Logits over text; arguments as of the model without a head.

        Args:
            labels: (B, T) int64, the text itself, which is shifted here; -100 does not count.
            logits_to_keep: only so many last columns get logits, 0 means all; or the numbers of the columns.

        Returns:
            ``CausalLMOutputWithPast`` with ``logits`` (B, T, V), or a tuple.
        """
        out = self.model(
            input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=cache_wanted(use_cache, labels, past_key_values),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            cache_position=cache_position,
        )
        return self._told(out, labels, logits_to_keep, return_dict)
