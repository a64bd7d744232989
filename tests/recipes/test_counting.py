"""The built-in models count while they learn, and tell the melody: the losses, and that nothing of it is handed on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import antiphon
from antiphon.training.coded_format import CodedFormat, CodedItem
from antiphon.training.coded_music import CodedMusic
from antiphon.training.music import MusicObjective
from recipes.builtin.counting import PHASES, CountingObjective, phases, tempos_of, train_counting

from ..training.music_models import CODES, batch, ours, processor
from ..training.overfitting import overfitted

NAMES = ["0", "1", "2"]
TEMPOS = {"0": 120.0, "1": 90.0, "2": 143.0}


def counting(name: str = "mono") -> CountingObjective:
    return CountingObjective(ours(name), tempo_bpm=TEMPOS)


def named(name: str = "mono", **others: Any) -> dict[str, Any]:
    return {**batch(name), "names": NAMES, **others}


def test_phases_follow_tempo_and_place() -> None:
    tempo = torch.tensor([120.0, 100.0])
    lower, share, counts = phases(tempo, frames=60, frame_rate_hz=50)
    assert lower.shape == share.shape == counts.shape == (2, 60)
    assert counts.all()
    where = (lower + share) / PHASES
    assert torch.allclose(where[0], torch.arange(60) / 25 % 1, atol=1e-5)  # 120 bpm: a beat is 25 frames
    assert torch.allclose(where[1], torch.arange(60) / 30 % 1, atol=1e-5)
    later = phases(tempo, frames=40, frame_rate_hz=50, first=torch.tensor([20, 20]))
    assert torch.equal(later[0], lower[:, 20:])
    assert torch.equal(later[1], share[:, 20:])
    assert phases(tempo, frames=3, frame_rate_hz=50, own=torch.tensor([1, 3]))[2].tolist() == [
        [True, False, False],
        [True, True, True],
    ]


@pytest.mark.parametrize("name", ["mono", "melody"])
def test_the_beat_is_told_beside_codes_whose_losses_stay(name: str) -> None:
    plain, also = MusicObjective(ours(name)), counting(name)
    given = named(name)
    with torch.no_grad():
        without, found = plain.losses(given), also.losses(given)
    told = {"mono": {"beat"}, "melody": {"beat", "melody"}}[name]
    assert set(found.parts) == {*without.parts, *told}
    for each, loss in without.parts.items():
        assert torch.equal(found.parts[each], loss)
    frames = also.weight(given)
    assert abs(float(found.parts["beat"]) / frames - np.log(PHASES)) < 0.5  # it knows nothing yet
    more = 0.5 * sum(float(found.parts[one]) for one in told)
    assert float(found.total) == pytest.approx(float(without.total) + more, rel=1e-5)


def test_frames_that_are_not_a_rows_own_have_no_beat() -> None:
    also = counting()
    own = torch.tensor([9, 4, 1])
    given = named(frames=own)
    other = {**given, "codes": given["codes"].clone()}
    other["codes"][1, :, 4:], other["codes"][2, :, 1:] = 0, 0
    with torch.no_grad():
        assert torch.equal(also.losses(given).parts["beat"], also.losses(other).parts["beat"])


def test_the_melody_is_told_half_a_second_ahead_where_there_is_one() -> None:
    also = counting("melody")
    codec = also.whole.config.audio_encoder
    # the codes of 9 frames, and a chroma frame for what is sung half a second behind each of them
    at = [round((t / codec.frame_rate + 0.5) * codec.sampling_rate / 4096) for t in range(9)]
    chroma = torch.eye(12)[torch.arange(max(at) + 1) % 12][None].repeat(3, 1, 1)
    given = named("melody", input_features=chroma)

    def loss(**others: Any) -> float:
        with torch.no_grad():
            return float(also.losses({**given, **others}).parts["melody"])

    whole = loss()
    assert abs(whole / 27 - np.log(12)) < 0.5  # it knows nothing yet
    assert loss(dropped=torch.tensor([True] * 3)) == 0
    assert loss(melody_dropped=torch.tensor([True] * 3)) == 0
    assert loss(input_features=chroma[:, : at[0]]) == 0  # it ends before
    mask = torch.ones(3, max(at) + 1, dtype=torch.long)
    mask[0, at[0] :] = 0
    assert 0 < loss(input_features_mask=mask) < whole
    mask[:, at[0] :] = 0
    assert loss(input_features_mask=mask) == 0
    without = {name: value for name, value in given.items() if name != "input_features"}
    with torch.no_grad():
        assert float(also.losses(without).parts["melody"]) == 0


def test_the_beat_is_learnt_and_its_head_is_not_handed_on(tmp_path: Path) -> None:
    also = counting()
    given = named()
    with torch.no_grad():
        before = float(also.losses(given).parts["beat"])
    overfitted(also, given, steps=60)
    with torch.no_grad():
        assert float(also.losses(given).parts["beat"]) < 0.7 * before
    also.save(tmp_path, None)
    model, told = antiphon.MusicgenForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert not any("beat" in key for key in model.state_dict())


def test_a_job_counts_by_the_facts_of_the_pieces(tmp_path: Path) -> None:
    model = ours("mono")
    model.save_pretrained(tmp_path / "model")
    processor("mono").save_pretrained(tmp_path / "model")
    codec = model.config.audio_encoder
    form = CodedFormat(
        codebooks=4, codebook_size=CODES, sampling_rate=codec.sampling_rate, hop_samples=codec.hop_length
    )
    random = np.random.default_rng(0)
    items = [
        CodedItem(codes=random.integers(0, CODES, (4, 30)), texts=("a song",), key=name, name=name) for name in NAMES
    ]
    CodedMusic.write(tmp_path / "codes", items, format=form)
    (tmp_path / "pieces").mkdir()
    facts = [json.dumps({"seed": int(name), "tempo_bpm": TEMPOS[name], "texts": ["a song"]}) for name in NAMES]
    (tmp_path / "pieces" / "facts-00000.jsonl").write_text("\n".join(facts) + "\n")
    assert tempos_of(tmp_path / "pieces") == TEMPOS
    (tmp_path / "job.toml").write_text(
        'objective = "music"\nfolder = "run"\n[model]\nstart = "model"\n[data]\ntrain = "codes"\n'
        "held_out_share = 0.0\nseconds = 0.2\nkeep_places = true\n[run]\nsteps = 2\nwarmup_steps = 1\nbatch = 2\n"
        "log_every = 1\n"
    )
    seen: list[set[str]] = []
    train_counting(tmp_path / "job.toml", tmp_path / "pieces", report=lambda how: seen.append(set(how.figures)))
    assert "beat" in seen[0]
