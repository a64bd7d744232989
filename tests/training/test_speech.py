"""Conversations from sounds to a trained Moshi, by the job that a file describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import load_file

import antiphon
from antiphon.audio import files
from antiphon.errors import CheckpointError, ConfigError, DataError
from antiphon.models.moshi import MoshiConfig, MoshiForConditionalGeneration
from antiphon.training.conversations import Conversations, usable
from antiphon.training.encoding import encode_manifest
from antiphon.training.inspection import inspect
from antiphon.training.job import Job
from antiphon.training.job_file import read_job
from antiphon.training.manifest import Manifest
from antiphon.training.speech import SpeechObjective
from antiphon.training.speech_coder import SpeechCoder
from antiphon.training.words import PADDING

from ..models.tiny_moshi import HOP, fields
from .datasets import manifest

RATE_HZ = 24_000


def conversation(folder: Path, name: str, seconds: float = 0.6, *, channels: int = 2, words: bool = True) -> str:
    """A sound of noise, other noise in each channel, with two words beside it."""
    numbers = np.random.default_rng(len(name) + ord(name[0]))
    sound = numbers.normal(size=(channels, round(seconds * RATE_HZ))).astype(np.float32) * 0.1
    files.save(folder / f"{name}.wav", sound, RATE_HZ)
    if words:
        rows = [["one", [0.1, 0.2], "SPEAKER_MAIN"], ["two", [0.3, 0.4], "SPEAKER_OTHER"]]
        (folder / f"{name}.json").write_text(json.dumps({"alignments": rows}))
    return f"{name}.wav"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three conversations with a manifest."""
    names = [conversation(tmp_path, name) for name in "abc"]
    return manifest(tmp_path, [{"path": name, "duration": 0.6} for name in names])


def words_folder(folder: Path) -> Path:
    """A tokenizer of a few whole words."""
    folder.mkdir(exist_ok=True)
    vocabulary = {"<unk>": 0, "one": 10, "two": 11, "three": 12}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A tiny Moshi with its tokenizer."""
    torch.manual_seed(0)
    folder = tmp_path / "moshi"
    MoshiForConditionalGeneration(MoshiConfig(**fields())).save_pretrained(folder)
    return words_folder(folder)


def job(folder: Path, checkpoint: Path, more: str = "") -> Job:
    path = folder / "job.toml"
    path.write_text(
        f"""objective = "speech"
