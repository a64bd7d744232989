"""``antiphon train``: from a folder of sounds to a checkpoint or an adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import antiphon
from antiphon.audio import files
from antiphon.cli.app import run

_RATE_HZ = 32_000
_SONGS = 5


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    folder = tmp_path / "songs"
    folder.mkdir()
    time = np.arange(_RATE_HZ) / _RATE_HZ
    for number in range(_SONGS):
        sound = 0.3 * np.sin(2 * np.pi * 110 * 2 ** (number / 12) * time * (1 + number // 2))
        files.save(folder / f"song{number}.wav", sound[None].astype(np.float32), _RATE_HZ)
        (folder / f"song{number}.txt").write_text(f"a calm tone number {number}\nanother text\n")
    return folder


def job(folder: Path, text: str) -> Path:
    path = folder / "job.toml"
    path.write_text(text)
    return path


def music_job(folder: Path, model: str, *, steps: int = 4, more: str = "") -> Path:
    return job(
        folder,
        f"""objective = "music"
folder = "run"
[model]
{model}
[data]
train = "songs"
held_out_share = 0.2
seconds = 0.4
{more}
[run]
steps = {steps}
batch = 2
learning_rate = 1e-2
warmup_steps = 1
average_decay = 0.5
log_every = 1
held_out_every = 2
held_out_batches = 1
save_every = 2
""",
    )


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


def test_an_adapter_is_trained_on_a_folder_of_songs_and_changes_what_is_composed(
    songs: Path, checkpoint: Path, tmp_path: Path, capsys: Any
) -> None:
    path = music_job(tmp_path, f'start = "{checkpoint}"', more="[lora]\nrank = 2\nalpha = 4\n")
    assert run(["train", str(path)]) == 0
    told = capsys.readouterr()
    best = Path(told.out.strip())
    assert best == tmp_path / "run" / "best"
    assert "step 4/4" in told.err
    assert "held out" in told.err
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {file.name for file in best.iterdir()}
    assert not (best / "model.safetensors").exists()
    plain = antiphon.load(checkpoint, device="cpu")("calm", seconds=0.2, seed=1)
    adapted = antiphon.load(checkpoint, device="cpu", adapters=[best])("calm", seconds=0.2, seed=1)
    assert not np.array_equal(plain.samples, adapted.samples)
    assert [line["step"] for line in lines(tmp_path, "training")] == [1, 2, 3, 4]
    assert {"codebook_0", "codebook_3", "loss"} <= lines(tmp_path, "held_out")[0].keys()


def test_only_what_is_trained_is_in_the_states_of_an_adapter(songs: Path, checkpoint: Path, tmp_path: Path) -> None:
    assert (
        run(["train", str(music_job(tmp_path, f'start = "{checkpoint}"', more="[lora]\nrank = 2\nalpha = 4\n"))]) == 0
    )
    newest = max((tmp_path / "run" / "states").iterdir())
    assert (newest / "model.safetensors").stat().st_size < (checkpoint / "model.safetensors").stat().st_size / 4


def test_a_stopped_run_goes_on_where_it_was(songs: Path, checkpoint: Path, tmp_path: Path) -> None:
    path = music_job(tmp_path, f'start = "{checkpoint}"')
    assert run(["train", str(path), "--until", "2"]) == 0
    assert [line["step"] for line in lines(tmp_path, "training")] == [1, 2]
    assert run(["train", str(path)]) == 0
    resumed = [line["loss"] for line in lines(tmp_path, "training")]
    (tmp_path / "run").rename(tmp_path / "former")
    assert run(["train", str(path)]) == 0
    assert [line["loss"] for line in lines(tmp_path, "training")] == resumed
    assert len(resumed) == 4


def test_a_whole_model_is_trained_and_opens_as_any_other(songs: Path, checkpoint: Path, tmp_path: Path) -> None:
    assert run(["train", str(music_job(tmp_path, f'start = "{checkpoint}"'))]) == 0
    piece = antiphon.load(tmp_path / "run" / "best", device="cpu")("calm piano", seconds=0.2, seed=1)
    assert piece.seconds == pytest.approx(0.2)
    first, last = (lines(tmp_path, "training")[i]["loss"] for i in (0, -1))
    assert last < first


def test_a_model_from_nothing_takes_its_codec_from_elsewhere(songs: Path, checkpoint: Path, tmp_path: Path) -> None:
    config = antiphon.MusicgenConfig.from_pretrained(checkpoint)
    config.decoder.num_hidden_layers = 2
    (tmp_path / "model.json").write_text(json.dumps({**config.to_dict(), "model_type": "musicgen"}))
    model = f'config = "model.json"\ncodec = "{checkpoint}"\nprocessor = "{checkpoint}"\ntrain_text_encoder = true'
    assert run(["train", str(music_job(tmp_path, model))]) == 0
    made = antiphon.MusicgenForConditionalGeneration.from_pretrained(tmp_path / "run" / "final")
    whole = antiphon.MusicgenForConditionalGeneration.from_pretrained(checkpoint)
    assert made.config.decoder.num_hidden_layers == 2
    for name, tensor in whole.audio_encoder.state_dict().items():
        assert torch.equal(made.audio_encoder.state_dict()[name], tensor)


def test_melody_is_trained_with_the_melodies_of_its_songs(songs: Path, melody_checkpoint: Path, tmp_path: Path) -> None:
    assert run(["train", str(music_job(tmp_path, f'start = "{melody_checkpoint}"', steps=2))]) == 0
    model = antiphon.MusicgenMelodyForConditionalGeneration.from_pretrained(tmp_path / "run" / "final")
    before = antiphon.MusicgenMelodyForConditionalGeneration.from_pretrained(melody_checkpoint)
    assert not torch.equal(model.audio_enc_to_dec_proj.weight, before.audio_enc_to_dec_proj.weight)


def test_a_codec_is_trained_on_sounds_alone(songs: Path, tmp_path: Path) -> None:
    config = {
        "model_type": "encodec", "sampling_rate": 32000, "target_bandwidths": [0.6], "num_filters": 4, "hidden_size": 8,
        "upsampling_ratios": [8, 5, 4, 4], "num_lstm_layers": 1, "codebook_size": 16, "use_causal_conv": False,
        "use_conv_shortcut": False,
    }  # fmt: skip
    (tmp_path / "codec.json").write_text(json.dumps(config))
    path = job(
        tmp_path,
        """objective = "codec"
