"""Making a piece again from what its file says of it, and telling whether the two are the same."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from antiphon import __version__
from antiphon.audio import files
from antiphon.audio.clip import Audio
from antiphon.audio.loudness import Strategy, Target
from antiphon.errors import AudioError, CheckpointError, ParamError
from antiphon.tasks.adapters import ScaledAdapter
from antiphon.tasks.composer import Composer
from antiphon.tasks.continuation import clips_of
from antiphon.tasks.load import load
from antiphon.tasks.melody import Melody, tune_of
from antiphon.tasks.request import OnProgress, StopWhen
from antiphon.tasks.settings import Settings
from antiphon.tasks.stopping_point import stop_at

log = logging.getLogger(__name__)

# the names of a record that are arguments of ``compose``
_SETTINGS = ("seconds", "guidance", "temperature", "top_k", "top_p", "greedy", "window_seconds", "stride_seconds")
_ORIGIN = ("software", "dtype", "quantize", "adapters", "revision", "continue_from", "melody", "loudness", "stopped")
_SUBTYPES = {"wav": ("PCM_16", "PCM_24", "PCM_32", "FLOAT"), "flac": ("PCM_16", "PCM_24")}
_LOSSY_CORRELATION = 0.9  # coders differ between versions; other music correlates by a few hundredths
_MOST_SHIFT_S = 0.1  # coders delay what they code


@dataclass(frozen=True)
class Recipe:
    """How a piece was made, as the tags of its file tell it.

    Attributes:
        prompt, seed, model, revision, dtype, quantize: what made it; ``None`` where it had none.
        adapters: what identifies the adapters on the model.
        settings: arguments of ``compose``. recording: what identifies the recording it goes on from.
        melody: what identifies the one it follows. loudness: the level its file was brought to.
        stopped_s: where it was stopped before its length. source: its file.
    """

    prompt: str | None
    seed: int | None
    model: str | None
    revision: str | None = None
    dtype: str | None = None
    quantize: str | None = None
    adapters: tuple[dict[str, Any], ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    recording: dict[str, Any] | None = None
    melody: dict[str, Any] | None = None
    loudness: Strategy | None = None
    stopped_s: float | None = None
    source: str = "the sound"

    @classmethod
    def of(cls, audio: Audio, source: str = "the sound") -> Recipe:
        """The recipe of a sound that was loaded from a file.

        Raises:
            AudioError: it was not made by Antiphon, its tags are gone, or they hold what this version does not know.
        """
        record = audio.parameters or {}
        software = record.get("software")
        if not isinstance(software, str) or not software.startswith("antiphon"):
            by = f"says it was made by {software!r}" if software else "has no tags that say how it was made"
            raise AudioError(f"{source} {by}", expected="a file that Antiphon wrote, with its tags")
        if "text_temperature" in record:
            raise AudioError(f"{source} is a conversation", fix=f"antiphon talk has it again with --seed {audio.seed}")
        if unknown := sorted(set(record) - {*_SETTINGS, *_ORIGIN}):
            raise AudioError(
                f"{source} was made by {software} with {', '.join(unknown)}, which {_software()} does not know",
                fix="Install the version that made it",
            )
        if software != _software():
            log.warning("%s was made by %s; this is %s, which may round differently", source, software, _software())
        return cls(
            prompt=audio.prompt,
            seed=audio.seed,
            model=audio.model,
            revision=_text(record, "revision", source),
            dtype=_text(record, "dtype", source),
            quantize=_text(record, "quantize", source),
            adapters=_adapters(record, source),
            settings={name: record[name] for name in _SETTINGS if record.get(name) is not None},
            recording=_sound(record, "continue_from", source),
            melody=_sound(record, "melody", source),
            loudness=_strategy(record, source),
            stopped_s=audio.seconds if record.get("stopped") else None,
            source=source,
        )

    def load(self, model: str | None = None, *, device: Any = None) -> Composer:
        """The composer that made the piece.

        Args:
            model: a folder or name to take instead of the one in the tags, which may lie elsewhere now.

        Raises:
            CheckpointError: the tags name no model, or it cannot be loaded. Other errors as ``load``.
        """
        name = model or self.model
        if not name:
            raise CheckpointError(f"{self.source} does not say which model made it", fix="Name it with --model")
        options: dict[str, Any] = {} if self.quantize is None else {"quantize": self.quantize}
        if self.adapters:
            options["adapters"] = [ScaledAdapter.of(one) for one in self.adapters]
        if self.revision is not None and "@" not in name and not os.path.isdir(os.path.expanduser(name)):
            options["revision"] = self.revision
        try:
            composer: Composer = load(name, dtype=self.dtype, device=device, **options)
        except (CheckpointError, ParamError) as error:
            if model is not None:
                raise
            what = f"the model {name!r} that made {self.source} cannot be loaded: {error}"
            raise CheckpointError(what, fix="If it lies elsewhere now, name it with --model") from error
        if self.adapters:
            self._check_adapters(composer)
        return composer

    def _check_adapters(self, composer: Composer) -> None:
        """Refuses adapters that were trained on, or replaced, since the piece was made."""
        for asked, found in zip(self.adapters, composer.adapters, strict=True):
            if asked.get("sha256") not in (None, found["sha256"]):
                raise CheckpointError(
                    f"the adapter {found['name']!r} is another one than {self.source} was made with",
                    fix="Put the adapter back that it was then",
                )

    def make(
        self,
        composer: Composer,
        recording: Any = None,
        melody: Any = None,
        *,
        on_progress: OnProgress | None = None,
        stop_when: StopWhen | None = None,
    ) -> Audio:
        """The piece again, as it was before its file brought it to a level; its record says so too.

        Args:
            recording: the one the piece went on from, as ``compose`` takes it. melody: the one it follows.
            on_progress, stop_when: as there.

        Raises:
            ParamError: no recording or melody where there was one, another one, one where there was none, or settings
                in the tags that are out of range.
        """
        held = self._held_samples(composer, recording)
        if self.stopped_s is not None:
            stop_when = stop_at(
                composer.form, self.settings, held_samples=held, seconds=self.stopped_s, other=stop_when
            )
        piece: Audio = composer.compose(
            self.prompt,
            seed=self.seed,
            continue_from=recording,
            melody=self._same_melody(composer, melody),
            on_progress=on_progress,
            stop_when=stop_when,
            **self.settings,
        )
        if self.loudness is None:
            return piece
        return replace(piece, parameters={**(piece.parameters or {}), "loudness": self.loudness})

    def _held_samples(self, composer: Composer, recording: Any) -> int:
        """The samples of the recording, which must be the one the piece went on from."""
        if self.recording is None:
            if recording is not None:
                raise ParamError(f"{self.source} goes on from no recording", fix="Leave --continue out")
            return 0
        name = self.recording.get("name") or "a recording without a name"
        if recording is None:
            raise ParamError(f"{self.source} goes on from {name!r}", fix="Name that recording with --continue")
        clips = clips_of(
            recording,
            None,
            prompts=1,
            rate_hz=composer.sampling_rate,
            channels=composer.channels,
            hop_samples=composer.hop_samples,
        )
        if clips is None or clips[0].record(composer.sampling_rate)["sha256"] != self.recording.get("sha256"):
            raise ParamError(
                f"{self.source} goes on from {name!r}, and the samples of this recording are others",
                fix="Name the same recording with --continue",
            )
        return int(clips[0].samples.shape[1])

    def _same_melody(self, composer: Composer, melody: Any) -> Melody | None:
        """The melody, which must be the one that the piece follows."""
        if self.melody is None:
            if melody is not None:
                raise ParamError(f"{self.source} follows no melody", fix="Leave --melody out")
            return None
        name = self.melody.get("name") or "a melody without a name"
        if melody is None:
            raise ParamError(f"{self.source} follows {name!r}", fix="Name that recording with --melody")
        same = Melody(melody, separate=self.melody.get("separate") is True)
        seconds = Settings(**self.settings).seconds
        tune = tune_of(same, None, separate=same.separate, seconds=seconds, seen_s=composer.form.melody_s)
        if tune.record()["sha256"] != self.melody.get("sha256"):
            raise ParamError(
                f"{self.source} follows {name!r}, and the samples of this melody are others",
                fix="Name the same recording with --melody",
            )
        return same


@dataclass(frozen=True)
class Likeness:
    """How a piece that was made again compares with its file.

    Attributes:
        verdict: ``equal`` (every sample), ``alike`` (lossy coding lies between them) or ``different``.
        correlation: from -1 to 1; 1 for equal ones. difference: the largest one between two samples, where both have
            the same length, rate and channels.
    """

    verdict: Literal["equal", "alike", "different"]
    correlation: float
    difference: float | None

    @property
    def is_same(self) -> bool:
        """Whether it is the same piece."""
        return self.verdict != "different"


def compare(piece: Audio, file: str | os.PathLike[str], *, loudness: Strategy | None = None) -> Likeness:
    """Compares a piece with a file: the piece is written in the file's way in memory, and both are read again.

    A 16 bit file then has equal samples if the piece is the same. Where coding loses something, and another version of
    a coder may have written the file, the samples may differ while the two correlate.

    Args:
        piece: as ``Recipe.make`` gives it. loudness: the level the file was brought to.

    Raises:
        AudioError: the file cannot be read.
    """
    suffix = Path(file).suffix.lstrip(".").lower()
    wanted = Audio.load(file)
    best = Likeness("different", -1.0, None)
    for subtype in _SUBTYPES.get(suffix, (None,)):
        likeness = _likeness(_as_written(piece, suffix, subtype, loudness), wanted, lossy=suffix not in _SUBTYPES)
        best = max(best, likeness, key=lambda one: (one.verdict == "equal", one.correlation))
        if best.verdict == "equal":
            break
    return best


def _as_written(piece: Audio, suffix: str, subtype: str | None, loudness: Strategy | None) -> Audio:
    level: dict[str, Any] = {}
    if loudness is not None:
        piece = piece.normalised(loudness)
        level = {"peak_dbfs": -Target().peak_clip_headroom_db}
    return Audio.load(files.encode(piece.samples, piece.sampling_rate, format=suffix, subtype=subtype, **level))


def _likeness(made: Audio, wanted: Audio, *, lossy: bool) -> Likeness:
    difference = None
    if made.samples.shape == wanted.samples.shape and made.sampling_rate == wanted.sampling_rate:
        difference = float(np.abs(made.samples - wanted.samples).max())
        if difference == 0:
            return Likeness("equal", 1.0, 0.0)
    correlation = _correlation(made, wanted)
    alike = lossy and correlation >= _LOSSY_CORRELATION
    return Likeness("alike" if alike else "different", correlation, difference)


def _correlation(made: Audio, wanted: Audio) -> float:
    """Of the averages of the channels, at the shift of up to 0.1 s where it is largest; 0 beside silence."""
    one = made.mono().samples[0].astype(np.float64)
    other = wanted.resample(made.sampling_rate).mono().samples[0].astype(np.float64)
    most = int(_MOST_SHIFT_S * made.sampling_rate)
    if abs(len(one) - len(other)) > most:
        return 0.0
    size = 1 << (max(len(one), len(other)) + most).bit_length()
    product = np.fft.irfft(np.fft.rfft(one, size) * np.fft.rfft(other, size).conj(), size)
    near = np.concatenate([product[: most + 1], product[-most:]])
    norm = float(np.sqrt(np.dot(one, one) * np.dot(other, other)))
    return float(near.max() / norm) if norm > 0 else 0.0


def _software() -> str:
    return f"antiphon {__version__}"


def _strategy(record: Mapping[str, Any], source: str) -> Strategy | None:
    given = record.get("loudness")
    for strategy in get_args(Strategy):
        if given == strategy:
            return cast(Strategy, strategy)
    if given is not None:
        raise AudioError(f"the tags of {source} say loudness={str(given)[:40]!r}", expected=str(get_args(Strategy)))
    return None


def _sound(record: Mapping[str, Any], name: str, source: str) -> dict[str, Any] | None:
    value = record.get(name)
    if value is not None and not isinstance(value, dict):
        raise AudioError(f"the tags of {source} say {name}={str(value)[:40]!r}", expected="what identifies a sound")
    return value


def _adapters(record: Mapping[str, Any], source: str) -> tuple[dict[str, Any], ...]:
    value = record.get("adapters") or []
    if not isinstance(value, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in value
    ):
        raise AudioError(f"the tags of {source} say adapters={str(value)[:40]!r}", expected="a list of adapters")
    return tuple(value)


def _text(record: Mapping[str, Any], name: str, source: str) -> str | None:
    value = record.get(name)
    if value is not None and not isinstance(value, str):
        raise AudioError(f"the tags of {source} say {name}={str(value)[:40]!r}", expected="text")
    return value
