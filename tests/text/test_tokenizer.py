"""Tokenizers of any family: construction, reading and writing, against the reference's general class."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import antiphon.text.tokenizer as module
from antiphon.errors import ParamError, ParamTypeError, TokenizerError
from antiphon.text.tokenizer import PreTrainedTokenizer

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>{% endfor %}"


@pytest.fixture(scope="module")
def byte_bpe(sentences: list[str]) -> Tokenizer:
    """A byte-level BPE tokenizer of Qwen2's kind."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        sentences, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    backend.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    backend.add_tokens([AddedToken("<sound>", lstrip=True, normalized=False)])
    return backend


SETTINGS: dict[str, Any] = {
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "padding_side": "left",
    "model_max_length": 131072,
    "chat_template": TEMPLATE,
    "extra_special_tokens": ["<|im_start|>"],
    "errors": "replace",
}


@pytest.fixture(scope="module")
def qwen_folder(byte_bpe: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the reference's general class writes it."""
    folder = tmp_path_factory.mktemp("qwen")
    transformers.PreTrainedTokenizerFast(tokenizer_object=byte_bpe, **SETTINGS).save_pretrained(folder)
    return folder


def test_a_byte_level_tokenizer_is_that_of_the_reference(qwen_folder: Path, prompts: list[str]) -> None:
    ours = PreTrainedTokenizer.from_pretrained(qwen_folder)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(qwen_folder)
    texts = [*prompts, "<|im_start|>user\n <sound> What's that?<|im_end|>\n", "a<|endoftext|>b"]
    for text in texts:
        assert ours(text)["input_ids"] == theirs(text)["input_ids"]
        assert ours.tokenize(text) == theirs.tokenize(text)
        ids = theirs(text)["input_ids"]
        for clean in (True, False):
            arguments = {"skip_special_tokens": True, "clean_up_tokenization_spaces": clean}
            assert ours.decode(ids, **arguments) == theirs.decode(ids, **arguments)
    assert dict(ours(texts, padding=True)) == dict(theirs(texts, padding=True))
    assert ours.all_special_tokens == theirs.all_special_tokens
    assert (ours.padding_side, ours.model_max_length, ours.chat_template) == ("left", 131072, TEMPLATE)
    assert ours.init_kwargs["errors"] == "replace"


def test_special_tokens_of_a_byte_level_tokenizer_can_be_plain_text(qwen_folder: Path) -> None:
    tokenizer = PreTrainedTokenizer.from_pretrained(qwen_folder)
    text = "<|im_start|>system<|im_end|><|endoftext|>"
    ids = tokenizer(text, split_special_tokens=True)["input_ids"]
    assert not set(tokenizer.all_special_ids) & set(ids)
    assert tokenizer.decode(ids) == text
    assert len(tokenizer(text)["input_ids"]) < len(ids)


def test_the_round_trip_keeps_every_setting(qwen_folder: Path, tmp_path: Path, prompts: list[str]) -> None:
    ours = PreTrainedTokenizer.from_pretrained(qwen_folder)
    written = ours.save_pretrained(tmp_path / "one")
    assert {Path(name).name for name in written} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
    }
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "one")
    again = PreTrainedTokenizer.from_pretrained(tmp_path / "one")
    for opened in (theirs, again):
        assert opened.get_vocab() == ours.get_vocab()
        assert opened.chat_template == TEMPLATE
        assert opened.padding_side == "left"
        assert opened.special_tokens_map == ours.special_tokens_map
        assert opened.init_kwargs["errors"] == "replace"
        assert [opened(prompt)["input_ids"] for prompt in prompts] == [ours(prompt)["input_ids"] for prompt in prompts]
    again.save_pretrained(tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_family_opened_without_its_class_keeps_its_name(qwen_folder: Path, tmp_path: Path) -> None:
    config = json.loads((qwen_folder / "tokenizer_config.json").read_text())
    for path in qwen_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "Qwen2Tokenizer"}))
    PreTrainedTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    saved = json.loads((tmp_path / "again" / "tokenizer_config.json").read_text())
    assert saved["tokenizer_class"] == "Qwen2Tokenizer"


