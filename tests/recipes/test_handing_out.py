"""Trained models are handed out as normal checkpoints that share what they have in common."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from antiphon import EncodecConfig, EncodecModel
from antiphon.checkpoints.store import open_weights
from antiphon.tasks.load import load
from recipes.builtin.beginnings import begin_melody, begin_musicgen
from recipes.builtin.handing_out import hand_out
from recipes.builtin.text_lessons import Lesson

_SHARED = ("model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors")
FACTS = {"style": "blues", "lead": "saxophone", "tempo_bpm": 70, "tonic": 9, "mode": "minor"}
TEXTS = ["slow blues with a warm saxophone", "fast techno, 130 bpm, in A minor", "a waltz for strings and flute"]

LESSONS = [Lesson(text, FACTS) for text in TEXTS * 5]


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both models as if they were trained, and as they are handed out."""
    runs = tmp_path_factory.mktemp("runs")
    torch.manual_seed(3)
    small = EncodecConfig(
        sampling_rate=32000,
        target_bandwidths=[2.0],
        num_filters=4,
        hidden_size=16,
        upsampling_ratios=[8, 5, 4, 4],
        num_lstm_layers=1,
        use_causal_conv=False,
        codebook_size=1024,
    )
    codec = EncodecModel(small).half().float()
    begin_musicgen(runs / "musicgen", codec, LESSONS, steps=2)
    begin_melody(runs / "melody", runs / "musicgen")
    with torch.no_grad():
        for parameter in codec.decoder.parameters():
            parameter.mul_(0.5)
    codec.save_pretrained(runs / "decoder")
    for name in ("musicgen", "melody"):
        hand_out(runs / name, runs / "out" / name, codec=runs / "decoder")
    return {path.name: path for path in (runs / "out").iterdir()} | {"runs": runs}


def test_codec_and_text_encoder_are_the_same_files(handed: dict[str, Path]) -> None:
    for file in _SHARED:
        assert (handed["musicgen"] / file).read_bytes() == (handed["melody"] / file).read_bytes()
    files = {file.name for file in handed["melody"].glob("model*")}
    assert files == {*_SHARED, "model-00003-of-00003.safetensors", "model.safetensors.index.json"}


def test_what_is_handed_out_is_what_was_trained_in_16_bits(handed: dict[str, Path]) -> None:
    runs = handed["runs"]
    with (
        open_weights(runs / "musicgen") as trained,
        open_weights(runs / "decoder") as codec,
        open_weights(handed["musicgen"]) as handed_out,
    ):
        assert set(trained) == set(handed_out)
        for name in trained:
            decodes = name.startswith("audio_encoder.decoder.")
            expected = codec[name.removeprefix("audio_encoder.")] if decodes else trained[name]
            assert handed_out[name].dtype in (torch.float16, torch.int64)
            assert torch.equal(expected.to(handed_out[name].dtype), handed_out[name]), name


def test_a_codec_of_other_codes_is_refused(handed: dict[str, Path], tmp_path: Path) -> None:
    codec = EncodecModel.from_pretrained(handed["runs"] / "decoder")
    codec.quantizer.codebooks[0].vectors[3] += 1
    codec.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="another codec"):
        hand_out(handed["runs"] / "musicgen", tmp_path / "out", codec=tmp_path / "other")


@pytest.mark.parametrize(("name", "kind"), [("musicgen", "Musicgen"), ("melody", "MusicgenMelody")])
def test_transformers_opens_them_and_computes_the_same(handed: dict[str, Path], name: str, kind: str) -> None:
    theirs = getattr(transformers, f"{kind}ForConditionalGeneration").from_pretrained(handed[name], dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(handed[name])
    compose = load(handed[name])
    inputs = tokenizer(TEXTS[:2], padding=True, return_tensors="pt")
    ours = {k: torch.as_tensor(v) for k, v in compose.processor(text=TEXTS[:2], padding=True).items()}
    assert torch.equal(inputs["input_ids"], ours["input_ids"])
    codes = torch.randint(0, 1024, (2 * 4, 7))
    with torch.no_grad():
        expected = theirs(**inputs, decoder_input_ids=codes).logits
        got = compose.model(**ours, decoder_input_ids=codes).logits
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_they_say_how_much_they_see_at_once(handed: dict[str, Path]) -> None:
    assert load(handed["melody"]).model.generation_config.window_seconds == 12