folder = "run"
[model]
start = "{checkpoint.name}"
[data]
train = "data.jsonl"
held_out_share = 0.34
seconds = 0.4
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
{more}"""
    )
    return Job(read_job(path))


def losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if row["kind"] == "training"]


def test_a_passage_has_both_voices_and_the_words_of_one(data: Path, checkpoint: Path) -> None:
    model = MoshiForConditionalGeneration.from_pretrained(checkpoint)
    inspected = usable(inspect(Manifest.read(data)))
    encoded = encode_manifest(inspected, data.parent / "cache", SpeechCoder(model))
    tokenizer = antiphon.AutoTokenizer.from_pretrained(checkpoint)
    talks = Conversations(encoded.folder, root=data.parent, keys=encoded.keys, seconds=60, tokenizer=tokenizer)
    found = talks.example(1, np.random.default_rng(0))
    assert found["codes"].shape == (8, 8)
    assert found["text"].tolist() == [0, 10, *[PADDING] * 6]
    sound, _ = files.load(data.parent / found["name"])
    with torch.no_grad():
        whole = torch.zeros(2, 1, 8 * HOP)
        whole[:, 0, : sound.shape[1]] = torch.from_numpy(sound)
        codes = model.audio_encoder.encode(whole, num_quantizers=4)[0]
    assert torch.equal(torch.from_numpy(found["codes"].astype(np.int64)), codes.flatten(0, 1))
    short = Conversations(encoded.folder, root=data.parent, keys=encoded.keys, seconds=0.24, tokenizer=tokenizer)
    batch = short.collate([short.example(0, np.random.default_rng(n)) for n in range(2)])
    assert batch["codes"].shape == (2, 8, 3)
    assert batch["frames"].tolist() == [3, 3]
    with pytest.raises(DataError, match="1 of 1 items"):
        Conversations(encoded.folder, root=data.parent, keys=["none"], seconds=1, tokenizer=tokenizer)


def test_what_is_no_conversation_is_left_out(tmp_path: Path) -> None:
    names = [conversation(tmp_path, f"good{n}", 0.1) for n in range(40)]
    names += [conversation(tmp_path, "mono", 0.1, channels=1), conversation(tmp_path, "mute", 0.1, words=False)]
    found = usable(inspect(Manifest.read(manifest(tmp_path, [{"path": name} for name in names]))))
    assert len(found) == 40
    assert {name for name, _ in found.skipped.named} == {"mono.wav", "mute.wav"}
    with pytest.raises(DataError, match="cannot be used"):
        usable(inspect(Manifest.read(manifest(tmp_path, [{"path": "mono.wav"}, {"path": "good1.wav"}]))))


def test_a_run_learns_goes_on_where_it_was_and_opens_as_a_whole(data: Path, checkpoint: Path) -> None:
    folder = data.parent
    job(folder, checkpoint).run(until=2)
    assert len(losses(folder)) == 2
    best = job(folder, checkpoint).run()
    resumed = losses(folder)
    (folder / "run").rename(folder / "former")
    job(folder, checkpoint).run()
    assert losses(folder) == resumed
    assert len(resumed) == 4
    assert resumed[-1] < resumed[0]
    opened = MoshiForConditionalGeneration.from_pretrained(folder / "former" / "best")
    assert best == folder / "run" / "best"
    first = MoshiForConditionalGeneration.from_pretrained(checkpoint)
    changed = {n for n, t in opened.state_dict().items() if not torch.equal(t, first.state_dict()[n])}
    assert not any(name.startswith("audio_encoder") for name in changed)
    assert any(name.startswith("depth_decoder") for name in changed)
    assert antiphon.AutoTokenizer.from_pretrained(best)("one", add_special_tokens=False)["input_ids"] == [10]


def test_an_adapter_alone_is_trained_and_saved(data: Path, checkpoint: Path) -> None:
    best = job(data.parent, checkpoint, "[lora]\nrank = 2\n[speech]\nfirst_codebook = 100").run()
    assert (best / "adapter_config.json").is_file()
    assert not (best / "model.safetensors").exists()
    model = MoshiForConditionalGeneration.from_pretrained(checkpoint).eval()
    with torch.no_grad():
        before = model.generate(max_new_tokens=4, return_audio_waveforms=False, return_audio_codes=True)
        model.load_adapter(best)
        after = model.generate(max_new_tokens=4, return_audio_waveforms=False, return_audio_codes=True)
    assert before.sequences.shape == after.sequences.shape
    trained = {n.split(".")[0]: t for n, t in model.get_adapter_state_dict().items() if "lora_B" in n and t.any()}
    assert trained.keys() == {"decoder", "depth_decoder"}


def test_an_adapter_goes_where_the_file_says(data: Path, checkpoint: Path) -> None:
    stack = "depth_decoder.lm_heads.weight"
    best = job(data.parent, checkpoint, f"[lora]\nrank = 2\nstacks = ['{stack}']").run()
    names = set(load_file(best / "adapter_model.safetensors"))
    assert names == {f"base_model.model.depth_decoder.lm_heads.lora_{side}.weight" for side in "AB"}


def test_settings_that_cannot_be_are_refused(data: Path, checkpoint: Path) -> None:
    for more, message in (("[speech]\nfirst_codebook = -1", "first_codebook"), ("[speech]\nspeakers = 'a'", "speaker")):
        with pytest.raises((ConfigError, TypeError), match=message):
            job(data.parent, checkpoint, more)
    (data.parent / "job.toml").write_text(
        """objective = "speech"
folder = "run"
[model]
start = "moshi"
train_text_encoder = true
[data]
train = "data.jsonl"
[run]
steps = 200
"""
    )
    with pytest.raises(ConfigError, match="text encoder"):
        Job(read_job(data.parent / "job.toml")).run()
    model: Any = MoshiForConditionalGeneration.from_pretrained(checkpoint)
    with pytest.raises(ConfigError, match="weight_decay"):
        SpeechObjective(model, weight_decay=-1)
    with pytest.raises(CheckpointError, match="state of training"):
        SpeechObjective(model).load_extra_state({"a": torch.zeros(1)})
