"""Faults C at the level of calls: what a processor, ``generate`` and the pipeline answer to bad or hostile input."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from antiphon.errors import AntiphonError, AudioError, NumericError, ParamError, ParamTypeError, TokenizerError
from antiphon.models.musicgen import MusicgenForConditionalGeneration
from antiphon.models.pipelines import TextToAudioPipeline, pipeline

RATE_HZ = 1600
FRAME_SAMPLES = 64


def sound(samples: int, *shape: int, seed: int = 0) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, samples, generator=generator) / 4).numpy()


@pytest.fixture
def make(tiny_model: Any, tiny_processor: Any) -> Callable[..., Any]:
    """A greedy run of eight new columns for some texts, as the output object."""

    def run(text: Any = "pop track", **options: Any) -> Any:
        inputs = {} if text is None else tiny_processor(text=text, padding=True, return_tensors="pt")
        settings = {"max_new_tokens": 8, "do_sample": False, "return_dict_in_generate": True}
        return tiny_model.generate(**inputs, **{**settings, **options})

    return run


@pytest.fixture(scope="module")
def composer(tiny_model: Any, tiny_processor: Any) -> TextToAudioPipeline:
    return TextToAudioPipeline(tiny_model, tiny_processor.tokenizer, generate_kwargs={"max_new_tokens": 8})


# --- texts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [5, b"x", ["a", None], ["a", 5], 1.5, object(), {"a": 1}])
def test_F050_what_is_no_text_is_refused_at_every_door(text: Any, tiny_processor: Any, composer: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        tiny_processor(text=text, padding=True, return_tensors="pt")
    assert isinstance(caught.value, AntiphonError)
    with pytest.raises(ParamTypeError, match="text_inputs of type"):
        composer(text)


def test_F050_nothing_at_all_is_refused_and_an_empty_list_is_answered_by_one(
    tiny_processor: Any, composer: Any
) -> None:
    with pytest.raises(ParamError, match="neither text nor audio"):
        tiny_processor()
    with pytest.raises(AntiphonError):
        tiny_processor(text=[], return_tensors="pt")
    with pytest.raises(ParamTypeError):
        composer(None)
    assert composer([]) == []


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_F050_an_empty_prompt_is_a_text_of_its_own_and_works(text: str, make: Any, composer: Any) -> None:
    assert make(text).sequences.isfinite().all()
    assert np.isfinite(composer(text)["audio"]).all()


def test_F051_a_text_far_beyond_what_t5_was_trained_on_works(make: Any) -> None:
    assert make("loud drums " * 300).sequences.isfinite().all()


def test_F051_a_text_can_be_cut_to_a_number_of_tokens(tiny_processor: Any) -> None:
    text = "drums " * 600
    assert tiny_processor(text=[text], return_tensors="pt")["input_ids"].shape == (1, 601)
    for limit in (512, 513, 600):
        cut = tiny_processor(text=[text], truncation=True, max_length=limit, return_tensors="pt")
        assert cut["input_ids"].shape == (1, limit)


@pytest.mark.parametrize("text", ["nul \0 byte", "half \ud800 pair"])
def test_F052_text_that_cannot_be_text_is_refused_at_every_door(text: str, tiny_processor: Any, composer: Any) -> None:
    with pytest.raises((TokenizerError, ParamError)):
        tiny_processor(text=[text], return_tensors="pt")
    with pytest.raises((TokenizerError, ParamError)):
        composer(text)


@pytest.mark.parametrize(
    "text",
    ["\U0001f941\U0001f3fd", "\u202eright to left", "\x1b[31mred", "a\r\nb", "\ue000", "?!...", "e\u0301 \u00e9"],
)
def test_F052_unusual_text_makes_music(text: str, make: Any) -> None:
    assert make(text).sequences.isfinite().all()


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "{{7*7}}", "${x}", "%s %d", "../../x", "</s><pad>"])
def test_F053_F054_markup_is_a_text_like_any_other(text: str, make: Any, composer: Any) -> None:
    assert make(text).sequences.isfinite().all()
    assert np.isfinite(composer(text)["audio"]).all()


def test_F055_unequal_numbers_of_texts_and_sounds_are_named(tiny_processor: Any, tiny_model: Any) -> None:
    clip = sound(640)
    for texts, clips in ((["a", "b"], [clip]), (["a"], [clip, clip]), ("a", [clip, clip])):
        count = 1 if isinstance(texts, str) else len(texts)
        with pytest.raises(ParamError, match=f"{count} texts and {len(clips)} sounds"):
            tiny_processor(text=texts, audio=clips, sampling_rate=RATE_HZ, padding=True, return_tensors="pt")
    inputs = tiny_processor(text=["a", "b"], padding=True, return_tensors="pt")
    with pytest.raises(ParamError, match="2 texts and 1 sounds"):
        tiny_model.generate(**inputs, input_values=torch.zeros(1, 1, 640), max_new_tokens=4)
    with pytest.raises(ParamError, match="2 texts and decoder_input_ids of 3 items"):
        tiny_model.generate(**inputs, decoder_input_ids=torch.zeros(12, 2, dtype=torch.long), max_new_tokens=4)


def test_F055_a_mask_that_does_not_fit_its_text_is_refused(tiny_processor: Any, tiny_model: Any) -> None:
    inputs = tiny_processor(text=["pop track"], return_tensors="pt")
    with pytest.raises(ParamError, match="attention_mask of shape"):
        tiny_model.generate(
            input_ids=inputs["input_ids"], attention_mask=torch.ones(1, 9, dtype=torch.long), max_new_tokens=4
        )


def test_F055_texts_of_very_different_length_are_what_they_are_alone(make: Any) -> None:
    texts = ["pop", "a slow quiet song with loud drums and a track " * 6]
    together = make(texts)
    for number, text in enumerate(texts):
        assert torch.equal(together.audio_codes[number], make(text).audio_codes[0])


# --- settings --------------------------------------------------------------------------------------------------------

BAD_SETTINGS = [
    *(("max_new_tokens", value) for value in (0, -5, 2**63, 1.5, "8", math.nan, True)),
    *(("max_length", value) for value in (0, -1, math.inf, "20")),
    *(("temperature", value) for value in (-1, math.nan, math.inf, "1")),
    *(("top_k", value) for value in (-1, 2.5, math.nan, True)),
    *(("top_p", value) for value in (-0.1, 1.1, math.nan)),
    *(("guidance_scale", value) for value in (math.nan, math.inf, -math.inf, "3")),
    *(("seed", value) for value in (-1, 2**64, "42", 1.5, True, [1, -1])),
    *(("max_time", value) for value in (0, -1, math.nan)),
    *(("repetition_penalty", value) for value in (0, -1, math.nan)),
    *(("num_return_sequences", value) for value in (0, -1, 1.5)),
    *(("num_beams", value) for value in (0, 2, 4)),
    *(("eos_token_id", value) for value in ("x", [], 1.5)),
    *(("bad_words_ids", value) for value in ([], [[]], [[-1]], "ab")),
    *(("suppress_tokens", value) for value in ("ab", [1.5], 5)),
]


@pytest.mark.parametrize(("name", "value"), BAD_SETTINGS)
def test_F056_F057_F058_F059_F060_bad_settings_are_refused_by_generate_and_leave_no_trace(
    name: str, value: Any, tiny_model: Any
) -> None:
    before = tiny_model.generation_config.to_dict()
    with pytest.raises(ParamError):
        tiny_model.generate(**{"max_new_tokens": 4, name: value})
    with pytest.raises(ParamError):
        tiny_model.decoder.generate(**{"max_new_tokens": 4, name: value})
    assert tiny_model.generation_config.to_dict() == before


def stop_at_once(ids: Tensor, scores: Any, **kwargs: Any) -> bool:
    return True


@pytest.mark.parametrize(("columns", "warns"), [(753, False), (754, True)])
def test_F056_more_than_the_trained_window_warns_and_names_the_remedy(
    columns: int, warns: bool, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):  # 30 s are 750 frames, and the last of them ends 3 columns later
        make(max_new_tokens=columns, stopping_criteria=[stop_at_once])
    assert [m for m in caplog.messages if "pass window_seconds=30 and stride_seconds=18" in m] == caplog.messages
    assert bool(caplog.messages) is warns


@pytest.mark.parametrize(("columns", "frames"), [(1, 1), (5, 5), (6, 3), (7, 4)])
def test_F056_the_fewest_columns_give_a_sound(columns: int, frames: int, make: Any) -> None:
    """Below seven columns, the start one included, the reference leaves the delays out: every column is a frame."""
    out = make(max_new_tokens=columns)
    assert out.audio_codes.shape[-1] == frames
    assert out.sequences.shape[-1] == frames * FRAME_SAMPLES


@pytest.mark.parametrize("temperature", [1e-6, 1e6, 0.0])
def test_F057_extreme_temperatures_work_and_zero_is_greedy(temperature: float, make: Any) -> None:
    drawn = make(do_sample=True, temperature=temperature, seed=3).audio_codes
    if temperature < 1:
        assert torch.equal(drawn, make().audio_codes)
    assert int(drawn.max()) < 32


@pytest.mark.parametrize("settings", [{"top_k": 33}, {"top_k": 0}, {"top_k": 1}, {"top_p": 1e-9, "top_k": 5}])
def test_F058_limits_of_the_samplers_work(settings: dict[str, Any], make: Any) -> None:
    codes = make(do_sample=True, seed=5, **settings).audio_codes
    if settings.get("top_k") == 1 or "top_p" in settings:
        assert torch.equal(codes, make().audio_codes)


@pytest.mark.parametrize("scale", [None, 1, 1.0, 0, -3.0])
def test_F059_scales_up_to_one_are_a_single_pass(
    scale: Any, make: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, forward = [], tiny_model.decoder.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        rows.append(kwargs["input_ids"].shape[0])
        return forward(*args, **kwargs)

    monkeypatch.setattr(tiny_model.decoder, "forward", counted)
    single = make(guidance_scale=scale).audio_codes
    assert set(rows) == {4}
    rows.clear()
    guided = make(guidance_scale=3.0).audio_codes
    assert set(rows) == {8}
    assert not torch.equal(single, guided)


def test_F059_a_huge_scale_and_guidance_without_a_text_stay_finite(make: Any, tiny_model: Any) -> None:
    assert make(guidance_scale=1e9).sequences.isfinite().all()
    blank = tiny_model.get_unconditional_inputs(2)
    out = tiny_model.generate(**blank, max_new_tokens=8, do_sample=False)
    assert out.shape[0] == 2
    assert out.isfinite().all()
    assert make(None, guidance_scale=3.0).sequences.isfinite().all()


def test_F060_without_a_seed_one_is_drawn_and_told(make: Any) -> None:
    torch.manual_seed(0)
    first = make(["pop", "song"], do_sample=True)
    assert len(first.seeds) == 2
    again = make(["pop", "song"], do_sample=True, seed=first.seeds)
    assert torch.equal(first.audio_codes, again.audio_codes)
    assert make(seed=5).seeds is None  # nothing was drawn
    assert make(do_sample=True, seed=2**63 - 1).seeds == [2**63 - 1]


def test_F060_a_list_of_seeds_must_have_one_for_each_item(make: Any) -> None:
    with pytest.raises(ParamError, match="seed"):
        make(["pop", "song"], do_sample=True, seed=[1, 2, 3])


def test_F061_an_unknown_keyword_gets_the_nearest_name_at_every_door(
    tiny_model: Any, tiny_processor: Any, composer: Any, tiny_folder: Path
) -> None:
    inputs = tiny_processor(text=["pop"], return_tensors="pt")
    doors: list[tuple[str, str, Callable[..., Any]]] = [
        ("guidence_scale", "guidance_scale", lambda **k: tiny_model.generate(**inputs, **k)),
        ("max_new_token", "max_new_tokens", lambda **k: tiny_model.decoder.generate(**k)),
        ("atention_mask", "attention_mask", lambda **k: tiny_model(**inputs, **k)),
        ("temprature", "temperature", lambda **k: composer("pop", **k)),
        ("generate_kwarg", "generate_kwargs", lambda **k: composer("pop", **k)),
        ("forward_parms", "forward_params", lambda **k: pipeline("text-to-audio", tiny_folder, **k)),
        ("paddding", "padding", lambda **k: tiny_processor(text=["pop"], **k)),
        ("resampel", "resample", lambda **k: tiny_processor(audio=sound(640), sampling_rate=RATE_HZ, **k)),
    ]
    for wrong, right, call in doors:
        with pytest.raises(ParamTypeError, match=f"{wrong}.*Did you mean '{right}'"):
            call(**{wrong: 3})


def test_F061_an_unknown_task_or_no_model_is_told() -> None:
    with pytest.raises(ParamError, match="task='text-to-music'.*'text-to-audio'"):
        pipeline("text-to-music", "somewhere")
    with pytest.raises(ParamError, match="no model"):
        pipeline("text-to-audio")


# --- sound to go on from ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [0, -1, math.nan, math.inf, "1600", 2**31, 44100.5, True, [1600]])
def test_F034_a_rate_that_is_none_is_refused_before_resampling(rate_hz: Any, tiny_processor: Any) -> None:
    for convert in (False, True):
        with pytest.raises((ParamError, ParamTypeError)):
            tiny_processor(audio=sound(640), sampling_rate=rate_hz, resample=convert, return_tensors="pt")


def test_F034_a_missing_rate_is_warned_about(tiny_processor: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tiny_processor(audio=sound(640), return_tensors="pt")
    assert sum("no sampling_rate" in message for message in caplog.messages) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e30])
def test_F031_samples_that_are_not_finite_are_refused(bad: float, tiny_processor: Any) -> None:
    clip = sound(640)
    clip[77] = bad
    with pytest.raises(AudioError, match="sample 77"):
        tiny_processor(audio=clip, sampling_rate=RATE_HZ, return_tensors="pt")


def test_F064_another_rate_or_number_of_channels_names_the_way_out(tiny_processor: Any) -> None:
    with pytest.raises(ParamError, match=r"1600 Hz.*resample=True"):
        tiny_processor(audio=sound(640), sampling_rate=8000, return_tensors="pt")
    with pytest.raises(AudioError, match=r"mono audio but example has 2 channels.*resample=True"):
        tiny_processor(audio=sound(640, 2), sampling_rate=RATE_HZ, return_tensors="pt")
    converted = tiny_processor(audio=sound(640, 2), sampling_rate=3200, resample=True, return_tensors="pt")
    assert converted["input_values"].shape == (1, 1, 320)


@pytest.mark.parametrize("samples", [1, 63, 64, 65, 640, 641])
def test_F064_a_prompt_that_ends_inside_a_frame_counts_it_whole(samples: int, make: Any, tiny_processor: Any) -> None:
    inputs = tiny_processor(audio=sound(samples), sampling_rate=RATE_HZ, return_tensors="pt")
    out = make(None, **inputs)
    frames = -(-samples // FRAME_SAMPLES)
    assert out.audio_codes.shape[-1] == frames + 8 - 3
    assert out.sequences.shape[-1] == out.audio_codes.shape[-1] * FRAME_SAMPLES


def test_F064_a_prompt_longer_than_the_limit_is_refused_and_one_shorter_is_not(make: Any, tiny_processor: Any) -> None:
    inputs = tiny_processor(audio=sound(640), sampling_rate=RATE_HZ, return_tensors="pt")  # 10 frames, 11 columns
    with pytest.raises(ParamError, match="the prompt has 11 columns and the sequence may have 11"):
        make(None, max_new_tokens=None, max_length=11, **inputs)
    assert make(None, max_new_tokens=None, max_length=14, **inputs).audio_codes.shape[-1] == 10


BAD_CODES = [
    (torch.full((4, 3), 33), "between 33 and 33"),
    (torch.full((4, 3), 2**40), "between 1099511627776"),
    (torch.full((4, 3), -1), "between -1 and -1"),
    (torch.zeros(4, 3), "torch.float32"),
    (torch.full((4, 3), math.nan), "torch.float32"),
    (torch.zeros(4, 3, dtype=torch.bool), "torch.bool"),
    (torch.zeros(4, 3, dtype=torch.complex64), "torch.complex64"),
    (torch.zeros(3, 3, dtype=torch.long), r"shape \(3, 3\)"),
    (torch.zeros(5, dtype=torch.long), r"shape \(5,\)"),
    (torch.zeros(4, 0, dtype=torch.long), r"shape \(4, 0\)"),
    (torch.zeros(1, 1, 4, 3, dtype=torch.long), "shape"),
    ([[1, 2], [3, 4]], "type list"),
]


@pytest.mark.parametrize(("codes", "said"), BAD_CODES)
def test_F064_codes_that_are_none_are_refused_before_any_table(codes: Any, said: str, tiny_model: Any) -> None:
    with pytest.raises(ParamError, match=f"decoder_input_ids.*{said}"):
        tiny_model.generate(decoder_input_ids=codes, max_new_tokens=8)
    with pytest.raises(ParamError, match=f"input_ids.*{said}"):
        tiny_model.decoder.generate(input_ids=codes, max_new_tokens=8)


def test_F064_good_codes_are_gone_on_from_with_and_without_a_text(make: Any) -> None:
    codes = torch.randint(0, 32, (8, 6), generator=torch.Generator().manual_seed(0))
    for text in (None, ["pop", "song"]):
        out = make(text, decoder_input_ids=codes)
        assert torch.equal(out.audio_codes[:, :, :6], codes.view(2, 4, 6))
        assert out.audio_codes.shape == (2, 4, 6 + 8 - 3)
        apart = make(text, decoder_input_ids=codes, batch_invariant=True)
        assert torch.equal(apart.audio_codes, out.audio_codes)


@pytest.mark.parametrize("shape", [(640,), (1, 640), (1, 2, 640), (1, 1, 0), (1, 1, 1, 640)])
def test_F064_a_sound_of_another_shape_is_refused(shape: tuple[int, ...], tiny_model: Any) -> None:
    with pytest.raises(ParamError, match=r"input_values (of shape|with)"):
        tiny_model.generate(input_values=torch.zeros(shape), max_new_tokens=8)


# --- ends ------------------------------------------------------------------------------------------------------------


def test_F063_an_end_that_never_comes_ends_at_the_length(make: Any) -> None:
    assert make(eos_token_id=32, max_new_tokens=9).audio_codes.shape[-1] == 6


def test_F063_an_end_token_at_once_gives_an_empty_sound(make: Any, tiny_model: Any) -> None:
    def only_end(ids: Tensor, scores: Tensor) -> Tensor:
        return torch.full_like(scores, -math.inf).index_fill(1, torch.tensor([7]), 0.0)

    out = make(eos_token_id=7, logits_processor=[only_end], max_new_tokens=20)
    assert out.audio_lengths == [0]
    assert out.sequences.shape[:2] == (1, 1)
    assert out.sequences.shape[-1] == 0


def test_F063_stop_strings_have_no_meaning_for_codes(tiny_model: Any) -> None:
    with pytest.raises(ParamError, match="codes are not text"):
        tiny_model.generate(stop_strings=["x"], max_new_tokens=4)


# --- how it is called ------------------------------------------------------------------------------------------------


def test_F065_one_model_in_eight_threads_gives_what_it_gives_one_by_one(make: Any) -> None:
    texts = ["pop", "a slow track"]
    jobs = [(text, scale) for text in texts for scale in (1.0, 3.0)]
    alone = [make(text, guidance_scale=scale, do_sample=True, seed=9).sequences for text, scale in jobs]
    with ThreadPoolExecutor(8) as pool:
        runs = [
            pool.submit(make, text, guidance_scale=scale, do_sample=True, seed=9) for text, scale in jobs for _ in "ab"
        ]
        together = [run.result().sequences for run in runs]
    for number, one in enumerate(alone):
        assert torch.equal(together[2 * number], one)
        assert torch.equal(together[2 * number + 1], one)


def test_F066_every_mode_of_torch_gives_the_same_and_keeps_no_graph(make: Any) -> None:
    expected = make().sequences
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            out = make(output_logits=True)
        assert torch.equal(out.sequences, expected)
        assert not out.sequences.requires_grad
        assert out.sequences.grad_fn is None
        assert not any(step.requires_grad for step in out.logits)


def test_F066_a_model_that_generated_in_inference_mode_can_still_learn(tiny_folder: Path) -> None:
    model = MusicgenForConditionalGeneration.from_pretrained(tiny_folder)
    with torch.inference_mode():
        model.generate(max_new_tokens=6)
    labels = torch.zeros(1, 5, 4, dtype=torch.long)
    memory = (torch.ones(1, 2, 12),)
    model(encoder_outputs=memory, labels=labels).loss.backward()
    assert all(p.grad is not None for p in model.decoder.lm_heads.parameters())


def test_F066_autocast_works(make: Any) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        out = make(guidance_scale=3.0)
    assert out.sequences.isfinite().all()
    assert out.audio_codes.shape == (1, 4, 5)


def test_F066_in_an_event_loop_it_runs_beside_others(make: Any) -> None:
    async def both() -> list[Any]:
        return await asyncio.gather(asyncio.to_thread(make, "pop"), asyncio.to_thread(make, "song"))

    one, other = asyncio.run(both())
    assert torch.equal(one.audio_codes, make("pop").audio_codes)
    assert torch.equal(other.audio_codes, make("song").audio_codes)


def test_F066_fifty_runs_with_gradients_enabled_hold_no_more_than_one(make: Any) -> None:
    def live() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    for _ in range(3):
        make()
    tensors, peak = live(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(50):
        make()
    assert live() == tensors
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 20 * 1024


class Listener:
    def __init__(self, fail_at: int) -> None:
        self.fail_at, self.count, self.ended = fail_at, 0, 0

    def put(self, value: Tensor) -> None:
        self.count += 1
        if self.count > self.fail_at:
            raise RuntimeError("fell")

    def end(self) -> None:
        self.ended += 1


@pytest.mark.parametrize("place", ["streamer", "criterion", "processor", "on_column"])
@pytest.mark.parametrize("invariant", [False, True])
def test_F067_an_error_of_the_callers_own_code_comes_out_once_and_the_next_call_works(
    place: str, invariant: bool, make: Any
) -> None:
    listener, calls = Listener(fail_at=3 if place == "streamer" else 1000), []

    def fall(*args: Any, **kwargs: Any) -> Any:
        calls.append(place)
        raise RuntimeError("fell")

    options: dict[str, Any] = {"streamer": listener}
    if place != "streamer":
        name = {"criterion": "stopping_criteria", "processor": "logits_processor"}.get(place, place)
        options[name] = fall if place == "on_column" else [fall]
    expected = make().sequences
    with pytest.raises(RuntimeError, match="^fell$") as caught:
        make(batch_invariant=invariant, **options)
    assert caught.tb is not None  # whoever keeps the traceback keeps what it refers to; the run must have ended anyway
    assert listener.ended == 1
    assert len(calls) == (0 if place == "streamer" else 1)
    assert torch.equal(make().sequences, expected)


def test_F067_a_callers_processor_may_write_into_what_it_is_given(make: Any) -> None:
    def scribble(ids: Tensor, scores: Tensor) -> Tensor:
        ids.fill_(0)
        return scores.clone()

    assert torch.equal(make(logits_processor=[scribble]).sequences, make().sequences)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("sampling", [False, True])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_F068_numbers_that_are_not_finite_name_step_and_codebook(
    bad: float, sampling: bool, scale: float, tiny_folder: Path, tiny_processor: Any
) -> None:
    model = MusicgenForConditionalGeneration.from_pretrained(tiny_folder)
    with torch.no_grad():
        model.decoder.lm_heads[1].weight[5] = bad
    inputs = tiny_processor(text=["pop"], return_tensors="pt")
    with pytest.raises(NumericError, match=r"codebook 1.*at step 1\."):
        model.generate(**inputs, max_new_tokens=8, do_sample=sampling, seed=1, guidance_scale=scale)


def test_F068_a_row_without_any_token_left_is_told(make: Any) -> None:
    def nothing(ids: Tensor, scores: Tensor) -> Tensor:
        return scores.masked_fill(torch.arange(4)[:, None] == 2, -math.inf)

    for sampling in (False, True):
        with pytest.raises(NumericError, match=r"codebook 2.*no token is left"):
            make(logits_processor=[nothing], do_sample=sampling, seed=1)


def test_F068_suppressing_every_token_is_told(make: Any) -> None:
    with pytest.raises((NumericError, ParamError)):
        make(suppress_tokens=list(range(32)))
