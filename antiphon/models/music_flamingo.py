"""The documented Music Flamingo classes: Audio Flamingo 3 with frames that know when they are heard.

Source: Ghosh et al., "Music Flamingo: Scaling Music Understanding in Audio Language Models", 2025; the numbers are
those of transformers 5.23.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from antiphon.encoders.audio_encoder import MEL_A_FRAME
from antiphon.encoders.rotary_time import RotaryTime
from antiphon.models.audio_flamingo import AudioFlamingo3ForConditionalGeneration
from antiphon.models.audio_flamingo_config import MusicFlamingoConfig as MusicFlamingoConfig
from antiphon.models.audio_flamingo_model import AudioFlamingo3Model, AudioFlamingo3MultiModalProjector


class MusicFlamingoMultiModalProjector(AudioFlamingo3MultiModalProjector):
    """From the encoder's frames to the language model's embeddings, under its documented name."""


class MusicFlamingoModel(AudioFlamingo3Model):
    """The encoder, the rotary time embedding, the projector and the language model without its head.

    Args:
        config: a ``MusicFlamingoConfig``.
    """

    config_class = MusicFlamingoConfig
    projector_class = MusicFlamingoMultiModalProjector

    @property
    def pos_emb(self) -> RotaryTime:
        """The rotary time embedding, as the configuration has it now."""
        config = self.config
        return RotaryTime(
            width=int(config.head_dim * config.partial_rotary_factor),
            base=config.rope_theta,
            longest=config.max_position_embeddings,
            frame_s=config.audio_frame_step * MEL_A_FRAME,
        )

    def placed(self, frames: Tensor, windows: Tensor, window_frames: int) -> Tensor:
        """Frames (W, T, D) turned by when they are heard.

        Args:
            windows: (W,) int64, each window's number within its recording. window_frames: that a full window has.
        """
        return self.pos_emb.turned(frames, windows, window_frames)


class MusicFlamingoForConditionalGeneration(AudioFlamingo3ForConditionalGeneration):
    """Music Flamingo: it hears music and answers in text.

    Args:
        config: a ``MusicFlamingoConfig``.

    Attributes:
        model: a ``MusicFlamingoModel``. lm_head: over the vocabulary, never tied to the embedding.
    """

    config_class = MusicFlamingoConfig
    bare_class = MusicFlamingoModel
    relatives: ClassVar[dict[str, str]] = {"audioflamingo3": "multimodal_lm"}
