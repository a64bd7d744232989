"""The documented T5 classes: its configuration and its encoder."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from antiphon.checkpoints.keys import KeyTable
from antiphon.encoders.t5 import T5Encoder
from antiphon.errors import ConfigError, ParamError
from antiphon.models.configuration import PreTrainedConfig, check_activation
from antiphon.models.pretrained import PreTrainedModel, recorded, returned
from antiphon.outputs import BaseModelOutput


class T5Config(PreTrainedConfig):
    """Sizes of a T5 text encoder; ``feed_forward_proj`` is ``relu`` (T5) or ``gated-gelu`` (T5 1.1, Flan-T5)."""

    model_type: ClassVar[str] = "t5"
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_attention_heads": "num_heads",
        "num_hidden_layers": "num_layers",
        "head_dim": "d_kv",
    }
    positive: ClassVar[tuple[str, ...]] = ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads")
    counts: ClassVar[tuple[str, ...]] = ("num_layers",)

    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 6
    num_decoder_layers: int | None = None
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    dropout_rate: float = 0.1
    layer_norm_epsilon: float = 1e-6
    initializer_factor: float = 1.0
    feed_forward_proj: str = "relu"
    is_encoder_decoder: bool = True
    use_cache: bool = True
    pad_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 1
    classifier_dropout: float = 0.0
    is_decoder: bool = False

    def derive(self) -> None:
        if self.num_decoder_layers is None:
            self.num_decoder_layers = self.num_layers
        kind = self.feed_forward_proj.split("-")
        self.is_gated_act = kind[0] == "gated"
        self.dense_act_fn = "gelu_new" if self.feed_forward_proj == "gated-gelu" else kind[-1]

    def validate_architecture(self) -> None:
        kind = self.feed_forward_proj.split("-")
        if len(kind) > 2 or (len(kind) == 2 and kind[0] != "gated"):
            raise ConfigError(
                f"T5Config.feed_forward_proj={self.feed_forward_proj!r}",
                expected="'relu', 'gated-gelu' or gated-<name>",
            )
        check_activation(self, "feed_forward_proj", self.dense_act_fn)
        buckets, farthest = self.relative_attention_num_buckets, self.relative_attention_max_distance
        if buckets < 4:  # two directions, each with at least one exact and one wider bucket
            raise ConfigError(f"T5Config.relative_attention_num_buckets={buckets}", expected="at least 4")
        if not farthest > buckets // 4:
            raise ConfigError(
                f"T5Config.relative_attention_max_distance={farthest}", expected=f"more than {buckets // 4}"
            )
        if not 0 <= self.dropout_rate <= 1:
            raise ConfigError(f"T5Config.dropout_rate={self.dropout_rate}", expected="0 to 1")
        if not self.layer_norm_epsilon >= 0:
            raise ConfigError(f"T5Config.layer_norm_epsilon={self.layer_norm_epsilon}", expected="0 or more")


def _keys(gated: bool) -> KeyTable:
    layer = "encoder.stack.layers.{}"
    up = [("wi_0", "mlp.gate"), ("wi_1", "mlp.up")] if gated else [("wi", "mlp.up")]
    return KeyTable(
        [
            ("shared", "encoder.embedding"),
            ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias", "encoder.position_bias"),
            *((f"encoder.block.{{}}.layer.0.SelfAttention.{n[0]}", f"{layer}.attention.{n}") for n in _PROJECTIONS),
            ("encoder.block.{}.layer.0.layer_norm", f"{layer}.attention_norm"),
            ("encoder.block.{}.layer.1.layer_norm", f"{layer}.mlp_norm"),
            *((f"encoder.block.{{}}.layer.1.DenseReluDense.{theirs}", f"{layer}.{ours}") for theirs, ours in up),
            ("encoder.block.{}.layer.1.DenseReluDense.wo", f"{layer}.mlp.down"),
            ("encoder.final_layer_norm", "encoder.stack.norm"),
        ],
        aliases={"encoder.embed_tokens.weight": "shared.weight"},
    )


_PROJECTIONS = ("query", "key", "value", "out")  # T5 calls them by their first letters


class T5EncoderModel(PreTrainedModel):
    """T5's encoder.

    Args:
        config: a ``T5Config``.
    """

    config_class = T5Config
    base_model_prefix = "encoder"
    # float16 sums of the feed-forward output overflow in T5
    keep_in_fp32 = ("mlp.down",)
    ignored_keys = (
        r"decoder\.",
        r"lm_head\.",
        r"encoder\.block\.\d+\.layer\.0\.SelfAttention\.relative_attention_bias",
    )
    sections: ClassVar[dict[str, tuple[str, str]]] = dict.fromkeys(
        ("musicgen", "musicgen_melody"), ("text_encoder", "text_encoder.")
    )

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.key_table = _keys(config.is_gated_act)
        self.encoder = T5Encoder(
            vocabulary=config.vocab_size,
            width=config.d_model,
            layers=config.num_layers,
            heads=config.num_heads,
            head_width=config.d_kv,
            hidden=config.d_ff,
            act=config.dense_act_fn,
            gated=config.is_gated_act,
            buckets=config.relative_attention_num_buckets,
            max_distance=config.relative_attention_max_distance,
            dropout=config.dropout_rate,
            eps=config.layer_norm_epsilon,
        )
        self.post_init()

    def initialise(self) -> None:
        """Normal weights whose deviations follow T5's: by width, and by head width for the queries."""
        config, encoder = self.config, self.encoder
        factor = config.initializer_factor
        by_width = factor * config.d_model**-0.5
        nn.init.normal_(encoder.embedding.weight, std=factor)
        nn.init.normal_(encoder.position_bias.weight, std=by_width)
        layers: list[Any] = list(encoder.stack.layers)
        for layer in layers:
            nn.init.normal_(layer.attention.query.weight, std=factor * (config.d_model * config.d_kv) ** -0.5)
            nn.init.normal_(layer.attention.key.weight, std=by_width)
            nn.init.normal_(layer.attention.value.weight, std=by_width)
            nn.init.normal_(layer.attention.out.weight, std=factor * (config.num_heads * config.d_kv) ** -0.5)
            for name, linear in layer.mlp.named_children():
                nn.init.normal_(linear.weight, std=factor * config.d_ff**-0.5 if name == "down" else by_width)
            nn.init.constant_(layer.attention_norm.weight, factor)
            nn.init.constant_(layer.mlp_norm.weight, factor)
        final: Any = encoder.stack.norm
        nn.init.constant_(final.weight, factor)

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.encoder.embedding = value  # type: ignore[assignment]

    @property
    def shared(self) -> nn.Module:
        """The token embedding."""
        return self.encoder.embedding

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        head_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Hidden states of a text.

        Args:
            input_ids: (B, T) int64, or inputs_embeds: (B, T, D); exactly one of them.
            attention_mask: (B, T), 1 for real tokens, 0 for pads.
            head_mask: (layers, H), multiplied onto the weights; with ``attn_implementation="eager"`` only.

        Returns:
            ``BaseModelOutput`` with ``last_hidden_state`` (B, T, D), or a tuple.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ParamError("exactly one of input_ids and inputs_embeds has to be given")
        rows, places = (inputs_embeds if input_ids is None else input_ids).shape[:2]  # type: ignore[union-attr]
        shape = None if attention_mask is None else tuple(attention_mask.shape)
        if shape is not None and len(shape) == 2 and shape not in ((rows, places), (1, places)):
            raise ParamError(f"attention_mask of shape {shape}", expected=f"({rows}, {places})")
        record = recorded(self.config, output_hidden_states, output_attentions)
        hidden = self.encoder(input_ids, attention_mask, embedded=inputs_embeds, head_mask=head_mask, record=record)
        hidden_states, attentions, _ = record.tuples()
        output = BaseModelOutput(last_hidden_state=hidden, hidden_states=hidden_states, attentions=attentions)
        return returned(output, return_dict, self.config)
