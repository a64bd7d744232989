"""The processors of the Flamingos give what the reference's give, from the same files, and their files go both ways."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import antiphon
from antiphon.encoders.audio_encoder import frames_of
from antiphon.errors import AudioError, ParamError, ParamTypeError

from ..qwen2_tokenizers import MARKED_TEMPLATE, TEMPLATE
from . import flamingo_processors as flamingo
from .flamingo_processors import RATE_HZ, answered, asked, recording, wav

BATCH: dict[str, Any] = {"tokenize": True, "return_dict": True}
ASK = {**BATCH, "add_generation_prompt": True}
SOUND, BEGIN, END = "<sound>", "<|sound_bos|>", "<|sound_eos|>"


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Ours and theirs, with windows of a second. Tests must not change them."""
    return flamingo.opened(flamingo.write(tmp_path_factory.mktemp("music"), max_audio_len=40))


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    return flamingo.opened(flamingo.write(tmp_path_factory.mktemp("audio"), "audio"))


def assert_same(ours: Any, theirs: Any) -> None:
    """Equal ids, masks and labels, features within 1e-4; ours also number the windows."""
    assert set(ours) - {"window_indices"} == set(theirs)
    for name, expected in theirs.items():
        assert ours[name].dtype == expected.dtype, name
        torch.testing.assert_close(ours[name], expected, atol=1e-4 if name == "input_features" else 0, rtol=0)


def heard(processor: Any, *given: Any, **call: Any) -> Any:
    """What one text with all the recordings becomes."""
    return processor("Listen: " + SOUND * len(given), list(given), sampling_rate=RATE_HZ, **call)


