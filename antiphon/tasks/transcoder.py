"""Sound to codes and back with the codec of a checkpoint."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from antiphon.audio.clip import Audio
from antiphon.audio.resampling import resample
from antiphon.audio.samples import to_channels
from antiphon.audio.stream import Source
from antiphon.checkpoints import hub
from antiphon.checkpoints.checkpoint_folder import CheckpointFolder
from antiphon.codecs.streaming import EncodecDecoderStream, EncodecEncoderStream
from antiphon.errors import AudioError, ConfigError
from antiphon.models import registry
from antiphon.models.devices import device_of
from antiphon.models.encodec import EncodecModel
from antiphon.models.mimi import MimiModel
from antiphon.tasks.codes_file import Codes

_BLOCK_SECONDS = 10
_OF_MIMI = ("mimi", *MimiModel.sections)


class Transcoder:
    """The codec of an EnCodec, Mimi, MusicGen or Moshi checkpoint.

    Args:
        codec: an ``EncodecModel`` or a ``MimiModel``. name: what the codes say they were made by.
        channels: of the sound; 2 in a codec for one channel are coded one beside the other.
    """

    def __init__(self, codec: EncodecModel | MimiModel, *, name: str, channels: int) -> None:
        self.codec = codec
        self.name = name
        self.channels = channels
        self.sampling_rate: int = codec.config.sampling_rate
        self._rows = channels // codec.config.audio_channels
        if self._rows > 1 and codec.config.chunk_length is not None:
            raise ConfigError(
                f"{name!r} codes 2 channels apart, in segments", expected="a codec that takes clips whole"
            )

    @classmethod
    def load(cls, name_or_dir: str | os.PathLike[str], *, device: Any = None) -> Transcoder:
        """The transcoder of a checkpoint, of which only the codec is read.

        Raises:
            ConfigError: a model without a codec. CheckpointError: missing or damaged files. ParamError: no such device.
        """
        place = device_of(("cuda" if torch.cuda.is_available() else "cpu") if device is None else device)
        config = CheckpointFolder(hub.described(name_or_dir)).values()
        kind = config.get("model_type")
        if kind not in ("encodec", *_OF_MIMI, *registry.model_types(registry.MUSIC)):
            raise ConfigError(
                f"{os.fspath(name_or_dir)!r} holds a model of type {kind!r}",
                expected="an encodec, mimi, musicgen or moshi checkpoint, which hold a codec",
            )
        cls_of_codec: type[EncodecModel | MimiModel] = MimiModel if kind in _OF_MIMI else EncodecModel
        codec = cls_of_codec.from_pretrained(name_or_dir, dtype=torch.float32, device=place).eval()
        decoder = config.get("decoder")
        stereo = isinstance(decoder, dict) and decoder.get("audio_channels") == 2
        channels = 2 if stereo else codec.config.audio_channels
        return cls(codec, name=os.fspath(name_or_dir), channels=channels)

    def encode(self, source: Source | Audio, *, bandwidth: float | None = None) -> Codes:
        """The codes of a sound of any rate and number of channels; the codec's own memory does not grow with it.

        Args:
            bandwidth: kbit/s a channel of the codec. EnCodec takes those it was trained for, the lowest unless told;
                Mimi any that is a number of codebooks, all of them unless told.

        Raises:
            AudioError: a sound that cannot be read. ParamError: another bandwidth.
        """
        config = self.codec.config
        codebooks = config.codebooks_at(bandwidth)
        sound = self.converted(source)
        samples = torch.from_numpy(sound.samples).view(self._rows, config.audio_channels, -1)
        scales, missing = None, 0
        if isinstance(self.codec, MimiModel):
            with torch.no_grad():
                codes = self.codec.codec.encode(samples.to(self.codec.device), codebooks).cpu()
        elif config.chunk_length is None:
            codes = self._streamed(self.codec, samples, codebooks)
        else:
            out = self.codec.encode(samples.to(self.codec.device), bandwidth=bandwidth)
            codes = torch.cat(list(out.audio_codes), dim=-1).cpu()  # (F, B, K, T) -> (B, K, F * T)
            missing = out.last_frame_pad_length or 0
            scales = np.array([1.0 if scale is None else float(scale) for scale in out.audio_scales], np.float32)
        turned = codes.transpose(0, 1).flatten(0, 1)  # (B, K, T) -> (K * B, T), the channels of each codebook in turn
        return Codes(
            codes=turned.numpy().astype(np.uint16),
            sampling_rate=self.sampling_rate,
            samples=len(sound),
            channels=self.channels,
            codebook_size=config.codebook_size,
            hop_samples=config.hop_length,
            model=self.name,
            scales=scales,
            missing_frames=missing,
        )

    def decode(self, codes: Codes) -> Audio:
        """The sound of codes, exactly as long as the one they were made of.

        Raises:
            AudioError: codes of another codec.
        """
        self._check(codes)
        values = torch.from_numpy(codes.codes.astype(np.int64))
        rows = values.view(-1, self._rows, codes.frames).transpose(0, 1)  # (K * B, T) -> (B, K, T)
        if isinstance(self.codec, MimiModel):
            with torch.no_grad():
                sound = self.codec.codec.decode(rows.to(self.codec.device)).cpu()
        elif codes.scales is None:
            sound = self._streamed_back(self.codec, rows)
        else:
            segments = torch.stack(rows.chunk(len(codes.scales), dim=-1)).to(self.codec.device)
            volumes = [torch.tensor([[scale]], device=self.codec.device) for scale in codes.scales.tolist()]
            with torch.no_grad():
                out = self.codec.decode(segments, volumes, last_frame_pad_length=codes.missing_frames)
            sound = out.audio_values.cpu()
        samples = sound.reshape(self.channels, -1)[:, : codes.samples].numpy()
        if samples.shape[1] < codes.samples:
            raise AudioError(f"codes of {samples.shape[1]} samples that say {codes.samples}", fix="Encode it again")
        return Audio(np.ascontiguousarray(samples), self.sampling_rate)

    def converted(self, source: Source | Audio) -> Audio:
        """A sound at the codec's rate and channels."""
        audio = source if isinstance(source, Audio) else Audio.load(source)
        samples = resample(to_channels(audio.samples, self.channels), audio.sampling_rate, self.sampling_rate)
        return Audio(samples, self.sampling_rate)

    def _streamed(self, codec: EncodecModel, samples: torch.Tensor, codebooks: int) -> torch.Tensor:
        stream = EncodecEncoderStream(codec.codec, codebooks, batch=self._rows)
        pieces = [stream.push(block).cpu() for block in samples.split(_BLOCK_SECONDS * self.sampling_rate, dim=-1)]
        return torch.cat([*pieces, stream.flush().cpu()], dim=-1)

    def _streamed_back(self, codec: EncodecModel, codes: torch.Tensor) -> torch.Tensor:
        stream = EncodecDecoderStream(codec.codec, batch=self._rows)
        frames = _BLOCK_SECONDS * codec.config.frame_rate
        pieces = [stream.push(block).cpu() for block in codes.split(frames, dim=-1)]
        return torch.cat([*pieces, stream.flush().cpu()], dim=-1)

    def _check(self, codes: Codes) -> None:
        config = self.codec.config
        most = config.num_quantizers * self._rows
        own = (config.sampling_rate, self.channels, config.codebook_size, config.hop_length)
        theirs = (codes.sampling_rate, codes.channels, codes.codebook_size, codes.hop_samples)
        cut = (codes.scales is None) == (config.chunk_length is None)
        if own != theirs or not cut or codes.codebooks > most or codes.codebooks % self._rows:
            raise AudioError(
                f"codes of {codes.codebooks} codebooks of {codes.codebook_size} for {codes.channels} channels at "
                f"{codes.sampling_rate} Hz, made by {codes.model!r}",
                expected=f"up to {most} codebooks of {config.codebook_size} for {self.channels} channels at "
                f"{config.sampling_rate} Hz, as {self.name!r} has",
                fix="Name the checkpoint that made them with --model",
            )
