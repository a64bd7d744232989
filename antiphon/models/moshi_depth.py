"""Moshi's depth decoder as a documented class: a language model over the codebooks of one frame."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.checkpoints.keys import KeyTable
from antiphon.errors import ParamError
from antiphon.generation.config import GenerationConfig
from antiphon.lm.depth_decoder import DepthDecoder
from antiphon.lm.stream_loss import IGNORED
from antiphon.models.generation_mixin import GenerationMixin
from antiphon.models.moshi_config import MoshiDepthConfig
from antiphon.models.pretrained import PreTrainedModel, recorded, returned
from antiphon.models.text_model import check_cache, initialise_text
from antiphon.nn.kv_cache import DynamicCache
from antiphon.outputs import CausalLMOutputWithPast

# Parts of a layer that every codebook has its own of: names in the documents and here.
_PROJECTIONS = (
    ("self_attn.q_proj.linear", "attention.query"),
    ("self_attn.k_proj.linear", "attention.key"),
    ("self_attn.v_proj.linear", "attention.value"),
    ("self_attn.o_proj.linear", "attention.out"),
    ("mlp.fc1", "mlp.gate_up"),
    ("mlp.fc2", "mlp.down"),
)
_NORMS = (("input_layernorm", "attention_norm"), ("post_attention_layernorm", "mlp_norm"))


def _keys(codebooks: int) -> KeyTable:
    return KeyTable(
        [
            ("text_embed_tokens", "depth.text_embedding"),
            ("embed_tokens", "depth.embeddings"),
            ("input_projections", "depth.projections"),
            ("lm_heads", "depth.heads"),
            *((f"layers.{{}}.{theirs}", f"depth.steps.0.layers.{{}}.{ours}") for theirs, ours in _NORMS),
            *(
                (f"layers.{{0}}.{theirs}.{{1}}", f"depth.steps.{{1}}.layers.{{0}}.{ours}")
                for theirs, ours in _PROJECTIONS
            ),
        ],
        stacked=["input_projections", "lm_heads", *(f"layers.{{}}.{theirs}" for theirs, _ in _PROJECTIONS)],
        repeated=[f"depth.steps.{k}.layers.{{}}.{ours}" for k in range(1, codebooks) for _, ours in _NORMS],
    )


class MoshiDepthDecoder(PreTrainedModel, GenerationMixin):
    """The decoder across the codebooks of a frame, each of which has weights of its own.

    Args:
        config: a ``MoshiDepthConfig``.
    """

    config_class = MoshiDepthConfig
    base_model_prefix = "model"
    sections: ClassVar[dict[str, tuple[str, str]]] = {"moshi": ("depth_decoder_config", "depth_decoder.")}

    def __init__(self, config: MoshiDepthConfig) -> None:
        super().__init__(config)
        self.key_table = _keys(config.num_codebooks)
        self.depth = DepthDecoder(
            codebooks=config.num_codebooks,
            text_vocabulary=config.vocab_size,
            audio_vocabulary=config.audio_vocab_size,
            input_width=config.input_size,
            width=config.hidden_size,
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads or config.num_attention_heads,
            head_width=config.head_dim or config.hidden_size // config.num_attention_heads,
            hidden=config.ffn_dim // 2,
            act=config.hidden_act,
            eps=config.rms_norm_eps,
            window=config.sliding_window,
            attention_dropout=config.attention_dropout,
        )
        self.generation_config = GenerationConfig.from_model_config(config)
        self.post_init()

    def initialise(self) -> None:
        initialise_text(self, self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        return self.depth.embeddings

    def forward(
        self,
        input_ids: Tensor | None = None,
        last_hidden_state: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Logits of the next T codebooks, each of which sees those before it, whatever the kind of attention.

        Args:
            input_ids: (B, T) int64, the text token and then the tokens of the codebooks before the predicted ones; or
                inputs_embeds: (B, T, D), which have priority. An id of -1 says nothing.
            last_hidden_state: (B, 1 or T, input size), the main decoder's.
            attention_mask: (B, S), 0 where a place is not to be seen.
            past_key_values: a cache, written in place and returned; made where ``use_cache`` asks for one.
            position_ids: only those that the places have anyway; there are no positions in this decoder.
            labels: (B, T) int64, the predicted codebooks' tokens; -100 and the token after the codes do not count.

        Returns:
            ``CausalLMOutputWithPast`` with ``logits`` (B, T, V), or a tuple.

        Raises:
            ParamError: no inputs, more of them than codebooks, or shapes that do not fit.
        """
        check_cache(past_key_values)
        given = inputs_embeds if inputs_embeds is not None else input_ids
        if given is None or last_hidden_state is None:
            raise ParamError("input_ids and last_hidden_state have to be given", fix="Give both of them")
        if past_key_values is None and labels is None and self.makes_cache(use_cache):
            past_key_values = DynamicCache()
        first = 0 if past_key_values is None else past_key_values.get_seq_length()
        self._check_places(first, given.shape[1], position_ids)
        record = recorded(self.config, output_hidden_states, output_attentions)
        logits = self.depth(
            input_ids,
            last_hidden_state,
            embedded=inputs_embeds,
            first=first,
            padding=attention_mask,
            cache=past_key_values,
            record=record,
        )
        hidden_states, attentions, _ = record.tuples()
        output = CausalLMOutputWithPast(
            loss=None if labels is None else self._loss(logits, labels),
            logits=logits,
            past_key_values=past_key_values,
            hidden_states=hidden_states,
            attentions=attentions,
        )
        return returned(output, return_dict, self.config)

    def _check_places(self, first: int, count: int, position_ids: Tensor | None) -> None:
        most, last = self.config.num_codebooks, first + count - 1
        if not (count and last < most):
            raise ParamError(f"places {first} to {last} of a depth decoder", expected=f"1 to {most} codebooks a frame")
        if position_ids is None:
            return
        own = torch.arange(first, last + 1, device=position_ids.device)
        if position_ids.shape[-1] != count or not bool((position_ids == own).all()):
            raise ParamError("position_ids that are not the places of the codebooks", expected=f"{first} to {last}")

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        wanted = labels.masked_fill(labels == self.config.audio_vocab_size, IGNORED).to(logits.device)
        return F.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)

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
        """The tokens of one frame, codebook by codebook.

        Args:
            inputs: (B, 1) int64, the frame's text token (also as ``input_ids``).
            logits_processor: a list of callables over ids (B, L) and scores (B, V).
            kwargs: fields of the generation configuration; ``last_hidden_state`` (B, 1, input size), which is needed;
                ``noise``, a callable from a codebook's number to Gumbel noise (B, V), instead of a seed's.

        Returns:
            (B * num_return_sequences, 1 + K) int64, the text token first, or ``GenerateDecoderOnlyOutput``; less than K
            codebooks where ``max_length`` or ``max_new_tokens`` says so.

        Raises:
            ParamError: more than K codebooks, or something that means nothing within a frame: an end token, beams,
                criteria, a streamer.
        """
        from antiphon.models.moshi_frame import generate_frame

        whole = {"stopping_criteria": stopping_criteria, "streamer": streamer}
        for name in (name for name, value in whole.items() if value):
            raise ParamError(f"{name} for the codebooks of one frame", fix="Pass it to the whole model's generate")
        return generate_frame(self, inputs, generation_config, logits_processor, kwargs)
