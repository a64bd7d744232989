"""How well a listening model hears: its answers about held-out renders, beside what guessing would get.

python -m recipes.builtin.hearing CHECKPOINT --prompts PROMPTS [--codec CODEC] -o report.json
"""

from __future__ import annotations

import argparse
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from antiphon import Audio, AutoProcessor, MusicFlamingoForConditionalGeneration
from antiphon.tasks.transcoder import Transcoder
from recipes.builtin.listener import CHUNK_S
from recipes.builtin.pieces import facts_of, held_out_piece
from recipes.builtin.questions import ANSWERS, WAYS
from recipes.builtin.songs.piece import Piece

log = logging.getLogger(__name__)

_TOGETHER = 16
_MOST_TOKENS = 40


@dataclass(frozen=True)
class Score:
    """How often answers to a kind of question are right.

    Args:
        kind: of ``questions.WAYS``. right: whether an answer is, 0 to 1, about a piece.
    """

    kind: str
    right: Callable[[str, Piece], float]


def _tempo(tolerance: float, *factors: float) -> Callable[[str, Piece], float]:
    def right(answer: str, piece: Piece) -> float:
        found = re.search(r"\b\d+\b", answer)  # "80s" is no tempo
        told = float(found[0]) if found else 0.0
        return float(any(abs(told * factor / piece.tempo_bpm - 1) <= tolerance for factor in factors))

    return right


def _same(kind: str) -> Callable[[str, Piece], float]:
    return lambda answer, piece: float(answer.strip().lower() == ANSWERS[kind](piece).lower())


def _instruments(answer: str, piece: Piece) -> float:
    """The share of the names told or played that are both."""
    told, played = {name.strip() for name in answer.split(",")}, set(piece.instruments)
    return len(told & played) / len(told | played)


SCORES: dict[str, Score] = {
    "tempo within 4 %": Score("tempo", _tempo(0.04, 1.0)),
    "tempo within 8 %": Score("tempo", _tempo(0.08, 1.0)),
    "tempo within 4 %, or half or double": Score("tempo", _tempo(0.04, 1.0, 0.5, 2.0)),
    "key": Score("key", _same("key")),
    "tonic": Score("tonic", _same("tonic")),
    "mode": Score("mode", _same("mode")),
    "style": Score("style", _same("style")),
    "lead": Score("lead", _same("lead")),
    "instruments": Score("instruments", _instruments),
    "drums": Score("drums", _same("drums")),
}


def judged(answers: Mapping[str, Sequence[str]], pieces: Sequence[Piece]) -> dict[str, dict[str, float]]:
    """Gives for each of ``SCORES`` the share that is ``right``, and ``chance``: that of the same answers when each is
    given about every piece.

    Args:
        answers: for each kind of question one about each piece.
    """
    found = {}
    for name, score in SCORES.items():
        table = np.array([[score.right(told, piece) for piece in pieces] for told in answers[score.kind]])
        found[name] = {"right": float(np.diagonal(table).mean()), "chance": float(table.mean())}
    return found


@torch.no_grad()
def answers_about(model: Any, processor: Any, sounds: Sequence[np.ndarray], question: str) -> list[str]:
    """Gives the likeliest answer to a question about each of some sounds (N,), which are at the processor's rate."""
    answers: list[str] = []
    for first in range(0, len(sounds), _TOGETHER):
        asked = [
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "audio", "audio": sound, "sampling_rate": processor.sampling_rate},
                        {"type": "text", "text": question},
                    ],
                }
            ]
            for sound in sounds[first : first + _TOGETHER]
        ]
        inputs = processor.apply_chat_template(asked, tokenize=True, return_dict=True, add_generation_prompt=True)
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=_MOST_TOKENS)
        answers += processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return answers


def hear(checkpoint: Path, prompts: Path, *, codec: Path | None = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Asks a checkpoint about the held-out renders of ``recipes.builtin.judging``, and gives its scores, and all that
    was answered.

    Args:
        codec: the renders are heard as it gives them back.

    Raises:
        ValueError: the renders are of other pieces than are composed now.
    """
    model = MusicFlamingoForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(checkpoint)
    rows = [json.loads(line) for line in (prompts / "texts.jsonl").read_text(encoding="utf-8").splitlines()]
    pieces = [held_out_piece(number) for number in range(len(rows))]
    for row, piece in zip(rows, pieces, strict=True):
        if not facts_of(piece).items() <= {**row, "seed": piece.seed}.items():
            raise ValueError(f"{row['reference']} is another piece than is composed now: write the prompts again")
    transcoder = None if codec is None else Transcoder.load(codec)
    sounds = [heard(Audio.load(prompts / row["reference"]), processor.sampling_rate, transcoder) for row in rows]
    answers = {}
    for kind in dict.fromkeys(score.kind for score in SCORES.values()):
        answers[kind] = answers_about(model, processor, sounds, WAYS[kind][0])
        log.info("asked about %s: %s", kind, ", ".join(answers[kind][:5]))
    told = [
        {"piece": row["text"], **{kind: texts[place] for kind, texts in answers.items()}}
        for place, row in enumerate(rows)
    ]
    return judged(answers, pieces), told


def heard(render: Audio, rate_hz: int, transcoder: Transcoder | None = None) -> np.ndarray:
    """The first ``CHUNK_S`` seconds (N,) float32 of a render at another rate, after the codec where one is given."""
    if transcoder is not None:
        render = transcoder.decode(transcoder.encode(render))
    sound: np.ndarray = render.resample(rate_hz).samples.mean(axis=0)
    return sound[: CHUNK_S * rate_hz]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--prompts", type=Path, required=True, help="what recipes.builtin.judging wrote")
    parser.add_argument("--codec", type=Path, help="hear the renders as this codec gives them back")
    parser.add_argument("-o", "--out", type=Path, help="a JSON file for all that was answered")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    scores, told = hear(given.checkpoint, given.prompts, codec=given.codec)
    for name, score in scores.items():
        log.info("%-38s %5.1f %% right, by chance %5.1f %%", name, 100 * score["right"], 100 * score["chance"])
    if given.out is not None:
        given.out.write_text(json.dumps({"scores": scores, "answers": told}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