folder = "run"
[model]
config = "codec.json"
[data]
train = "songs"
seconds = 0.2
gain_db = [-3, 3]
[codec]
quantise_from = 2
[run]
steps = 5
batch = 2
learning_rate = 3e-3
warmup_steps = 0
log_every = 1
held_out_every = 5
held_out_batches = 1
watch = "mel_db"
""",
    )
    assert run(["train", str(path)]) == 0
    codec = antiphon.EncodecModel.from_pretrained(tmp_path / "run" / "final")
    assert codec.config.num_quantizers == 3
    losses = [line["mel_db"] for line in lines(tmp_path, "training")]
    assert losses[1] < losses[0]
    assert lines(tmp_path, "training")[1]["commitment"] == 0 < lines(tmp_path, "training")[2]["commitment"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("steps = 4", "stps = 4"), ["stps", "steps"]),
        (("steps = 4", "steps = -4"), ["steps=-4"]),
        (("seconds = 0.4", "seconds = nan"), ["seconds"]),
        (("learning_rate = 1e-2", "learning_rate = nan"), ["learning_rate"]),
        (("batch = 2", 'batch = "2"'), ["batch", "integer"]),
        (('objective = "music"', 'objective = "painting"'), ["painting", "codec"]),
        (('train = "songs"', 'train = "sings"'), ["sings"]),
        (("[data]", "[date]"), ["date", "data"]),
        (("[data]", "[data"), ["TOML"]),
        (("start = ", "config = 'a'\nstart = "), ["start", "config"]),
    ],
)
def test_a_wrong_job_is_refused_by_name(
    songs: Path, checkpoint: Path, tmp_path: Path, capsys: Any, change: tuple[str, str], words: list[str]
) -> None:
    path = music_job(tmp_path, f'start = "{checkpoint}"')
    path.write_text(path.read_text().replace(*change))
    assert run(["train", str(path)]) == 1
    told = capsys.readouterr().err
    assert all(word in told for word in words)
    assert "Traceback" not in told
    assert not (tmp_path / "run" / "states").exists()


def test_a_job_that_is_not_there_is_refused_by_name(tmp_path: Path, capsys: Any) -> None:
    assert run(["train", str(tmp_path / "no.toml")]) == 1
    assert "no.toml" in capsys.readouterr().err