def test_several_chat_templates_are_kept(byte_bpe: Tokenizer, tmp_path: Path) -> None:
    templates = {"default": "a", "tool_use": "b"}
    listed = [{"name": name, "template": text} for name, text in templates.items()]
    PreTrainedTokenizer(tokenizer_object=byte_bpe, chat_template=listed).save_pretrained(tmp_path)
    assert (tmp_path / "additional_chat_templates" / "tool_use.jinja").read_text() == "b"
    assert PreTrainedTokenizer.from_pretrained(tmp_path).chat_template == templates
    assert transformers.AutoTokenizer.from_pretrained(tmp_path).chat_template == templates


@pytest.mark.parametrize("name", ["../escape", "/etc/x", "a/b", "", ".hidden"])
def test_a_template_name_cannot_leave_the_folder(name: str, byte_bpe: Tokenizer, tmp_path: Path) -> None:
    tokenizer = PreTrainedTokenizer(tokenizer_object=byte_bpe, chat_template={name: "x"})
    with pytest.raises(TokenizerError, match="plain name"):
        tokenizer.save_pretrained(tmp_path / "out")
    assert not list(tmp_path.rglob("*.jinja"))


def test_a_sentencepiece_model_of_any_family_is_read(train_spiece: Callable[..., bytes], tmp_path: Path) -> None:
    content = train_spiece(byte_fallback=True, vocab_size=400, pad_id=3)
    (tmp_path / "tokenizer_spm_32k_3.model").write_bytes(content)
    tokenizer = PreTrainedTokenizer.from_pretrained(tmp_path)
    names = (tokenizer.unk_token, tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token)
    assert names == ("<unk>", "<s>", "</s>", "<pad>")
    assert tokenizer.pad_token_id == 3
    text = "lo-fi hip hop 🥁"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert PreTrainedTokenizer(vocab_file=tmp_path / "tokenizer_spm_32k_3.model").get_vocab() == tokenizer.get_vocab()
    tokenizer.save_pretrained(tmp_path / "out")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out")(text)["input_ids"] == tokenizer(text).input_ids


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("eos", [True, False])
def test_bos_and_eos_are_added_as_in_the_reference(bos: bool, eos: bool, byte_bpe: Tokenizer) -> None:
    settings = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "add_bos_token": bos, "add_eos_token": eos}
    ours = PreTrainedTokenizer(tokenizer_object=byte_bpe, **settings)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=byte_bpe, **settings)
    arguments = {"return_token_type_ids": True}
    assert dict(ours("drums", **arguments)) == dict(theirs("drums", **arguments))
    assert dict(ours("drums", "synth", **arguments)) == dict(theirs("drums", "synth", **arguments))
    assert ours.num_special_tokens_to_add() == theirs.num_special_tokens_to_add() == bos + eos


