"""Moshi's main decoder as documented classes: a language model over text."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor

from antiphon.checkpoints.keys import KeyTable
from antiphon.generation.config import GenerationConfig
from antiphon.lm.text_decoder import TextDecoder
from antiphon.models.moshi_config import MoshiConfig
from antiphon.models.text_model import TextForCausalLM, TextModel
from antiphon.nn.linear import Linear
from antiphon.outputs import MoshiCausalLMOutputWithPast

log = logging.getLogger(__name__)

_LAYER = "text.stack.layers.{}"
_KEYS = KeyTable(
    [
        ("embed_tokens", "text.embedding"),
        *(
            (f"layers.{{}}.self_attn.{theirs}.linear", f"{_LAYER}.attention.{ours}")
            for theirs, ours in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("o_proj", "out"))
        ),
        ("layers.{}.mlp.fc1", f"{_LAYER}.mlp.gate_up"),
        ("layers.{}.mlp.fc2", f"{_LAYER}.mlp.down"),
        ("layers.{}.input_layernorm", f"{_LAYER}.attention_norm"),
        ("layers.{}.post_attention_layernorm", f"{_LAYER}.mlp_norm"),
        ("norm", "text.stack.norm"),
    ]
)


class MoshiModel(TextModel):
    """The main decoder without its head.

    Args:
        config: a ``MoshiConfig``.
    """

    config_class = MoshiConfig
    key_table = _KEYS
    nested_prefixes = ("model.", "decoder.model.")

    def __init__(self, config: MoshiConfig) -> None:
        super().__init__(config)
        self.text = TextDecoder(
            vocabulary=config.vocab_size + 1,  # the last row is the token before a text
            padding=config.pad_token_id,
            width=config.hidden_size,
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads or config.num_attention_heads,
            head_width=config.head_dim or config.hidden_size // config.num_attention_heads,
            hidden=config.ffn_dim // 2,
            act=config.hidden_act,
            eps=config.rms_norm_eps,
            base=config.rope_theta,
            window=config.sliding_window,
            attention_dropout=config.attention_dropout,
        )
        self.post_init()


class MoshiForCausalLM(TextForCausalLM):
    """The main decoder with its head: a model of text. A checkpoint of the whole of Moshi opens as its main decoder.

    A call gives ``MoshiCausalLMOutputWithPast``, with ``last_hidden_state`` (B, T, D) of the columns that have logits.

    Args:
        config: a ``MoshiConfig``.
    """

    config_class = MoshiConfig
    nested_prefixes = ("decoder.",)

    def __init__(self, config: MoshiConfig) -> None:
        super().__init__(config)
        if config.tie_word_embeddings:
            log.warning("tie_word_embeddings has no effect: the embedding has a row that no text token has")
        self.model = MoshiModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)
        self.generation_config = GenerationConfig.from_model_config(config)
        self.post_init()

    def _output(self, out: Any, loss: Tensor | None, logits: Tensor, hidden: Tensor) -> MoshiCausalLMOutputWithPast:
        return MoshiCausalLMOutputWithPast(**super()._output(out, loss, logits, hidden), last_hidden_state=hidden)
