"""Facts in fields: whatever the model, there is one of each, within its bounds, and what was written parses."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from antiphon.audio.clip import Audio
from antiphon.errors import AudioError, ConfigError, NumericError
from antiphon.tasks.facts import KEYS, QUESTION, Facts, filled_in
from antiphon.tasks.form import Form
from antiphon.tasks.heard_sound import Listened
from antiphon.tasks.listener import Listener
from antiphon.tasks.slots import ChoiceSlot, NumberSlot, StringSlot
from antiphon.tasks.token_texts import TokenTexts, beginnings, is_plain

RATE = 16_000


def noise(seconds: float, seed: int = 0) -> Audio:
    return Audio(0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32), RATE)


@pytest.fixture(scope="module")
def texts(listener: Listener) -> TokenTexts:
    return TokenTexts(listener.processor.tokenizer, listener.model.config.text_config.vocab_size)


def form_of(listener: Listener, texts: TokenTexts, listened: Listened) -> Form:
    tokenizer, sound_token = listener.processor.tokenizer, listener.processor.audio_token_id
    row = listener.conversation([listened], QUESTION)
    return Form(listener.model, row, texts=texts, tokenizer=tokenizer, sound_token=sound_token)


def check(facts: Facts, seconds: float) -> None:
    assert facts.genre
    assert 30 <= facts.tempo_bpm <= 300
    assert facts.key in KEYS
    assert 1 <= len(facts.instruments) <= 10 and 1 <= len(facts.mood) <= 6
    assert all(facts.instruments) and all(facts.mood)
    starts = [section.start_s for section in facts.structure]
    assert starts[0] == 0 and starts == sorted(set(starts)) and starts[-1] <= seconds
    assert json.loads(json.dumps(facts.to_dict()))["structure"][0]["part"] == facts.structure[0].part


@pytest.mark.parametrize(
    ("seed", "spread", "seconds"), [(0, 0.0, 0.4), (1, 0.3, 90.0), (2, 3.0, 20.0), (3, 100.0, 5.0)]
)
def test_any_model_writes_json_with_every_field(
    listener: Listener, texts: TokenTexts, seed: int, spread: float, seconds: float
) -> None:
    head, before = listener.model.lm_head.weight, listener.model.lm_head.weight.detach().clone()
    (listened,) = listener.listen([listener.read(noise(0.4))])
    form = form_of(listener, texts, listened)
    try:
        with torch.no_grad():
            head.copy_(spread * torch.randn(head.shape, generator=torch.Generator().manual_seed(seed)))
        facts = filled_in(form, seconds)
    finally:
        with torch.no_grad():
            head.copy_(before)
    check(facts, seconds)
    written = json.loads(form.text)
    assert list(written) == list(facts.to_dict())
    assert [section["start_s"] for section in written["structure"]] == [part.start_s for part in facts.structure]
    assert (written["tempo_bpm"], written["key"]) == (facts.tempo_bpm, facts.key)
    assert " ".join(written["genre"].split()) == facts.genre


def test_the_facts_of_a_sound_depend_on_it(listener: Listener) -> None:
    one, other = listener.facts(noise(2)), listener.facts(noise(2, seed=1))
    check(one, 2)
    assert one != other


def test_facts_use_again_what_was_heard(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    listener.forget()
    fresh = listener.facts(noise(2))
    listener.forget()
    listener.ask(noise(2), "Key?", max_new_tokens=3)
    columns: list[int] = []
    forward = type(listener.model).forward

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        ids = kwargs.get("input_ids")
        columns.append((kwargs["inputs_embeds"] if ids is None else ids).shape[1])
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(listener.model), "forward", counted)
    (listened,) = listener.listen([listener.read(noise(2))])
    prompt = len(listener.conversation([listened], QUESTION).ids)
    assert listener.facts(noise(2)) == fresh
    assert columns[0] <= prompt - len(listened.features)


def test_facts_are_of_the_beginning_or_refused(listener: Listener) -> None:
    longer = noise(listener.longest_s + 3)
    assert listener.facts(longer) == listener.facts(Audio(longer.samples[:, : round(listener.longest_s * RATE)], RATE))
    with pytest.raises(AudioError, match="lasts"):
        listener.facts(longer, strict=True)


class _Likes:
    """A model that likes a token with each step: those of a text, whatever else it is asked."""

    def __init__(self, listener: Listener, text: str) -> None:
        self._model = listener.model
        self.wanted = listener.processor.tokenizer(text, add_special_tokens=False)["input_ids"]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = self._model(*args, **kwargs)
        output.logits[..., :] = 0.0
        output.logits[..., self.wanted] = torch.linspace(2.0, 1.0, len(self.wanted))
        return output


def test_the_model_decides_what_is_allowed(listener: Listener, texts: TokenTexts) -> None:
    (listened,) = listener.listen([listener.read(noise(0.4))])
    form = form_of(listener, texts, listened)
    form._model = _Likes(listener, "2")
    assert form.number(0, 999, behind=",") == 222
    form.print(", ")
    assert form.number(0, 250, behind=",") == 222
    form.print(", ")
    assert form.number(30, 99, behind=",") >= 30
    form.print(", ")
    form._model = _Likes(listener, "b")
    assert form.choice(("abc", "bcd", "dcb")) == "bcd"
    assert set(form.word(most_characters=9)) == {"b"}


def test_numbers_stay_within_their_bounds(texts: TokenTexts) -> None:
    def spelt(slot: NumberSlot) -> set[str]:
        return {texts.texts[token] for token in slot.allowed().nonzero()[:, 0].tolist()}

    slot = NumberSlot(texts, 30, 300, behind=",")
    digits = {text for text in spelt(slot) if text.isdigit()}
    assert {"3", "9", "1"} <= digits and "0" not in digits
    assert not any(text.startswith(",") for text in spelt(slot))
    slot.text = "3"
    assert {text for text in spelt(slot) if text.isdigit() and len(text) == 1} == set("0123456789")
    slot.text = "30"
    assert {text for text in spelt(slot) if text.isdigit()} == {"0"}
    assert any(text.startswith(",") for text in spelt(slot))
    slot.text = "301"[:2] + "0"
    assert not {text for text in spelt(slot) if text.isdigit()}
    only = NumberSlot(texts, 7, 7, behind="}")
    assert spelt(only) == {"7"}
    zero = NumberSlot(texts, 0, 5, behind=",")
    zero.text = "0"
    assert not {text for text in spelt(zero) if text.isdigit()}


def test_words_hold_nothing_that_would_end_or_break_them(texts: TokenTexts) -> None:
    slot = StringSlot(texts, most_characters=5)
    first = [texts.texts[token] for token in slot.allowed().nonzero()[:, 0].tolist()]
    assert first and all(is_plain(text) and not text.startswith(" ") for text in first)
    slot.text = "long enough"
    last = slot.allowed().nonzero()[:, 0].tolist()
    assert last and all(texts.texts[token].startswith('"') and slot.closes(token) for token in last)
    assert not is_plain('a"') and not is_plain("a\\") and not is_plain("a\n") and not is_plain("") and is_plain("♯ b")


def test_choices_are_spelt_in_pieces_that_lead_to_one(texts: TokenTexts) -> None:
    assert beginnings(("ab", "ac", "b"), "") == {"a", "ab", "ac", "b"}
    assert beginnings(("ab", "ac", "b"), "a") == {"b", "c"}
    slot = ChoiceSlot(texts, KEYS)
    assert not slot.take(texts.texts.index("A"))
    for character in " minor":
        filled = slot.take(texts.texts.index(character))
    assert filled and slot.text == "A minor"


def test_special_tokens_and_halves_of_characters_spell_nothing(listener: Listener, texts: TokenTexts) -> None:
    tokenizer = listener.processor.tokenizer
    for token in tokenizer.all_special_ids:
        assert texts.texts[token] == ""
    assert all("\ufffd" not in text for text in texts.texts)
    assert len(texts.texts) == listener.model.config.text_config.vocab_size


def test_a_vocabulary_without_digits_is_refused() -> None:
    class _Letters:
        def __len__(self) -> int:
            return 26

        def batch_decode(self, rows: list[list[int]], **kwargs: Any) -> list[str]:
            return [chr(97 + row[0]) for row in rows]

    with pytest.raises(ConfigError, match="'0'"):
        TokenTexts(_Letters(), 26)


def test_F068_weights_that_are_no_numbers_are_an_error_and_no_facts(listener: Listener) -> None:
    head, before = listener.model.lm_head.weight, listener.model.lm_head.weight.detach().clone()
    try:
        with torch.no_grad():
            head.fill_(float("nan"))
        with pytest.raises(NumericError):
            listener.facts(noise(1))
    finally:
        with torch.no_grad():
            head.copy_(before)
