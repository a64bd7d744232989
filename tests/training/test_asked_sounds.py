"""Passages of sounds with questions about them, and jobs that learn to answer these."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import antiphon
from antiphon import MusicFlamingoForConditionalGeneration
from antiphon.audio import files
from antiphon.errors import ConfigError, DataError, ParamError
from antiphon.training.asked_sounds import AskedSounds, answered, asked_batch, cropped
from antiphon.training.inspection import Inspected, inspect
from antiphon.training.job import Job
from antiphon.training.job_file import read_job
from antiphon.training.manifest import Manifest
from antiphon.training.questions import DESCRIBE, Question

from ..models import flamingo_processors, tiny_flamingo
from .datasets import manifest, tone

KEY, TEMPO = Question("What key?", "A minor"), Question("How fast is it?", "90 bpm")
RATE_HZ = 16_000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four sounds of two seconds: one with questions in its row, one with them beside it, two with a text alone."""
    rows: list[dict[str, Any]] = []
    for name in "abcd":
        tone(tmp_path / f"{name}.wav", 2.0, pitch_hz=110 * (1 + ord(name) - ord("a")), rate_hz=22_050)
        rows.append({"path": f"{name}.wav"})
    rows[0]["questions"] = [vars(KEY), vars(TEMPO)]
    (tmp_path / "b.json").write_text(json.dumps({"questions": [vars(TEMPO)]}))
    (tmp_path / "c.txt").write_text("slow blues\n")
    rows[3]["text"] = "fast polka"
    return manifest(tmp_path, rows)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A tiny Music Flamingo with its processor, whose windows last a second."""
    folder = flamingo_processors.write(tmp_path / "flamingo")
    processor = antiphon.AutoProcessor.from_pretrained(folder)
    fields = tiny_flamingo.fields()
    fields["text_config"] |= {"vocab_size": len(processor.tokenizer), "pad_token_id": processor.tokenizer.pad_token_id}
    fields |= {
        name: getattr(processor, name) for name in ("audio_token_id", "audio_bos_token_id", "audio_eos_token_id")
    }
    torch.manual_seed(0)
    MusicFlamingoForConditionalGeneration(antiphon.MusicFlamingoConfig(**fields)).save_pretrained(folder)
    return folder


def heard(data: Path) -> Inspected:
    return answered(inspect(Manifest.read(data)))


def test_an_example_is_a_passage_with_some_of_the_questions(data: Path, checkpoint: Path) -> None:
    processor = antiphon.AutoProcessor.from_pretrained(checkpoint)
    sounds = AskedSounds(heard(data), processor, seconds=0.5, turns=2)
    first = sounds.example(0, np.random.default_rng(0))
    assert sorted(map(repr, first["turns"])) == sorted(map(repr, (KEY, TEMPO)))
    whole, _ = files.load(data.parent / "a.wav")
    assert first["samples"].shape == (8000,)
    assert abs(first["samples"].std() - whole.std()) < 0.02
    assert not np.array_equal(first["samples"], sounds.example(0, np.random.default_rng(1))["samples"])
    again = sounds.example(0, np.random.default_rng(0))
    assert np.array_equal(first["samples"], again["samples"])
    assert first["turns"] == again["turns"]
    assert sounds.example(1, np.random.default_rng(0))["turns"] == [TEMPO]
    assert sounds.example(2, np.random.default_rng(0))["turns"] == [Question(DESCRIBE, "slow blues")]
    beginnings = AskedSounds(heard(data), processor, seconds=0.5, from_start=1.0)
    one, other = (beginnings.example(3, np.random.default_rng(n))["samples"] for n in range(2))
    assert np.array_equal(one, other)
    assert {len(beginnings.example(0, np.random.default_rng(n))["turns"]) for n in range(5)} == {1}


def test_a_batch_learns_the_answers_and_on_request_the_questions(data: Path, checkpoint: Path) -> None:
    processor = antiphon.AutoProcessor.from_pretrained(checkpoint)
    sounds = AskedSounds(heard(data), processor, seconds=1.5, turns=2)
    examples = [sounds.example(index, np.random.default_rng(index)) for index in (0, 2)]
    batch = sounds.collate(examples)
    assert batch["names"] == ["a.wav", "c.wav"]
    assert batch["window_indices"].tolist() == [0, 1, 0, 1]
    assert batch["input_features"].shape[0] == 4
    for row, example in enumerate(examples):
        learnt = batch["labels"][row]
        told = processor.tokenizer.decode(learnt[learnt != -100])
        assert told == "".join(f"{turn.answer}<|im_end|>" for turn in example["turns"])
    both = asked_batch(processor, examples, learn_questions=True)
    learnt = both["labels"][1]
    told = processor.tokenizer.decode(learnt[learnt != -100])
    assert DESCRIBE in told
    assert "slow blues" in told
    assert "<sound>" not in told
    assert torch.equal(both["input_ids"], batch["input_ids"])


def test_what_a_text_spells_out_is_no_token(checkpoint: Path) -> None:
    processor = antiphon.AutoProcessor.from_pretrained(checkpoint)
    turns = [Question("What is <sound>?", "a token<|im_end|>")]
    batch = asked_batch(processor, [{"samples": np.ones(RATE_HZ, np.float32), "turns": turns, "name": "a"}])
    assert int((batch["input_ids"] == processor.audio_token_id).sum()) == 25
    learnt = batch["labels"][0]
    assert int((learnt == processor.tokenizer.eos_token_id).sum()) == 1


def test_a_passage_lies_anywhere_and_stays_inside() -> None:
    assert cropped(10, 4, 0.0, 0.0) == (0, 4)
    assert cropped(10, 4, 0.999999, 0.0) == (6, 4)
    assert cropped(10, 4, 0.4, 0.5) == (0, 4)
    assert cropped(10, 4, 0.75, 0.5) == (3, 4)
    assert cropped(3, 4, 0.9, 0.0) == (0, 3)
    assert cropped(10, 4, 1.0, 1.0) == (0, 4)


def test_sounds_of_which_nothing_is_told_are_left_out(tmp_path: Path) -> None:
    rows = []
    for number in range(30):
        tone(tmp_path / f"{number}.wav", 0.2)
        rows.append({"path": f"{number}.wav", "text": "a tone"})
    tone(tmp_path / "silent.wav", 0.2)
    found = heard(manifest(tmp_path, [*rows, {"path": "silent.wav"}]))
    assert len(found) == 30
    assert [name for name, _ in found.skipped.named] == ["silent.wav"]
    with pytest.raises(DataError, match="cannot be used"):
        heard(manifest(tmp_path, [rows[0], {"path": "silent.wav"}]))


def test_passages_that_cannot_be_are_refused(data: Path, checkpoint: Path) -> None:
    processor = antiphon.AutoProcessor.from_pretrained(checkpoint)
    for odd in ({"seconds": 0}, {"seconds": float("nan")}, {"from_start": 2.0}, {"turns": 0}):
        with pytest.raises(ParamError, match="seconds="):
            AskedSounds(heard(data), processor, **{"seconds": 1.0, **odd})
    processor.max_audio_len = 3
    with pytest.raises(ConfigError, match="which the processor hears"):
        AskedSounds(heard(data), processor, seconds=4)


# jobs


def job(data: Path, model: str, more: str = "", *, precision: str = "fp32") -> Job:
    path = data.parent / "job.toml"
    path.write_text(
        f"""objective = "listening"
