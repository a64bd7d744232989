"""The built-in listener is asked directly too while it learns: the losses, and that nothing of it is handed on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import antiphon
from antiphon.training.listening import ListeningObjective
from recipes.builtin.asked import AskedPieces
from recipes.builtin.counting import PHASES, phase_loss
from recipes.builtin.ear_lessons import EarObjective, train_listener
from recipes.builtin.listener import listener_config, place_positions
from recipes.builtin.pieces import facts_in
from recipes.builtin.text_lessons import FACTS

from ..training.overfitting import overfitted


@pytest.fixture
def processor(begun: Path) -> Any:
    return antiphon.AutoProcessor.from_pretrained(begun)


@pytest.fixture
def model(processor: Any) -> Any:
    torch.manual_seed(0)
    config = listener_config(processor, ear=(32, 1), width=48, layers=1, heads=2)
    made = antiphon.MusicFlamingoForConditionalGeneration(config)
    place_positions(made)
    return made


@pytest.fixture
def given(begun: Path, pieces: Path, processor: Any) -> dict[str, Any]:
    """Passages of two seconds of four pieces, with a click on each beat of a tone of the piece's own."""
    asked = AskedPieces(pieces, begun.parent / "asked", processor, seconds=2)
    tempo_bpm = {name: own["tempo_bpm"] for name, own in facts(pieces).items()}
    examples = []
    for place in range(4):
        one = asked.example(place, np.random.default_rng(place))
        seconds = np.arange(len(one["samples"])) / processor.sampling_rate
        since_beat_s = (seconds + one["start_s"]) % (60 / tempo_bpm[one["name"]])
        tone = np.sin(2 * np.pi * 220 * (place + 1) * seconds) * np.exp(-8 * since_beat_s)
        examples.append({**one, "samples": tone.astype(np.float32)})
    return asked.collate(examples)


def facts(pieces: Path) -> dict[str, dict[str, Any]]:
    return {str(own["seed"]): own for own in facts_in(pieces)}


def test_facts_and_the_beat_are_asked_beside_answers_whose_losses_stay(
    model: Any, given: dict[str, Any], pieces: Path
) -> None:
    plain, also = ListeningObjective(model), EarObjective(model, facts=facts(pieces))
    with torch.no_grad():
        without, found = plain.losses(given), also.losses(given)
    assert list(found.parts) == ["right", *FACTS, "beat"]
    assert torch.equal(found.parts["right"], without.parts["right"])
    labels = also.weight(given)
    assert labels == plain.weight(given)
    assert abs(float(found.parts["beat"]) / labels - np.log(PHASES)) < 0.5  # it knows nothing yet
    weights = {"style": 0.15, "lead": 0.15, "tempo": 0.5, "tonic": 0.15, "mode": 0.15, "beat": 1.0}
    more = sum(weight * float(found.parts[name]) for name, weight in weights.items())
    assert float(found.total) == pytest.approx(float(without.total) + more, rel=1e-5)


def test_a_beat_is_counted_from_where_its_passage_begins() -> None:
    # 120 bpm is 12.5 frames of 40 ms a beat: half a second, or half a frame, later is another phase
    sure = torch.full((1, 5, PHASES), -20.0)
    sure[0, torch.arange(5), ((torch.arange(5) + 3.5) / 12.5 * PHASES).round().long() % PHASES] = 20.0
    tempo = torch.tensor([120.0])

    def loss(first: float) -> float:
        return float(phase_loss(sure, tempo, frame_rate_hz=25.0, first=torch.tensor([first]).double()))

    assert loss(3.5) < loss(3.0)
    assert loss(3.5) < loss(4.0)
    assert loss(3.5) == pytest.approx(loss(3.5 + 12.5), rel=1e-4)


def test_what_is_asked_is_learnt_and_what_asks_is_not_handed_on(
    model: Any, given: dict[str, Any], pieces: Path, tmp_path: Path
) -> None:
    also = EarObjective(model, facts=facts(pieces))
    with torch.no_grad():
        before = also.losses(given).parts
    overfitted(also, given, steps=60)
    with torch.no_grad():
        after = also.losses(given).parts
    for name, share in (("style", 0.5), ("tempo", 0.5), ("beat", 0.8)):  # a beat takes longer
        assert float(after[name]) < share * float(before[name]), name
    also.save(tmp_path, None)
    _, told = antiphon.MusicFlamingoForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]


def test_a_job_asks_by_the_facts_of_the_pieces(model: Any, processor: Any, pieces: Path, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    (tmp_path / "job.toml").write_text(
        'objective = "listening"\nfolder = "run"\n[model]\nstart = "model"\n'
        f"[data]\ntrain = {json.dumps(str(pieces))}\nheld_out_share = 0.2\nseconds = 2.0\n"
        "[run]\nsteps = 2\nwarmup_steps = 1\nbatch = 2\nlog_every = 1\nheld_out_every = 2\nheld_out_batches = 1\n"
    )
    seen: list[set[str]] = []
    train_listener(tmp_path / "job.toml", pieces.parent, report=lambda how: seen.append(set(how.figures)))
    assert all({"right", "tempo", "tonic", "style", "beat"} <= figures for figures in seen)
    assert len(seen) >= 3
