"""Audio Flamingo 3 without its head: an encoder's frames among the embeddings of a Qwen2.

Source: Goel et al., "Audio Flamingo 3: Advancing Audio Intelligence with Fully Open Large Audio Language Models", 2025;
the numbers are those of transformers 5.23.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from antiphon.checkpoints.keys import KeyTable
from antiphon.encoders.audio_encoder import columns_of, frames_of
from antiphon.encoders.projector import Projector
from antiphon.errors import ParamError
from antiphon.models.audio_flamingo_config import AudioFlamingo3Config
from antiphon.models.audio_flamingo_encoder import AudioFlamingo3Encoder
from antiphon.models.audio_windows import alike, check_count, window_numbers
from antiphon.models.configuration import PreTrainedConfig
from antiphon.models.pretrained import PreTrainedModel, returned
from antiphon.models.qwen2 import Qwen2Model
from antiphon.models.text_model import initialise_text
from antiphon.outputs import AudioModelOutputWithPast

# Files have the names that the classes had when the first checkpoints were published: the language model's own part
# stood one level deeper.
_FILE_KEYS = KeyTable([("language_model.model", "language_model")])


class AudioFlamingo3MultiModalProjector(Projector):
    """From the encoder's frames to the language model's embeddings.

    Args:
        config: an ``AudioFlamingo3Config`` or ``MusicFlamingoConfig``.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(
            config.audio_config.hidden_size,
            config.text_config.hidden_size,
            act=config.projector_hidden_act,
            bias=config.projector_bias,
        )


