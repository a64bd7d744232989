"""Moshi's checkpoints: opened and written in both directions, by part, in fewer bits, and with adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers

import antiphon
from antiphon.nn.quantized_linear import QuantizedLinear

from .tiny_moshi import distance, fields, noise, ours, pair, spoken, text, theirs

KIND = "MoshiForConditionalGeneration"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: Any) -> Path:
    """Written by transformers."""
    folder = tmp_path_factory.mktemp("moshi")
    pair(KIND)[0].save_pretrained(folder)
    return folder  # type: ignore[no-any-return]


@pytest.mark.row("R185", "R183")
@pytest.mark.parametrize("copy", [True, False])
def test_a_checkpoint_of_transformers_opens_and_goes_back(checkpoint: Path, tmp_path: Path, copy: bool) -> None:
    reference, _ = pair(KIND)
    config = antiphon.MoshiConfig.from_pretrained(checkpoint)
    model = antiphon.MoshiForConditionalGeneration.from_pretrained(checkpoint, config=config, copy=copy)
    with torch.no_grad():
        expected = reference(**spoken()).logits
        assert distance(model(**spoken()).logits, expected) < 1e-4
        model.save_pretrained(tmp_path)
        back = transformers.MoshiForConditionalGeneration.from_pretrained(tmp_path)
        assert distance(back(**spoken()).logits, expected) < 1e-6
    own, other = back.state_dict(), reference.state_dict()
    assert set(own) == set(other)
    assert all(torch.equal(own[name], other[name]) for name in other)


def test_state_dicts_are_exact_and_strict_both_ways() -> None:
    reference, model = pair(KIND)
    reference.load_state_dict(model.state_dict(), strict=True)
    tensors = dict(reference.state_dict())
    tensors.pop("depth_decoder.layers.1.mlp.fc2.weight")
    with pytest.raises(OSError, match=r"depth_decoder.layers.1.mlp.fc2.weight"):
        model.load_state_dict(tensors)


@pytest.mark.row("R191", "E1")
def test_a_checkpoint_of_the_whole_opens_as_each_of_its_parts(checkpoint: Path) -> None:
    reference, _ = pair(KIND)
    with torch.no_grad():
        expected = reference.decoder(text(1, 5))
        decoder = antiphon.MoshiForCausalLM.from_pretrained(checkpoint)
        assert distance(decoder(text(1, 5)).logits, expected.logits) < 1e-4
        assert torch.equal(
            decoder.generate(text(1, 5), max_length=12), reference.decoder.generate(text(1, 5), max_length=12)
        )
        for bare in (antiphon.MoshiModel.from_pretrained(checkpoint), antiphon.AutoModel.from_pretrained(checkpoint)):
            assert distance(bare(text(1, 5)).last_hidden_state, expected.last_hidden_state) < 1e-4
        depth, given = antiphon.MoshiDepthDecoder.from_pretrained(checkpoint), noise(1, 1, 32)
        logits = reference.depth_decoder(input_ids=text(1, 4), last_hidden_state=given).logits
        assert distance(depth(text(1, 4), given).logits, logits) < 1e-4
        codec = antiphon.MimiModel.from_pretrained(checkpoint)
        sound = noise(1, 1, 3840)
        assert torch.equal(codec.encode(sound)[0], reference.audio_encoder.encode(sound)[0])
    assert type(antiphon.AutoModelForCausalLM.from_pretrained(checkpoint)) is antiphon.MoshiForCausalLM
    assert type(antiphon.AutoConfig.from_pretrained(checkpoint)) is antiphon.MoshiConfig


def test_parts_are_saved_alone(tmp_path: Path) -> None:
    _, model = pair(KIND)
    for part in (model.decoder, model.depth_decoder):
        folder = tmp_path / type(part).__name__
        part.save_pretrained(folder)
        again = type(part).from_pretrained(folder).state_dict()
        assert all(torch.equal(again[name], tensor) for name, tensor in part.state_dict().items())
    theirs_again = transformers.MoshiForCausalLM.from_pretrained(tmp_path / "MoshiForCausalLM")
    with torch.no_grad():
        assert distance(theirs_again(text(1, 4)).logits, model.decoder(text(1, 4)).logits) < 1e-4


def test_in_bfloat16_layers_of_one_step_lie_side_by_side(checkpoint: Path) -> None:
    model = antiphon.MoshiForConditionalGeneration.from_pretrained(checkpoint, dtype="bfloat16")
    assert {p.dtype for p in model.decoder.parameters()} == {torch.bfloat16}
    for step in model.depth_decoder.depth.steps:
        attention = step.layers[0].attention
        size = attention.query.weight.numel() * 2
        assert attention.key.weight.data_ptr() == attention.query.weight.data_ptr() + size
    out = model.generate(**spoken(), max_new_tokens=3, return_audio_codes=True)
    assert out.audio_codes.shape == (2, 4, 9)


@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_rounded_models_are_saved_and_opened_as_they_are(tmp_path: Path, bits: str) -> None:
    wide = theirs(
        KIND, hidden_size=64, ffn_dim=128, head_dim=16, depth={"hidden_size": 64, "ffn_dim": 128, "head_dim": 16}
    )
    wide.save_pretrained(tmp_path / "wide")
    model = antiphon.MoshiForConditionalGeneration.from_pretrained(tmp_path / "wide", quantize=bits)
    for layer in (
        model.decoder.model.text.stack.layers[0].attention.query,
        model.depth_decoder.depth.steps[2].layers[1].mlp.down,
    ):
        assert isinstance(layer, QuantizedLinear)
        assert layer.bits == int(bits[3:])
    with torch.no_grad():
        exact, rounded = wide(**spoken()).logits, model(**spoken()).logits
        assert 0 < distance(rounded, exact) < 4
        model.save_pretrained(tmp_path / "rounded")
        again = antiphon.MoshiForConditionalGeneration.from_pretrained(tmp_path / "rounded")
        assert torch.equal(again(**spoken()).logits, rounded)
    settings: dict[str, Any] = {"max_new_tokens": 3, "return_audio_codes": True, "return_audio_waveforms": False}
    assert torch.equal(
        again.generate(**spoken(), **settings).audio_codes, model.generate(**spoken(), **settings).audio_codes
    )


def test_adapters_reach_both_decoders() -> None:
    model = antiphon.MoshiForConditionalGeneration(antiphon.MoshiConfig(**fields())).eval()
    with torch.no_grad():
        before = model(**spoken(), audio_labels=spoken()["moshi_audio_codes"])
    stacks = ["depth_decoder.layers.0.self_attn.q_proj.linear.weight"]
    model.add_adapter(
        antiphon.LoraConfig(r=2, target_modules=r"decoder.*(q_proj\.linear|fc2)", target_parameters=stacks)
    )
    named = {name for name, p in model.named_parameters() if p.requires_grad and "lora_A" in name}
    assert any("depth_decoder.depth.steps.2.layers.0.attention.query" in name for name in named)
    assert any("decoder.model.text.stack.layers.0.attention.query" in name for name in named)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
        after = model(**spoken(), audio_labels=spoken()["moshi_audio_codes"])
    assert distance(after.logits, before.logits) > 1e-3
    assert distance(after.audio_logits, before.audio_logits) > 1e-3


@pytest.fixture(scope="module")
def with_tokenizer(checkpoint: Path, tmp_path_factory: Any) -> Path:
    """The checkpoint's settings with a tokenizer and a feature extractor beside them, as published ones have."""
    folder = tmp_path_factory.mktemp("with_tokenizer")
    pair(KIND)[0].config.save_pretrained(folder)
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("<pad>", 0.0), ("\u2581", -3.0)]
    pieces += [("\u2581" + word, -2.0) for word in ("Hello", "I'm", "Moshi", "What", "is")] + [(",", -2.0)]
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    backend.decoder = tokenizers.decoders.Metaspace()
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(folder)
    transformers.EncodecFeatureExtractor(sampling_rate=24000).save_pretrained(folder)
    return folder  # type: ignore[no-any-return]


