"""Decoders over the codes of a codec, bare and with heads: all that the documented families of them share."""

from __future__ import annotations

import logging
import math
from dataclasses import fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.checkpoints.keys import KeyTable
from antiphon.errors import ParamError
from antiphon.generation import delays
from antiphon.generation.config import GenerationConfig
from antiphon.lm.stream_decoder import StreamDecoder, StreamHeads
from antiphon.models.generation_mixin import GenerationMixin
from antiphon.models.headed import Headed
from antiphon.models.musicgen_config import CodeDecoderConfig
from antiphon.models.pretrained import PreTrainedModel, recorded, returned
from antiphon.nn.kv_cache import EncoderDecoderCache

log = logging.getLogger(__name__)

_LAYER = "decoder.stack.layers.{}"
_KEYS = KeyTable(
    [
        ("decoder.embed_tokens", "decoder.embeddings"),
        *(
            (f"decoder.layers.{{}}.{theirs}.{part}", f"{_LAYER}.{ours}.{name}")
            for theirs, ours in (("self_attn", "attention"), ("encoder_attn", "memory_attention"))
            for part, name in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "out"))
        ),
        ("decoder.layers.{}.self_attn_layer_norm", f"{_LAYER}.attention_norm"),
        ("decoder.layers.{}.encoder_attn_layer_norm", f"{_LAYER}.memory_norm"),
        ("decoder.layers.{}.final_layer_norm", f"{_LAYER}.mlp_norm"),
        ("decoder.layers.{}.fc1", f"{_LAYER}.mlp.up"),
        ("decoder.layers.{}.fc2", f"{_LAYER}.mlp.down"),
        ("decoder.layer_norm", "decoder.stack.norm"),
    ]
)


def shift_right(labels: Tensor, pad: int | None, start: int | None) -> Tensor:
    """Labels (B, T, K) as decoder inputs (B, K, T): one column later, ``start`` first, masked places as ``pad``.

    Raises:
        ParamError: the configuration has no such token.
    """
    if start is None or pad is None:
        raise ParamError("labels without decoder inputs", fix="Set bos_token_id and pad_token_id in the configuration")
    shifted = torch.full_like(labels, start).transpose(1, 2)
    shifted[..., 1:] = labels.transpose(1, 2)[..., :-1]
    return shifted.masked_fill(shifted == -100, pad)


def codebook_loss(logits: Tensor, labels: Tensor, pad: int | None) -> Tensor:
    """Mean over the codebooks of their cross-entropies.

    Args:
        logits: (B, K, S, V), of which the last T columns count. labels: (B, T, K); -100 and ``pad`` do not count.
    """
    logits = logits[:, :, -labels.shape[1] :]
    labels = labels.masked_fill(labels == pad, -100) if pad is not None else labels
    losses = [F.cross_entropy(book.flatten(0, 1), labels[..., k].flatten()) for k, book in enumerate(logits.unbind(1))]
    return torch.stack(losses).mean()


class _Decoder(PreTrainedModel):
    """What both share.

    Class attributes:
        output_class: of a call.
    """

    base_model_prefix = "model"
    output_class: ClassVar[Any]

    def _output(self, return_dict: bool | None, **values: Any) -> Any:
        """The output with those of ``values`` that its class knows, or its tuple."""
        known = {field.name for field in fields(self.output_class)}
        return returned(self.output_class(**{k: v for k, v in values.items() if k in known}), return_dict, self.config)

    def initialise(self) -> None:
        """Normal weights of deviation ``initializer_factor``, zero biases."""
        std = self.config.initializer_factor
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=std)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()


