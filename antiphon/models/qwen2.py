"""The documented Qwen2 classes: a language model over text, bare and with its head.

Source: Yang et al., "Qwen2 Technical Report", 2024; the numbers are those of transformers 5.23.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from antiphon.checkpoints.keys import KeyTable
from antiphon.generation.config import GenerationConfig
from antiphon.lm.text_decoder import TextDecoder
from antiphon.models.qwen2_config import SLIDING
from antiphon.models.qwen2_config import Qwen2Config as Qwen2Config
from antiphon.models.text_model import TextForCausalLM, TextModel, with_rows
from antiphon.nn.linear import Linear

_LAYER = "text.stack.layers.{}"
_KEYS = KeyTable(
    [
        ("embed_tokens", "text.embedding"),
        *(
            (f"layers.{{}}.self_attn.{theirs}", f"{_LAYER}.attention.{ours}")
            for theirs, ours in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("o_proj", "out"))
        ),
        *((f"layers.{{}}.mlp.{name}_proj", f"{_LAYER}.mlp.{name}") for name in ("gate", "up", "down")),
        ("layers.{}.input_layernorm", f"{_LAYER}.attention_norm"),
        ("layers.{}.post_attention_layernorm", f"{_LAYER}.mlp_norm"),
        ("norm", "text.stack.norm"),
    ]
)


class Qwen2Model(TextModel):
    """Qwen2 without its head. A checkpoint of a model that has one inside opens as that.

    Args:
        config: a ``Qwen2Config``.
    """

    config_class = Qwen2Config
    key_table = _KEYS
    nested_prefixes = ("model.", "model.language_model.", "language_model.model.")
    sections: ClassVar[dict[str, tuple[str, str]]] = dict.fromkeys(
        ("musicflamingo", "audioflamingo3"), ("text_config", "")
    )

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.text = TextDecoder(
            vocabulary=config.vocab_size,
            padding=config.pad_token_id,
            width=config.hidden_size,
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads or config.num_attention_heads,
            head_width=config.head_width,
            hidden=config.intermediate_size,
            act=config.hidden_act,
            eps=config.rms_norm_eps,
            base=config.rope_theta,
            window=config.sliding_window,
            windowed=[kind == SLIDING for kind in config.layer_types or []],
            bias=("query", "key", "value"),
            fused=False,
            scaled_in_float32=False,
            attention_dropout=config.attention_dropout,
        )
        self.post_init()


class Qwen2ForCausalLM(TextForCausalLM):
    """Qwen2 with its head; with ``tie_word_embeddings`` the head's weight is the embedding's.

    Args:
        config: a ``Qwen2Config``.
    """

    config_class = Qwen2Config
    rounded_heads: tuple[str, ...] = ("lm_head",)

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.model = Qwen2Model(config)
        self.vocab_size = config.vocab_size
        self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.key_table = KeyTable(aliases={"lm_head.weight": "model.embed_tokens.weight"}, repeated=["lm_head"])
            self.rounded_heads = ()  # the embedding looks rows up, and stays as it is
            self._tie()
        self.generation_config = GenerationConfig.from_model_config(config)
        self.post_init()

    def _tie(self) -> None:
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.get_input_embeddings().weight

    def set_input_embeddings(self, value: nn.Module) -> None:
        super().set_input_embeddings(value)
        self._tie()

    def resize_token_embeddings(self, new_num_tokens: int | None = None, **kwargs: Any) -> nn.Module:
        """As of any model; the head gets as many rows."""
        embedding = super().resize_token_embeddings(new_num_tokens, **kwargs)
        self.vocab_size = self.config.vocab_size
        self.lm_head = with_rows(self.lm_head, self.vocab_size)
        self._tie()
        return embedding
