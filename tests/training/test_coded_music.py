"""Coded music in folders, and random passages of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from antiphon.errors import AntiphonError, DataError, ParamError
from antiphon.training.code_packing import CodePacking
from antiphon.training.coded_folder import CodedFolder
from antiphon.training.coded_format import CodedFormat, CodedItem
from antiphon.training.coded_music import CodedMusic
from antiphon.training.coded_writer import CodedWriter
from antiphon.training.order import example_generator

FORMAT = {"codebooks": 4, "codebook_size": 1024, "sampling_rate": 32_000, "hop_samples": 640}
SECONDS = 2.0


class Words:
    """A tokenizer whose ids are the numbers of words seen; pads are zeros."""

    def __init__(self) -> None:
        self.known = ["<pad>"]

    def __call__(self, texts: list[str], *, padding: bool, return_tensors: str) -> dict[str, torch.Tensor]:
        assert padding
        assert return_tensors == "pt"
        rows = [[*self._numbers(text), 1000] for text in texts]
        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
        for row, own in zip(ids, rows, strict=True):
            row[: len(own)] = torch.tensor(own)
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}

    def _numbers(self, text: str) -> Iterator[int]:
        for word in text.split():
            if word not in self.known:
                self.known.append(word)
            yield self.known.index(word)


def codes(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1024, (4, frames))


def item(number: int, frames: int = 200, **settings: Any) -> CodedItem:
    texts = (f"text {number}", f"another {number}")
    return CodedItem(
        **{"codes": codes(frames, number), "texts": texts, "key": f"k{number}", "name": f"n{number}"} | settings
    )


def format_of(**settings: Any) -> CodedFormat:
    return CodedFormat(**FORMAT | settings)


# packing


@pytest.mark.parametrize(
    ("books", "size", "frame_bytes"), [(4, 1024, 5), (4, 2048, 6), (8, 2048, 11), (1, 2, 1), (3, 65_536, 6)]
)
def test_packed_codes_come_back_in_few_bytes(books: int, size: int, frame_bytes: int) -> None:
    packing = CodePacking(books, size)
    given = np.random.default_rng(0).integers(0, size, (books, 77))
    given[:, 0], given[:, 1] = 0, size - 1
    data = packing.packed(given)
    assert len(data) == 77 * frame_bytes
    assert (packing.unpacked(data) == given).all()
    assert (packing.unpacked(data[5 * frame_bytes : 9 * frame_bytes]) == given[:, 5:9]).all()


@pytest.mark.parametrize(
    "bad", [codes(3) + 1024, codes(3) - 2000, codes(3)[:3], codes(3) * 1.0, codes(3)[:, :0], codes(3)[0]]
)
def test_what_is_no_code_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(DataError):
        CodePacking(4, 1024).packed(bad)


# folders


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    melody = np.arange(26) % 12
    items = [item(0), item(1, 57, chroma=melody), item(2, texts=(), name="no ascii: ä")]
    assert CodedMusic.write(tmp_path, items, format=format_of(chroma_classes=12)) == 3
    folder = CodedFolder(tmp_path)
    assert (len(folder), folder.keys(), folder.frames.tolist()) == (3, ["k0", "k1", "k2"], [200, 57, 200])
    for place, own in enumerate(items):
        assert (folder.codes(place) == own.codes).all()
        assert (folder.texts(place), folder.name(place)) == (list(own.texts), own.name)
    assert (folder.codes(1, 50, 7) == items[1].codes[:, 50:]).all()
    assert [folder.chroma_frames(place) for place in range(3)] == [0, 26, 0]
    assert (folder.chroma(1, 5, 10) == melody[5:15]).all()
    assert folder.format == format_of(chroma_classes=12)


def test_a_file_that_is_full_is_followed_by_another(tmp_path: Path) -> None:
    with CodedWriter(tmp_path, format_of(), shard_bytes=3000) as writer:
        for number in range(10):
            writer.write(item(number))
    assert sorted(path.name for path in tmp_path.glob("codes-*")) == [f"codes-0000{n}.bin" for n in range(4)]
    with CodedWriter(tmp_path, format_of(), shard_bytes=3000) as writer:
        writer.write(item(10))
    folder = CodedFolder(tmp_path)
    assert all((folder.codes(number) == item(number).codes).all() for number in range(11))


@pytest.mark.parametrize("torn", ["arrays", "line", "nothing"])
def test_a_killed_writer_leaves_what_it_had_finished_and_the_next_goes_on(torn: str, tmp_path: Path) -> None:
    with CodedWriter(tmp_path, format_of()) as writer:
        writer.write(item(0))
    if torn == "arrays":
        with open(tmp_path / "codes-00000.bin", "ab") as file:
            file.write(bytes(5000))
    elif torn == "line":
        with open(tmp_path / "codes-00000.bin", "ab") as file:
            file.write(bytes(3000))
        with open(tmp_path / "items-00000.jsonl", "ab") as file:
            file.write(b'{"key":"k1","name":"' + b"n" * 500)
    assert len(CodedFolder(tmp_path)) == 1
    with CodedWriter(tmp_path, format_of()) as second:
        second.write(item(2))
    folder = CodedFolder(tmp_path)
    assert folder.keys() == ["k0", "k2"]
    assert (folder.codes(0) == item(0).codes).all()
    assert (folder.codes(1) == item(2).codes).all()
    assert (tmp_path / "codes-00000.bin").stat().st_size == 2000


def test_a_second_writer_waits_for_the_first_and_goes_on_behind_it(tmp_path: Path) -> None:
    first = CodedWriter(tmp_path, format_of())
    first.write(item(0))
    second = threading.Thread(target=lambda: CodedMusic.write(tmp_path, [item(1)], format=format_of()))
    second.start()
    second.join(timeout=0.1)
    assert second.is_alive()
    first.write(item(2))
    first.close()
    second.join(timeout=30)
    folder = CodedFolder(tmp_path)
    assert folder.keys() == ["k0", "k2", "k1"]
    assert all((folder.codes(place) == item(n).codes).all() for place, n in enumerate((0, 2, 1)))


def test_states_of_equal_texts_are_kept_once(tmp_path: Path) -> None:
    states = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    items = [item(number, texts=("same", f"own {number}"), states=(states, states + number)) for number in range(1, 4)]
    CodedMusic.write(tmp_path, items[:2], format=format_of(text_width=6))
    CodedMusic.write(tmp_path, items[2:], format=format_of(text_width=6))
    folder = CodedFolder(tmp_path)
    for place in range(3):
        np.testing.assert_allclose(folder.states(place, 0), states, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(folder.states(place, 1), states + place + 1, rtol=1e-3, atol=1e-3)
    assert (tmp_path / "states-00000.bin").stat().st_size == (3 + 2) * 36  # a second writer begins to count anew


@pytest.mark.parametrize(
    "bad",
    [
        {"codes": codes(5)[:3]},
        {"chroma": np.zeros(3, np.int64)},
        {"states": (np.zeros((3, 6)),)},
    ],
)
def test_an_item_that_does_not_fit_the_format_is_refused(bad: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError):
        CodedMusic.write(tmp_path, [item(0, **bad)], format=format_of())


@pytest.mark.parametrize(
    "bad", [np.full((2, 6), 1e5), np.full((2, 6), np.nan), np.zeros((2, 5)), np.zeros((0, 6)), np.zeros(6)]
)
def test_states_that_float16_cannot_hold_are_refused(bad: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="states"):
        CodedMusic.write(tmp_path, [item(0, texts=("a",), states=(bad,))], format=format_of(text_width=6))


@pytest.mark.parametrize("bad", [[-1], [12], [[1]], [0.5], []])
def test_melodies_that_are_no_pitch_classes_are_refused(bad: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        CodedMusic.write(tmp_path, [item(0, chroma=np.array(bad))], format=format_of(chroma_classes=12))


def test_a_folder_of_other_codes_is_not_written_on(tmp_path: Path) -> None:
    CodedMusic.write(tmp_path, [item(0)], format=format_of())
    with pytest.raises(DataError, match="another folder"):
        CodedMusic.write(tmp_path, [item(0)], format=format_of(made_by="another"))
    assert CodedMusic.write(tmp_path, [item(1)], format=format_of()) == 1  # nobody holds it


@pytest.mark.parametrize("damage", ["format", "no format", "version", "field", "line", "short", "gap", "cut later"])
def test_F131_a_damaged_folder_is_refused(damage: str, tmp_path: Path) -> None:
    with CodedWriter(tmp_path, format_of(), shard_bytes=1) as writer:
        writer.write(item(0))
        writer.write(item(1))
    path = tmp_path / "coded.json"
    values = json.loads(path.read_text())
    if damage == "no format":
        path.unlink()
    elif damage == "format":
        path.write_text("{")
    elif damage == "version":
        path.write_text(json.dumps({**values, "version": 9}))
    elif damage == "field":
        path.write_text(json.dumps({**values, "hop_samples": 0}))
    elif damage == "line":
        (tmp_path / "items-00000.jsonl").write_text("{}\n")
    elif damage == "short":
        (tmp_path / "codes-00001.bin").write_bytes(bytes(999))
    elif damage == "gap":
        (tmp_path / "items-00000.jsonl").unlink()
    if damage == "cut later":
        folder = CodedFolder(tmp_path)
        (tmp_path / "codes-00001.bin").write_bytes(bytes(999))
        assert folder.codes(1, 0, 100).shape == (4, 100)
        with pytest.raises(DataError, match="ends before"):
            folder.codes(1, 100, 100)
    else:
        with pytest.raises(DataError):
            CodedFolder(tmp_path)


# passages


@pytest.fixture
def music(tmp_path: Path) -> CodedMusic:
    """Five items of four seconds, and one of half a second; two melodies."""
    melody = np.arange(32) % 12
    items = [item(number, chroma=melody if number < 2 else None) for number in range(5)]
    items.append(item(5, 25, texts=()))
    CodedMusic.write(tmp_path, items, format=format_of(chroma_classes=12))
    return CodedMusic(tmp_path, seconds=SECONDS, tokenizer=Words(), condition_dropout=0.25, melody_dropout=0.25)


def drawn(music: CodedMusic, index: int, count: int) -> list[dict[str, Any]]:
    return [music.example(index, example_generator(0, number)) for number in range(count)]


def place_of(passage: np.ndarray, whole: np.ndarray) -> int:
    width = passage.shape[1]
    return next(s for s in range(whole.shape[1] - width + 1) if (whole[:, s : s + width] == passage).all())


def test_some_passages_or_all_are_beginnings(tmp_path: Path, music: CodedMusic) -> None:
    for share in (0.5, 1.0):
        begun = CodedMusic(tmp_path, seconds=SECONDS, tokenizer=Words(), from_start=share)
        starts = [place_of(example["codes"], codes(200, 3)) for example in drawn(begun, 3, 200)]
        assert share * 200 - 30 < sum(start == 0 for start in starts) < share * 200 + 30
        assert (max(starts) > 90) == (share < 1)
    with pytest.raises(ParamError, match="from_start=1.5"):
        CodedMusic(tmp_path, seconds=SECONDS, tokenizer=Words(), from_start=1.5)


def test_passages_may_keep_their_places(tmp_path: Path, music: CodedMusic) -> None:
    kept = CodedMusic(tmp_path, seconds=SECONDS, tokenizer=Words(), keep_places=True)
    examples = drawn(kept, 3, 20)
    batch = kept.collate(examples)
    assert batch["first"].tolist() == [place_of(example["codes"], codes(200, 3)) for example in examples]
    assert len(set(batch["first"].tolist())) > 10
    assert "first" not in music.collate(examples)


def test_passages_lie_anywhere_in_the_item_with_any_of_its_texts(music: CodedMusic) -> None:
    examples = drawn(music, 3, 200)
    starts = [place_of(example["codes"], codes(200, 3)) for example in examples]
    assert {example["codes"].shape for example in examples} == {(4, 100)}
    assert (min(starts) < 5, max(starts) > 95) == (True, True)
    assert 60 < sum(example["text"] == "text 3" for example in examples) < 140
    assert {example["text"] for example in examples} == {"text 3", "another 3"}
    assert 30 < sum(example["dropped"] for example in examples) < 70


def test_an_example_is_its_generators_alone(music: CodedMusic, tmp_path: Path) -> None:
    other = CodedMusic(tmp_path, seconds=SECONDS, tokenizer=Words(), condition_dropout=0.9, word_dropout=0.5)
    for first, again, changed in zip(drawn(music, 1, 20), drawn(music, 1, 20), drawn(other, 1, 20), strict=True):
        assert (first["codes"] == again["codes"]).all()
        assert (first["text"], first["dropped"]) == (again["text"], again["dropped"])
        assert (first["codes"] == changed["codes"]).all()
        assert changed["text"] in (first["text"], *first["text"].split())


def test_the_melody_is_that_of_the_same_place(music: CodedMusic) -> None:
    for example in drawn(music, 0, 50):
        start = place_of(example["codes"], codes(200, 0))
        first = round(start * 640 / 4096)
        frames = min(100 * 640 // 4096 + 1, 32 - first)
        assert example["chroma"].tolist() == [(first + f) % 12 for f in range(frames)]
    dropped = [example["melody_dropped"] for example in drawn(music, 0, 200)]
    assert 30 < sum(dropped) < 70
    assert all(example["melody_dropped"] for example in drawn(music, 2, 20))


def test_a_batch_has_what_training_takes(music: CodedMusic) -> None:
    examples = [music.example(index, example_generator(1, index)) for index in (0, 2, 5)]
    batch = music.collate(examples)
    assert (batch["codes"].shape, batch["codes"].dtype) == ((3, 4, 100), torch.int64)
    assert batch["frames"].tolist() == [100, 100, 25]
    assert not batch["codes"][2, :, 25:].any()
    assert (batch["codes"][2, :, :25].numpy() == codes(25, 5)).all()
    assert (batch["names"], batch["texts"][2]) == (["n0", "n2", "n5"], "")
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (3, 3)
    assert batch["attention_mask"].sum(dim=1).tolist() == [3, 3, 1]
    assert batch["dropped"].dtype is batch["melody_dropped"].dtype is torch.bool
    assert batch["input_features"].shape == (3, 16, 12)
    assert torch.equal(batch["input_features"].sum(dim=-1), torch.ones(3, 16))
    assert batch["input_features_mask"].sum(dim=1).tolist() == [len(examples[0]["chroma"]), 1, 1]
    assert batch["melody_dropped"].tolist()[1:] == [True, True]
    assert torch.equal(batch["input_features"][1], torch.eye(12)[:1].expand(16, 12))


@pytest.mark.parametrize("side", ["left", "right"])
def test_states_of_texts_stand_in_place_of_ids(side: str, tmp_path: Path) -> None:
    states = [np.full((places, 6), places, np.float32) for places in (2, 4)]
    items = [item(number, texts=("a",), states=(own,)) for number, own in enumerate(states)]
    CodedMusic.write(tmp_path, [*items, item(2, texts=())], format=format_of(text_width=6, text_padding=side))
    music = CodedMusic(tmp_path, seconds=SECONDS, condition_dropout=0.0)
    batch = music.collate([music.example(index, example_generator(0, index)) for index in range(3)])
    assert "input_ids" not in batch
    want = [[0, 0, 2, 2], [4, 4, 4, 4], [0, 0, 0, 0]]
    assert batch["text_states"].shape == (3, 4, 6)
    assert batch["text_states"][..., 0].tolist() == (want if side == "left" else [row[::-1] for row in want])
    assert torch.equal(batch["attention_mask"][:2] > 0, batch["text_states"][:2, :, 0] > 0)
    assert batch["attention_mask"].sum(dim=1).tolist() == [2, 4, 1]
    assert batch["dropped"].tolist() == [False, False, True]


def test_words_are_left_out_but_never_all_of_them(tmp_path: Path) -> None:
    CodedMusic.write(tmp_path, [item(0, texts=("one two three four",))], format=format_of())
    music = CodedMusic(tmp_path, seconds=SECONDS, tokenizer=Words(), word_dropout=0.5)
    texts = [example["text"] for example in drawn(music, 0, 300)]
    assert len(set(texts)) == 15
    assert all(text for text in texts)
    assert 1.8 < np.mean([len(text.split()) for text in texts]) < 2.5


def test_only_the_items_that_count_are_drawn_from(music: CodedMusic, tmp_path: Path) -> None:
    CodedMusic.write(tmp_path, [item(1, 300)], format=format_of(chroma_classes=12))  # under a key that is there
    some = CodedMusic(tmp_path, seconds=SECONDS, tokenizer=Words(), keys=["k4", "k1"])
    assert (len(some), some.seconds) == (2, 10.0)
    assert some.example(0, example_generator(0, 0))["name"] == "n4"
    with pytest.raises(DataError, match="1 of 2 items are not in"):
        CodedMusic(tmp_path, seconds=SECONDS, tokenizer=Words(), keys=["k4", "k9"])


@pytest.mark.parametrize(
    "bad",
    [
        {"seconds": 0},
        {"seconds": float("nan")},
        {"condition_dropout": 1.0},
        {"melody_dropout": -0.1},
        {"word_dropout": float("nan")},
        {"tokenizer": None},
        {"keys": []},
    ],
)
def test_settings_out_of_range_are_refused(bad: dict[str, Any], music: CodedMusic) -> None:
    with pytest.raises((ParamError, DataError)):
        CodedMusic(music.folder, **{"seconds": 1.0, "tokenizer": Words(), **bad})


def test_a_tokenizer_beside_states_is_refused(tmp_path: Path) -> None:
    CodedMusic.write(tmp_path, [item(0, texts=())], format=format_of(text_width=6))
    with pytest.raises(ParamError, match="cached as states"):
        CodedMusic(tmp_path, seconds=1.0, tokenizer=Words())
    with pytest.raises(ParamError, match="cached as states"):
        CodedMusic(tmp_path, seconds=1.0, word_dropout=0.1)


@pytest.mark.parametrize("bad", [{"codebooks": 0}, {"codebook_size": 1}, {"hop_samples": 1.5}, {"text_padding": "up"}])
def test_a_format_that_cannot_be_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(AntiphonError):
        format_of(**bad)