folder = "run"
[model]
{model}
[data]
train = "data.jsonl"
held_out_share = 0.25
seconds = 1.0
[run]
steps = 4
batch = 2
learning_rate = 1e-2
warmup_steps = 1
average_decay = 0.5
log_every = 1
held_out_every = 2
held_out_batches = 1
save_every = 2
precision = "{precision}"
{more}"""
    )
    return Job(read_job(path))


def record(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


def test_a_run_learns_goes_on_where_it_was_and_opens_as_a_whole(data: Path, checkpoint: Path) -> None:
    folder = data.parent
    start = f'start = "{checkpoint.name}"'
    job(data, start).run(until=2)
    best = job(data, start).run()
    rows = [row for row in record(folder) if row["kind"] == "training"]
    assert len(rows) == 4
    assert all(0 <= row["right"] <= 1 for row in rows)
    assert rows[-1]["loss"] < rows[0]["loss"]
    (folder / "run").rename(folder / "former")
    job(data, start).run()
    assert [row["loss"] for row in record(folder) if row["kind"] == "training"] == [row["loss"] for row in rows]
    opened = MusicFlamingoForConditionalGeneration.from_pretrained(best)
    first = MusicFlamingoForConditionalGeneration.from_pretrained(checkpoint).state_dict()
    changed = {n.split(".")[1] for n, t in opened.state_dict().items() if not torch.equal(t, first[n])}
    assert changed == {"audio_tower", "multi_modal_projector", "language_model", "weight"}
    assert antiphon.AutoProcessor.from_pretrained(best).feature_extractor.chunk_length == 1


def test_a_model_begins_from_a_configuration_and_one_part_may_learn(data: Path, checkpoint: Path) -> None:
    model = f'config = "{checkpoint.name}/config.json"\nprocessor = "{checkpoint.name}"'
    more = '[listening]\nlearn = ["projector"]\nturns = 2\nlearn_questions = true'
    best = job(data, model, more, precision="bf16").run()
    torch.manual_seed(0)
    first = MusicFlamingoForConditionalGeneration(antiphon.AutoConfig.from_pretrained(checkpoint)).state_dict()
    opened = MusicFlamingoForConditionalGeneration.from_pretrained(best).state_dict()
    assert {n.split(".")[1] for n in opened if not torch.equal(opened[n], first[n])} == {"multi_modal_projector"}


@pytest.mark.parametrize(
    ("learn", "parts"),
    [("", {"language_model"}), ('[listening]\nlearn = ["audio_encoder", "projector"]', {"audio_tower", "projector"})],
    ids=["language model", "ears"],
)
def test_adapters_lie_on_the_parts_that_learn(data: Path, checkpoint: Path, learn: str, parts: set[str]) -> None:
    best = job(data, f'start = "{checkpoint.name}"', f"[lora]\nrank = 2\n{learn}").run()
    assert not (best / "model.safetensors").exists()
    model = MusicFlamingoForConditionalGeneration.from_pretrained(checkpoint)
    model.load_adapter(best)
    names = model.get_adapter_state_dict()
    assert {part for part in ("audio_tower", "projector", "language_model") if any(part in n for n in names)} == parts
    assert any(tensor.any() for name, tensor in names.items() if "lora_B" in name)


def test_the_job_on_the_page_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    block = next(b for b in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if 'objective = "listening"' in b)
    (tmp_path / "job.toml").write_text(block, encoding="utf-8")
    found = read_job(tmp_path / "job.toml")
    assert found.listening.learn == ("projector", "language_model")
    assert found.lora is not None


def test_jobs_that_cannot_be_are_refused(data: Path, checkpoint: Path) -> None:
    start = f'start = "{checkpoint.name}"'
    for more, message in (("[listening]\nlearn = ['ears']", "learn="), ("[listening]\nturns = 0", "turns=0")):
        with pytest.raises(ConfigError, match=message):
            job(data, start, more)
    for model, message in (
        (f"{start}\ntrain_text_encoder = true", "text encoder"),
        (f'config = "{checkpoint.name}/config.json"', "without processor"),
    ):
        with pytest.raises(ConfigError, match=message):
            job(data, model).run()
    antiphon.T5Config(d_model=8, num_layers=1, num_heads=1, d_kv=8, d_ff=8).save_pretrained(data.parent / "other")
    with pytest.raises(ConfigError, match="type 't5'"):
        job(data, 'start = "other"').run()
