"""The documented Music Flamingo processor: texts, and music to listen to."""

from __future__ import annotations

from typing import Any, ClassVar

from antiphon.models.listening_processor import ListeningProcessor


class MusicFlamingoProcessor(ListeningProcessor):
    """Texts and music to the inputs of ``MusicFlamingoForConditionalGeneration``.

    Args:
        feature_extractor: a ``WhisperFeatureExtractor``. tokenizer: a ``Qwen2Tokenizer``.
        chat_template: a Jinja template; the tokenizer's unless given.
        audio_token: stands for a recording. audio_bos_token, audio_eos_token: stand around it.
        max_audio_len: seconds of a recording that are heard.

    Raises:
        ParamError: a token that the vocabulary does not have, or a length that is none.
    """

    setting_names: ClassVar[tuple[str, ...]] = ("audio_token", "audio_bos_token", "audio_eos_token", "max_audio_len")

    def __init__(
        self,
        feature_extractor: Any,
        tokenizer: Any,
        chat_template: str | dict[str, str] | None = None,
        audio_token: str = "<sound>",
        audio_bos_token: str = "<|sound_bos|>",
        audio_eos_token: str = "<|sound_eos|>",
        max_audio_len: float = 1200,
    ) -> None:
        super().__init__(feature_extractor, tokenizer, chat_template, audio_token, max_audio_len)
        self.audio_bos_token = audio_bos_token
        self.audio_eos_token = audio_eos_token
        self.audio_bos_token_id = self._id_of(audio_bos_token)
        self.audio_eos_token_id = self._id_of(audio_eos_token)

    @property
    def audio_token_ids(self) -> list[int]:
        """The ids that are sound and not text: its frames, its beginning and its end."""
        return [self.audio_token_id, self.audio_bos_token_id, self.audio_eos_token_id]

    def replacement(self, frames: int) -> str:
        """What stands in a text for a recording of so many frames."""
        return self.audio_bos_token + super().replacement(frames) + self.audio_eos_token
