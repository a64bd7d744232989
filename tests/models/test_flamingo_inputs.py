"""What the processor gives is what the model takes, several recordings in one conversation included."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import antiphon

from .. import qwen2_tokenizers
from . import tiny_flamingo
from .flamingo_processors import RATE_HZ, answered, asked, recording

BATCH: dict[str, Any] = {"tokenize": True, "return_dict": True}


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    """A processor with windows of a second, and a tiny model of its words."""
    extractor = antiphon.WhisperFeatureExtractor(feature_size=tiny_flamingo.BANDS, chunk_length=1)
    processor = antiphon.MusicFlamingoProcessor(extractor, qwen2_tokenizers.ours())
    torch.manual_seed(0)
    config = antiphon.MusicFlamingoConfig(
        audio_config=antiphon.AudioFlamingo3EncoderConfig(**tiny_flamingo.encoder_fields()),
        text_config=antiphon.Qwen2Config(
            **tiny_flamingo.text_fields(
                vocab_size=len(processor.tokenizer), pad_token_id=processor.tokenizer.pad_token_id
            )
        ),
        audio_token_id=processor.audio_token_id,
        audio_bos_token_id=processor.audio_bos_token_id,
        audio_eos_token_id=processor.audio_eos_token_id,
    )
    return processor, tiny_flamingo.spread(antiphon.MusicFlamingoForConditionalGeneration(config))


def test_a_batch_is_heard_and_answered(pair: tuple[Any, Any]) -> None:
    processor, model = pair
    first, second = recording(1.3), recording(2.2, 1)
    chats = [asked(first, second, sampling_rate=RATE_HZ), asked(second, sampling_rate=RATE_HZ)]
    inputs = processor.apply_chat_template(chats, **BATCH, add_generation_prompt=True).to(model.device, model.dtype)
    with torch.no_grad():
        logits = model(**inputs).logits
        ids = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert logits.shape == (*inputs["input_ids"].shape, len(processor.tokenizer))
    texts = processor.batch_decode(ids[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
    assert len(texts) == 2 and ids[:, : inputs.input_ids.shape[1]].equal(inputs["input_ids"])


def test_the_place_of_a_recording_among_others_matters_and_its_windows_begin_anew(pair: tuple[Any, Any]) -> None:
    processor, model = pair
    first, second = recording(2.0), recording(2.0, 1)

    def heard(*given: Any) -> torch.Tensor:
        inputs = processor.apply_chat_template(asked(*given, sampling_rate=RATE_HZ), **BATCH)
        assert inputs["window_indices"].tolist() == [0, 1] * len(given)
        with torch.no_grad():
            return model(**inputs).logits[0, -1]  # type: ignore[no-any-return]

    assert not torch.allclose(heard(first, second), heard(second, first), atol=1e-3)
    assert not torch.allclose(heard(first), heard(second), atol=1e-3)


def test_labels_train_the_answers_alone(pair: tuple[Any, Any]) -> None:
    processor, model = pair
    chats = [
        answered(recording(1.3), sampling_rate=RATE_HZ),
        answered(recording(0.4), answer="Slow.", sampling_rate=RATE_HZ),
    ]
    whole = processor.apply_chat_template(chats, **BATCH, output_labels=True)
    answers = processor.apply_chat_template(chats, **BATCH, output_labels=True, mask_user_text=True)
    with torch.no_grad():
        losses = [float(model(**inputs).loss) for inputs in (whole, answers)]
    assert all(0 < loss < 100 for loss in losses) and losses[0] != losses[1]