@pytest.mark.row("R132", "R134")
@pytest.mark.parametrize("kind", ["music", "audio"])
@pytest.mark.parametrize("seconds", [0.021, 0.5, 1.0, 1.01, 2.0, 2.9, 39.99])
def test_one_text_and_one_recording_are_as_in_the_reference(
    request: pytest.FixtureRequest, kind: str, seconds: float
) -> None:
    ours, theirs = request.getfixturevalue(kind)
    given = recording(seconds)
    made = ours(f"Describe {SOUND} well", given, output_labels=True, sampling_rate=RATE_HZ)
    assert_same(made, theirs(f"Describe {SOUND} well", given, output_labels=True))
    frames = int((made["input_ids"] == ours.audio_token_id).sum())
    assert frames == int(frames_of(made["input_features_mask"].sum(-1)).sum())
    assert len(made["input_features"]) == -(-len(given) // RATE_HZ)


@pytest.mark.row("R115")
def test_F042_beyond_the_limit_the_beginning_is_heard_and_the_cut_is_named(
    music: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = music
    given = recording(41.0)
    with caplog.at_level(logging.WARNING):
        made = heard(ours, given)
    assert_same(made, theirs("Listen: " + SOUND, given))
    assert made["input_features"].shape == (40, 8, 100)
    assert int((made["input_ids"] == ours.audio_token_id).sum()) == 40 * 25
    assert "audio[0] lasts 41.00 s and the model hears 40 s: the last 1 s are cut off" in caplog.text
    caplog.clear()
    assert len(heard(ours, given[: 40 * RATE_HZ])["input_features"]) == 40
    assert not caplog.text
    just_beyond = heard(ours, given[: 40 * RATE_HZ + 1])
    assert just_beyond["input_ids"].equal(heard(ours, given[: 40 * RATE_HZ])["input_ids"])
    assert "cut off" in caplog.text


def test_F042_strict_refuses_what_would_be_cut(music: Any) -> None:
    ours, _ = music
    with pytest.raises(AudioError, match=r"audio\[0\] lasts 41.00 s.*at most 40 s"):
        heard(ours, recording(41.0), strict=True)
    heard(ours, recording(40.0), strict=True)
    with pytest.raises(AudioError, match="lasts 41"):
        ours.apply_chat_template(asked(recording(41.0), sampling_rate=RATE_HZ), **ASK, strict=True)


@pytest.mark.row("R142")
def test_the_longest_recording_is_a_setting(music: Any) -> None:
    ours, _ = music
    shorter = antiphon.MusicFlamingoProcessor(ours.feature_extractor, ours.tokenizer, max_audio_len=2.5)
    assert heard(shorter, recording(3.0))["input_features"].shape[0] == 2
    shorter.max_audio_len = 3
    assert heard(shorter, recording(3.0))["input_features"].shape[0] == 3
    for wrong in (0, -1, 0.5, float("nan"), float("inf"), "60", None):
        with pytest.raises(ParamError, match="max_audio_len"):
            antiphon.MusicFlamingoProcessor(ours.feature_extractor, ours.tokenizer, max_audio_len=wrong)


@pytest.mark.row("R116")
def test_a_recording_stands_between_its_beginning_and_its_end(music: Any, audio: Any) -> None:
    ours, _ = music
    ids = heard(ours, recording(0.5))["input_ids"][0].tolist()
    wanted = ours.tokenizer.convert_tokens_to_ids([BEGIN, *[SOUND] * 12, END])
    assert ids[-14:] == wanted
    assert ours.audio_token_ids == [wanted[1], wanted[0], wanted[-1]]
    preview = heard(audio[0], recording(0.5))["input_ids"][0].tolist()
    assert preview[-12:] == wanted[1:-1] and wanted[0] not in preview


@pytest.mark.row("R133", "R136")
def test_frames_are_those_of_the_documented_formulas(music: Any) -> None:
    assert [int(frames_of(torch.tensor(mel))) for mel in (3000, 300)] == [750, 75]
    for mel in range(3, 3001):
        columns = (mel - 1) // 2 + 1
        assert int(frames_of(torch.tensor(mel))) == (columns - 2) // 2 + 1, mel


@pytest.mark.row("R124", "R135")
def test_a_batch_of_different_lengths_is_as_in_the_reference_at_the_published_sizes(tmp_path: Path) -> None:
    ours, theirs = flamingo.opened(flamingo.write(tmp_path, bands=128, chunk_s=30))
    given = [recording(3.0), recording(35.0, 1)]
    chats = [asked(given[0], sampling_rate=RATE_HZ), asked(given[1], text="Key?", sampling_rate=RATE_HZ)]
    made = ours.apply_chat_template(chats, **ASK)
    assert_same(made, theirs.apply_chat_template(chats, **ASK))
    assert made["input_features"].shape == (3, 128, 3000) and made["input_features_mask"].shape == (3, 3000)
    assert (made["input_ids"] == ours.audio_token_id).sum(-1).tolist() == [75, 875]
    assert made["window_indices"].tolist() == [0, 0, 1]
    assert made["attention_mask"][0, 0] == 0 and made["attention_mask"][:, -1].tolist() == [1, 1]


@pytest.mark.row("R118", "R119")
@pytest.mark.parametrize("kind", ["music", "audio"])
def test_single_many_turned_and_batched_conversations_are_as_in_the_reference(
    request: pytest.FixtureRequest, kind: str
) -> None:
    ours, theirs = request.getfixturevalue(kind)
    first, second = recording(1.3), recording(2.2, 1)
    turns = [*answered(first, sampling_rate=RATE_HZ), {"role": "user", "content": [{"type": "text", "text": "Drums?"}]}]
    plain = [{"role": "system", "content": "Be brief."}, *asked(second, sampling_rate=RATE_HZ)]
    for chat in (asked(first, sampling_rate=RATE_HZ), turns, [turns, plain], [turns]):
        assert_same(ours.apply_chat_template(chat, **ASK), theirs.apply_chat_template(chat, **ASK))
        text = ours.apply_chat_template(chat, add_generation_prompt=True)
        assert text == theirs.apply_chat_template(chat, add_generation_prompt=True)
        assert ours.apply_chat_template(chat, tokenize=True).equal(theirs.apply_chat_template(chat, tokenize=True))
    told = ours.decode(ours.apply_chat_template(asked(first, sampling_rate=RATE_HZ), **ASK)["input_ids"][0])
    assert told.startswith("<|im_start|>system\nYou are a helpful assistant that listens.<|im_end|>\n")
    assert told.endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_a_question_without_sound_is_a_text(music: Any) -> None:
    ours, theirs = music
    chat = [{"role": "user", "content": "What is a fugue?"}]
    made = ours.apply_chat_template(chat, **ASK)
    assert_same(made, theirs.apply_chat_template(chat, **ASK))
    assert set(made) == {"input_ids", "attention_mask"}
    mixed = ours.apply_chat_template([chat, asked(recording(0.5), sampling_rate=RATE_HZ)], **ASK)
    assert mixed["input_ids"][0, -made["input_ids"].shape[1] :].equal(made["input_ids"][0])


@pytest.mark.row("R125", "E6")
def test_labels_hide_sound_and_pads_however_they_are_asked_for(music: Any) -> None:
    ours, theirs = music
    chats = [
        answered(recording(1.3), sampling_rate=RATE_HZ),
        answered(recording(0.4), answer="Slow.", sampling_rate=RATE_HZ),
    ]
    expected = theirs.apply_chat_template(chats, **BATCH, processor_kwargs={"output_labels": True})
    assert_same(ours.apply_chat_template(chats, **BATCH, output_labels=True), expected)
    assert_same(ours.apply_chat_template(chats, **BATCH, processor_kwargs={"output_labels": True}), expected)
    labels = expected["labels"]
    assert not torch.isin(labels, torch.tensor([*ours.audio_token_ids, ours.tokenizer.pad_token_id])).any()
    assert int((labels >= 0).sum()) < labels.numel()


@pytest.mark.parametrize("template", [TEMPLATE, MARKED_TEMPLATE])
def test_labels_may_hide_all_that_the_assistant_does_not_say(music: Any, template: str) -> None:
    ours, _ = music
    chats = [
        [*answered(recording(1.3), sampling_rate=RATE_HZ), *answered(answer="Then faster.")],
        answered(recording(0.4), answer="Slow.", sampling_rate=RATE_HZ),
    ]
    made = ours.apply_chat_template(chats, **BATCH, output_labels=True, mask_user_text=True, chat_template=template)
    said = [ours.decode(row[row >= 0]) for row in made["labels"]]
    assert said == ["150 BPM in E major.<|im_end|>Then faster.<|im_end|>", "Slow.<|im_end|>"]
    masks = ours.apply_chat_template(chats, **BATCH, return_assistant_tokens_mask=True, chat_template=template)
    assert masks["assistant_masks"].equal((made["labels"] >= 0).long())
    asked_for = {"output_labels": True, "mask_user_text": True}
    again = ours.apply_chat_template(chats, **BATCH, processor_kwargs=asked_for, chat_template=template)
    assert again["labels"].equal(made["labels"])


def test_masks_of_the_assistant_are_those_of_the_reference_where_the_template_says_who_speaks(music: Any) -> None:
    ours, theirs = music
    chats = [[*answered(recording(1.3), sampling_rate=RATE_HZ), *answered(answer="Then faster.")]]
    call = {**BATCH, "return_assistant_tokens_mask": True, "chat_template": MARKED_TEMPLATE}
    expected = theirs.apply_chat_template(chats, **call)["assistant_masks"]
    assert ours.apply_chat_template(chats, **call)["assistant_masks"].tolist() == [list(row) for row in expected]


def test_answers_are_not_told_apart_by_a_template_that_changes_its_mind(music: Any) -> None:
    ours, _ = music
    changes = "{{ messages | length }}" + TEMPLATE
    with pytest.raises(ParamError, match="which text is the assistant's"):
        ours.apply_chat_template(
            [*answered(), *answered()], **BATCH, output_labels=True, mask_user_text=True, chat_template=changes
        )
    with pytest.raises(ParamError, match="without output_labels"):
        ours.apply_chat_template(answered(), **BATCH, mask_user_text=True)
    with pytest.raises(ParamError, match="apply_chat_template, which knows"):
        ours("text", output_labels=True, mask_user_text=True)


def test_several_recordings_in_one_conversation_number_their_windows(music: Any) -> None:
    ours, _ = music
    first, second, third = recording(2.4), recording(0.5, 1), recording(1.1, 2)
    chats = [asked(first, second, sampling_rate=RATE_HZ), asked(third, sampling_rate=RATE_HZ)]
    made = ours.apply_chat_template(chats, **ASK)
    assert made["window_indices"].tolist() == [0, 1, 2, 0, 0, 1]
    assert made["window_indices"].dtype == torch.int64
    alone = [heard(ours, one)["input_features"] for one in (first, second, third)]
    torch.testing.assert_close(made["input_features"], torch.cat(alone), atol=0, rtol=0)
    ids = made["input_ids"][0].tolist()
    begins = ours.audio_bos_token_id
    spans = [ids.index(begins), len(ids) - 1 - ids[::-1].index(begins)]
    assert spans[1] - spans[0] == 60 + 2
    listed = ours([f"a {SOUND}{SOUND}", f"b {SOUND}"], [[first, second], [third]], sampling_rate=RATE_HZ)
    assert listed["window_indices"].equal(made["window_indices"])
    flat = ours([f"a {SOUND}{SOUND}", f"b {SOUND}"], [first, second, third], sampling_rate=RATE_HZ)
    assert flat["input_ids"].equal(listed["input_ids"])


def test_a_recording_is_the_same_as_path_bytes_file_array_and_audio(music: Any, tmp_path: Path) -> None:
    ours, theirs = music
    samples = (recording(1.3) * 32767).astype(np.int16)
    path = wav(tmp_path / "song.wav", samples.astype(np.float32) / 32767)
    floats = samples.astype(np.float32) / 32768
    sound = antiphon.Audio(floats, RATE_HZ)
    forms = [
        [{"type": "audio", "path": str(path)}],
        [{"type": "audio", "path": path}],
        [{"type": "audio", "url": str(path)}],
        [{"type": "audio", "audio": path.read_bytes()}],
        [{"type": "audio", "audio": sound}],
        [{"type": "audio", "audio": floats, "sampling_rate": RATE_HZ}],
        [{"type": "audio", "audio": samples, "sampling_rate": RATE_HZ}],
        [{"type": "audio", "audio": torch.from_numpy(floats), "sampling_rate": RATE_HZ}],
        [{"type": "audio", "audio": floats.tolist(), "sampling_rate": RATE_HZ}],
        [{"type": "audio", "audio": np.stack([floats, floats]), "sampling_rate": RATE_HZ}],
    ]
    expected = theirs.apply_chat_template(asked(floats), **ASK)
    for form in forms:
        assert_same(
            ours.apply_chat_template([{"role": "user", "content": [*asked()[0]["content"], *form]}], **ASK), expected
        )
    with path.open("rb") as file:
        assert_same(ours.apply_chat_template(asked(file), **ASK), expected)
    for form in (str(path), path, path.read_bytes(), sound, [path], [[sound]]):
        assert_same(ours(SOUND, form), theirs(SOUND, floats))


def test_other_rates_and_channels_are_brought_to_the_models(music: Any, tmp_path: Path) -> None:
    ours, _ = music
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * 44_100) / 44_100).astype(np.float32) * 0.5
    there = np.sin(2 * np.pi * 440 * np.arange(2 * RATE_HZ) / RATE_HZ).astype(np.float32) * 0.5
    expected = heard(ours, there)
    stereo = np.stack([tone, tone], axis=1)
    for made in (
        ours("Listen: " + SOUND, tone, sampling_rate=44_100),
        ours("Listen: " + SOUND, wav(tmp_path / "stereo.wav", stereo, 44_100)),
        ours("Listen: " + SOUND, antiphon.Audio(stereo.T, 44_100)),
    ):
        assert made["input_ids"].equal(expected["input_ids"])
        # away from the ends, where each resampler has its own way
        torch.testing.assert_close(
            made["input_features"][:, :, 10:90], expected["input_features"][:, :, 10:90], atol=0.1, rtol=0
        )