class CodeDecoder(_Decoder):
    """A decoder without heads.

    Args:
        config: of the family's class, a ``CodeDecoderConfig``.

    Class attributes:
        cross_attends: layers attend to the conditions; otherwise the conditions stand in front of the columns.
    """

    key_table = _KEYS
    nested_prefixes = ("model.",)
    cross_attends: ClassVar[bool]

    def __init__(self, config: CodeDecoderConfig) -> None:
        super().__init__(config)
        self.decoder = StreamDecoder(
            streams=config.num_codebooks,
            vocabulary=config.vocab_size + 1,  # the last row is the token before and after the codes
            width=config.hidden_size,
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            hidden=config.ffn_dim,
            act=config.activation_function,
            memory=self.cross_attends,
            positions=config.max_position_embeddings,
            embedding_scale=1 / math.sqrt(config.hidden_size) if config.scale_embedding else 1.0,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            activation_dropout=config.activation_dropout,
            layerdrop=config.layerdrop,
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.decoder.embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.decoder.embeddings = value  # type: ignore[assignment]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        head_mask: Tensor | None = None,
        cross_attn_head_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        position_ids: Tensor | None = None,
    ) -> Any:
        """Hidden states of the next T columns.

        Args:
            input_ids: (B * K, T) or (B, K, T) int64, or inputs_embeds: (B, T, D); exactly one of them.
            attention_mask: (B, S) over all columns so far, 1 for real ones.
            encoder_hidden_states: (B, M, D) with encoder_attention_mask (B, M): the conditions. Where they stand in
                front, M columns come before the T, in the first call only; the masks are of conditions and columns.
            past_key_values: a cache, written in place and returned; made where ``use_cache`` asks for one.
            head_mask, cross_attn_head_mask: (layers, H), with ``attn_implementation="eager"`` only.
            position_ids: (B, T), or (B, M + T) with conditions in front, int64; by default counted on from the cache.

        Returns:
            The family's output with ``last_hidden_state`` (B, T, D) or (B, M + T, D), or a tuple.

        Raises:
            ParamError: ids and embeddings at once or neither of them, or shapes that do not fit.
        """
        if (input_ids is None) == (inputs_embeds is None):
            both = input_ids is not None
            raise ParamError(
                "You cannot specify both decoder_input_ids and decoder_inputs_embeds at the same time"
                if both
                else "You have to specify either decoder_input_ids or decoder_inputs_embeds"
            )
        tokens = None if input_ids is None else self._streams(input_ids)
        if cross_attn_head_mask is not None and not self.cross_attends:
            raise ParamError(f"cross_attn_head_mask for a {type(self).__name__}, which has no such heads")
        if self.makes_cache(use_cache) and past_key_values is None:
            past_key_values = EncoderDecoderCache()
        record = recorded(self.config, output_hidden_states, output_attentions)
        if head_mask is not None and self.config._attn_implementation != "eager":
            log.warning("head_mask has no effect with attn_implementation=%r", self.config._attn_implementation)
        hidden = self.decoder(
            tokens,
            embedded=inputs_embeds,
            positions=position_ids,
            cache=past_key_values,
            head_mask=head_mask,
            memory_head_mask=cross_attn_head_mask,
            record=record,
            **self._heard(encoder_hidden_states, encoder_attention_mask, attention_mask),
        )
        hidden_states, attentions, cross_attentions = record.tuples()
        return self._output(
            return_dict,
            last_hidden_state=hidden,
            past_key_values=past_key_values,
            hidden_states=hidden_states,
            attentions=attentions,
            cross_attentions=cross_attentions,
        )

    def _heard(self, states: Tensor | None, states_mask: Tensor | None, columns_mask: Tensor | None) -> dict[str, Any]:
        """Conditions and masks as the stack takes them."""
        if self.cross_attends:
            return {"padding": columns_mask, "memory": states, "memory_padding": states_mask}
        if states is not None and states_mask is None and columns_mask is not None:
            states_mask = columns_mask.new_ones(states.shape[:2])
        if states is not None and states_mask is not None and states_mask.shape != states.shape[:2]:
            raise ParamError(
                f"encoder_attention_mask of shape {tuple(states_mask.shape)}",
                expected=f"{tuple(states.shape[:2])}, as encoder_hidden_states have places",
            )
        # a mask that is left out counts all as real: here the conditions, in the stack's own mask the columns
        masks = [mask for mask in (states_mask, columns_mask) if mask is not None]
        return {"prefix": states, "padding": torch.cat([m.to(masks[0]) for m in masks], dim=1) if masks else None}

    def _streams(self, input_ids: Tensor) -> Tensor:
        codebooks = self.config.num_codebooks
        if input_ids.dim() not in (2, 3) or input_ids.is_floating_point() or input_ids.shape[-2] % codebooks:
            raise ParamError(
                f"input_ids of shape {tuple(input_ids.shape)} and dtype {input_ids.dtype}",
                expected=f"int64 (batch * {codebooks}, columns) or (batch, {codebooks}, columns)",
            )
        return input_ids.reshape(-1, codebooks, input_ids.shape[-1])  # (B * K, T) -> (B, K, T)


