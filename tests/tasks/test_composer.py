"""The composer: lengths, seeds, batches, recordings, progress and what a piece knows about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import antiphon
from antiphon import Audio
from antiphon.errors import AudioError, ParamError, ParamTypeError, TokenizerError

PROMPT = "80s pop track with bassy drums and synth"


@pytest.fixture(scope="module")
def recording() -> Audio:
    time = np.arange(8000) / 16_000
    return Audio(np.stack([0.5 * np.sin(2 * np.pi * 220 * time), 0.2 * np.sin(2 * np.pi * 330 * time)]), 16_000)


def same(a: Audio, b: Audio) -> bool:
    return a.samples.shape == b.samples.shape and bool((a.samples == b.samples).all())


@pytest.mark.parametrize("seconds", [1 / 32_000, 0.013, 0.02, 0.05, 0.1, 0.3337, 1])
def test_a_piece_has_exactly_the_samples_that_were_asked_for(compose: Any, seconds: float) -> None:
    piece = compose(PROMPT, seconds=seconds, seed=1)
    assert piece.samples.shape == (1, round(seconds * 32_000))
    assert piece.sampling_rate == 32_000


def test_new_tokens_are_the_frames_and_the_delay_of_the_last_codebook(compose: Any, monkeypatch: Any) -> None:
    asked = []
    generate = compose.model.generate
    monkeypatch.setattr(compose.model, "generate", lambda **kw: asked.append(kw) or generate(**kw))
    compose(PROMPT, seconds=0.5, seed=1)
    assert asked[0]["max_new_tokens"] == 25 + 3  # 0.5 s at 50 frames a second, 4 codebooks
    assert asked[0]["independent_rows"] is True
    assert (asked[0]["top_k"], asked[0]["guidance_scale"], asked[0]["temperature"]) == (250, 3.0, 1.0)


def test_a_piece_carries_what_made_it_and_can_be_made_again(compose: Any, checkpoint: Path) -> None:
    piece = compose(PROMPT, seconds=0.4, seed=7, guidance=2.0, temperature=0.9, top_k=40, top_p=0.8)
    assert (piece.prompt, piece.seed, piece.model) == (PROMPT, 7, str(checkpoint))
    made = dict(piece.parameters)
    assert made.pop("software") == f"antiphon {antiphon.__version__}"
    assert made.pop("dtype") == "float32"
    assert same(compose(piece.prompt, seed=piece.seed, **made), piece)


def test_what_a_piece_carries_survives_in_its_file(compose: Any, tmp_path: Path) -> None:
    piece = compose(PROMPT, seconds=0.2, seed=7)
    read = Audio.load(piece.save(tmp_path / "x.wav"))
    assert (read.prompt, read.seed, read.model) == (piece.prompt, piece.seed, piece.model)
    assert read.parameters == piece.parameters


def test_a_drawn_seed_is_reported_and_makes_the_piece_again(compose: Any) -> None:
    torch.manual_seed(3)
    first, second = compose(PROMPT, seconds=0.3), compose(PROMPT, seconds=0.3)
    assert first.seed != second.seed
    assert not same(first, second)
    assert same(compose(PROMPT, seconds=0.3, seed=first.seed), first)


def test_different_prompts_and_different_seeds_give_different_pieces(compose: Any) -> None:
    one, other, none = (compose(prompt, seconds=0.4, seed=5) for prompt in (PROMPT, "calm piano", None))
    later = compose(PROMPT, seconds=0.4, seed=6)
    assert not any(same(one, piece) for piece in (other, none, later))


def test_a_piece_does_not_depend_on_its_neighbours_in_a_list(compose: Any) -> None:
    prompts = [None, PROMPT, "", "a slow calm song with guitar and strings and bells", "piano"]
    pieces = compose(prompts, seconds=0.4, seed=10)
    assert [piece.seed for piece in pieces] == [10, 11, 12, 13, 14]
    assert [piece.prompt for piece in pieces] == [prompt or "" for prompt in prompts]
    for number, (prompt, piece) in enumerate(zip(prompts, pieces, strict=True)):
        alone = compose(prompt, seconds=0.4, seed=10 + number)
        np.testing.assert_allclose(alone.samples, piece.samples, atol=1e-5)


def test_variations_stand_beside_each_other_with_seeds_of_their_own(compose: Any) -> None:
    pieces = compose([PROMPT, "piano"], seconds=0.3, seed=4, n=2)
    assert [(piece.prompt, piece.seed) for piece in pieces] == [(PROMPT, 4), (PROMPT, 5), ("piano", 6), ("piano", 7)]
    np.testing.assert_allclose(compose("piano", seconds=0.3, seed=7).samples, pieces[3].samples, atol=1e-5)
    assert len(compose(PROMPT, seconds=0.3, seed=4, n=3)) == 3


def test_a_list_gives_a_list_and_a_text_gives_one_piece(compose: Any) -> None:
    assert isinstance(compose([PROMPT], seconds=0.1, seed=1), list)
    assert isinstance(compose(PROMPT, seconds=0.1, seed=1), Audio)
    assert same(compose.compose(PROMPT, seconds=0.1, seed=1), compose(PROMPT, seconds=0.1, seed=1))


def test_a_list_of_seeds_has_one_for_each_piece(compose: Any) -> None:
    pieces = compose([PROMPT, "piano"], seconds=0.1, seed=[9, 3])
    assert [piece.seed for piece in pieces] == [9, 3]
    with pytest.raises(ParamError, match="3 entries for 2"):
        compose([PROMPT, "piano"], seconds=0.1, seed=[1, 2, 3])


def test_greedy_pieces_have_no_seed_and_are_equal(compose: Any) -> None:
    first, second = compose(PROMPT, seconds=0.3, greedy=True), compose(PROMPT, seconds=0.3, temperature=0)
    assert first.seed is None
    assert same(first, second)


def test_control_words_of_the_tokenizer_are_text_in_a_prompt(compose: Any) -> None:
    plain, marked = compose("pop", seconds=0.4, seed=1), compose("pop </s> <pad>", seconds=0.4, seed=1)
    assert not same(plain, marked)
    tokens = compose.processor.tokenizer("pop </s>", split_special_tokens=True)["input_ids"]
    assert tokens.count(1) == 1  # the end that the tokenizer itself puts behind


def test_a_recording_of_another_rate_and_layout_is_converted_and_gone_on_from(compose: Any, recording: Audio) -> None:
    whole = compose(PROMPT, seconds=1.0, seed=2, continue_from=recording)
    assert whole.samples.shape == (1, 32_000)
    with torch.no_grad():
        mono = torch.from_numpy(recording.mono().resample(32_000).samples)[None]
        heard = compose.model.audio_encoder(mono[..., : 32_000 // 2]).audio_values[0].numpy()
    # the codec hears frames on both sides, so that only what is far from the seam must be equal
    np.testing.assert_allclose(whole.samples[:, :8000], heard[:, :8000], atol=1e-4)
    other = compose(PROMPT, seconds=1.0, seed=2)
    assert not same(whole, other)


def test_a_recording_may_be_a_file_its_bytes_an_audio_or_an_array(compose: Any, recording: Audio, tmp_path) -> None:
    path = recording.save(tmp_path / "clip.wav", subtype="FLOAT")
    array, rate = recording.samples, recording.sampling_rate
    want = compose(PROMPT, seconds=0.8, seed=2, continue_from=recording)
    for given in (path, str(path), path.read_bytes()):
        assert same(compose(PROMPT, seconds=0.8, seed=2, continue_from=given), want)
    for given in (array, torch.from_numpy(array)):
        assert same(compose(PROMPT, seconds=0.8, seed=2, continue_from=given, sampling_rate=rate), want)
    mono = array.mean(0).tolist()
    assert same(compose(PROMPT, seconds=0.8, seed=2, continue_from=mono, sampling_rate=rate), want)
    noted = compose(PROMPT, seconds=0.8, seed=2, continue_from=path).parameters["continue_from"]
    assert (noted["name"], noted["seconds"]) == ("clip.wav", 0.5)
    assert noted["sha256"] == want.parameters["continue_from"]["sha256"]


def test_recordings_of_different_lengths_go_on_as_they_would_alone(compose: Any, recording: Audio) -> None:
    short = Audio(recording.samples[:, :3000], recording.sampling_rate)
    pieces = compose(["piano", PROMPT], seconds=0.8, seed=2, continue_from=[recording, short])
    for number, (prompt, clip) in enumerate([("piano", recording), (PROMPT, short)]):
        alone = compose(prompt, seconds=0.8, seed=2 + number, continue_from=clip)
        assert len(pieces[number]) == 25_600
        np.testing.assert_allclose(pieces[number].samples, alone.samples, atol=1e-5)


def test_one_recording_serves_all_prompts_and_none_is_needed(compose: Any, recording: Audio) -> None:
    pieces = compose([PROMPT, None], seconds=0.7, seed=2, continue_from=recording)
    assert [len(piece) for piece in pieces] == [22_400, 22_400]
    alone = compose(None, seconds=0.7, seed=3, continue_from=recording)
    np.testing.assert_allclose(pieces[1].samples, alone.samples, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 639, 641])
def test_a_recording_of_a_few_samples_is_enough(compose: Any, samples: int) -> None:
    clip = np.full(samples, 0.1, np.float32)
    assert len(compose(PROMPT, seconds=0.1, seed=1, continue_from=clip, sampling_rate=32_000)) == 3200


@pytest.mark.parametrize("seconds", [0.25, 0.5])
def test_a_recording_that_fills_the_piece_leaves_nothing_to_do(compose: Any, recording: Audio, seconds: float) -> None:
    with pytest.raises(ParamError, match=r"0\.50 s.*whole piece.*Raise seconds"):
        compose(PROMPT, seconds=seconds, seed=1, continue_from=recording)


def test_recordings_that_do_not_fit_the_call_are_refused(compose: Any, recording: Audio) -> None:
    with pytest.raises(ParamError, match="2 recordings for 3 prompts"):
        compose(["a", "b", "c"], continue_from=[recording, recording])
    with pytest.raises(ParamError, match="sampling_rate is not given"):
        compose("a", continue_from=recording.samples)
    with pytest.raises(ParamError, match="states its own"):
        compose("a", continue_from=recording, sampling_rate=16_000)
    with pytest.raises(ParamError, match="without continue_from"):
        compose("a", sampling_rate=16_000)
    with pytest.raises(AudioError, match=r"missing\.wav"):
        compose("a", continue_from="missing.wav")
    with pytest.raises(ParamTypeError, match="int"):
        compose("a", continue_from=5, sampling_rate=16_000)


def test_progress_rises_to_one_and_tells_seconds(compose: Any, recording: Audio) -> None:
    seen: list[tuple[float, float]] = []
    compose([PROMPT, None], seconds=0.8, seed=1, on_progress=lambda fraction, done: seen.append((fraction, done)))
    assert seen == sorted(seen)
    assert len(seen) == 2 * (40 + 3)
    assert seen[-1] == (1.0, 0.8)
    assert 0 < seen[0][0] < 0.02


def test_an_error_of_the_listener_stops_the_work(compose: Any) -> None:
    calls = []

    def stop(fraction: float, done: float) -> None:
        calls.append(fraction)
        raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        compose(PROMPT, seconds=1, seed=1, on_progress=stop)
    assert len(calls) == 1
    with pytest.raises(ParamTypeError, match="on_progress"):
        compose(PROMPT, on_progress=5)


@pytest.mark.parametrize("seconds", [0, -1, 1e-9, float("nan"), float("inf"), "8", 1e9, 10**400, True, None, 3600.01])
def test_F056_a_length_that_no_piece_has_is_refused(compose: Any, seconds: Any) -> None:
    with pytest.raises(ParamError, match="seconds="):
        compose(PROMPT, seconds=seconds)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("guidance", value) for value in (float("nan"), float("inf"), "3")],
        *[("temperature", value) for value in (-1, float("nan"), float("inf"))],
        *[("top_k", value) for value in (-1, 2.5, float("nan"))],
        *[("top_p", value) for value in (-0.1, 1.1, float("nan"))],
        *[("n", value) for value in (0, -1, 65, 1.5, True, 10**4000)],
        *[("seed", value) for value in (-1, 2**63, 1.5, float("nan"), "7", True)],
        ("greedy", 1),
    ],
)
def test_settings_out_of_range_are_refused_under_their_own_name(compose: Any, name: str, value: Any) -> None:
    with pytest.raises(ParamError, match=f"{name}="):
        compose(PROMPT, **{name: value})


def test_settings_that_could_change_nothing_are_refused(compose: Any) -> None:
    with pytest.raises(ParamError, match="seed"):
        compose(PROMPT, greedy=True, seed=1)
    with pytest.raises(ParamError, match="n=2"):
        compose(PROMPT, temperature=0, n=2)
    with pytest.raises(TypeError, match="secnds"):
        compose(PROMPT, secnds=1)


@pytest.mark.parametrize("prompt", [5, b"x", ["a", 5], {"a": 1}])
def test_prompts_that_are_no_text_are_refused(compose: Any, prompt: Any) -> None:
    with pytest.raises(ParamTypeError, match="prompt"):
        compose(prompt)


def test_prompts_that_cannot_be_used_are_refused(compose: Any) -> None:
    with pytest.raises(ParamError, match=r"prompt=\[\]"):
        compose([])
    with pytest.raises(ParamError, match="4001 characters"):
        compose("x" * 4001)
    with pytest.raises((TokenizerError, ParamError)):
        compose("a\ud800b", seconds=0.1)


def test_a_stereo_model_gives_and_takes_two_channels(make_checkpoint: Any, recording: Audio, tmp_path: Path) -> None:
    stereo = antiphon.load(make_checkpoint(tmp_path, channels=2), device="cpu")
    piece = stereo(PROMPT, seconds=0.3, seed=1)
    assert piece.samples.shape == (2, 9600)
    assert not (piece.samples[0] == piece.samples[1]).all()
    assert stereo(PROMPT, seconds=0.7, seed=1, continue_from=recording.mono()).channels == 2


def test_the_example_checkpoint_is_heard_and_does_not_clip(compose: Any) -> None:
    piece = compose(PROMPT, seconds=4, seed=1)
    assert -26 < piece.rms_dbfs < -14
    assert piece.peak < 1
    loudness = np.sqrt((piece.samples[0].reshape(-1, 3200) ** 2).mean(1))
    assert loudness.min() > 0.02  # no silence anywhere
