"""Rendered pieces as the codes that the language models learn from."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
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


_codec: EncodecModel  # of a worker


def code_pieces(pieces: Path, folder: Path, codec: Path, *, workers: int) -> int:
    """Writes the codes of all rendered shards that are not coded yet, and gives how many pieces were added.

    A worker is a process of one thread: the convolutions of a codec this small gain nothing from a second.
    """
    config = EncodecModel.from_pretrained(codec).config
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
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=(codec,)) as pool:
        for shard in rendered_shards(pieces):
            new = [piece for piece in shard if str(piece.facts["seed"]) not in there]
            added += CodedMusic.write(folder, _coded(new, pool), format=format)
            log.info("%d pieces coded", added)
    return added


def _begin(codec: Path) -> None:
    global _codec
    torch.set_num_threads(1)
    _codec = EncodecModel.from_pretrained(codec, dtype=torch.float32)


def _coded(pieces: list[Rendered], pool: ProcessPoolExecutor) -> Iterator[CodedItem]:
    groups = [pieces[first : first + _TOGETHER] for first in range(0, len(pieces), _TOGETHER)]
    mixes = [np.stack([piece.mix for piece in group]) for group in groups]
    for group, codes in zip(groups, pool.map(_codes, mixes), strict=True):
        for piece, own in zip(group, codes, strict=True):
            key = str(piece.facts["seed"])
            # the full text, the first one, is drawn as often as three others: it says what is asked for most
            texts = (*piece.texts[:1] * 2, *piece.texts)
            yield CodedItem(own, texts=texts, chroma=piece.melody, key=key, name=key)


@torch.no_grad()
def _codes(mixes: np.ndarray) -> np.ndarray:
    """Sounds (B, N) int16 as codes (B, K, T) uint16."""
    sounds = torch.from_numpy(mixes).float()[:, None] / 32768
    codes: np.ndarray = _codec.encode(sounds, return_dict=True).audio_codes[0].numpy()
    return codes.astype(np.uint16)
