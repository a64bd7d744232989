"""What ``antiphon eval`` needs of the built-in models' music: held-out prompts, and classifiers that know its styles.

python -m recipes.builtin.judging prompts FOLDER --pieces 100
python -m recipes.builtin.judging classifiers FOLDER --renders RENDERS --codec CHECKPOINT
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antiphon import Audio
from antiphon.evaluation.classifier import Classifier
from antiphon.evaluation.timbre import timbre_of
from antiphon.tasks.transcoder import Transcoder
from recipes.builtin.pieces import Rendered, facts_of, held_out_piece, rendered_shards
from recipes.builtin.rendered import PIECE_S, RATE_HZ
from recipes.builtin.songs.captions import full_caption
from recipes.builtin.songs.rendering import Renderer

log = logging.getLogger(__name__)

JUDGED_S = 8.0
KINDS = ("style", "lead")


def write_prompts(folder: Path, pieces: int, *, renderer: Renderer | None = None) -> None:
    """Writes prompts of held-out pieces for ``antiphon eval``, with the renders that they are compared with.

    ``texts.jsonl`` asks for a piece in words, ``continuations.jsonl`` to go on from the render, ``melodies.jsonl`` to
    follow its lead, played alone.
    """
    renderer = renderer or Renderer(RATE_HZ)
    (folder / "sounds").mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[dict[str, Any]]] = {"texts": [], "continuations": [], "melodies": []}
    for number in range(pieces):
        piece = held_out_piece(number)
        names = {kind: f"sounds/{number + 1:04d}-{kind}.flac" for kind in ("whole", "lead")}
        Audio(renderer.render(piece, seconds=PIECE_S), RATE_HZ).save(folder / names["whole"])
        Audio(renderer.render(piece, roles={"melody"}, seconds=PIECE_S), RATE_HZ).save(folder / names["lead"])
        facts = {name: value for name, value in facts_of(piece).items() if name != "seed"}
        asked = {"text": full_caption(piece), **facts, "reference": names["whole"]}
        lines["texts"].append(asked)
        lines["continuations"].append({**asked, "continue_from": names["whole"]})
        lines["melodies"].append({**asked, "melody": names["lead"]})
        log.info("%d of %d held-out pieces rendered", number + 1, pieces)
    for name, rows in lines.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_classifiers(
    folder: Path, rendered: Iterable[Rendered], *, transcoder: Transcoder | None, pieces: int
) -> dict[str, float]:
    """Fits the classifiers of style and lead, writes them, and gives the share of pieces kept back that they know.

    Each piece is heard as it was rendered and, with a ``transcoder``, after the codec, so that neither is strange to
    them. Every tenth piece is kept back to judge them by.
    """
    features: list[list[Tensor]] = []
    facts: list[dict[str, Any]] = []
    for number, one in enumerate(rendered):
        if number == pieces:
            break
        features.append(_heard(one, transcoder))
        facts.append(one.facts)
        log.info("%d pieces heard", number + 1)
    learnt = [place for place in range(len(facts)) if place % 10]
    kept = [place for place in range(len(facts)) if not place % 10]
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for kind in KINDS:
        labels = [str(facts[place][kind]) for place in learnt for _ in features[place]]
        classifier = Classifier.fit(torch.stack([row for place in learnt for row in features[place]]), labels)
        classifier.save(folder / f"{kind}.safetensors")
        wanted = [str(facts[place][kind]) for place in kept for _ in features[place]]
        told = classifier.predict(torch.stack([row for place in kept for row in features[place]]))
        found[kind] = float(np.mean([one == other for one, other in zip(told, wanted, strict=True)]))
    return found


def _heard(one: Rendered, transcoder: Transcoder | None) -> list[Tensor]:
    """The timbre of a piece's beginning, and that of what the codec makes of it."""
    clean = Audio(one.mix[: round(JUDGED_S * RATE_HZ)].astype(np.float32) / 32768, RATE_HZ)
    sounds = [clean] if transcoder is None else [clean, transcoder.decode(transcoder.encode(clean))]
    return [timbre_of(sound.samples, sound.sampling_rate) for sound in sounds]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("prompts", "classifiers"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pieces", type=int, help="100 prompts, or 4000 pieces to fit to, unless told")
    parser.add_argument("--renders", type=Path, help="what render_shards wrote")
    parser.add_argument("--codec", help="a checkpoint; without one classifiers hear clean renders alone")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if given.what == "prompts":
        write_prompts(given.folder, given.pieces or 100)
        return
    if given.renders is None:
        parser.error("classifiers need --renders")
    pieces = (piece for shard in rendered_shards(given.renders) for piece in shard)
    transcoder = Transcoder.load(given.codec) if given.codec else None
    found = write_classifiers(given.folder, pieces, transcoder=transcoder, pieces=given.pieces or 4000)
    log.info("told rightly of pieces kept back: %s", ", ".join(f"{kind} {share:.1%}" for kind, share in found.items()))


if __name__ == "__main__":
    main()
