"""The ``Audio`` value: samples that know their rate and how they were made, play in a notebook and save themselves."""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.audio import files
from antiphon.audio.limits import Limits
from antiphon.audio.loudness import Strategy, Target, loudness_lufs, normalise
from antiphon.audio.resampling import check_rate, resample
from antiphon.audio.samples import as_samples, to_channels, to_pcm16
from antiphon.audio.stream import Source
from antiphon.errors import AntiphonError, AudioError

_TITLE_CHARACTERS = 200
_RECORD_BYTES = 24_000  # leaves room for the title within what tags may hold
_EMBED_BYTES = 64 << 20


@dataclass(frozen=True, eq=False, repr=False)
class Audio:
    """A sound: ``samples`` float32 (C, N), its rate, and, where it was generated, what it was generated from.

    Args:
        samples: anything ``as_samples`` takes.
        sampling_rate: Hz, 1000 to 384000.
        prompt, seed, model: what made it.
        parameters: the other arguments of the call; ``parameters["software"]`` names the program in the tags.

    Raises:
        AudioError, ParamTypeError, ParamError: samples or a rate that cannot be used.
    """

    samples: np.ndarray
    sampling_rate: int
    prompt: str | None = None
    seed: int | None = None
    model: str | None = None
    parameters: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", as_samples(self.samples))
        object.__setattr__(self, "sampling_rate", check_rate(self.sampling_rate))

    @property
    def seconds(self) -> float:
        return len(self) / self.sampling_rate

    @property
    def channels(self) -> int:
        return int(self.samples.shape[0])

    @property
    def peak(self) -> float:
        """The largest absolute sample; 1.0 is full scale."""
        return max(float(self.samples.max()), -float(self.samples.min()))

    @property
    def rms_dbfs(self) -> float:
        """Root mean square over all channels, in dB of a constant 1.0 (a full-scale sine: -3.01); silence -inf."""
        power = sum(float(np.dot(row, row)) for row in self.samples.astype(np.float64)) / self.samples.size
        return 10 * math.log10(power) if power > 0 else -math.inf

    @property
    def loudness_lufs(self) -> float:
        """The integrated loudness by BS.1770-4; silence is -inf, less than 0.4 s NaN."""
        return loudness_lufs(self.samples, self.sampling_rate)

    def __len__(self) -> int:
        return int(self.samples.shape[1])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.samples, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        made = "".join(
            f", {name}={getattr(self, name)!r}"
            for name in ("prompt", "seed", "model")
            if getattr(self, name) is not None
        )
        return f"Audio({self.seconds:.2f} s, {self.channels} ch, {self.sampling_rate} Hz{made})"

    def mono(self) -> Audio:
        """The average of the channels."""
        return dataclasses.replace(self, samples=to_channels(self.samples, 1))

    def resample(self, rate_hz: int) -> Audio:
        """The same sound at another rate; itself if the rate is the same."""
        if check_rate(rate_hz, "rate_hz") == self.sampling_rate:
            return self
        return dataclasses.replace(
            self, samples=resample(self.samples, self.sampling_rate, rate_hz), sampling_rate=rate_hz
        )

    def normalised(
        self,
        strategy: Strategy = "loudness",
        *,
        normalize: bool = True,
        peak_clip_headroom_db: float = 1.0,
        rms_headroom_db: float = 18.0,
        loudness_headroom_db: float = 14.0,
        loudness_compressor: bool = False,
    ) -> Audio:
        """The same sound at another level, never clipped; arguments and errors as ``loudness.Target``.

        What was done to it is in the log; ``loudness.normalise`` gives it as a value. ``none`` gives the sound itself.
        """
        target = Target(
            strategy=strategy,
            normalize=normalize,
            peak_clip_headroom_db=peak_clip_headroom_db,
            rms_headroom_db=rms_headroom_db,
            loudness_headroom_db=loudness_headroom_db,
            loudness_compressor=loudness_compressor,
        )
        if target.strategy == "none":
            return self
        return dataclasses.replace(self, samples=normalise(self.samples, self.sampling_rate, target).samples)

    @classmethod
    def join(cls, chunks: Iterable[Audio]) -> Audio:
        """Gives the chunks one after the other as one sound, with the history of the first.

        Raises:
            AudioError: no chunk, or chunks of different rates or numbers of channels.
        """
        parts = list(chunks)
        if not parts:
            raise AudioError("there are no chunks to join", expected="at least one Audio")
        first = parts[0]
        for index, part in enumerate(parts):
            if (part.channels, part.sampling_rate) != (first.channels, first.sampling_rate):
                raise AudioError(
                    f"chunk {index} has {part.channels} channels at {part.sampling_rate} Hz",
                    expected=f"{first.channels} at {first.sampling_rate} Hz, as chunk 0 has",
                )
        if len(parts) == 1:
            return first
        return dataclasses.replace(first, samples=np.concatenate([part.samples for part in parts], axis=1))

    def to_pcm16(self) -> bytes:
        """The samples as little-endian int16, the channels of each moment side by side; beyond +-1 they are cut off."""
        return to_pcm16(self.samples.T).astype("<i2").tobytes()

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        subtype: str | None = None,
        loudness: Strategy | None = None,
    ) -> Path:
        """Writes the sound and, in its tags, how it was made; arguments and errors as ``files.save``.

        The title is the prompt; the comment is JSON of prompt, seed, model, parameters and sampling rate.

        Args:
            loudness: a strategy of ``normalised``, with its defaults. Then the peak of the written file is -1 dBFS at
                most, also after lossy coding. ``None`` keeps the samples as they are, as far as the format can.
        """
        keep = loudness in (None, "none")
        return files.save(
            path,
            self.samples if loudness is None else self.normalised(loudness).samples,
            self.sampling_rate,
            format=format,
            subtype=subtype,
            tags=self._tags(),
            peak_dbfs=None if keep else -Target().peak_clip_headroom_db,
        )

    @classmethod
    def load(cls, source: Source, *, limits: Limits | None = None, first_s: float | None = None) -> Audio:
        """Gives the sound of a file, with what ``save`` noted in its tags; arguments and errors as ``files.load``."""
        samples, rate_hz = files.load(source, limits=limits or Limits(), first_s=first_s)
        try:
            tags = files.read_tags(source)
        except AntiphonError:  # formats that only FFmpeg reads
            tags = {}
        return cls(samples, rate_hz, **_made_from(tags))

    def _tags(self) -> dict[str, str]:
        software = (self.parameters or {}).get("software")
        tags = {"software": software if isinstance(software, str) else "antiphon"}
        if self.prompt:
            tags["title"] = " ".join(self.prompt.split())[:_TITLE_CHARACTERS]
        tags["comment"] = _record(self)
        return tags

    def _repr_html_(self) -> str:
        caption = html.escape(self.prompt or "")
        about = html.escape(f"{self.seconds:.2f} s, {self.channels} ch, {self.sampling_rate} Hz")
        text = f"<figcaption>{caption}{' · ' if caption else ''}<small>{about}</small></figcaption>"
        if 2 * self.samples.size > _EMBED_BYTES:
            return f"<figure>{text}<p>Too long to play inside the page; save it to listen.</p></figure>"
        data = base64.b64encode(files.encode(self.samples, self.sampling_rate)).decode()
        return f'<figure>{text}<audio controls src="data:audio/wav;base64,{data}"></audio></figure>'


