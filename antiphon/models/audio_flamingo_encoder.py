"""The documented audio encoder of Audio Flamingo 3 and Music Flamingo."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from torch import Tensor, nn

from antiphon.checkpoints.keys import KeyTable
from antiphon.encoders.audio_encoder import AudioEncoder
from antiphon.errors import ParamError
from antiphon.models.audio_flamingo_config import AudioFlamingo3EncoderConfig
from antiphon.models.pretrained import PreTrainedModel, recorded, returned
from antiphon.nn.conv import Conv1d
from antiphon.outputs import BaseModelOutput

log = logging.getLogger(__name__)

_LAYER = "encoder.stack.layers.{}"
_KEYS = KeyTable(
    [
        ("conv1", "encoder.first"),
        ("conv2", "encoder.second"),
        ("embed_positions", "encoder.positions"),
        *(
            (f"layers.{{}}.self_attn.{theirs}", f"{_LAYER}.attention.{ours}")
            for theirs, ours in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "out"))
        ),
        ("layers.{}.self_attn_layer_norm", f"{_LAYER}.attention_norm"),
        ("layers.{}.final_layer_norm", f"{_LAYER}.mlp_norm"),
        ("layers.{}.fc1", f"{_LAYER}.mlp.up"),
        ("layers.{}.fc2", f"{_LAYER}.mlp.down"),
        ("layer_norm", "encoder.norm"),
    ]
)


class AudioFlamingo3Encoder(PreTrainedModel):
    """Log-mel windows to frames of 40 ms. A checkpoint of a model that has one inside opens as that.

    Args:
        config: an ``AudioFlamingo3EncoderConfig``.
    """

    config_class = AudioFlamingo3EncoderConfig
    main_input_name = "input_features"
    key_table = _KEYS
    nested_prefixes = ("model.audio_tower.", "audio_tower.")
    sections: ClassVar[dict[str, tuple[str, str]]] = dict.fromkeys(
        ("musicflamingo", "audioflamingo3"), ("audio_config", "")
    )
    # earlier files hold tables of the time embedding, which is computed
    ignored_keys = (r"pos_emb\.",)

    def __init__(self, config: AudioFlamingo3EncoderConfig) -> None:
        super().__init__(config)
        if config.scale_embedding:
            log.warning("scale_embedding has no effect, here as in the reference")
        self.encoder = AudioEncoder(
            mels=config.num_mel_bins,
            width=config.hidden_size,
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            hidden=config.intermediate_size,
            positions=config.max_source_positions,
            act=config.activation_function,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            activation_dropout=config.activation_dropout,
            layerdrop=config.layerdrop,
        )
        self.post_init()

    def initialise(self) -> None:
        """Normal weights, zeros for biases, ones in normalisations."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding, Conv1d)):
                nn.init.normal_(module.weight, std=self.config.initializer_range)
            elif isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
            bias = getattr(module, "bias", None)
            if isinstance(bias, nn.Parameter):
                nn.init.zeros_(bias)

    def get_input_embeddings(self) -> nn.Module:
        """The first convolution."""
        return self.encoder.first

    def forward(
        self,
        input_features: Tensor | None = None,
        input_features_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        *,
        trimmed: bool = False,
    ) -> Any:
        """Frames of log-mel windows.

        Args:
            input_features: (W, bands, N) float, cast to the model's dtype. input_features_mask: (W, N), 1 for the mel
                frames of the sound itself, which stand first, and 0 for padding.
            trimmed: compute no more columns than the longest window has; the frames of the sound itself are the same.

        Returns:
            ``BaseModelOutput`` with ``last_hidden_state`` (W, T, D), or a tuple. T is N / 4, with ``trimmed`` a quarter
            of the longest window's own mel frames.

        Raises:
            ParamError: features of another shape, or a mask of another shape than they have.
        """
        self.check_features(input_features, input_features_mask)
        mel: Any = input_features
        lengths = None if input_features_mask is None else input_features_mask.sum(-1)
        record = recorded(self.config, output_hidden_states, output_attentions)
        frames = self.encoder(mel.to(self.device, self.dtype), lengths, trimmed=trimmed, record=record)
        hidden_states, attentions, _ = record.tuples()
        output = BaseModelOutput(last_hidden_state=frames, hidden_states=hidden_states, attentions=attentions)
        return returned(output, return_dict, self.config)

    def check_features(self, features: Any, mask: Any) -> None:
        """Raises ``ParamError`` unless these are windows of this encoder's bands with a mask that fits."""
        bands = self.config.num_mel_bins
        shape = tuple(getattr(features, "shape", ()))
        if not isinstance(features, Tensor) or len(shape) != 3 or shape[1] != bands or not shape[2]:
            raise ParamError(f"input_features of shape {shape}", expected=f"(windows, {bands} bands, mel frames)")
        if not features.is_floating_point():
            raise ParamError(f"input_features of dtype {features.dtype}", expected="a floating point dtype")
        if mask is not None and tuple(mask.shape) != (shape[0], shape[2]):
            raise ParamError(f"input_features_mask of shape {tuple(mask.shape)}", expected=str((shape[0], shape[2])))
