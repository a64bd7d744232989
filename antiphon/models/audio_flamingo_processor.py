"""The documented Audio Flamingo 3 processor, which the preview of Music Flamingo has: no tokens around the sound."""

from __future__ import annotations

from typing import Any, ClassVar

from antiphon.errors import ParamError, ParamTypeError
from antiphon.models.listening_processor import ListeningProcessor
from antiphon.models.recordings import as_recordings

# how the model begins an answer that spells out what is said
_PREFIXES = (
    "The spoken content of the audio is",
    "The transcription of the audio is",
    "The content of the input audio is",
)


class AudioFlamingo3Processor(ListeningProcessor):
    """Texts and sound to the inputs of ``AudioFlamingo3ForConditionalGeneration``.

    Args:
        feature_extractor: a ``WhisperFeatureExtractor``. tokenizer: a ``Qwen2Tokenizer``.
        chat_template: a Jinja template; the tokenizer's unless given. audio_token: stands for a recording.
        default_transcription_prompt: what ``apply_transcription_request`` asks.
        max_audio_len: seconds of a recording that are heard.

    Raises:
        ParamError: a token that the vocabulary does not have, or a length that is none.
    """

    setting_names: ClassVar[tuple[str, ...]] = ("audio_token", "default_transcription_prompt", "max_audio_len")

    def __init__(
        self,
        feature_extractor: Any,
        tokenizer: Any,
        chat_template: str | dict[str, str] | None = None,
        audio_token: str = "<sound>",
        default_transcription_prompt: str = "Transcribe the input speech.",
        max_audio_len: float = 600,
    ) -> None:
        super().__init__(feature_extractor, tokenizer, chat_template, audio_token, max_audio_len)
        self.default_transcription_prompt = default_transcription_prompt

    def apply_transcription_request(self, audio: Any, prompt: Any = None, tokenize: bool = True, **kwargs: Any) -> Any:
        """A conversation for each recording that asks what is said in it.

        Args:
            audio: one recording or a list. prompt: another question, or one for each, ``None`` for the default.
            tokenize, kwargs: as in ``apply_chat_template``.

        Raises:
            ParamError: unequal numbers of questions and recordings. ParamTypeError: a question that is no text.
        """
        recordings, _ = as_recordings(audio)
        prompts = list(prompt) if isinstance(prompt, (list, tuple)) else [prompt] * len(recordings)
        if len(prompts) != len(recordings):
            raise ParamError(f"{len(prompts)} prompts and {len(recordings)} recordings", expected="one for each")
        for one in prompts:
            if one is not None and not isinstance(one, str):
                raise ParamTypeError(f"a prompt of type {type(one).__name__}", expected="a string or None")
        conversations = [
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": self.default_transcription_prompt if asked is None else asked},
                        {"type": "audio", "audio": recording},
                    ],
                }
            ]
            for asked, recording in zip(prompts, recordings, strict=True)
        ]
        return self.apply_chat_template(
            conversations, tokenize=tokenize, add_generation_prompt=True, return_dict=True, **kwargs
        )

    def batch_decode(self, *args: Any, strip_prefix: bool = False, **kwargs: Any) -> list[str]:
        """The texts of ids (B, T); with ``strip_prefix`` only what is said, without the sentence around it."""
        texts = super().batch_decode(*args, **kwargs)
        return [_spoken(text) for text in texts] if strip_prefix else texts


def _spoken(text: str) -> str:
    text = text.strip()
    for prefix in _PREFIXES:
        if text.startswith(prefix):
            text = text.removeprefix(prefix).strip()
            break
    text = text.removesuffix(".").strip()
    quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1].strip() if quoted else text