def _record(audio: Audio) -> str:
    """The JSON of the comment; plain ASCII, because MP3 tags have no sure encoding."""
    record = {
        "prompt": audio.prompt,
        "seed": audio.seed,
        "model": audio.model,
        "parameters": audio.parameters,
        "sampling_rate": audio.sampling_rate,
    }
    text = json.dumps(_plain(record))
    if len(text) > _RECORD_BYTES and audio.prompt:
        # the seed and the model matter more than the end of a very long text
        text = json.dumps(_plain({**record, "prompt": audio.prompt[:2000] + " ..."}))
    if len(text) > _RECORD_BYTES:
        text = json.dumps(_plain({**record, "prompt": (audio.prompt or "")[:2000], "parameters": None}))
    return text


def _plain(value: Any) -> Any:
    """``value`` as JSON can hold it: numbers that are not finite and unknown objects become text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, np.generic):
        return _plain(value.item())
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _made_from(tags: Mapping[str, str]) -> dict[str, Any]:
    """What the tags say of how a sound was made. Tags come from anywhere: only values of the right type are taken."""
    try:
        record = json.loads(tags.get("comment", ""))
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        record = {}
    kinds: dict[str, type] = {"prompt": str, "seed": int, "model": str, "parameters": dict}
    made: dict[str, Any] = {key: record[key] for key, kind in kinds.items() if type(record.get(key)) is kind}
    if "prompt" not in made and tags.get("title"):
        made["prompt"] = tags["title"]
    return made