@pytest.mark.row("R166", "R194")
def test_its_tokenizer_keeps_pads_between_words(with_tokenizer: Path) -> None:
    own = antiphon.AutoTokenizer.from_pretrained(with_tokenizer)
    reference = transformers.AutoTokenizer.from_pretrained(with_tokenizer)
    assert own.encode("<pad>")[0] == 3
    for said in ("Hello,<pad><unk>I'm Moshi", "What is Moshi"):
        ids = own(said, return_tensors="pt").input_ids
        assert torch.equal(ids, reference(said, return_tensors="pt").input_ids)
        settings = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        assert own.batch_decode(ids, **settings) == reference.batch_decode(ids, **settings)
    assert own("Hello,<pad><unk>I'm Moshi").input_ids.count(3) == 1


@pytest.mark.row("R171")
def test_sound_for_a_device_is_prepared_as_documented(with_tokenizer: Path) -> None:
    device = antiphon.infer_device()
    assert device in ("cpu", "cuda", "mps", "xpu")
    extractor = antiphon.AutoFeatureExtractor.from_pretrained(with_tokenizer)
    assert extractor.sampling_rate == 24000
    heard = extractor(raw_audio=noise(2000).numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt")
    heard = heard.to(device=device, dtype=torch.bfloat16)
    assert heard.input_values.shape == (1, 1, 2000)
    assert heard.input_values.dtype is torch.bfloat16


def test_the_codec_stays_in_float32_beside_half_precision_unless_a_dtype_is_asked_for(tmp_path: Path) -> None:
    folder, whole = tmp_path / "mixed", ours(theirs(KIND))
    float32 = {name: tensor.clone() for name, tensor in whole.audio_encoder.state_dict().items()}
    whole.to(torch.bfloat16)
    whole.audio_encoder = antiphon.MimiModel(whole.config.audio_encoder_config)
    whole.audio_encoder.load_state_dict(float32)
    whole.save_pretrained(folder)
    for dtype, copy in ((None, True), ("auto", True), (None, False)):
        model = antiphon.MoshiForConditionalGeneration.from_pretrained(folder, dtype=dtype, copy=copy)
        assert model.dtype is model.depth_decoder.dtype is torch.bfloat16
        assert all(torch.equal(tensor, float32[name]) for name, tensor in model.audio_encoder.state_dict().items())
    assert model.generate(max_new_tokens=4).audio_sequences.dtype is torch.float32
    model.save_pretrained(tmp_path / "again")
    again = antiphon.MoshiForConditionalGeneration.from_pretrained(tmp_path / "again")
    assert again.audio_encoder.dtype is torch.float32
    asked = antiphon.MoshiForConditionalGeneration.from_pretrained(folder, dtype="bfloat16")
    assert {tensor.dtype for tensor in asked.parameters()} == {torch.bfloat16}
    codec = antiphon.MimiModel.from_pretrained(folder)
    assert all(torch.equal(tensor, float32[name]) for name, tensor in codec.state_dict().items())