def test_padding_written_into_a_file_is_a_default_only(byte_bpe: Tokenizer, tmp_path: Path) -> None:
    backend = Tokenizer.from_str(byte_bpe.to_str())
    backend.enable_padding(direction="left", pad_token="<|endoftext|>", pad_id=backend.token_to_id("<|endoftext|>"))
    backend.enable_truncation(3, direction="left")
    backend.save(str(tmp_path / "tokenizer.json"))
    ours = PreTrainedTokenizer.from_pretrained(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert ours.pad_token == theirs.pad_token == "<|endoftext|>"
    assert (ours.padding_side, ours.truncation_side) == (theirs.padding_side, theirs.truncation_side)
    texts = ["grunge song with drums", "a"]
    assert dict(ours(texts)) == dict(theirs(texts))
    assert dict(ours(texts, padding=True)) == dict(theirs(texts, padding=True))
    assert PreTrainedTokenizer.from_pretrained(tmp_path / "tokenizer.json")(texts) == ours(texts)


def test_keywords_win_over_files(qwen_folder: Path) -> None:
    tokenizer = PreTrainedTokenizer.from_pretrained(qwen_folder, padding_side="right", pad_token="<|im_start|>")
    assert (tokenizer.padding_side, tokenizer.pad_token) == ("right", "<|im_start|>")


def test_hub_keywords_go_to_the_resolver_and_nowhere_else(qwen_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, dict[str, Any]]] = []

    def resolver(name: Any, **hub: Any) -> Path:
        asked.append((name, hub))
        return qwen_folder

    monkeypatch.setattr(module, "resolve_folder", resolver)
    hub = {"revision": "abc", "token": "t", "cache_dir": "c", "local_files_only": True, "use_fast": True}
    tokenizer = PreTrainedTokenizer.from_pretrained("someone/some-model", **hub, trust_remote_code=False)
    assert asked == [("someone/some-model", hub | {"trust_remote_code": False})]
    assert not set(hub) & set(tokenizer.init_kwargs)
    assert tokenizer.name_or_path == "someone/some-model"


def test_without_a_hub_only_folders_are_found(qwen_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "resolve_folder", module.local_folder)
    with pytest.raises(TokenizerError, match=r"there is no folder 'someone/some-model'"):
        PreTrainedTokenizer.from_pretrained("someone/some-model")
    opened = PreTrainedTokenizer.from_pretrained(qwen_folder.parent, subfolder=qwen_folder.name)
    assert opened.chat_template == TEMPLATE


@pytest.mark.parametrize(
    "settings",
    [
        {"padding_side": "up"},
        {"truncation_side": 1},
        {"model_max_length": "512"},
        {"model_max_length": float("nan")},
        {"model_max_length": -1},
        {"split_special_tokens": "yes"},
        {"eos_token": 5},
        {"extra_special_tokens": "abc"},
        {"extra_special_tokens": [None]},
        {"chat_template": 5},
        {"chat_template": {"default": None}},
    ],
    ids=str,
)
def test_unusable_settings_are_refused_and_a_file_that_holds_them_is_named(
    settings: dict[str, Any], byte_bpe: Tokenizer, tmp_path: Path
) -> None:
    with pytest.raises((ParamError, ParamTypeError)):
        PreTrainedTokenizer(tokenizer_object=byte_bpe, **settings)
    byte_bpe.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(TokenizerError, match=tmp_path.name):
        PreTrainedTokenizer.from_pretrained(tmp_path)


def test_a_tokenizer_needs_a_vocabulary() -> None:
    with pytest.raises(ParamError, match="no vocabulary"):
        PreTrainedTokenizer()
    with pytest.raises(ParamTypeError, match="tokenizer_object"):
        PreTrainedTokenizer(tokenizer_object="tokenizer.json")  # type: ignore[arg-type]


def test_the_given_tokenizer_is_copied(byte_bpe: Tokenizer) -> None:
    before = byte_bpe.to_str()
    tokenizer = PreTrainedTokenizer(tokenizer_object=byte_bpe, pad_token="<new pad>")
    tokenizer(["a", "b c"], padding=True, truncation=True, max_length=2)
    assert byte_bpe.to_str() == before
    assert tokenizer.pad_token_id == byte_bpe.get_vocab_size()


def test_saving_into_a_file_is_refused(byte_bpe: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    tokenizer = PreTrainedTokenizer(tokenizer_object=byte_bpe)
    with pytest.raises(TokenizerError, match="cannot be written"):
        tokenizer.save_pretrained(tmp_path / "file")
    with pytest.raises(ParamTypeError, match="push_to_hub"):
        tokenizer.save_pretrained(tmp_path / "out", push_to_hub=True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_loading_logs_nothing(qwen_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="antiphon"):
        PreTrainedTokenizer.from_pretrained(qwen_folder)
    assert not caplog.records
