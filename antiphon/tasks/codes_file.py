"""Codes of a sound, and the files that hold them: safetensors or npz, never anything that could run.

A file has the array ``codes`` (K, T) uint16; for codecs that cut their sound into segments the array ``scales`` (F,)
float32; and a text ``antiphon_codes`` with JSON of the other attributes of ``Codes``, in the header of safetensors, as
an array of one text in npz.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.audio.resampling import check_rate
from antiphon.checkpoints.atomic_files import atomic_write
from antiphon.checkpoints.safetensors_file import SafetensorsFile
from antiphon.errors import AntiphonError, AudioError, ParamError

SUFFIXES = (".safetensors", ".npz")
_KEY = "antiphon_codes"
_MOST_BYTES = 1 << 30  # of arrays; a day of music has a tenth of it
_INTS = ("sampling_rate", "samples", "channels", "codebook_size", "hop_samples", "missing_frames")


@dataclass(frozen=True, eq=False)
class Codes:
    """A sound as codes.

    Args:
        codes: (K, T) uint16; a stereo sound in a codec for one channel has the codebooks of left and right in turn.
        sampling_rate, samples, channels: of the sound. codebook_size: V. hop_samples: of a frame.
        model: the checkpoint whose codec made them.
        scales: (F,) float32, the volumes of F segments of T / F frames each, where the codec cuts its sound.
        missing_frames: by how many frames the last segment is filled up.

    Raises:
        AudioError: values that no sound has.
    """

    codes: np.ndarray
    sampling_rate: int
    samples: int
    channels: int
    codebook_size: int
    hop_samples: int
    model: str | None = None
    scales: np.ndarray | None = None
    missing_frames: int = 0

    def __post_init__(self) -> None:
        for name in _INTS:
            value = getattr(self, name)
            least = 0 if name == "missing_frames" else 1
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 40:
                raise AudioError(f"codes with {name}={value!r}", expected=f"a whole number from {least}")
        check_rate(self.sampling_rate)
        codes = self.codes
        if codes.ndim != 2 or codes.dtype != np.uint16 or not codes.size:
            raise AudioError(f"codes of shape {codes.shape} and dtype {codes.dtype}", expected="(K, T) uint16")
        if int(codes.max()) >= self.codebook_size:
            raise AudioError(
                f"a code of {int(codes.max())}", expected=f"less than {self.codebook_size}, the table's size"
            )
        if self.scales is None:
            fits = self.missing_frames == 0 and (self.frames - 1) * self.hop_samples < self.samples
            fits = fits and self.samples <= self.frames * self.hop_samples
        else:
            segments = self.scales.shape[0] if self.scales.ndim == 1 else 0
            fits = segments >= 1 and self.frames % segments == 0 and self.missing_frames < self.frames // segments
        if not fits:
            raise AudioError(
                f"{self.frames} frames of codes for {self.samples} samples", expected="frames that fit them"
            )

    @property
    def codebooks(self) -> int:
        return int(self.codes.shape[0])

    @property
    def frames(self) -> int:
        return int(self.codes.shape[1])

    @property
    def frame_rate_hz(self) -> float:
        return self.sampling_rate / self.hop_samples

    @property
    def bit_rate_kbps(self) -> float:
        """Bits of the codes for a second of sound, in thousands."""
        return self.codebooks * math.log2(self.codebook_size) * self.frame_rate_hz / 1000

    @property
    def seconds(self) -> float:
        return self.samples / self.sampling_rate

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the codes, whole or not at all; the suffix says in which of the two formats.

        Raises:
            ParamError: another suffix. CheckpointError: the file cannot be written.
        """
        path = checked_path(path)
        arrays = {"codes": np.ascontiguousarray(self.codes)}
        if self.scales is not None:
            arrays["scales"] = self.scales.astype(np.float32)
        text = json.dumps({**{name: getattr(self, name) for name in _INTS}, "model": self.model})
        if path.suffix == ".npz":
            held = io.BytesIO()
            np.savez_compressed(held, antiphon_codes=np.array(text), **arrays)  # type: ignore[arg-type]
            data = held.getvalue()
        else:
            from safetensors.numpy import save

            data = save(arrays, metadata={_KEY: text})
        with atomic_write(path, needed_bytes=len(data)) as part:
            part.write_bytes(data)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Codes:
        """The codes of a file.

        Raises:
            AudioError: no such file, a damaged one, or one of something else. ParamError: another suffix.
        """
        path = checked_path(path)
        try:
            arrays, text = _read_npz(path) if path.suffix == ".npz" else _read_safetensors(path)
            record = json.loads(text)
            known = {**{name: record[name] for name in _INTS}, "model": record["model"]}
            return cls(arrays["codes"], scales=arrays.get("scales"), **known)
        except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError, zipfile.BadZipFile) as error:
            reason = str(error) if isinstance(error, (AntiphonError, OSError)) else f"{type(error).__name__}: {error}"
            raise AudioError(
                f"{os.fspath(path)[:200]!r} cannot be read as codes: {reason}", fix="Make it with antiphon encode"
            ) from error


def checked_path(path: str | os.PathLike[str]) -> Path:
    """A path whose suffix is one of ``SUFFIXES``."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ParamError(f"codes in {path.name[:100]!r}", expected=f"a name that ends in {' or '.join(SUFFIXES)}")
    return path


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], str]:
    file = SafetensorsFile(path)
    try:
        _check_names(set(file.infos))
        if sum(info.nbytes for info in file.infos.values()) > _MOST_BYTES:
            raise ValueError("it holds more than 1 GiB")
        return {name: file.read(name).numpy() for name in file.infos}, file.metadata[_KEY]
    finally:
        file.close()


def _read_npz(path: Path) -> tuple[dict[str, np.ndarray], str]:
    with zipfile.ZipFile(path) as archive:  # looked at before anything is unpacked
        sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        _check_names(set(sizes) - {_KEY})
        if sum(sizes.values()) > _MOST_BYTES:
            raise ValueError("it unpacks to more than 1 GiB")
    with np.load(path, allow_pickle=False) as held:
        return {name: held[name] for name in sizes if name != _KEY}, str(held[_KEY])


def _check_names(names: set[str]) -> None:
    if not {"codes"} <= names <= {"codes", "scales"}:
        raise ValueError(f"it holds {', '.join(sorted(names))[:100] or 'nothing'} instead of codes")


def described(codes: Codes) -> dict[str, Any]:
    """What a person or a program wants to know of codes."""
    return {
        "model": codes.model,
        "codebooks": codes.codebooks,
        "codebook_size": codes.codebook_size,
        "frames": codes.frames,
        "frame_rate_hz": codes.frame_rate_hz,
        "bit_rate_kbps": round(codes.bit_rate_kbps, 4),
        "seconds": codes.seconds,
        "sampling_rate": codes.sampling_rate,
        "channels": codes.channels,
    }
