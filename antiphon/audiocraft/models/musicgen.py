"""audiocraft's ``MusicGen``: text, a melody, a sound to go on from, or nothing, to music."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from antiphon.audiocraft.data.audio_utils import convert_audio
from antiphon.audiocraft.models.melody_inputs import melody_inputs
from antiphon.errors import ParamError, ParamTypeError
from antiphon.generation.delays import DelayPattern
from antiphon.generation.windows import SlidingWindow, Window
from antiphon.models.musicgen_generation import prompt_codes
from antiphon.models.musicgen_sound import decode, encode
from antiphon.models.quantized import plan_of
from antiphon.tasks.load import load
from antiphon.tasks.settings import Settings, checked_prompts

# Told how many columns of how many are made.
ProgressCallback = Callable[[int, int], None]
# The music (B, C, N), or that and its codes (B, K, T).
Made = Tensor | tuple[Tensor, Tensor]

_WINDOW_S = 30.0  # the published models were trained on
_STRIDE = 0.6  # of a window: 18 s of 30
_OLD_NAMES = ("small", "medium", "melody", "large")


class MusicGen:
    """A model behind audiocraft's calls.

    Items of a batch do not depend on each other here: a short text or melody beside a longer one is what it would be
    alone. ``torch.manual_seed`` makes the next calls repeatable; samples are not those of audiocraft.

    Args:
        name: what the model was opened by. model: a composite of the documented classes. processor: the one beside it.
        max_duration: seconds that the model sees at once.

    Attributes:
        duration: seconds of the next calls' music; a whole number of frames is made of it, the rest left off.
        separate: whether melodies are taken out of a mix by Demucs first; ``None``: if it is installed.
    """

    def __init__(self, name: str, model: Any, processor: Any, max_duration: float = _WINDOW_S) -> None:
        self.name = name
        self.model = model.eval()
        self.processor = processor
        self.max_duration = max_duration
        self.separate: bool | None = None
        config = model.config.decoder
        self._pattern = DelayPattern.for_codebooks(config.num_codebooks, config.audio_channels)
        self._progress_callback: ProgressCallback | None = None
        self.set_generation_params(duration=15, extend_stride=_STRIDE * max_duration)

    @staticmethod
    def get_pretrained(
        name: str = "facebook/musicgen-melody",
        device: Any = None,
        *,
        dtype: Any = None,
        quantize: str | None = None,
        text_encoder: str | os.PathLike[str] | None = None,
        codec: str | os.PathLike[str] | None = None,
    ) -> MusicGen:
        """The model of a name on the Hub or of a folder, in audiocraft's files or in the documented ones.

        Args:
            dtype, quantize, text_encoder, codec: beyond audiocraft, as ``antiphon.load`` takes them.

        Raises:
            CheckpointError: missing, damaged or unsafe files. ConfigError: another kind of model.
        """
        if name in _OLD_NAMES:
            warnings.warn(
                f"{name!r} is an old name for a checkpoint: use 'facebook/musicgen-{name}'", FutureWarning, stacklevel=2
            )
            name = f"facebook/musicgen-{name}"
        composer = load(name, device=device, dtype=dtype, quantize=quantize, text_encoder=text_encoder, codec=codec)
        extractor = composer.processor.feature_extractor
        window_s = float(extractor.chunk_length) if _hears_melodies(extractor) else _WINDOW_S
        return MusicGen(name, composer.model, composer.processor, max_duration=window_s)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.model.device
        return device

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return float(self.model.config.audio_encoder.frame_rate)

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return int(self.model.config.audio_encoder.sampling_rate)

    @property
    def audio_channels(self) -> int:
        """1, or 2 of a stereo model."""
        return int(self.model.config.decoder.audio_channels)

    def set_custom_progress_callback(self, progress_callback: ProgressCallback | None = None) -> None:
        """Told of progress, in calls with ``progress=True``, instead of a line on the standard error stream."""
        self._progress_callback = progress_callback

    def set_generation_params(
        self,
        use_sampling: bool = True,
        top_k: int = 250,
        top_p: float = 0.0,
        temperature: float = 1.0,
        duration: float = 30.0,
        cfg_coef: float = 3.0,
        two_step_cfg: bool = False,
        extend_stride: float = 18,
        *,
        cfg_coef_beta: float | None = None,
    ) -> None:
        """What the next calls use; what is left out is the default again.

        Args:
            use_sampling: otherwise, and at temperature 0, always the likeliest. top_p: above 0 it decides alone.
            duration: above ``max_duration`` the music is made in windows, each ``extend_stride`` seconds on.
            two_step_cfg: ``False``. cfg_coef_beta: ``None``, for no model that is read here knows it.

        Raises:
            ParamError: a value out of range, or one of the last two.
        """
        if two_step_cfg:
            raise ParamError("two_step_cfg=True", expected="False", fix="Leave it out: pads change nothing here")
        if cfg_coef_beta is not None:
            raise ParamError(f"cfg_coef_beta={cfg_coef_beta!r}", expected="None: style models are not read here")
        if not 0 < extend_stride < self.max_duration:
            raise ParamError(f"extend_stride={extend_stride!r}", expected=f"above 0 and below {self.max_duration:g} s")
        self.extend_stride = extend_stride
        self.duration = duration
        self.generation_params: dict[str, Any] = {
            "use_sampling": use_sampling,
            "temp": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "cfg_coef": cfg_coef,
            "two_step_cfg": two_step_cfg,
        }
        self._settings()

    def generate(self, descriptions: Sequence[str | None], progress: bool = False, return_tokens: bool = False) -> Made:
        """Music to texts; ``None`` and ``""`` are no text.

        Returns:
            (B, C, N) float32, with ``return_tokens`` and (B, K, T) int64.

        Raises:
            ParamError, ParamTypeError: an argument or a setting that cannot be used.
        """
        return self._made(_texts(descriptions), progress=progress, return_tokens=return_tokens)

    def generate_unconditional(self, num_samples: int, progress: bool = False, return_tokens: bool = False) -> Made:
        """Music to nothing, as ``generate`` gives it."""
        return self.generate([None] * num_samples, progress, return_tokens)

    def generate_with_chroma(
        self,
        descriptions: Sequence[str | None],
        melody_wavs: Tensor | Sequence[Tensor | None],
        melody_sample_rate: int,
        progress: bool = False,
        return_tokens: bool = False,
    ) -> Made:
        """Music to texts and melodies.

        Args:
            melody_wavs: (B, C, N), (C, N) for one text, or a list of (C, N) and ``None``. A short one is repeated.

        Raises:
            ParamError: a model without melodies, or another number of them than of texts; and as ``generate``.
        """
        if isinstance(melody_wavs, Tensor):
            if melody_wavs.dim() not in (2, 3):
                raise ParamError(
                    f"melody_wavs of shape {tuple(melody_wavs.shape)}", expected="(batch, channels, samples)"
                )
            melody_wavs = [melody_wavs] if melody_wavs.dim() == 2 else list(melody_wavs)
        texts = _texts(descriptions)
        if len(melody_wavs) != len(texts):
            raise ParamError(f"{len(texts)} descriptions and {len(melody_wavs)} melodies", expected="equal numbers")
        if not _hears_melodies(self.processor.feature_extractor):
            raise ParamError(f"{self.name!r} hears no melodies", expected="a melody model, as facebook/musicgen-melody")
        melodies = (list(melody_wavs), melody_sample_rate)
        return self._made(texts, melodies=melodies, progress=progress, return_tokens=return_tokens)

    def generate_continuation(
        self,
        prompt: Tensor,
        prompt_sample_rate: int,
        descriptions: Sequence[str | None] | None = None,
        progress: bool = False,
        return_tokens: bool = False,
    ) -> Made:
        """Music that goes on from sounds, which are its beginning; ``duration`` counts them too.

        Args:
            prompt: (B, C, N), or (C, N) for one.

        Raises:
            ParamError: prompts as long as the music, or another number of them than of texts; and as ``generate``.
        """
        if not isinstance(prompt, Tensor) or prompt.dim() not in (2, 3):
            shape = tuple(getattr(prompt, "shape", ()))
            raise ParamError(f"prompt of shape {shape}", expected="a tensor (batch, channels, samples)")
        sounds = convert_audio(
            prompt[None] if prompt.dim() == 2 else prompt, prompt_sample_rate, self.sample_rate, self.audio_channels
        )
        texts = [""] * len(sounds) if descriptions is None else _texts(descriptions)
        if len(texts) != len(sounds):
            raise ParamError(f"{len(texts)} descriptions and {len(sounds)} prompts", expected="equal numbers")
        with torch.no_grad():
            codes = encode(self.model, sounds, None)[0]
        return self._made(texts, codes, progress=progress, return_tokens=return_tokens)

    def generate_audio(self, gen_tokens: Tensor) -> Tensor:
        """The sound (B, C, N) float32 of codes (B, K, T).

        Raises:
            ParamError: another shape, or no codes.
        """
        config = self.model.config.decoder
        codes = prompt_codes(gen_tokens, config.num_codebooks, config.vocab_size - 1, name="gen_tokens")
        with torch.no_grad():
            return decode(self.model, codes).float()

    def _settings(self) -> Settings:
        """The present parameters, checked."""
        given = self.generation_params
        return Settings(
            seconds=self.duration,
            guidance=given["cfg_coef"],
            temperature=given["temp"],
            top_k=0 if given["top_p"] else given["top_k"],
            top_p=given["top_p"],
            window_seconds=self.max_duration,
            stride_seconds=self.extend_stride,
            greedy=not given["use_sampling"],
        )

    def _windows(self, held: int) -> list[Window]:
        """The windows of the music behind ``held`` frames."""
        frames, least = int(self.duration * self.frame_rate), max(self._pattern.max_delay, held + 1)
        if frames < least:
            what = f"duration={self.duration!r}" + (f" and a prompt of {held} frames" if held else "")
            raise ParamError(what, expected=f"{least / self.frame_rate:g} s or more, the prompt included")
        sliding = SlidingWindow.of_seconds(self.max_duration, self.extend_stride, self.frame_rate)
        return [] if sliding is None else list(sliding.windows(held, frames))

    def _made(
        self,
        texts: list[str],
        prompt: Tensor | None = None,
        melodies: tuple[list[Tensor | None], int] | None = None,
        *,
        progress: bool,
        return_tokens: bool,
    ) -> Made:
        """Music to texts, ``""`` for none, behind codes (B, K, T), and to melodies at a rate."""
        held = 0 if prompt is None else prompt.shape[-1]
        windows, delay = self._windows(held), self._pattern.max_delay
        inputs = self._settings().generation_kwargs() | self._text_inputs(texts)
        if melodies is not None:
            starts_s = [window.first / self.frame_rate for window in windows]
            extractor = self.processor.feature_extractor
            inputs |= melody_inputs(extractor, *melodies, starts_s=starts_s, separate=self.separate)
        elif not any(texts):
            inputs["guidance_scale"] = 1.0  # between nothing and nothing there is nothing to weigh
        if prompt is not None:
            inputs["decoder_input_ids"] = prompt.flatten(0, 1)
        if plan_of(self.model) is not None:
            inputs["cache_dtype"] = "int8"  # rounded weights go with a rounded cache, as in the short way
        if progress:
            steps = sum(window.frames - window.held + delay for window in windows)
            inputs["on_column"] = _Progress(steps, self._progress_callback or _to_stderr).step
        output = self.model.generate(
            **inputs,
            max_new_tokens=windows[-1].end - held + delay,
            independent_rows=True,
            return_dict_in_generate=True,
        )
        sound = output.sequences.float()
        return (sound, output.audio_codes) if return_tokens else sound

    def _text_inputs(self, texts: list[str]) -> dict[str, Any]:
        """The tokens of the texts and the mask of their places; that of no text hides its one token."""
        tokens = self.processor.tokenizer(texts, padding=True, return_tensors="pt")
        given = torch.tensor([[bool(text)] for text in texts])
        return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"] * given}


class _Progress:
    """Counts columns and tells of them."""

    def __init__(self, steps: int, tell: ProgressCallback) -> None:
        self._steps, self._tell, self._done = steps, tell, 0

    def step(self, column: Tensor) -> None:
        """One more column is made."""
        self._done += 1
        self._tell(self._done, self._steps)


def _hears_melodies(extractor: Any) -> bool:
    return hasattr(extractor, "window_features")


def _to_stderr(done: int, steps: int) -> None:
    sys.stderr.write(f"\r{done:6d} / {steps:6d}" + ("\n" if done == steps else ""))


def _texts(descriptions: Any) -> list[str]:
    """The texts of a call, ``""`` for none."""
    if isinstance(descriptions, str) or not isinstance(descriptions, Sequence):
        raise ParamTypeError(f"descriptions is of type {type(descriptions).__name__}", expected="a list of texts")
    return checked_prompts(list(descriptions))
