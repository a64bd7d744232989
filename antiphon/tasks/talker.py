"""The talker: somebody who listens and speaks at once, in a session or over a whole recording."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from antiphon import __version__
from antiphon.audio.clip import Audio
from antiphon.audio.resampling import resample
from antiphon.audio.samples import to_channels
from antiphon.errors import Cancelled, ParamError, ParamTypeError
from antiphon.generation.delays import DelayPattern
from antiphon.generation.dialogue import Streams
from antiphon.generation.duplex import Duplex, FirstFrame
from antiphon.generation.duplex_settings import DuplexSettings, Opening
from antiphon.tasks.recordings import Recording, check_rate_is_needed
from antiphon.tasks.talk_session import Moment, TalkSession
from antiphon.tasks.transcript import Transcript

_MOST_SECONDS = 6 * 3600.0
_QUIET = (0, 3)  # text tokens between words, where a checkpoint does not name its own

OnProgress = Callable[[float, float], None]
StopWhen = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class Reply:
    """What was said to a recording.

    Attributes:
        audio: the reply, one channel, on the clock of the conversation: as it would have been heard had the user
            spoken live, with nothing added for computing.
        stereo: the user on the left, the reply on the right. transcript: of the reply. seed: with which it is said
            again. stopped: whether it ended before its time.
    """

    audio: Audio
    stereo: Audio
    transcript: Transcript
    seed: int
    stopped: bool = False


class Talker:
    """Converses with a Moshi.

    Args:
        model: a ``MoshiForConditionalGeneration``. tokenizer: of its text. name: what replies say they were made by.
        origin: what else they say of the model.

    Attributes:
        sampling_rate: of all sound, in Hz. frame_samples: what is heard at once. settings: how it chooses unless told,
            as the checkpoint has it. adapters: name, scale and checksum of each that the model was given by ``load``.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str, origin: Mapping[str, Any] | None = None) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name
        self._origin = dict(origin or {})
        self.adapters: list[dict[str, Any]] = list(self._origin.get("adapters", ()))
        self.sampling_rate: int = model.config.sampling_rate
        self.frame_samples: int = model.audio_encoder.codec.frame_samples
        self.settings = _settings_of(model.generation_config)
        self._streams = _streams_of(model.config)

    def __repr__(self) -> str:
        return f"Talker({self.name!r}, {self.sampling_rate} Hz, on {self.model.device})"

    @property
    def frame_s(self) -> float:
        """Seconds of a frame."""
        return self.frame_samples / self.sampling_rate

    def session(
        self,
        batch: int = 1,
        *,
        seed: int | Sequence[int] | None = None,
        opening: Opening | Sequence[Opening | None] | None = None,
        first_frame: FirstFrame = "forgotten",
        text_temperature: float | None = None,
        text_top_k: int | None = None,
        audio_temperature: float | None = None,
        audio_top_k: int | None = None,
        repetition_penalty: float | None = None,
        repetition_context: int | None = None,
        still_shapes: bool = False,
    ) -> TalkSession:
        """Conversations with ``batch`` users on one set of weights; the talker may have several sessions.

        Args:
            seed: an int s gives the rows seeds s, s + 1, ..; a list has one for each; ``None`` draws one.
            opening: what the talker says first, as ``opening`` makes it; one for all rows, or a list.
            first_frame: what happens to the users' first frame, see ``Duplex``.
            text_temperature, text_top_k, audio_temperature, audio_top_k, repetition_penalty, repetition_context: see
                ``DuplexSettings``; unless told as the checkpoint has it.
            still_shapes: every step takes as long as one in the midst of a long conversation.

        Raises:
            ParamError: a value out of range.
        """
        given = {
            "text_temperature": text_temperature,
            "text_top_k": text_top_k,
            "audio_temperature": audio_temperature,
            "audio_top_k": audio_top_k,
            "repetition_penalty": repetition_penalty,
            "repetition_context": repetition_context,
        }
        told = {key: value for key, value in given.items() if value is not None}
        duplex = Duplex(
            self.model.lm,
            self.model.audio_encoder.codec,
            self._streams,
            rows=batch,
            settings=DuplexSettings(**{**asdict(self.settings), **told}),
            seed=seed,
            opening=opening,
            first_frame=first_frame,
            still_shapes=still_shapes,
            device=self.model.device,
        )
        return TalkSession(duplex, self.tokenizer, sampling_rate=self.sampling_rate, quiet=self._streams.quiet)

    def opening(
        self, text: str | None = None, sound: Any = None, *, sampling_rate: int | None = None, heard: bool = True
    ) -> Opening:
        """What a session may begin with: words, one piece a frame, or a voice, or both from the same moment on.

        Args:
            text: the words. sound: a recording in the voice that the talker is to have, of which whole frames count.
            sampling_rate: of an array, in Hz. heard: whether it comes out; otherwise the talker is silent meanwhile.

        Raises:
            ParamError: neither of them, or less than a frame. AudioError: a sound that cannot be read.
        """
        ids: list[int] = list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []
        codes = None
        if sound is not None:
            samples = self._heard(sound, sampling_rate, argument="sound")
            samples = samples[: len(samples) // self.frame_samples * self.frame_samples]
            if not len(samples):
                raise ParamError("a sound of less than a frame", expected=f"{self.frame_s:g} seconds or more")
            with torch.no_grad():
                codec, x = self.model.audio_encoder.codec, torch.from_numpy(samples)[None, None]
                codes = codec.encode(x.to(self.model.audio_encoder.device), self._streams.codebooks)[0].cpu()
        frames = max(len(ids), 0 if codes is None else codes.shape[1])
        if not frames:
            raise ParamError("an opening of no words and no sound", expected="text, or sound, or both")
        words = torch.tensor(ids + [self._streams.quiet[-1]] * (frames - len(ids)))
        if codes is not None and codes.shape[1] < frames:
            codes = torch.nn.functional.pad(codes, (0, frames - codes.shape[1]), value=-1)
        return Opening(words, codes, heard)

    def reply(
        self,
        audio: Any,
        *,
        sampling_rate: int | None = None,
        seconds: float | None = None,
        seed: int | None = None,
        opening: Opening | None = None,
        first_frame: FirstFrame = "heard",
        on_progress: OnProgress | None = None,
        stop_when: StopWhen | None = None,
        **settings: Any,
    ) -> Reply:
        """The reply to a whole recording, as a session gives it frame by frame.

        Args:
            audio: a path, the bytes of a file, an ``Audio``, or an array at ``sampling_rate`` Hz; mixed to one channel.
            seconds: how long the conversation lasts: the user is silent after the recording, or cut off. Unless told
                as long as the recording.
            seed, opening, first_frame: as for ``session``; of a recording all is heard unless told.
            on_progress: called with the fraction of the work and the seconds that are done.
            stop_when: asked between frames; where it answers true, the conversation ends there.
            settings: ``text_temperature``, ``audio_top_k``, .. as for ``session``.

        Raises:
            AudioError: a recording that cannot be read. ParamError, ParamTypeError: a value out of range, or an unknown
                one. NumericError: numbers that are not finite. Cancelled: stopped before a frame was heard.
        """
        if isinstance(seed, (list, tuple)):
            raise ParamTypeError(f"seed={seed!r}", expected="one seed")
        heard = self._heard(audio, sampling_rate, argument="audio")
        heard = self._lasting(heard, seconds)
        session = self.session(1, seed=seed, opening=opening, first_frame=first_frame, **settings)
        frames, moments = len(heard) // self.frame_samples, list[Moment]()
        for number, frame in enumerate(heard.reshape(frames, -1)):
            if stop_when is not None and stop_when():
                break
            moments += session.listen(frame)
            if on_progress is not None:
                on_progress((number + 1) / frames, (number + 1) * self.frame_s)
        if not moments:
            raise Cancelled("stopped before the first frame was heard")
        done = len(moments)
        moments += session.flush()
        return self._told(heard[: done * self.frame_samples], moments, session, done < frames)

    def _heard(self, audio: Any, sampling_rate: int | None, *, argument: str) -> np.ndarray:
        """A recording as (N,) at the model's rate."""
        check_rate_is_needed(sampling_rate, **{argument: audio})
        recording = Recording.read(audio, sampling_rate, argument=argument)
        mono = to_channels(recording.samples, 1)
        (samples,) = resample(mono, recording.sampling_rate, self.sampling_rate)
        return np.asarray(samples)

    def _lasting(self, samples: np.ndarray, seconds: float | None) -> np.ndarray:
        """Whole frames: of so many seconds, or the last one filled up with silence."""
        length = len(samples)
        if seconds is not None:
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _MOST_SECONDS:
                raise ParamError(f"seconds={seconds!r}", expected=f"a number above 0, up to {_MOST_SECONDS:g}")
            length = math.ceil(seconds * self.sampling_rate)
        frames = -(-length // self.frame_samples)
        lasting = np.zeros(frames * self.frame_samples, np.float32)
        kept = min(len(samples), length)
        lasting[:kept] = samples[:kept]
        return lasting

    def _told(self, heard: np.ndarray, moments: list[Moment], session: TalkSession, stopped: bool) -> Reply:
        total = len(heard) + self.frame_samples  # the last frame is answered once it was said
        user, reply = np.zeros((1, total), np.float32), np.zeros((1, total), np.float32)
        user[0, : len(heard)] = heard
        for number, moment in enumerate(moments):
            at = (number + 1) * self.frame_samples
            reply[:, at : at + moment.samples.shape[1]] = moment.samples
        transcript = Transcript(
            seconds=total / self.sampling_rate,
            pieces=[piece for moment in moments for piece in moment.pieces],
            events=sorted((e for moment in moments for e in moment.events), key=lambda e: e.time_s),
            entropies=[e for moment in moments for e in moment.entropies if e is not None],
        )
        seed = session.seeds[0]
        made: dict[str, Any] = {
            "prompt": transcript.text or None,
            "seed": seed,
            "model": self.name,
            "parameters": self._parameters(session, stopped),
        }
        return Reply(
            audio=Audio(reply, self.sampling_rate, **made),
            stereo=Audio(np.concatenate([user, reply]), self.sampling_rate, **made),
            transcript=transcript,
            seed=seed,
            stopped=stopped,
        )

    def _parameters(self, session: TalkSession, stopped: bool) -> dict[str, Any]:
        dtype = str(self.model.dtype).removeprefix("torch.")
        told = {"software": f"antiphon {__version__}", "dtype": dtype, **self._origin, **asdict(session.settings)}
        return {**told, "stopped": True} if stopped else told


def _streams_of(config: Any) -> Streams:
    """The streams of a checkpoint; kyutai's own files name delays and quiet tokens, for others they are the published
    model's.
    """
    books = config.num_codebooks
    one = [0, *[1] * (books - 1)]
    delays = getattr(config, "delays", None) or [0, *one, *one]
    named = ("existing_text_end_padding_id", "existing_text_padding_id")
    stated = [getattr(config, name, None) for name in named]
    quiet = tuple(default if own is None else int(own) for own, default in zip(stated, _QUIET, strict=True))
    return Streams(DelayPattern(tuple(delays)), config.vocab_size, config.audio_vocab_size, quiet)


def _settings_of(config: Any) -> DuplexSettings:
    """How a checkpoint says that it talks."""
    own = {"do_sample": config.do_sample, "temperature": config.temperature, "top_k": config.top_k}
    depth = dict(getattr(config, "depth_decoder_config", None) or {})
    told: dict[str, Any] = {}
    for kind, stated in (("text", own), ("audio", depth)):
        told |= {
            f"{kind}_{key}": stated[key] for key in ("temperature", "top_k") if isinstance(stated.get(key), int | float)
        }
        if stated.get("do_sample") is False:
            told[f"{kind}_temperature"] = 0.0
    return DuplexSettings(**told)
