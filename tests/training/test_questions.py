"""Questions and answers in manifests and beside sounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import DataError
from antiphon.training.manifest import Manifest
from antiphon.training.questions import DESCRIBE, Question, asked_of, questions_of

from .datasets import manifest, tone

ASKED = [{"question": "What key?", "answer": "A minor"}, {"question": "How fast?", "answer": "90 bpm"}]
READ = (Question("What key?", "A minor"), Question("How fast?", "90 bpm"))


def test_a_manifest_and_a_file_beside_the_sound_may_hold_questions(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    rows = [{"path": "a.wav", "questions": ASKED}, {"path": "a.wav", "start_s": 0.5}]
    found = Manifest.read(manifest(tmp_path, rows))
    assert found.item(0).questions == READ
    assert found.item(1).questions == ()
    (tmp_path / "a.json").write_text(json.dumps({"text": "slow blues", "questions": ASKED}))
    assert found.item(1).questions == READ
    assert found.item(1).texts == ("slow blues",)
    assert Manifest.read(tmp_path).item(0).questions == READ


def test_a_text_alone_is_the_answer_to_a_question_of_its_own() -> None:
    assert asked_of(("slow blues",), READ) == (*READ, Question(DESCRIBE, "slow blues"))
    assert asked_of((), ()) == ()


@pytest.mark.parametrize(
    "odd",
    ["What key?", [{"question": "What key?"}], [{"question": "", "answer": "A"}], [{"question": 1, "answer": "A"}],
     [{**ASKED[0], "more": 1}], [{"question": "a" * 10_001, "answer": "A"}], ASKED * 501],
)  # fmt: skip
def test_what_is_no_list_of_questions_is_refused_by_what_it_is(tmp_path: Path, odd: Any) -> None:
    with pytest.raises(DataError, match="question"):
        questions_of({"questions": odd})
    tone(tmp_path / "a.wav")
    good = [{"path": "a.wav", "start_s": place / 100} for place in range(30)]
    if len(json.dumps(odd)) < 1 << 20:
        read = Manifest.read(manifest(tmp_path, [*good, {"path": "a.wav", "questions": odd}]))
        assert len(read) == 30
        assert read.skipped.named[0][0] == "line 31"