class AudioFlamingo3Model(PreTrainedModel):
    """The encoder, the projector and the language model without its head.

    Args:
        config: an ``AudioFlamingo3Config``.

    Attributes:
        audio_tower: the encoder. language_model: a ``Qwen2Model``. multi_modal_projector: between the two.
    """

    config_class: ClassVar[type[PreTrainedConfig]] = AudioFlamingo3Config
    nested_prefixes = ("model.",)
    file_keys = _FILE_KEYS
    ignored_keys: ClassVar[tuple[str, ...]] = (r"language_model\.lm_head\.", r"pos_emb\.")
    projector_class: type[AudioFlamingo3MultiModalProjector] = AudioFlamingo3MultiModalProjector

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.audio_tower = AudioFlamingo3Encoder(config.audio_config)
        self.language_model = Qwen2Model(config.text_config)
        self.multi_modal_projector = self.projector_class(config)
        self.post_init()

    def initialise(self) -> None:
        initialise_text(self, self.config.text_config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def resize_token_embeddings(self, new_num_tokens: int | None = None, **kwargs: Any) -> nn.Module:
        """As of the language model."""
        return self.language_model.resize_token_embeddings(new_num_tokens, **kwargs)

    def placed(self, frames: Tensor, windows: Tensor, window_frames: int) -> Tensor:
        """Frames (W, T, D) as the projector takes them, which here does not depend on when they are heard.

        Args:
            windows: (W,) int64, each window's number within its recording. window_frames: that a full window has.
        """
        return frames

    def get_audio_features(
        self,
        input_features: Tensor,
        input_features_mask: Tensor | None = None,
        input_ids: Tensor | None = None,
        window_indices: Tensor | None = None,
    ) -> Tensor:
        """The frames of recordings as the language model takes them.

        Only the sound itself is computed: padding behind a window's end is left out, and windows of like length go
        together.

        Args:
            input_features: (W, bands, N) float of any dtype. input_features_mask: (W, N), 1 for mel frames of the
                sound itself, which stand first; by default all.
            input_ids: (B, T) int64, whose runs of placeholders tell which windows are of one recording where
                ``window_indices`` does not.
            window_indices: (W,) int64, each window's number within its recording. Without either, all windows are of
                one recording.

        Returns:
            (F, D), F being the frames of all windows, in the order of the windows.

        Raises:
            ParamError: shapes that do not fit, or more or less placeholders than frames.
        """
        self.audio_tower.check_features(input_features, input_features_mask)
        full = input_features.shape[-1]
        windows = len(input_features)
        if input_features_mask is None:
            input_features_mask = torch.ones((windows, full), dtype=torch.int32, device=input_features.device)
        lengths = input_features_mask.sum(-1).cpu()
        frames: list[int] = frames_of(lengths).tolist()
        numbers = self._numbers(window_indices, input_ids, frames)
        window_frames = int(frames_of(torch.tensor(full)))
        nothing = torch.empty((0, self.config.audio_config.hidden_size), dtype=self.dtype, device=self.device)
        parts = [nothing] * windows
        for group in alike(torch.as_tensor(columns_of(lengths))):
            there = group.to(input_features.device)
            out = self.audio_tower(
                input_features[there], input_features_mask=input_features_mask[there], return_dict=True, trimmed=True
            )
            heard = self.placed(out.last_hidden_state, numbers[group], window_frames)
            for window, own in zip(group.tolist(), heard, strict=True):
                parts[window] = own[: frames[window]]
        features: Tensor = self.multi_modal_projector(torch.cat([nothing, *parts]))
        return features

    def _numbers(self, window_indices: Tensor | None, input_ids: Tensor | None, frames: list[int]) -> Tensor:
        if window_indices is None:
            if input_ids is None:
                return torch.arange(len(frames))
            return window_numbers((input_ids == self.config.audio_token_id).cpu(), frames)
        if tuple(window_indices.shape) != (len(frames),) or window_indices.is_floating_point():
            raise ParamError(
                f"window_indices of shape {tuple(window_indices.shape)} and dtype {window_indices.dtype}",
                expected=f"int64 ({len(frames)},), one number for each window",
            )
        return window_indices.cpu()

    def merged(
        self,
        input_ids: Tensor,
        embedded: Tensor,
        features: Tensor,
    ) -> Tensor:
        """Embeddings (B, T, D) of a text with frames (F, D) in the place of its placeholders, row by row.

        Raises:
            ParamError: more or less placeholders than frames.
        """
        places = input_ids == self.config.audio_token_id
        check_count(int(places.sum()), len(features))
        return embedded.masked_scatter(places.to(embedded.device)[..., None], features.to(embedded))

    def heard(
        self,
        input_ids: Tensor | None,
        *,
        input_features: Tensor | None = None,
        input_features_mask: Tensor | None = None,
        window_indices: Tensor | None = None,
        audio_features: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """A text's embeddings (B, T, D) with the sound among them, and the sound's frames (F, D) where there is sound.

        Raises:
            ParamError: sound without ids, given twice, or of another length than its placeholders.
        """
        if input_ids is None and inputs_embeds is None:
            raise ParamError("neither input_ids nor inputs_embeds were given", fix="Give one of them")
        if input_features is not None and audio_features is not None:
            raise ParamError("input_features and audio_features were both given", expected="one of them")
        embedded: Any = inputs_embeds
        if embedded is None:
            embedded = self.get_input_embeddings()(input_ids)
        if input_features is None and audio_features is None:
            return embedded, None
        if input_ids is None:
            raise ParamError("sound without input_ids", fix="Give the ids, which say where the sound stands")
        if input_features is not None:
            audio_features = self.get_audio_features(
                input_features, input_features_mask, input_ids=input_ids, window_indices=window_indices
            )
        features: Any = audio_features
        return self.merged(input_ids, embedded, features), features

    def forward(
        self,
        input_ids: Tensor | None = None,
        input_features: Tensor | None = None,
        input_features_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        cache_position: Tensor | None = None,
        window_indices: Tensor | None = None,
        audio_features: Tensor | None = None,
    ) -> Any:
        """Hidden states of the next T columns; arguments as of the model with its head.

        Returns:
            ``AudioModelOutputWithPast`` with ``last_hidden_state`` (B, T, D), or a tuple.
        """
        embedded, frames = self.heard(
            input_ids,
            input_features=input_features,
            input_features_mask=input_features_mask,
            window_indices=window_indices,
            audio_features=audio_features,
            inputs_embeds=inputs_embeds,
        )
        config = self.config
        out = self.language_model(
            inputs_embeds=embedded,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            output_attentions=config.output_attentions if output_attentions is None else output_attentions,
            output_hidden_states=config.output_hidden_states if output_hidden_states is None else output_hidden_states,
            return_dict=True,
            cache_position=cache_position,
        )
        output = AudioModelOutputWithPast(**out, audio_hidden_states=frames)
        return returned(output, return_dict, config)
