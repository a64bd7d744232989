"""Reading and writing sound files, under audiocraft's names."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch
from torch import Tensor

from antiphon.audio import files
from antiphon.audio.loudness import Target, normalise
from antiphon.audio.samples import as_samples
from antiphon.errors import ParamError, ParamTypeError

log = logging.getLogger(__name__)

_MP3_RATE = 320


def audio_read(
    filepath: str | os.PathLike[str], seek_time: float = 0.0, duration: float = -1.0, pad: bool = False
) -> tuple[Tensor, int]:
    """A sound (C, N) float32 and its rate in Hz, from ``seek_time`` seconds on, ``duration`` seconds of it.

    Args:
        duration: 0 or less for all of it. pad: fill up with silence to ``duration``.

    Raises:
        AudioError: a file that cannot be read. ParamError: ``seek_time`` is negative or behind the end.
    """
    samples, rate_hz = files.load(filepath)
    first = int(seek_time * rate_hz) if seek_time >= 0 else -1
    if not 0 <= first < samples.shape[1]:
        raise ParamError(f"seek_time={seek_time!r}", expected=f"0 to {samples.shape[1] / rate_hz:.2f} s")
    wanted = int(duration * rate_hz) if duration > 0 else samples.shape[1]
    sound = torch.from_numpy(samples[:, first : first + wanted].copy())
    if pad and duration > 0:
        sound = torch.nn.functional.pad(sound, (0, wanted - sound.shape[1]))
    return sound, rate_hz


def audio_write(
    stem_name: str | os.PathLike[str],
    wav: Tensor,
    sample_rate: int,
    format: str = "wav",
    mp3_rate: int = _MP3_RATE,
    ogg_rate: int | None = None,
    normalize: bool = True,
    strategy: str = "peak",
    peak_clip_headroom_db: float = 1,
    rms_headroom_db: float = 18,
    loudness_headroom_db: float = 14,
    loudness_compressor: bool = False,
    log_clipping: bool = True,
    make_parent_dir: bool = True,
    add_suffix: bool = True,
) -> Path:
    """Writes a sound at the level that ``strategy`` asks for, whole or not at all, and gives the path.

    Levels are audiocraft's. What goes beyond them (full scale with ``rms`` and ``loudness``, ``peak_clip_headroom_db``
    with ``clip``) is turned down by a limiter where audiocraft cuts it off.

    Args:
        stem_name: the path without its suffix, unless ``add_suffix`` is false. format: also the suffix.
        wav: floats (N,) or (C, N). normalize, strategy, .._db, loudness_compressor: as ``loudness.Target``.
        mp3_rate: 320 kbit/s, the best there is. ogg_rate: the format's own choice. Neither can be changed.
        log_clipping: say in the log when peaks were turned down. make_parent_dir: make the folder.

    Raises:
        AudioError: a sound or a place that cannot be used. ParamError, ParamTypeError: another argument.

    Source: ``audio_write`` of audiocraft 1.3.0.
    """
    if not isinstance(wav, Tensor) or not wav.is_floating_point():
        raise ParamTypeError(f"wav is {getattr(wav, 'dtype', type(wav).__name__)}", expected="a tensor of floats")
    for name, given, only in (("mp3_rate", mp3_rate, _MP3_RATE), ("ogg_rate", ogg_rate, None)):
        if given != only:
            raise ParamError(f"{name}={given!r}", expected=f"{only}", fix="Leave it out: quality is the best there is")
    # these two know full scale only, and not the headroom of the others
    headroom_db = 0.0 if strategy in ("rms", "loudness") else peak_clip_headroom_db
    target = Target(
        strategy=strategy or "none",  # type: ignore[arg-type]  # checked there
        normalize=normalize,
        peak_clip_headroom_db=headroom_db,
        rms_headroom_db=rms_headroom_db,
        loudness_headroom_db=loudness_headroom_db,
        loudness_compressor=loudness_compressor and strategy == "loudness",
    )
    done = normalise(as_samples(wav, name="wav"), sample_rate, target)
    path = Path(f"{os.fspath(stem_name)}.{format}" if add_suffix else stem_name)
    if log_clipping and done.limited_db < 0:
        log.warning("%s: peaks were turned down by up to %.2f dB", path, -done.limited_db)
    if make_parent_dir:
        path.parent.mkdir(parents=True, exist_ok=True)
    return files.save(path, done.samples, sample_rate, format=format)
