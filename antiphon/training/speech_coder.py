"""What turns conversations into the codes that a speech model learns from: its frozen codec."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from antiphon.codecs.frame_buffer import FrameBuffer
from antiphon.errors import ConfigError
from antiphon.models.moshi import MoshiForConditionalGeneration
from antiphon.training.coded_format import CodedFormat
from antiphon.training.coder import fingerprint

_VERSION = 1  # of what is computed here


class SpeechCoder:
    """The codec of Moshi over both channels of a conversation, as ``encode_manifest`` asks for it.

    Args:
        model: the whole of Moshi; its codec computes in float32, where it lies.

    Attributes:
        format: of what is made: K codebooks of the left channel, the model's voice, then K of the right, the user's.
        channels: that the codec is given. extractor, separated: there are no melodies here.

    Raises:
        ConfigError: a codec that is not in float32.
    """

    channels = 2
    extractor = None
    separated = False

    def __init__(self, model: MoshiForConditionalGeneration) -> None:
        codec = model.audio_encoder
        if codec.dtype != torch.float32:
            raise ConfigError(f"a codec of {codec.dtype}", expected="float32", fix="Load it with dtype=torch.float32")
        self._codec, self._books = codec, model.num_codebooks
        chosen = {"version": _VERSION, "books": self._books, "codec": codec.config.to_dict()}
        self.format = CodedFormat(
            codebooks=2 * self._books,
            codebook_size=codec.config.codebook_size,
            sampling_rate=codec.config.sampling_rate,
            hop_samples=codec.codec.frame_samples,
            made_by=fingerprint([codec], chosen),
        )

    @torch.no_grad()
    def codes(self, blocks: Iterable[np.ndarray], sounds: int = 1) -> np.ndarray:
        """The codes (B, 2 K, T) uint16 of sounds of one length, which come in blocks (B, 2, n) float32.

        They are those of the whole sounds, however they are cut; the last frame is filled up with silence.
        """
        core, rows = self._codec.codec, 2 * sounds
        state, frames = core.encoder_state(rows, self._books), FrameBuffer(rows, 1, core.frame_samples)
        pieces = []
        for block in blocks:
            samples = torch.from_numpy(np.ascontiguousarray(block)).to(self._codec.device)
            pieces.append(core.encode_frames(frames.push(samples.view(rows, 1, -1)), state).cpu())
        pieces.append(core.encode_frames(frames.flush(), state).cpu())
        codes = torch.cat(pieces, dim=-1)
        # (2 B, K, T) -> (B, 2 K, T)
        return codes.view(sounds, 2 * self._books, -1).numpy().astype(np.uint16)

    def states(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Nothing: words are read beside the sounds when they are learnt."""
        return []