class CodeDecoderForCausalLM(Headed, _Decoder, GenerationMixin):
    """A decoder with one head a codebook.

    Args:
        config: of the family's class, a ``CodeDecoderConfig``.

    Class attributes:
        decoder_class: the decoder without heads.
    """

    head_name = "lm_heads"
    decoder_class: ClassVar[type[CodeDecoder]]

    def __init__(self, config: CodeDecoderConfig) -> None:
        super().__init__(config)
        self.model = self.decoder_class(config)
        self.num_codebooks = config.num_codebooks
        self.lm_heads = StreamHeads(config.num_codebooks, config.hidden_size, config.vocab_size)
        self.generation_config = GenerationConfig.from_model_config(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        head_mask: Tensor | None = None,
        cross_attn_head_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        position_ids: Tensor | None = None,
    ) -> Any:
        """Logits of the next T columns; arguments as in ``CodeDecoder.forward``.

        Args:
            labels: (B, T, K) int64; -100 and the pad token do not count. Without decoder inputs they also give those,
                one column later. The loss compares logits and labels of the same column.

        Returns:
            The family's output with ``logits`` (B * K, T, V), or (B * K, M + T, V) with conditions in front, and
            ``loss``, or a tuple.
        """
        if labels is not None and input_ids is None and inputs_embeds is None:
            input_ids = shift_right(labels, self.config.pad_token_id, self.config.bos_token_id)
        if labels is not None and torch.is_grad_enabled() and past_key_values is None:
            use_cache = False  # a training step has no next column
        out = self.model(
            input_ids,
            attention_mask=attention_mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            head_mask=head_mask,
            cross_attn_head_mask=cross_attn_head_mask,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            position_ids=position_ids,
        )
        logits = self.lm_heads(out.last_hidden_state)  # (B, K, T, V)
        return self._output(
            return_dict,
            loss=None if labels is None else codebook_loss(logits, labels, self.config.pad_token_id),
            logits=logits.flatten(0, 1),
            past_key_values=out.past_key_values,
            hidden_states=out.hidden_states,
            attentions=out.attentions,
            cross_attentions=getattr(out, "cross_attentions", None),
        )

    def build_delay_pattern_mask(
        self, input_ids: Tensor, pad_token_id: int, max_length: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """The delayed prompt and the plan of all columns, -1 where the model decides.

        Args:
            input_ids: (B * K, L0) int64, the start column first. max_length: columns in all.

        Returns:
            (B * K, L0) and (B * K, max_length) int64.
        """
        length = self.generation_config.max_length if max_length is None else max_length
        if length is None:
            raise ParamError("max_length=None", expected="the number of columns")
        return delays.build_delay_pattern_mask(
            input_ids,
            pad_token_id,
            length,
            codebooks=self.num_codebooks,
            audio_channels=self.config.audio_channels,
        )

    @staticmethod
    def apply_delay_pattern_mask(input_ids: Tensor, decoder_pad_token_mask: Tensor) -> Tensor:
        """The ids with every column that the plan decides set to what it says."""
        return delays.apply_delay_pattern_mask(input_ids, decoder_pad_token_mask)

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
        """Codes, from a prompt of codes or from nothing.

        Args:
            inputs: (B * K, L0) int64, the start column first (also as ``input_ids``).
            kwargs: fields of the generation configuration; ``attention_mask`` (B, L0), ``encoder_hidden_states``
                (B, M, D), ``encoder_attention_mask`` (B, M), ``past_key_values``.

        Returns:
            (B * num_return_sequences, K, F) int64, or ``GenerateDecoderOnlyOutput``.

        Raises:
            ParamError: beams, or a value out of range. ParamTypeError: an unknown argument.
        """
        from antiphon.models.musicgen_standalone import generate_decoder_only

        return generate_decoder_only(
            self,
            inputs,
            generation_config,
            logits_processor=logits_processor,
            stopping_criteria=stopping_criteria,
            streamer=streamer,
            kwargs=kwargs,
        )
