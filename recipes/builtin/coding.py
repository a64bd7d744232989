"""Rendered pieces as the codes that the language models learn from."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from antiphon.audio.chroma import HOP_SAMPLES, PITCH_CLASSES
from antiphon.models.encodec import EncodecModel
from antiphon.training.coded_folder import CodedFolder
from antiphon.training.coded_format import CodedFormat, CodedItem
from antiphon.training.coded_music import CodedMusic
from recipes.builtin.pieces import Rendered, rendered_shards

log = logging.getLogger(__name__)

_TOGETHER = 10


def code_pieces(pieces: Path, folder: Path, codec: EncodecModel) -> int:
    """Writes the codes of all rendered shards that are not coded yet, and gives how many pieces were added."""
    config = codec.config
    format = CodedFormat(
        codebooks=config.num_quantizers,
        codebook_size=config.codebook_size,
        sampling_rate=config.sampling_rate,
        hop_samples=config.hop_length,
        chroma_classes=PITCH_CLASSES,
        chroma_hop_samples=HOP_SAMPLES,
        made_by="recipes.builtin",
    )
    there = set(CodedFolder(folder).keys()) if folder.is_dir() else set()
    added = 0
    for shard in rendered_shards(pieces):
        new = [piece for piece in shard if str(piece.facts["seed"]) not in there]
        added += CodedMusic.write(folder, _coded(new, codec), format=format)
        log.info("%d pieces coded", added)
    return added


@torch.no_grad()
def _coded(pieces: list[Rendered], codec: EncodecModel) -> Iterator[CodedItem]:
    for first in range(0, len(pieces), _TOGETHER):
        group = pieces[first : first + _TOGETHER]
        sounds = torch.from_numpy(np.stack([piece.mix for piece in group])).float()[:, None] / 32768
        codes = codec.encode(sounds, return_dict=True).audio_codes[0].numpy()  # (B, K, T)
        for piece, own in zip(group, codes, strict=True):
            key = str(piece.facts["seed"])
            # the full text, the first one, is drawn as often as three others: it says what is asked for most
            texts = (*piece.texts[:1] * 2, *piece.texts)
            yield CodedItem(own.astype(np.uint16), texts=texts, chroma=piece.melody, key=key, name=key)