@pytest.mark.row("R120", "R121")
def test_the_batch_moves_and_is_cast_but_for_its_ids(music: Any) -> None:
    ours, _ = music
    made = heard(ours, recording(1.3), output_labels=True).to("cpu", torch.bfloat16)
    assert made["input_features"].dtype == torch.bfloat16
    assert {made[name].dtype for name in ("input_ids", "attention_mask", "labels", "window_indices")} == {torch.int64}
    assert made["input_features_mask"].dtype == torch.int32
    made["input_features"] = made["input_features"].to(torch.float16)
    assert made.input_features.dtype == torch.float16


@pytest.mark.row("R143")
def test_the_mask_tells_sound_from_silence_that_fills_a_window(music: Any) -> None:
    ours, _ = music
    mask = heard(ours, recording(1.255))["input_features_mask"]
    assert mask.sum(-1).tolist() == [100, 26] and mask.dtype == torch.int32
    assert mask[1, :26].all() and not mask[1, 26:].any()


@pytest.mark.row("R140", "R141", "E6")
def test_files_go_both_ways_and_without_a_template_the_tokenizers_is_used(tmp_path: Path) -> None:
    first = flamingo.write(tmp_path / "theirs", audio_token=SOUND, max_audio_len=1800)
    ours, theirs = flamingo.opened(first)
    assert isinstance(ours, antiphon.MusicFlamingoProcessor) and ours.max_audio_len == 1800
    assert isinstance(ours.feature_extractor, antiphon.WhisperFeatureExtractor)
    assert isinstance(ours.tokenizer, antiphon.Qwen2TokenizerFast)
    assert ours.chat_template == theirs.chat_template == TEMPLATE
    ours.save_pretrained(tmp_path / "ours")
    again, opened = flamingo.opened(tmp_path / "ours")
    written = json.loads((tmp_path / "ours" / "processor_config.json").read_text())
    stated = json.loads((first / "processor_config.json").read_text())
    assert {name: written[name] for name in stated if name != "feature_extractor"} == {
        name: value for name, value in stated.items() if name != "feature_extractor"
    }
    assert opened.to_dict() == theirs.to_dict() and opened.chat_template == TEMPLATE
    chat = asked(recording(0.5), sampling_rate=RATE_HZ)
    assert_same(again.apply_chat_template(chat, **ASK), opened.apply_chat_template(chat, **ASK))
    ours.chat_template = None
    assert ours.apply_chat_template(chat) == theirs.apply_chat_template(chat)
    ours.tokenizer.chat_template = None
    with pytest.raises(ParamError, match="no chat template"):
        ours.apply_chat_template(chat)
    other = antiphon.AutoProcessor.from_pretrained(first, max_audio_len=60, chat_template="x")
    assert (other.max_audio_len, other.chat_template) == (60, "x")


