"""A data set encoded once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from antiphon import Audio, AutoProcessor, MusicgenForConditionalGeneration, MusicgenMelodyForConditionalGeneration
from antiphon.audio import files
from antiphon.audio.resampling import resample
from antiphon.errors import ConfigError, DataError, ParamError
from antiphon.tasks.transcoder import Transcoder
from antiphon.training import encoding
from antiphon.training.coded_music import CodedMusic
from antiphon.training.coder import Coder
from antiphon.training.encoding import encode_manifest
from antiphon.training.inspection import inspect
from antiphon.training.manifest import Manifest
from antiphon.training.melody_frames import melody_frames
from antiphon.training.music import MusicObjective
from antiphon.training.order import batches, example_generator
from antiphon.training.replacement import Replaced

from .datasets import manifest, tone


@pytest.fixture(scope="module")
def opened(checkpoint: Path) -> tuple[Any, Any]:
    """The model of a small random checkpoint and its processor."""
    return MusicgenForConditionalGeneration.from_pretrained(checkpoint), AutoProcessor.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def opened_melody(melody_checkpoint: Path) -> tuple[Any, Any]:
    """The same, of MusicGen Melody."""
    model = MusicgenMelodyForConditionalGeneration.from_pretrained(melody_checkpoint)
    return model, AutoProcessor.from_pretrained(melody_checkpoint)


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Four sounds, of which two have one length, with texts beside three."""
    folder = tmp_path / "songs"
    for number, seconds in enumerate((0.5, 0.8, 0.5, 1.1)):
        tone(folder / f"{number}.wav", seconds, pitch_hz=300 + 100 * number, rate_hz=(44_100, 32_000)[number % 2])
        if number:
            (folder / f"{number}.txt").write_text(f"pop song {number}\nslow blues")
    return folder


def encoded_alone(checkpoint: Path, path: Path) -> np.ndarray:
    return Transcoder.load(checkpoint, device="cpu").encode(path).codes


@pytest.mark.parametrize("batch", [1, 8])
def test_codes_are_those_of_each_file_alone(batch: int, opened: Any, checkpoint: Path, songs: Path) -> None:
    found = inspect(Manifest.read(songs))
    told: list[tuple[int, int]] = []
    encoded = encode_manifest(
        found,
        songs.parent / "cache",
        Coder(*opened, text_states=False),
        batch=batch,
        progress=lambda done, total: told.append((done, total)),
    )
    there = {encoded.folder.name(place): place for place in range(4)}
    for name, place in there.items():
        own = encoded_alone(checkpoint, songs / name)
        assert (encoded.folder.codes(place) == own).mean() > 0.999
        texts = [] if name == "0.wav" else [f"pop song {name[0]}", "slow blues"]
        assert encoded.folder.texts(place) == texts
    assert told[-1] == (4, 4)
    assert len(told) == (4 if batch == 1 else 3)


def test_a_passage_of_a_file_has_codes_of_its_own(opened: Any, checkpoint: Path, songs: Path) -> None:
    source = manifest(songs, [{"path": "3.wav", "start_s": 0.3, "end_s": 0.9, "text": "a"}])
    encoded = encode_manifest(inspect(Manifest.read(source)), songs / "cache", Coder(*opened, text_states=False))
    samples, rate_hz = files.load(songs / "3.wav")
    part = Audio(resample(samples, rate_hz, 32_000)[:, 9600:28_800], 32_000)
    own = Transcoder.load(checkpoint, device="cpu").encode(part).codes
    assert (encoded.folder.codes(0) == own).mean() > 0.999


def test_a_long_file_is_read_while_it_is_encoded(opened: Any, songs: Path, monkeypatch: Any) -> None:
    found = inspect(Manifest.read(songs))
    coder = Coder(*opened, text_states=False)
    whole = encode_manifest(found, songs / "whole", coder)
    longest: list[int] = []
    passage = encoding.load_passage

    def counted(*args: Any, **settings: Any) -> Any:
        longest.append(settings["count"])
        return passage(*args, **settings)

    monkeypatch.setattr(encoding, "_WHOLE_S", 0.6)
    monkeypatch.setattr(encoding, "_BLOCK_S", 0.25)
    monkeypatch.setattr(encoding, "load_passage", counted)
    pieces = encode_manifest(found, songs / "pieces", coder)
    assert max(longest) == 16_000  # a whole one of half a second
    assert longest.count(8000) == 3 + 4
    for place in range(4):
        at = pieces.folder.keys().index(whole.folder.keys()[place])
        assert (pieces.folder.codes(at) == whole.folder.codes(place)).mean() > 0.999


