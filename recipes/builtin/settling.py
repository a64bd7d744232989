"""The last touch on the codec's codebooks: exact means of many latents."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from antiphon import EncodecModel
from antiphon.audio import files
from antiphon.training.codebooks import CodebookUpkeep

log = logging.getLogger(__name__)

# latents a codeword: few, and it stands for the accidents of a few sounds
_LATENTS_A_CODEWORD = 200


@torch.no_grad()
def settle_codebooks(codec: Path, sounds: Path, folder: Path) -> None:
    """Writes a codec whose codewords are the means of what they stand for in the files of ``sounds``."""
    model = EncodecModel.from_pretrained(codec, dtype=torch.float32).eval()
    wanted, latents, count = _LATENTS_A_CODEWORD * model.config.codebook_size, list[torch.Tensor](), 0
    for path in sorted(sounds.glob("*.wav")):
        sound, _ = files.load(path)
        frames = model.encoder(torch.from_numpy(sound)[None])[0].T  # (T, D)
        latents.append(frames)
        count += len(frames)
        if count >= wanted:
            break
    rows = torch.cat(latents)
    upkeep = CodebookUpkeep(model.codec.quantizer)
    before = _left_over(upkeep, rows)
    upkeep.refine(rows)
    log.info(
        "%d latents; left over of their squares: %.4f before, %.4f after", len(rows), before, _left_over(upkeep, rows)
    )
    model.save_pretrained(folder)


def _left_over(upkeep: CodebookUpkeep, rows: torch.Tensor) -> float:
    """The share of the latents' squares that the codewords miss."""
    missed = sum(float((part - upkeep.quantise(part)[0]).square().sum()) for part in rows.split(8192))
    return missed / float(rows.square().sum())
