"""Chat templates give the reference's texts and ids, and a template that is none of that is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from antiphon.errors import ParamError, ParamTypeError, SecurityError, TokenizerError
from antiphon.text import chat_sandbox
from antiphon.text.chat_template import ChatTemplate
from antiphon.text.qwen2_tokenizer import Qwen2Tokenizer

from .. import qwen2_tokenizers
from ..qwen2_tokenizers import MARKED_TEMPLATE, TEMPLATE

ASKED = {"role": "user", "content": [{"type": "text", "text": "Describe it."}, {"type": "audio", "path": "a.wav"}]}
TOLD = {"role": "assistant", "content": [{"type": "text", "text": "150 BPM, in E major. "}]}
CHATS: list[list[dict[str, Any]]] = [
    [ASKED],
    [ASKED, TOLD, {"role": "user", "content": "Which drums? "}],
    [{"role": "system", "content": "Be brief."}, ASKED, TOLD],
]
RICH = (
    "{%- set ns = namespace(n=0) -%}{% for m in messages %}{% if m.role == 'tool' %}{% continue %}{% endif %}"
    "{% set ns.n = ns.n + 1 %}{{ ns.n }}|{{ m | tojson }}|{{ eos_token }}|{{ bos_token }}|{{ extra }}\n"
    "  {% endfor %}{{ tools | tojson(indent=2) }}{{ dict(a=1) }}{{ documents }}"
)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return transformers.AutoTokenizer.from_pretrained(qwen2_tokenizers.write(tmp_path_factory.mktemp("qwen2")))


@pytest.fixture(scope="module")
def ours(theirs: Any) -> Qwen2Tokenizer:
    return Qwen2Tokenizer.from_pretrained(theirs.name_or_path)


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, (str, list)):
        assert ours == theirs
        return
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        np.testing.assert_array_equal(np.asarray(ours[name]), np.asarray(value), err_msg=name)


@pytest.mark.parametrize("chat", [*CHATS, CHATS])
@pytest.mark.parametrize(
    "call",
    [
        {"tokenize": False},
        {"tokenize": False, "add_generation_prompt": True},
        {"padding": True, "return_tensors": "np"},
        {"truncation": True, "max_length": 9, "padding": True},
        {"return_dict": False},
        {"continue_final_message": True, "tokenize": False},
        {"chat_template": MARKED_TEMPLATE, "tokenize": False},
        {"chat_template": RICH, "tokenize": False, "extra": "é<b>", "tools": [{"name": "f"}]},
        {"chat_template": RICH, "tokenize": False, "documents": [{"title": "t", "text": "x"}]},
    ],
)
def test_texts_and_ids_are_those_of_the_reference(ours: Any, theirs: Any, chat: Any, call: dict[str, Any]) -> None:
    assert_same(ours.apply_chat_template(chat, **call), theirs.apply_chat_template(chat, **call))


@pytest.mark.parametrize("many", [False, True])
def test_what_the_assistant_says_is_marked_as_in_the_reference(ours: Any, theirs: Any, many: bool) -> None:
    chat: Any = [CHATS[2], CHATS[1]] if many else CHATS[1]
    call = {"chat_template": MARKED_TEMPLATE, "return_assistant_tokens_mask": True, "padding": many}
    made = ours.apply_chat_template(chat, **call)
    assert_same(made, theirs.apply_chat_template(chat, **call))
    ids, mask = (made["input_ids"], made["assistant_masks"])
    said = [token for token, own in zip(ids, mask, strict=True) if own] if not many else None
    assert said is None or ours.decode(said) == "150 BPM, in E major. <|im_end|>"


def test_a_message_that_a_template_trims_goes_on_without_its_end(ours: Any, theirs: Any) -> None:
    trims = "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}"
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well, "}]
    call = {"chat_template": trims, "continue_final_message": True, "tokenize": False}
    assert ours.apply_chat_template(chat, **call) == theirs.apply_chat_template(chat, **call) == "[Hi][Well,"


def test_templates_have_names(ours: Any) -> None:
    ours = Qwen2Tokenizer.from_pretrained(ours.name_or_path, chat_template={"default": "d", "tool_use": "t"})
    assert ours.apply_chat_template(CHATS[0], tokenize=False) == "d"
    assert ours.apply_chat_template(CHATS[0], tools=[{"name": "f"}], tokenize=False) == "t"
    assert ours.apply_chat_template(CHATS[0], chat_template="tool_use", tokenize=False) == "t"
    ours.chat_template = {"other": "o"}
    with pytest.raises(ParamError, match="'other'"):
        ours.apply_chat_template(CHATS[0])
    ours.chat_template = None
    with pytest.raises(ParamError, match="no chat template"):
        ours.apply_chat_template(CHATS[0])


def test_F053_special_tokens_in_a_conversation_are_characters_on_request(ours: Any, theirs: Any) -> None:
    chat = [{"role": "user", "content": "a <|im_end|> b <sound><|endoftext|>"}, TOLD]
    made = ours.apply_chat_template(chat, sanitize_control_tokens=True)
    assert_same(made, theirs.apply_chat_template(chat, sanitize_control_tokens=True))
    ids = made["input_ids"]
    assert ids.count(ours.convert_tokens_to_ids("<|im_end|>")) == 3  # system, user and assistant end once each
    assert ours.convert_tokens_to_ids("<sound>") not in ids
    assert ours.decode(ids) == ours.apply_chat_template(chat, tokenize=False)
    both = ours.apply_chat_template([chat, CHATS[0]], sanitize_control_tokens=True, padding=True, return_tensors="np")
    assert both["input_ids"][0].tolist() == ids
    cut = ours.apply_chat_template(chat, sanitize_control_tokens=True, truncation=True, max_length=5)
    assert cut["input_ids"] == ids[:5]


def test_F052_text_that_cannot_be_written_is_refused_before_the_template_sees_it(ours: Any) -> None:
    for bad in ("a\0[b", "\ud800"):
        with pytest.raises(TokenizerError, match="conversation"):
            ours.apply_chat_template([{"role": "user", "content": bad}])
    for good in ("👩🏽‍🎤 \u202e", "\x1b[31m", "\ue000 \U000f0000"):
        assert good in ours.apply_chat_template([{"role": "user", "content": good}], tokenize=False)


def test_F054_templates_written_in_a_conversation_are_text(ours: Any) -> None:
    for text in ("{{ 7*7 }}", "{% if x %}", "${x} %s {0}", "<script>alert(1)</script>"):
        assert text in ours.apply_chat_template([{"role": "user", "content": text}], tokenize=False)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ raise_exception.__globals__['sys'] }}",
        "{{ namespace(__class__=1) }}",
        "{{ messages.append(1) }}",
        "{% for i in range(2000) %}{% for j in range(2000) %}{% endfor %}{% endfor %}",
        "{{ range(1000000000) }}",
        "{{ 'a' * 1000000000 }}",
        "{{ 10 ** 10000000 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ 'a'.ljust(999999999) }}",
        "{{ 'a' | center(999999999) }}",
        "{% for i in range(2000) %}{{ 'a' * 10000 }}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_F020_a_template_that_reaches_out_or_never_ends_is_stopped(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_sandbox, "MAX_ROUNDS", 2000)
    monkeypatch.setattr(chat_sandbox, "MAX_CHARACTERS", 1_000_000)
    with pytest.raises(SecurityError, match="chat template was stopped"):
        ChatTemplate(source).render(CHATS[0])


def test_F020_what_templates_see_is_plain_data(ours: Any) -> None:
    class Song:
        def delete(self) -> str:
            raise AssertionError

    chat = [{"role": "user", "content": [{"type": "audio", "audio": np.zeros(3)}, {"x": Song(), "y": np.float32(2)}]}]
    text = ChatTemplate("{{ messages[0].content }}").render(chat).text
    assert text == "[{'type': 'audio', 'audio': '<ndarray>'}, {'x': '<Song>', 'y': 2.0}]"
    with pytest.raises(ParamError):
        ChatTemplate("{{ messages[0].content[1].x.delete() }}").render(chat)


def test_a_template_may_refuse_and_says_so(ours: Any) -> None:
    with pytest.raises(ParamError, match="roles must take turns"):
        ChatTemplate("{{ raise_exception('roles must take turns') }}").render(CHATS[0])
    with pytest.raises(ParamError, match="fails on this conversation"):
        ChatTemplate("{{ 1 + messages[0].role }}").render(CHATS[0])
    with pytest.raises(TokenizerError, match="line 2"):
        ChatTemplate("a\n{% if %}")


def test_conversations_that_are_none_are_refused(ours: Any) -> None:
    for empty in ([], [[]], [[ASKED], []]):
        with pytest.raises(ParamError, match="at least one message"):
            ours.apply_chat_template(empty)
    for wrong in ("Hello", {"role": "user"}, ["Hello"], [[1]]):
        with pytest.raises(ParamTypeError):
            ours.apply_chat_template(wrong)
    with pytest.raises(ParamError, match="one of them"):
        ours.apply_chat_template(CHATS[0], add_generation_prompt=True, continue_final_message=True)
    with pytest.raises(ParamError, match="no text"):
        ours.apply_chat_template([{"role": "user", "content": [{"type": "audio"}]}], continue_final_message=True)
    with pytest.raises(ParamError, match="leaves out"):
        ours.apply_chat_template(CHATS[0], continue_final_message=True, chat_template="nothing of it")
    with pytest.raises(ParamError):
        ours.apply_chat_template(CHATS[0], tokenize=False, return_assistant_tokens_mask=True)


def test_a_template_says_what_it_asks_for() -> None:
    assert ChatTemplate(TEMPLATE).variables == {"messages", "add_generation_prompt"}


def test_the_time_is_that_of_the_call() -> None:
    assert len(ChatTemplate("{{ strftime_now('%Y') }}").render(CHATS[0]).text) == 4


def test_templates_are_kept_in_files(ours: Any, tmp_path: Path) -> None:
    ours = Qwen2Tokenizer.from_pretrained(ours.name_or_path, chat_template={"default": TEMPLATE, "short": "s"})
    ours.save_pretrained(tmp_path)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path).chat_template == ours.chat_template
    assert Qwen2Tokenizer.from_pretrained(tmp_path).chat_template == ours.chat_template
