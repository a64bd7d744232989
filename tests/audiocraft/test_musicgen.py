"""Scripts for audiocraft's ``MusicGen``: lengths, chance, texts, sounds to go on from, progress and refusals."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import antiphon
from antiphon import Audio
from antiphon.audiocraft import MusicGen
from antiphon.audiocraft.models import musicgen as interface
from antiphon.errors import ParamError, ParamTypeError

TEXT = "80s pop track with bassy drums and synth"


@pytest.fixture(scope="module")
def opened(checkpoint: Path) -> MusicGen:
    return MusicGen.get_pretrained(str(checkpoint), device="cpu")


@pytest.fixture
def music(opened: MusicGen) -> MusicGen:
    """The model as it is after loading, but short and without chance."""
    fresh = MusicGen(opened.name, opened.model, opened.processor)
    fresh.set_generation_params(use_sampling=False, duration=0.3)
    return fresh


@pytest.fixture
def asked(music: MusicGen, monkeypatch: Any) -> list[dict[str, Any]]:
    """What the documented ``generate`` is asked."""
    calls: list[dict[str, Any]] = []
    generate = music.model.generate
    monkeypatch.setattr(music.model, "generate", lambda **kw: calls.append(kw) or generate(**kw))
    return calls


def test_a_script_finds_what_it_looks_for(opened: MusicGen, checkpoint: Path) -> None:
    from antiphon.audiocraft.data.audio import audio_read, audio_write
    from antiphon.audiocraft.data.audio_utils import convert_audio
    from antiphon.audiocraft.models import MusicGen as FromModels
    from antiphon.audiocraft.models.musicgen import MusicGen as FromItsFile

    assert FromModels is FromItsFile is MusicGen
    assert callable(audio_read) and callable(audio_write) and callable(convert_audio)
    assert (opened.name, opened.sample_rate, opened.frame_rate) == (str(checkpoint), 32_000, 50)
    assert (opened.audio_channels, opened.max_duration, opened.duration) == (1, 30, 15)
    assert opened.device == torch.device("cpu")


@pytest.mark.parametrize("name", ["small", "medium", "melody", "large"])
def test_old_names_are_those_of_the_hub_and_warn(name: str, opened: MusicGen, monkeypatch: Any) -> None:
    loaded = []
    composer = SimpleNamespace(model=opened.model, processor=opened.processor)
    monkeypatch.setattr(interface, "load", lambda name, device, **more: loaded.append((name, device)) or composer)
    with pytest.warns(FutureWarning, match=f"facebook/musicgen-{name}"):
        assert MusicGen.get_pretrained(name).name == f"facebook/musicgen-{name}"
    assert MusicGen.get_pretrained(device="cpu").name == "facebook/musicgen-melody"
    assert loaded == [(f"facebook/musicgen-{name}", None), ("facebook/musicgen-melody", "cpu")]


@pytest.mark.parametrize(("duration", "frames"), [(0.3, 15), (0.33, 16), (0.1, 5)])
def test_music_has_the_whole_frames_of_its_duration(music: MusicGen, duration: float, frames: int) -> None:
    music.duration = duration
    sound, tokens = music.generate([TEXT, None], return_tokens=True)
    assert (sound.shape, sound.dtype) == ((2, 1, frames * 640), torch.float32)
    assert (tokens.shape, tokens.dtype) == ((2, 4, frames), torch.int64)
    assert torch.equal(music.generate([TEXT, None]), sound)
    assert torch.allclose(music.generate_audio(tokens), sound, atol=1e-6)


def test_a_seed_of_torch_repeats_what_chance_makes(music: MusicGen) -> None:
    music.set_generation_params(duration=0.3)
    torch.manual_seed(5)
    first, second = music.generate([TEXT]), music.generate([TEXT])
    torch.manual_seed(5)
    assert torch.equal(music.generate([TEXT]), first)
    assert not torch.equal(first, second)


def test_no_text_is_an_empty_one_and_what_is_made_without(music: MusicGen) -> None:
    nothing = music.generate_unconditional(2, return_tokens=True)[1]
    assert torch.equal(music.generate([None, ""], return_tokens=True)[1], nothing)
    assert torch.equal(nothing[0], nothing[1])
    assert not torch.equal(music.generate([TEXT], return_tokens=True)[1][0], nothing[0])


def test_an_item_is_what_it_is_alone(music: MusicGen) -> None:
    texts = ["calm", TEXT, None]
    tokens = music.generate(texts, return_tokens=True)[1]
    for text, own in zip(texts, tokens, strict=True):
        assert torch.equal(music.generate([text], return_tokens=True)[1][0], own)


def test_defaults_are_those_of_audiocraft_and_come_back_when_left_out(music: MusicGen, asked: Any) -> None:
    music.set_generation_params(top_k=7, top_p=0.5, temperature=0.5, cfg_coef=2, duration=0.2)
    music.set_generation_params(duration=0.2)
    music.generate([TEXT])
    names = ("do_sample", "top_k", "top_p", "temperature", "guidance_scale", "window_seconds", "stride_seconds")
    assert [asked[0][name] for name in names] == [True, 250, 0.0, 1.0, 3.0, 30.0, 18]
    music.set_generation_params()
    assert music.duration == 30


def test_nucleus_sampling_decides_alone(music: MusicGen, asked: Any) -> None:
    music.set_generation_params(top_k=7, top_p=0.5, duration=0.2)
    music.generate([TEXT])
    assert (asked[0]["top_k"], asked[0]["top_p"]) == (0, 0.5)


def test_without_sampling_and_at_temperature_0_the_likeliest_is_taken(music: MusicGen) -> None:
    likeliest = music.generate([TEXT])
    music.set_generation_params(temperature=0, duration=0.3)
    assert torch.equal(music.generate([TEXT]), likeliest)


def test_between_nothing_and_nothing_nothing_is_weighed(music: MusicGen, asked: Any) -> None:
    music.generate([None])
    music.generate([None, TEXT])
    assert [call["guidance_scale"] for call in asked] == [1.0, 3.0]


def test_music_beyond_what_the_model_sees_is_made_in_windows(music: MusicGen, asked: Any) -> None:
    music.max_duration = 0.5
    music.set_generation_params(use_sampling=False, duration=1.2, extend_stride=0.3)
    tokens = music.generate([TEXT], return_tokens=True)[1]
    assert tokens.shape[-1] == 60
    music.set_generation_params(use_sampling=False, duration=0.5, extend_stride=0.3)
    first = music.generate([TEXT], return_tokens=True)[1]
    assert torch.equal(tokens[..., : 25 - 3], first[..., : 25 - 3])
    assert asked[0]["window_seconds"] == 0.5


def test_a_continuation_begins_with_its_sound(music: MusicGen) -> None:
    sound = torch.sin(torch.arange(6400) / 10)[None]
    tokens = music.generate_continuation(sound, 32_000, return_tokens=True)[1]
    encoded = music.model.audio_encoder.encode(sound[None]).audio_codes[0]
    assert tokens.shape == (1, 4, 15)
    assert torch.equal(tokens[..., :10], encoded)
    texts = music.generate_continuation(sound[None].repeat(2, 1, 1), 32_000, [TEXT, None], return_tokens=True)[1]
    assert torch.equal(texts[1], tokens[0])
    assert not torch.equal(texts[0], tokens[0])


def test_the_sound_of_a_continuation_may_have_any_rate_and_channels(music: MusicGen) -> None:
    stereo = torch.rand(1, 2, 8000) - 0.5
    made = music.generate_continuation(stereo, 44_100, return_tokens=True)[1]
    mono = interface.convert_audio(stereo, 44_100, 32_000, 1)
    assert torch.equal(made, music.generate_continuation(mono, 32_000, return_tokens=True)[1])


def test_a_stereo_model_gives_two_channels_and_eight_codebooks(make_checkpoint: Any, tmp_path: Path) -> None:
    music = MusicGen.get_pretrained(str(make_checkpoint(tmp_path, channels=2)), device="cpu")
    music.set_generation_params(duration=0.2)
    sound, tokens = music.generate([TEXT], return_tokens=True)
    assert (sound.shape, tokens.shape, music.audio_channels) == ((1, 2, 6400), (1, 8, 10), 2)
    assert music.generate_continuation(sound[..., :1280], 32_000, return_tokens=True)[1].shape == (1, 8, 10)


def test_rounded_weights_go_with_a_rounded_cache(checkpoint: Path, monkeypatch: Any) -> None:
    music = MusicGen.get_pretrained(str(checkpoint), device="cpu", quantize="int8")
    calls = []
    generate = music.model.generate
    monkeypatch.setattr(music.model, "generate", lambda **kw: calls.append(kw) or generate(**kw))
    music.set_generation_params(duration=0.1)
    music.generate([TEXT])
    assert calls[0]["cache_dtype"] == "int8"


@pytest.fixture(scope="module")
def text_encoder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 with its tokenizer, which audiocraft's files only name."""
    folder = tmp_path_factory.mktemp("t5")
    sizes = {"d_model": 24, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    antiphon.T5EncoderModel(antiphon.T5Config(vocab_size=200, **sizes)).save_pretrained(folder)
    antiphon.AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("kind", "channels"), [("mono", 1), ("stereo", 2), ("melody", 1)])