def test_stereo_codes_lie_in_turn(make_checkpoint: Any, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", channels=2)
    tone(tmp_path / "songs" / "a.wav", 0.5, channels=2)
    tone(tmp_path / "songs" / "b.wav", 0.5, pitch_hz=600)
    model = MusicgenForConditionalGeneration.from_pretrained(folder)
    coder = Coder(model, AutoProcessor.from_pretrained(folder), text_states=False)
    encoded = encode_manifest(inspect(Manifest.read(tmp_path / "songs"), channels=2), tmp_path / "cache", coder)
    for place, name in enumerate("ab"):
        own = encoded_alone(folder, tmp_path / "songs" / f"{name}.wav")
        assert own.shape[0] == 8
        assert (encoded.folder.codes(place) == own).mean() > 0.999


def test_states_are_those_of_each_text_alone(opened: Any, songs: Path) -> None:
    model, processor = opened
    encoded = encode_manifest(inspect(Manifest.read(songs)), songs / "cache", Coder(*opened, text_states=True))
    for place in range(4):
        for number, text in enumerate(encoded.folder.texts(place)):
            with torch.no_grad():
                alone = model.text_encoder(**processor(text=[text], return_tensors="pt")).last_hidden_state[0]
            np.testing.assert_allclose(encoded.folder.states(place, number), alone.numpy(), rtol=2e-3, atol=1e-3)
    music = CodedMusic(encoded.folder, seconds=0.4, keys=encoded.keys)
    (batch,) = batches(Replaced(music), seed=0, rows=range(4), batch=4, micro_batch=4, steps=range(1), workers=0)
    assert batch["text_states"].shape[-1] == model.config.text_encoder.hidden_size
    assert batch["dropped"][batch["names"].index("0.wav")]
    losses = MusicObjective(model).losses(batch)
    assert losses.parts["codebook_0"] / batch["frames"].sum() == pytest.approx(np.log(512), rel=0.5)


def test_the_cache_goes_on_where_it_was_and_follows_what_changes(opened: Any, songs: Path, monkeypatch: Any) -> None:
    coder = Coder(*opened, text_states=False)
    coded: list[int] = []
    codes = Coder.codes

    def counted(self: Coder, blocks: Any, sounds: int = 1) -> Any:
        if len(coded) == stop_at:
            raise KeyboardInterrupt
        coded.append(sounds)
        return codes(self, blocks, sounds)

    monkeypatch.setattr(Coder, "codes", counted)
    stop_at = 2
    with pytest.raises(KeyboardInterrupt):
        encode_manifest(inspect(Manifest.read(songs)), songs / "cache", coder, batch=1)
    stop_at = 99
    encoded = encode_manifest(inspect(Manifest.read(songs)), songs / "cache", coder, batch=1)
    assert coded == [1, 1, 1, 1]
    before = encoded.keys
    assert encode_manifest(inspect(Manifest.read(songs)), songs / "cache", coder).keys == before
    assert len(coded) == 4
    (songs / "1.txt").write_text("new words")
    tone(songs / "2.wav", 0.9)
    (songs / "3.wav").unlink()
    after = encode_manifest(inspect(Manifest.read(songs)), songs / "cache", coder, batch=1)
    assert len(coded) == 6
    assert [a == b for a, b in zip(before, after.keys, strict=False)] == [True, False, False]
    music = CodedMusic(after.folder, seconds=0.3, tokenizer=opened[1].tokenizer, keys=after.keys)
    assert len(music) == 3
    assert music.example(1, example_generator(0, 0))["text"] == "new words"


def test_other_weights_and_settings_have_a_cache_of_their_own(opened: Any, opened_melody: Any) -> None:
    model, processor = opened
    plain = Coder(model, processor, text_states=False).format.made_by
    assert Coder(model, processor, text_states=False).format.made_by == plain
    bias = next(p for n, p in model.audio_encoder.named_parameters() if n.endswith("bias"))
    with torch.no_grad():
        bias[0] += 1e-6
    other = Coder(model, processor, text_states=False).format.made_by
    with torch.no_grad():
        bias[0] -= 1e-6
    assert len({plain, other, Coder(model, processor, text_states=True).format.made_by}) == 3
    melody = [Coder(*opened_melody, text_states=False, melody=wanted).format.made_by for wanted in (True, False)]
    assert melody[0] != melody[1]


@pytest.mark.parametrize("rate_hz", [32_000, 44_100])
def test_a_melody_is_the_extractors_however_it_is_cut(rate_hz: int, opened_melody: Any, tmp_path: Path) -> None:
    _, processor = opened_melody
    # noise, whose strongest class is decided by little
    sound = (0.1 * np.random.default_rng(0).normal(size=round(6.3 * rate_hz))).astype(np.float32)
    path = files.save(tmp_path / "a.wav", sound, rate_hz, subtype="FLOAT")
    first = round(0.7 * rate_hz)
    want = processor.feature_extractor(sound[first:], sampling_rate=rate_hz, independent_rows=True)
    classes = want["input_features"][0].argmax(-1)
    assert len(set(classes.tolist())) > 6
    for block_s in (60, 2.0, 0.5):
        found = melody_frames(path, processor.feature_extractor, start_s=0.7, end_s=6.3, block_s=block_s)
        assert found.tolist() == classes.tolist()


def test_melodies_are_cached_from_the_recording_or_else_from_the_sound(opened_melody: Any, tmp_path: Path) -> None:
    pitches = {"c": 261.63, "e": 329.63, "g": 392.0}
    for name, pitch_hz in pitches.items():
        tone(tmp_path / f"{name}.wav", 2.0, pitch_hz=pitch_hz, rate_hz=32_000)
    rows = [{"path": "c.wav", "text": "a", "melody": "g.wav"}, {"path": "e.wav", "text": "b"}]
    found = inspect(Manifest.read(manifest(tmp_path, rows)))
    encoded = encode_manifest(found, tmp_path / "cache", Coder(*opened_melody, text_states=False))
    assert [set(encoded.folder.chroma(place).tolist()) for place in range(2)] == [{7}, {4}]
    assert encoded.folder.chroma_frames(0) == 64_000 // 4096 + 1
    music = CodedMusic(encoded.folder, seconds=1.0, tokenizer=opened_melody[1].tokenizer, keys=encoded.keys)
    batch = music.collate([music.example(index, example_generator(0, index)) for index in range(2)])
    losses = MusicObjective(opened_melody[0]).losses(batch)
    assert losses.parts["codebook_3"] / batch["frames"].sum() == pytest.approx(np.log(512), rel=0.5)


def test_F131_files_that_turn_bad_before_they_are_encoded_are_skipped_or_stop(
    opened: Any, songs: Path, caplog: Any, monkeypatch: Any
) -> None:
    found = inspect(Manifest.read(songs))
    (songs / "0.wav").write_bytes(b"junk")
    (songs / "3.wav").write_bytes((songs / "3.wav").read_bytes()[:9000])
    monkeypatch.setattr(encoding, "_WHOLE_S", 0.9)  # so that the last one fails while it is encoded
    coder = Coder(*opened, text_states=False)
    with caplog.at_level(logging.WARNING):
        encoded = encode_manifest(found, songs / "cache", coder, share=0.5)
    assert [encoded.folder.name(place) for place in range(len(encoded.folder))] == ["2.wav", "1.wav"]
    assert sorted(name for name, _ in encoded.skipped.named) == ["0.wav", "3.wav"]
    assert len(encoded.keys) == 2
    assert "2 of 4 items could not be encoded" in caplog.text
    with pytest.raises(DataError, match=r"1 of 4 items.*0\.wav"):
        encode_manifest(found, songs / "again", coder)


def test_what_a_model_cannot_give_is_refused(opened: Any, checkpoint: Path) -> None:
    with pytest.raises(ParamError, match="melody=True"):
        Coder(*opened, text_states=False, melody=True)
    with pytest.raises(ParamError, match="separated=True"):
        Coder(*opened, text_states=False, separated=True)
    half = MusicgenForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.bfloat16)
    with pytest.raises(ConfigError, match="float32"):
        Coder(half, opened[1], text_states=False)
