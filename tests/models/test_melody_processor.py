"""The Melody processor: one call for texts and melodies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import antiphon
from antiphon.errors import ParamError, ParamTypeError

from . import tiny_musicgen as tiny

RATE_HZ = 32000
TEXTS = tiny.TEXTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A processor's files: the tokenizer as the oracle writes it, and our feature extractor's settings."""
    path = tmp_path_factory.mktemp("melody")
    tiny.tokenizer().save_pretrained(path)
    tokenizer = antiphon.T5Tokenizer.from_pretrained(path)
    antiphon.MusicgenMelodyProcessor(antiphon.MusicgenMelodyFeatureExtractor(), tokenizer).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def processor(folder: Path) -> Any:
    return antiphon.AutoProcessor.from_pretrained(folder)


@pytest.fixture(scope="module")
def model() -> Any:
    """A small random model that takes what the processor gives."""
    torch.manual_seed(0)
    decoder: dict[str, Any] = {"vocab_size": tiny.CODES, "hidden_size": 16, "ffn_dim": 32, "num_hidden_layers": 1}
    decoder |= {"num_attention_heads": 2, "pad_token_id": tiny.CODES, "bos_token_id": tiny.CODES}
    config = antiphon.MusicgenMelodyConfig(
        text_encoder=antiphon.T5Config(vocab_size=100, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2),
        audio_encoder=antiphon.EncodecConfig(**tiny.encodec_config().to_dict()),
        decoder=antiphon.MusicgenMelodyDecoderConfig(**decoder),
    )
    model = antiphon.MusicgenMelodyForConditionalGeneration(config).eval()
    model.generation_config.update(decoder_start_token_id=tiny.CODES, pad_token_id=tiny.CODES, bos_token_id=tiny.CODES)
    return model


def hum(samples: int, *, hertz: float = 440) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE_HZ)).astype(np.float32)


def same(one: Any, other: Any) -> None:
    """Two batches with the same entries."""
    assert list(one) == list(other)
    assert all(np.array_equal(np.asarray(one[name]), np.asarray(other[name])) for name in one)


@pytest.mark.row("R14")
def test_texts_and_melodies_become_ids_a_mask_and_features(processor: Any) -> None:
    sounds = [hum(40_000), hum(20_000, hertz=523.25)]
    batch = processor(audio=sounds, sampling_rate=RATE_HZ, text=TEXTS, padding=True, return_tensors="pt")
    assert set(batch) == {"input_ids", "attention_mask", "input_features"}
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, batch["input_ids"].shape[1])
    assert batch["input_features"].shape == (2, 10, 12)
    alone = processor.feature_extractor(sounds, sampling_rate=RATE_HZ)
    assert torch.equal(batch["input_features"], alone["input_features"])
    ids = processor.tokenizer(TEXTS, padding=True, return_tensors="pt")
    assert all(torch.equal(batch[name], ids[name]) for name in ids)


@pytest.mark.row("R14", "R15", "R16")
def test_the_documented_calls_work_with_stems_and_without(processor: Any) -> None:
    stems = torch.from_numpy(np.stack([hum(44_100)] * 8).reshape(1, 4, 2, -1))
    text = {"text": ["80s blues track with groovy saxophone"], "padding": True, "return_tensors": "pt"}
    assert processor(audio=stems, sampling_rate=44_100, **text)["input_features"].shape == (1, 8, 12)
    assert processor(audio=hum(44_100).astype(float), sampling_rate=44_100, **text)["input_features"].shape == (
        1,
        8,
        12,
    )


@pytest.mark.row("R20", "R52")
@pytest.mark.parametrize("tensors, kind", [("pt", torch.Tensor), ("np", np.ndarray)])
def test_texts_alone_and_melodies_alone_give_their_part_only(processor: Any, tensors: str, kind: type) -> None:
    texts = processor(text=TEXTS, padding=True, return_tensors=tensors)
    sounds = processor(audio=[hum(20_000)], sampling_rate=RATE_HZ, return_tensors=tensors)
    assert set(texts) == {"input_ids", "attention_mask"}
    assert set(sounds) == {"input_features"}
    assert all(isinstance(value, kind) for value in [*texts.values(), *sounds.values()])
    same(processor([hum(20_000)], sampling_rate=RATE_HZ, return_tensors=tensors), sounds)