def test_files_that_audiocraft_wrote_are_opened_as_they_are(text_encoder: Path, kind: str, channels: int) -> None:
    files = Path(__file__).parents[2] / "oracles" / "goldens"
    codec = files / "audiocraft_mono" if kind == "stereo" else None  # of its codec a stereo model has the name only
    music = MusicGen.get_pretrained(
        str(files / f"audiocraft_{kind}"), device="cpu", text_encoder=text_encoder, codec=codec
    )
    assert (music.sample_rate, music.frame_rate, music.max_duration) == (1000, 50, 30)
    music.separate = False
    music.set_generation_params(use_sampling=False, duration=0.4)
    sound, tokens = music.generate(["calm piano"], return_tokens=True)
    assert (sound.shape, tokens.shape) == ((1, channels, 400), (1, 4 * channels, 20))
    if kind == "melody":
        hum = torch.sin(torch.arange(2000) / 1000 * 440)[None]
        followed = music.generate_with_chroma(["calm piano"], hum, 1000, return_tokens=True)[1]
        assert not torch.equal(followed, tokens)


def test_progress_is_told_where_it_is_asked_for(music: MusicGen, capsys: Any) -> None:
    music.generate([TEXT])
    assert capsys.readouterr() == ("", "")
    music.generate([TEXT], progress=True)
    out, err = capsys.readouterr()
    assert out == "" and err.endswith("\r    18 /     18\n")
    told: list[tuple[int, int]] = []
    music.set_custom_progress_callback(lambda *done: told.append(done))
    music.generate([TEXT])
    assert told == []
    music.generate([TEXT], progress=True)
    assert told == [(number, 18) for number in range(1, 19)]
    assert capsys.readouterr() == ("", "")