def test_a_template_in_the_older_file_is_read(tmp_path: Path) -> None:
    folder = flamingo.write(tmp_path)
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": "older"}))
    assert antiphon.AutoProcessor.from_pretrained(folder).apply_chat_template(asked()) == "older"


def test_a_folder_without_processor_settings_is_opened_by_its_model_type(tmp_path: Path) -> None:
    folder = flamingo.write(tmp_path)
    settings = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").unlink()
    words = json.loads((folder / "tokenizer_config.json").read_text())
    words.pop("processor_class")
    (folder / "tokenizer_config.json").write_text(json.dumps(words))
    (folder / "preprocessor_config.json").write_text(json.dumps(settings["feature_extractor"]))
    for model_type, name, longest in (
        ("musicflamingo", "MusicFlamingoProcessor", 1200),
        ("audioflamingo3", "AudioFlamingo3Processor", 600),
    ):
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
        opened = antiphon.AutoProcessor.from_pretrained(folder)
        assert type(opened).__name__ == name and opened.max_audio_len == longest


def test_the_preview_asks_for_a_transcription(audio: Any) -> None:
    ours, theirs = audio
    given = [recording(1.3), recording(0.4, 1)]
    call: dict[str, Any] = {"audio_kwargs": {"sampling_rate": RATE_HZ}}
    assert_same(ours.apply_transcription_request(given, **call), theirs.apply_transcription_request(given))
    prompts = ["What is sung?", None]
    made = ours.apply_transcription_request(given, prompts, tokenize=False)
    assert made == theirs.apply_transcription_request(given, prompts, tokenize=False)
    texts = ['The spoken content of the audio is "la la".', "plain", "'"]
    ids = [ours.tokenizer(text)["input_ids"] for text in texts]
    assert ours.batch_decode(ids, strip_prefix=True) == theirs.batch_decode(ids, strip_prefix=True)
    assert ours.batch_decode(ids) == texts
    with pytest.raises(ParamError, match="1 prompts and 2 recordings"):
        ours.apply_transcription_request(given, ["one"])
    with pytest.raises(ParamTypeError):
        ours.apply_transcription_request(given, [1, 2])