@pytest.mark.row("R50")
def test_the_features_are_what_the_models_projection_is_fed(processor: Any, model: Any) -> None:
    inputs = processor(audio=hum(40_000), sampling_rate=RATE_HZ, text=["pop"], return_tensors="pt")
    fed: list[torch.Tensor] = []
    hook = model.audio_enc_to_dec_proj.register_forward_pre_hook(lambda module, given: fed.append(given[0]))
    output = model(**inputs, decoder_input_ids=torch.full((4, 1), tiny.CODES))
    hook.remove()
    chroma_length = model.config.chroma_length
    assert model.audio_enc_to_dec_proj.in_features == inputs["input_features"].shape[-1] == 12
    # however the model tiles, before the projection or behind it, the frames are those of the melody
    classes = inputs["input_features"][0].argmax(-1)
    seen = fed[0][0].argmax(-1)
    assert torch.equal(seen, classes.repeat(len(seen) // len(classes) + 1)[: len(seen)])
    assert output.encoder_hidden_states.shape[1] == chroma_length + inputs["input_ids"].shape[1]


def test_independent_rows_reach_the_features(processor: Any) -> None:
    sounds = [hum(60_000), hum(20_000)]
    batch = processor(audio=sounds, sampling_rate=RATE_HZ, text=TEXTS, padding=True, independent_rows=True)
    alone = processor.feature_extractor(sounds, sampling_rate=RATE_HZ, independent_rows=True)
    assert torch.equal(torch.as_tensor(batch["input_features_mask"]), alone["input_features_mask"])
    assert torch.equal(torch.as_tensor(batch["input_features"]), alone["input_features"])


@pytest.mark.row("R57")
def test_the_mask_of_the_text_survives_that_of_the_sound(processor: Any) -> None:
    rate = {"sampling_rate": RATE_HZ, "return_tensors": "pt", "return_attention_mask": True}
    batch = processor(audio=[hum(20_000)] * 2, text=TEXTS, padding=True, **rate)
    assert torch.equal(
        batch["attention_mask"], processor.tokenizer(TEXTS, padding=True, return_tensors="pt")["attention_mask"]
    )
    assert processor(audio=hum(20_000), **rate)["attention_mask"].tolist() == [[1] * 5]


def test_lengths_are_the_texts_where_there_is_text(processor: Any) -> None:
    lengths = {"truncation": True, "max_length": 3}
    batch = processor(audio=hum(20_000), sampling_rate=RATE_HZ, text=["pop"], **lengths, return_tensors="pt")
    assert batch["input_ids"].shape[1] <= 3
    assert batch["input_features"].shape == (1, 5, 12)
    cut = processor(audio=hum(90_000), sampling_rate=RATE_HZ, max_length=40_000)
    assert cut["input_features"].shape == (1, 10, 12)


@pytest.mark.row("R25", "R26")
@pytest.mark.parametrize("tensors, kind", [("pt", torch.Tensor), ("np", np.ndarray)])
def test_unconditional_inputs_are_empty_texts_that_are_masked_out(processor: Any, tensors: str, kind: type) -> None:
    inputs = processor.get_unconditional_inputs(num_samples=3, return_tensors=tensors)
    assert set(inputs) == {"input_ids", "attention_mask"}
    assert all(isinstance(value, kind) for value in inputs.values())
    empty = processor.tokenizer([""] * 3)["input_ids"]
    assert inputs["input_ids"].tolist() == empty
    assert inputs["attention_mask"].tolist() == [[0] * len(empty[0])] * 3
    assert processor.get_unconditional_inputs()["input_ids"].shape[0] == 1


@pytest.mark.row("R25", "R26")
def test_a_model_makes_music_from_unconditional_inputs(processor: Any, model: Any) -> None:
    inputs = processor.get_unconditional_inputs(num_samples=2)
    music = model.generate(**inputs, max_new_tokens=8, do_sample=True, seed=1, return_dict_in_generate=True)
    assert music.sequences.shape == (2, 1, 5 * tiny.HOP) and torch.isfinite(music.sequences).all()
    assert not torch.equal(*music.audio_codes), "each piece has a seed of its own"


@pytest.mark.parametrize("number", [0, -1, 1.5, "2", None])
def test_unconditional_inputs_for_no_pieces_are_refused(processor: Any, number: Any) -> None:
    with pytest.raises(ParamError, match="num_samples="):
        processor.get_unconditional_inputs(number)


@pytest.mark.row("R51", "R85")
def test_it_is_a_feature_extractor_and_a_tokenizer_that_survive_a_round_trip(
    processor: Any, folder: Path, tmp_path: Path
) -> None:
    assert type(processor) is antiphon.MusicgenMelodyProcessor
    assert type(processor.feature_extractor) is antiphon.MusicgenMelodyFeatureExtractor
    assert type(processor.tokenizer) is antiphon.T5Tokenizer
    assert processor.sampling_rate == RATE_HZ and isinstance(processor.sampling_rate, int)
    ids = processor(text=TEXTS, padding=True)["input_ids"]
    assert processor.batch_decode(ids, skip_special_tokens=True) == TEXTS
    assert processor.batch_decode(ids, True) == TEXTS
    assert processor.decode(ids[1], skip_special_tokens=True) == TEXTS[1]
    processor.save_pretrained(tmp_path)
    call = {"audio": hum(20_000), "sampling_rate": 44_100, "text": ["pop"], "return_tensors": "pt"}
    for again in (antiphon.MusicgenMelodyProcessor, antiphon.AutoProcessor):
        same(again.from_pretrained(tmp_path)(**call), processor(**call))


def test_batch_decode_takes_out_what_was_padding(processor: Any) -> None:
    values, mask = torch.rand(2, 1, 700), torch.ones(2, 600, dtype=torch.long)
    mask[1, 500:] = 0
    whole, cut = processor.batch_decode(values, attention_mask=mask)
    np.testing.assert_array_equal(whole, values[0].numpy())
    np.testing.assert_array_equal(cut, torch.cat([values[1, :, :500], values[1, :, 600:]], 1).numpy())
    assert [sound.shape for sound in processor.batch_decode(audio=values)] == [(1, 700)] * 2


def test_nothing_unequal_numbers_and_unknown_names_are_refused(processor: Any) -> None:
    with pytest.raises(ParamError, match="neither"):
        processor()
    with pytest.raises(ParamError, match="2 texts and 1 sounds"):
        processor(text=TEXTS, audio=hum(9000), sampling_rate=RATE_HZ, padding=True)
    with pytest.raises(ParamTypeError, match="Did you mean 'independent_rows'"):
        processor(audio=hum(9000), sampling_rate=RATE_HZ, independant_rows=True)
    with pytest.raises(ParamTypeError, match="unknown argument 'resample'"):
        processor(audio=hum(9000), sampling_rate=RATE_HZ, resample=True)