def test_progress_over_windows_counts_all_of_them(music: MusicGen) -> None:
    music.max_duration = 0.5
    music.set_generation_params(duration=1.2, extend_stride=0.3)
    told: list[tuple[int, int]] = []
    music.set_custom_progress_callback(lambda *done: told.append(done))
    music.generate([TEXT], progress=True)
    assert told[-1][0] == told[-1][1] == len(told)


@pytest.mark.parametrize(
    "settings",
    [
        {"two_step_cfg": True},
        {"cfg_coef_beta": 5.0},
        {"extend_stride": 30},
        {"extend_stride": 0},
        {"extend_stride": float("nan")},
        {"duration": 0},
        {"duration": float("nan")},
        {"duration": 0.02},
        {"temperature": -1},
        {"top_p": 1.5},
        {"cfg_coef": float("inf")},
    ],
    ids=str,
)
def test_settings_that_cannot_be_followed_are_refused_by_name(music: MusicGen, settings: dict[str, Any]) -> None:
    (name,) = settings
    shown = {"temperature": "temperature", "cfg_coef": "guidance", "duration": "duration|seconds"}.get(name, name)
    with pytest.raises(ParamError, match=shown):
        music.set_generation_params(**settings)
        music.generate([TEXT])  # lengths are seen when there is something to make


def test_arguments_that_fit_nothing_are_refused(music: MusicGen) -> None:
    sound = torch.zeros(1, 1, 640)
    with pytest.raises(ParamTypeError, match="descriptions"):
        music.generate(TEXT)
    with pytest.raises(ParamError, match="prompt"):
        music.generate([])
    with pytest.raises(ParamTypeError, match=r"prompt\[1\]"):
        music.generate([TEXT, 3])
    with pytest.raises(ParamError, match="prompt of shape"):
        music.generate_continuation(sound[0, 0], 32_000)
    with pytest.raises(ParamError, match="2 descriptions and 1 prompts"):
        music.generate_continuation(sound, 32_000, [None, None])
    with pytest.raises(ParamError, match="prompt of 15 frames"):
        music.generate_continuation(torch.zeros(1, 1, 9600), 32_000)
    with pytest.raises(ParamError, match="gen_tokens between 0 and 2048"):
        music.generate_audio(torch.full((1, 4, 3), 2048).index_fill(2, torch.tensor([0]), 0))


def test_a_model_without_melodies_says_so(music: MusicGen) -> None:
    with pytest.raises(ParamError, match="hears no melodies"):
        music.generate_with_chroma([TEXT], torch.zeros(1, 3200), 32_000)
    with pytest.raises(ParamError, match="1 descriptions and 2 melodies"):
        music.generate_with_chroma([TEXT], torch.zeros(2, 1, 3200), 32_000)
    with pytest.raises(ParamError, match="melody_wavs of shape"):
        music.generate_with_chroma([TEXT], torch.zeros(3200), 32_000)


def test_the_script_of_the_page_writes_what_it_says(checkpoint: Path, tmp_path: Path, monkeypatch: Any) -> None:
    page = Path(__file__).parents[2] / "docs" / "audiocraft.md"
    (script,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    script = script.replace("facebook/musicgen-small", str(checkpoint)).replace("duration=8", "duration=0.5")
    monkeypatch.chdir(tmp_path)
    exec(compile(script, "audiocraft.md", "exec"), {})
    assert {path.name: Audio.load(path).seconds for path in tmp_path.iterdir()} == {"0.wav": 0.5, "1.wav": 0.5}


def test_a_prompt_longer_than_a_window_is_gone_on_from(music: MusicGen) -> None:
    music.max_duration = 0.3
    music.set_generation_params(use_sampling=False, duration=0.5, extend_stride=0.2)
    sound = torch.rand(1, 1, 12_800) - 0.5
    tokens = music.generate_continuation(sound, 32_000, return_tokens=True)[1]
    assert tokens.shape[-1] == 25
    assert torch.equal(tokens[..., :20], music.model.audio_encoder.encode(sound).audio_codes[0])