def test_arguments_reach_text_and_sound_by_either_way(music: Any) -> None:
    ours, _ = music
    given = recording(0.5)
    right = ours(["a", f"long {SOUND}"], [given], padding_side="right", sampling_rate=RATE_HZ)
    assert right["attention_mask"][0].tolist()[0] == 1 and right["attention_mask"][0].tolist()[-1] == 0
    nested = ours(
        ["a", f"long {SOUND}"],
        [given],
        text_kwargs={"padding_side": "right"},
        audio_kwargs={"sampling_rate": RATE_HZ, "do_normalize": True},
    )
    assert nested["input_ids"].equal(right["input_ids"])
    assert not nested["input_features"].equal(right["input_features"])
    padded = heard(ours, given, padding="max_length", max_length=64)
    assert padded["input_ids"].shape == (1, 64)
    variable = ours.apply_chat_template(asked(), chat_template="{{ mood }}{{ messages[0].role }}", mood="calm ")
    assert variable == "calm user"


def test_what_a_call_can_return_has_names(music: Any) -> None:
    ours, theirs = music
    assert set(ours.model_input_names) == {*theirs.model_input_names, "window_indices"}
    assert ours.sampling_rate == RATE_HZ
    assert transformers.BatchFeature(dict(heard(ours, recording(0.5))))["input_ids"].shape[0] == 1
