"""Whatever a caller calls a sound, as one array: float32, channels first, finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from antiphon.errors import AudioError, ParamError, ParamTypeError

MAX_CHANNELS = 8
# Louder than this is not sound: integers someone forgot to scale, or damaged data. It still squares safely in float32.
MAX_AMPLITUDE = 1e6
# A matrix with at most this many columns and more rows than that is (N, C), the layout of sound files, not (C, N).
_FEW = 8
_SCALES = {("i", 1): (0.0, 2.0**7), ("i", 2): (0.0, 2.0**15), ("i", 4): (0.0, 2.0**31), ("u", 1): (128.0, 2.0**7)}
_ACCEPTED = "a list of floats, a NumPy array or a torch tensor: floats in [-1, 1], or int8, int16, int32 or uint8"


def as_samples(audio: Any, *, channels: int | None = None, name: str = "audio") -> np.ndarray:
    """Gives any accepted form of a sound as float32 (C, N), C-contiguous and writable.

    Takes lists, NumPy arrays, torch tensors on any device, typed memoryviews and whatever converts itself to an array,
    of shape (N,) or (C, N). Integer arrays are scaled to [-1, 1]; floats are cast and may exceed 1. The result shares
    memory with the input where nothing had to change.

    Args:
        audio: the sound.
        channels: ``1`` averages to mono, a higher number repeats mono that often; ``None`` keeps the channels.
        name: what messages call the sound.

    Raises:
        ParamTypeError: bool, complex, text, bytes, objects, integers of a width that has no scale.
        AudioError: empty, not finite, beyond 1e6, wrong shape, more than 8 channels, or frames first (N, C).
        ParamError: ``channels`` is not a number from 1 to 8.
    """
    array = _scaled(_as_array(audio, name), name, listed=isinstance(audio, (list, tuple)))
    array = _channels_first(array, name)
    check_finite(array, name)
    with np.errstate(under="ignore"):
        array = np.require(array, np.float32, ["C", "W", "A"])
    return array if channels is None else to_channels(array, channels, name=name)


def to_channels(samples: np.ndarray, channels: int, *, name: str = "audio") -> np.ndarray:
    """Gives ``samples`` (C, N) with ``channels`` channels: averaged to mono, or mono repeated; float32.

    Raises:
        ParamError: ``channels`` is not a number from 1 to 8.
        AudioError: neither of the two numbers of channels is 1 and they differ.
    """
    if isinstance(channels, bool) or not isinstance(channels, int) or not (1 <= channels <= MAX_CHANNELS):
        raise ParamError(f"channels={channels!r}", expected=f"a whole number from 1 to {MAX_CHANNELS}")
    have = samples.shape[0]
    if have == channels:
        return samples
    if channels == 1:
        mixed: np.ndarray = samples.mean(axis=0, keepdims=True, dtype=np.float32)
        return mixed
    if have == 1:
        return np.repeat(samples, channels, axis=0)
    raise AudioError(
        f"{name} has {have} channels",
        expected=f"1 or {channels} channels",
        fix="Mix it down first, there is no single right way to do so",
    )


def to_pcm16(samples: np.ndarray) -> np.ndarray:
    """Gives floats of any shape as the nearest int16 of 1/32768; what is beyond full scale is cut off there."""
    scaled = np.rint(samples * np.float32(32768))
    return np.clip(scaled, -32768, 32767).astype(np.int16)


def check_finite(samples: np.ndarray, name: str = "audio", *, offset_samples: int = 0) -> None:
    """Raises ``AudioError`` at the first sample that is NaN, infinite or beyond 1e6; ``samples`` is (..., N) or (N,).

    ``offset_samples`` is added to the index in the message, for a block out of a longer sound.
    """
    # min and max hand NaN on and need no array of their own
    if samples.size == 0 or (samples.min() >= -MAX_AMPLITUDE and samples.max() <= MAX_AMPLITUDE):
        return
    # written so that NaN counts as bad; transposed, so that "first" means first in time
    bad = ~((samples.T >= -MAX_AMPLITUDE) & (samples.T <= MAX_AMPLITUDE))
    where = np.unravel_index(int(bad.argmax()), bad.shape)[::-1]
    channel = f" of channel {int(where[-2])}" if samples.ndim > 1 and samples.shape[-2] > 1 else ""
    raise AudioError(
        f"{name} holds {float(samples[where])!r} at sample {int(where[-1]) + offset_samples}{channel}",
        expected=f"finite samples, nominally in [-1, 1] and never beyond {MAX_AMPLITUDE:.0e}",
        fix="Repair the step that made it, or scale it down",
    )


def _as_array(audio: Any, name: str) -> np.ndarray:
    if audio is None or isinstance(audio, (str, bytes, bytearray, dict, set, bool, int, float, complex)):
        hint = "Read files and encoded bytes with antiphon.audio.files.load" if audio else None
        raise ParamTypeError(f"{name} is {_kind(audio)}", expected=_ACCEPTED, fix=hint)
    if isinstance(audio, memoryview) and audio.format not in ("f", "d", "e"):
        # a view of bytes may be an encoded file as well as samples
        raise ParamTypeError(
            f"{name} is a memoryview of format {audio.format!r}", expected="one of floats, or an array"
        )
    try:
        if isinstance(audio, torch.Tensor):
            return _from_torch(audio)
        if isinstance(audio, (list, tuple)) and any(isinstance(item, torch.Tensor) for item in audio):
            audio = [_from_torch(item) if isinstance(item, torch.Tensor) else item for item in audio]
        return np.asarray(audio)
    except (ValueError, TypeError, RuntimeError, NotImplementedError, OverflowError) as error:
        raise ParamTypeError(f"{name} ({_kind(audio)}) is no array: {error}", expected=_ACCEPTED) from error


def _from_torch(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.dtype is torch.bfloat16:  # NumPy has no such type
        tensor = tensor.float()
    array: np.ndarray = tensor.resolve_neg().resolve_conj().cpu().numpy()
    return array


def _scaled(array: np.ndarray, name: str, *, listed: bool) -> np.ndarray:
    """Floats as they are, integers divided by the full scale of their type."""
    kind, width = array.dtype.kind, array.dtype.itemsize
    if kind == "f" or (array.size == 0 and kind != "O"):
        return array.astype(np.float32) if width == 2 else array  # half precision cannot hold the bound of amplitudes
    if listed and kind in "iu":
        # Python's integers have no width: 0 and 1 in a list are taken as numbers, 12000 cannot be
        if not (array.min() >= -1 and array.max() <= 1):
            raise AudioError(
                f"{name} is a list of integers up to {int(np.abs(array).max())}",
                expected="floats in [-1, 1]",
                fix="Pass numpy.array(audio, dtype='int16') or divide by the full scale",
            )
        return array.astype(np.float32)
    if (kind, width) not in _SCALES:
        raise ParamTypeError(f"{name} has elements of type {array.dtype}", expected=_ACCEPTED)
    middle, scale = _SCALES[kind, width]
    # int32 has more digits than float32: divide first, round once
    wide: Any = array.astype(np.float64 if width == 4 else np.float32)
    scaled: np.ndarray = (wide - middle) / scale
    return scaled


def _channels_first(array: np.ndarray, name: str) -> np.ndarray:
    if array.size == 0:
        raise AudioError(f"{name} is empty, its shape is {array.shape}", expected="at least one sample")
    if array.ndim == 1:
        return array[None]
    if array.ndim != 2:
        raise AudioError(
            f"{name} has shape {array.shape}",
            expected="(samples,) or (channels, samples)",
            fix="Pass one sound at a time",
        )
    rows, columns = array.shape
    if columns <= _FEW < rows:
        raise AudioError(
            f"{name} has shape {array.shape}, which looks like (samples, channels)",
            expected="(channels, samples)",
            fix="Transpose it: audio.T",
        )
    if rows > MAX_CHANNELS:
        raise AudioError(f"{name} has {rows} channels", expected=f"at most {MAX_CHANNELS}, as (channels, samples)")
    return array


def _kind(value: Any) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
