"""Files that audiocraft saved are read as if they were of the documents' layout."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import antiphon
from antiphon.checkpoints.audiocraft_codec import codec_values, table_of, xp_of_codec
from antiphon.checkpoints.audiocraft_file import AudiocraftFile
from antiphon.checkpoints.audiocraft_folder import AudiocraftFolder
from antiphon.checkpoints.audiocraft_language_model import language_model_values, xp_of_language_model
from antiphon.checkpoints.audiocraft_names import LANGUAGE_MODEL, pieces_of, plain_name, stored_from
from antiphon.checkpoints.keys import KeyTable
from antiphon.checkpoints.omegaconf_pickle import ALLOWED
from antiphon.checkpoints.xp_config import XpConfig
from antiphon.errors import CheckpointError, ConfigError, ParamError

from .originals import CODEC, KINDS, MODEL, changed, copied, elsewhere, golden, reconfigured, write_text_encoder
from .test_hub import make_cache

HERE = Path("here")
NAMES = {"mono": MODEL, "stereo": MODEL, "melody": MODEL, "training": "checkpoint.th"}
CLASSES = {
    "mono": antiphon.MusicgenForConditionalGeneration,
    "stereo": antiphon.MusicgenForConditionalGeneration,
    "melody": antiphon.MusicgenMelodyForConditionalGeneration,
    "training": antiphon.MusicgenForConditionalGeneration,
}


def opened(kind: str, text_encoder: Path, codec: Path, **loading: Any) -> Any:
    places = elsewhere(kind, text_encoder, codec)
    return antiphon.AutoModelForTextToWaveform.from_pretrained(golden(kind), **places, **loading)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_checkpoint_opens_with_the_weights_of_its_files(
    kind: str, text_encoder: Path, codec: Path
) -> None:
    model = opened(kind, text_encoder, codec)
    assert type(model) is CLASSES[kind]
    assert (model.dtype, model.training) == (torch.float32, False)
    with torch.serialization.safe_globals(list(ALLOWED)):  # a run holds its configuration as objects
        stored = torch.load(golden(kind) / NAMES[kind], weights_only=True)["best_state"]
    ours = model.state_dict()
    ours = {name: ours[name] for name in ours if not name.startswith(("text_encoder.", "audio_encoder."))}
    check_equal(ours, LANGUAGE_MODEL, stored.get("model", stored))
    given = antiphon.T5EncoderModel.from_pretrained(text_encoder).state_dict()
    assert all(torch.equal(model.text_encoder.state_dict()[name], tensor) for name, tensor in given.items())
    table = table_of(model.audio_encoder.config.to_dict())
    stored = torch.load(golden("mono") / CODEC, weights_only=True)["best_state"]
    check_equal(model.audio_encoder.state_dict(), table, stored)


def check_equal(ours: dict[str, torch.Tensor], table: KeyTable, stored: dict[str, torch.Tensor]) -> None:
    """Every tensor is what audiocraft stored under its name for it, and nothing that it stored is left."""
    left = dict(stored)
    for name, parts in stored_from(ours, table).items():
        assert torch.equal(torch.cat([ours[part] for part in parts]), left.pop(name).float()), name
    assert [name for name in left if not name.endswith("chroma.spec.window")] == []


@pytest.mark.parametrize("kind", KINDS)
def test_configuration_generation_and_processor_are_those_of_converted_checkpoints(
    kind: str, text_encoder: Path, codec: Path
) -> None:
    model = opened(kind, text_encoder, codec)
    decoder, codec_config = model.config.decoder, model.config.audio_encoder
    channels = 2 if kind == "stereo" else 1
    assert (decoder.audio_channels, decoder.num_codebooks) == (channels, 4 * channels)
    assert (decoder.vocab_size, decoder.pad_token_id, decoder.bos_token_id) == (64, 64, 64)
    assert (decoder.hidden_size, decoder.ffn_dim) == (16, 64)
    assert (decoder.num_hidden_layers, decoder.num_attention_heads) == (2, 2)
    assert (codec_config.pad_mode, codec_config.use_causal_conv) == ("constant", False)
    assert codec_config.use_conv_shortcut is False
    assert (codec_config.sampling_rate, codec_config.frame_rate, codec_config.num_quantizers) == (1000, 50, 4)
    settings = model.generation_config
    assert (settings.do_sample, settings.guidance_scale, settings.max_length) == (True, 3.0, 1500)
    assert (settings.decoder_start_token_id, settings.bos_token_id, settings.pad_token_id) == (64, 64, 64)
    processor = antiphon.AutoProcessor.from_pretrained(golden(kind), **elsewhere(kind, text_encoder, codec))
    assert processor(text=["blues"], return_tensors="pt").input_ids.shape[0] == 1
    features = processor.feature_extractor
    assert features.sampling_rate == 1000
    if kind == "melody":
        assert (features.n_fft, features.hop_length, features.num_chroma, features.chunk_length) == (128, 32, 12, 30)
        assert (model.config.num_chroma, model.config.chroma_length) == (12, 30_000 // 32 + 1)
    else:
        assert (features.feature_size, features.padding_side) == (channels, "left")


def test_it_makes_music(text_encoder: Path) -> None:
    compose = antiphon.load(golden("mono"), text_encoder=text_encoder, device="cpu")
    piece = compose("blues groovy saxophone", seconds=0.2, seed=3)
    assert (piece.seconds, piece.sampling_rate) == (pytest.approx(0.2), 1000)
    assert compose.model.dtype is torch.float32


def test_parts_open_alone_and_need_no_other(text_encoder: Path) -> None:
    decoder = antiphon.MusicgenForCausalLM.from_pretrained(golden("mono"))
    codec = antiphon.EncodecModel.from_pretrained(golden("mono"))
    whole = antiphon.MusicgenForConditionalGeneration.from_pretrained(golden("mono"), text_encoder=text_encoder)
    for part, same in ((decoder, whole.decoder), (codec, whole.audio_encoder)):
        assert all(torch.equal(tensor, same.state_dict()[name]) for name, tensor in part.state_dict().items())
    text = antiphon.T5EncoderModel.from_pretrained(golden("mono"), text_encoder=text_encoder)
    assert torch.equal(text.state_dict()["shared.weight"], whole.text_encoder.state_dict()["shared.weight"])


def test_parts_of_a_melody_model_open_alone_too(text_encoder: Path, codec: Path) -> None:
    whole = opened("melody", text_encoder, codec)
    decoder = antiphon.MusicgenMelodyForCausalLM.from_pretrained(golden("melody"), codec=codec)
    text = antiphon.T5EncoderModel.from_pretrained(golden("melody"), text_encoder=text_encoder, codec=codec)
    coded = antiphon.EncodecModel.from_pretrained(golden("melody"), codec=codec)
    for part, same in ((decoder, whole.decoder), (text, whole.text_encoder), (coded, whole.audio_encoder)):
        assert all(torch.equal(tensor, same.state_dict()[name]) for name, tensor in part.state_dict().items())


def test_a_repository_that_has_only_such_files_opens_from_the_hubs_cache(
    tmp_path: Path, text_encoder: Path, codec: Path
) -> None:
    contents = {name: (golden("mono") / name).read_bytes() for name in (MODEL, CODEC)}
    make_cache(tmp_path, "me/finetuned", contents)
    access: dict[str, Any] = {"cache_dir": tmp_path, "local_files_only": True, "text_encoder": text_encoder}
    assert antiphon.AutoConfig.from_pretrained("me/finetuned", **access).model_type == "musicgen"
    model = antiphon.AutoModelForTextToWaveform.from_pretrained("me/finetuned", **access)
    gc.collect()  # some of its weights are views of the file in the cache, which was closed
    same = opened("mono", text_encoder, codec).state_dict()
    assert all(torch.equal(tensor, same[name]) for name, tensor in model.state_dict().items())
    assert antiphon.AutoProcessor.from_pretrained("me/finetuned", **access).sampling_rate == 1000


def test_a_codec_alone_in_a_folder_is_a_checkpoint_of_its_own(tmp_path: Path) -> None:
    shutil.copy(golden("mono") / CODEC, tmp_path)
    assert antiphon.AutoConfig.from_pretrained(tmp_path).model_type == "encodec"
    assert antiphon.AutoModel.from_pretrained(tmp_path).config.frame_rate == 50
    with pytest.raises(CheckpointError, match="codec alone"):
        antiphon.AutoFeatureExtractor.from_pretrained(tmp_path)


def test_parts_may_come_out_of_a_composite_of_the_documents_layout(
    text_encoder: Path, codec: Path, tmp_path: Path
) -> None:
    opened("mono", text_encoder, codec).save_pretrained(tmp_path)
    shutil.copy(text_encoder / "tokenizer.json", tmp_path)
    model = opened("stereo", tmp_path, tmp_path)
    assert torch.equal(
        model.text_encoder.state_dict()["shared.weight"],
        antiphon.T5EncoderModel.from_pretrained(text_encoder).state_dict()["shared.weight"],
    )
    assert antiphon.AutoTokenizer.from_pretrained(golden("stereo"), text_encoder=tmp_path)("blues").input_ids


def test_a_text_encoder_that_was_trained_too_comes_out_of_the_same_file(tmp_path: Path, text_encoder: Path) -> None:
    trained = antiphon.T5EncoderModel.from_pretrained(write_text_encoder(tmp_path / "other", d_ff=32)).state_dict()
    trained = {name: tensor + 1 for name, tensor in trained.items()}
    folder = copied("mono", tmp_path / "run")

    def add(content: dict[str, Any]) -> None:
        stored = {f"condition_provider.conditioners.description.t5.{name}": t.half() for name, t in trained.items()}
        content["best_state"] = {**content["best_state"], **stored}

    changed(folder / MODEL, add)
    model = antiphon.MusicgenForConditionalGeneration.from_pretrained(folder, text_encoder=text_encoder)
    found = model.text_encoder.state_dict()
    assert all(torch.equal(found[name], tensor.half().float()) for name, tensor in trained.items())


def test_F013_other_spellings_of_the_same_weights_are_read_alike(
    text_encoder: Path, codec: Path, tmp_path: Path
) -> None:
    folder = copied("mono", tmp_path / "run")

    def deeper(content: dict[str, Any]) -> None:
        for name in list(content["best_state"]):
            new = name.replace("self_attn.", "self_attn.mha.").replace("cross_attention.", "cross_attention.mha.")
            content["best_state"][new] = content["best_state"].pop(name)

    def newer(content: dict[str, Any]) -> None:
        for name in list(content["best_state"]):
            new = name.replace("weight_g", "parametrizations.weight.original0")
            new = new.replace("weight_v", "parametrizations.weight.original1")
            content["best_state"][new] = content["best_state"].pop(name)

    changed(folder / MODEL, deeper, _use_new_zipfile_serialization=False)
    changed(folder / CODEC, newer, _use_new_zipfile_serialization=False)
    model = antiphon.MusicgenForConditionalGeneration.from_pretrained(folder, text_encoder=text_encoder)
    same = opened("mono", text_encoder, codec).state_dict()
    assert all(torch.equal(tensor, same[name]) for name, tensor in model.state_dict().items())


def test_what_the_files_only_name_and_nobody_has_is_told_with_a_remedy(tmp_path: Path, codec: Path) -> None:
    access = {"cache_dir": tmp_path, "local_files_only": True}
    with pytest.raises(CheckpointError, match=r"needs 'google-t5/t5-base'.*not in the cache.*text_encoder="):
        antiphon.MusicgenForConditionalGeneration.from_pretrained(golden("mono"), **access)
    with pytest.raises(CheckpointError, match=r"compression_state_dict.bin needs 'facebook/encodec_32khz'.*codec="):
        antiphon.MusicgenForConditionalGeneration.from_pretrained(golden("stereo"), **access)
    with pytest.raises(CheckpointError, match="needs 'google-t5/t5-base'"):
        antiphon.AutoProcessor.from_pretrained(golden("mono"), **access)
    with pytest.raises(ConfigError, match="holds a model of type 'encodec'.*Expected a t5"):
        antiphon.AutoConfig.from_pretrained(golden("mono"), text_encoder=codec)
    alone = copied("mono", tmp_path / "alone")
    (alone / CODEC).unlink()
    reconfigured(alone / MODEL, "//pretrained/facebook/encodec_32khz", "//sig/1234")
    with pytest.raises(CheckpointError, match="comes without its codec.*Put that file beside it"):
        antiphon.AutoConfig.from_pretrained(alone)


def test_places_of_parts_are_refused_for_a_checkpoint_that_holds_its_own(codec: Path) -> None:
    with pytest.raises(ParamError, match="codec='x' for .* which is no folder of audiocraft's files"):
        antiphon.EncodecModel.from_pretrained(codec, codec="x")


def test_a_text_encoder_of_another_width_does_not_fit(tmp_path: Path) -> None:
    wide = write_text_encoder(tmp_path / "wide", d_model=32)
    with pytest.raises(CheckpointError, match=r"enc_to_dec_proj.weight: got \(16, 24\), want \(16, 32\)"):
        antiphon.MusicgenForConditionalGeneration.from_pretrained(golden("mono"), text_encoder=wide)


def test_a_folder_of_both_layouts_is_of_the_documents(tmp_path: Path, codec: Path) -> None:
    both = Path(shutil.copytree(codec, tmp_path / "both"))
    shutil.copy(golden("melody") / MODEL, both)
    assert AudiocraftFolder.found(both) is None
    assert AudiocraftFolder.within(both) is not None
    assert antiphon.AutoConfig.from_pretrained(both).model_type == "encodec"


def test_a_published_model_is_described_without_its_text_encoder() -> None:
    found = AudiocraftFolder.found(golden("mono"))
    assert found is not None
    text = found.config()["text_encoder"]
    assert (text["d_model"], text["num_layers"], text["d_ff"], text["feed_forward_proj"]) == (768, 12, 3072, "relu")
    with found.open_own() as weights:
        prefixes = {name.split(".")[0] for name in weights.names()}
        assert prefixes == {"decoder", "enc_to_dec_proj", "audio_encoder"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_names_of_a_file_are_found_again(kind: str) -> None:
    for path in (golden(kind) / NAMES[kind], golden(kind) / CODEC):
        file = AudiocraftFile(path) if path.exists() else None
        if file is None or file.pretrained is not None:
            continue
        table = LANGUAGE_MODEL if path.name != CODEC else table_of(codec_values(file.config))
        back = stored_from(pieces_of(file.infos, table), table)
        assert set(back) == {plain_name(name) for name in file.stored if not name.endswith("spec.window")}
        file.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_made_anew_says_the_same(kind: str) -> None:
    file = AudiocraftFile(golden(kind) / NAMES[kind])
    told = language_model_values(file.config)
    file.close()
    codec = AudiocraftFile(golden("mono") / CODEC)
    values = codec_values(codec.config)
    codec.close()
    composite = {"model_type": told.model_type, "decoder": told.decoder, "audio_encoder": values, **told.chroma}
    made = xp_of_language_model(
        composite, told.chroma, text_encoder=told.text_encoder, guidance=told.guidance_scale, segment_s=told.segment_s
    )
    again = language_model_values(XpConfig.of_text(XpConfig(made, HERE).text, HERE))
    assert again == told.__class__(**{**vars_of(told), "codec": None})
    assert codec_values(XpConfig.of_text(XpConfig(xp_of_codec(values), HERE).text, HERE)) == values


def vars_of(told: Any) -> dict[str, Any]:
    return {name: getattr(told, name) for name in told.__dataclass_fields__}


@pytest.mark.parametrize("books", range(1, 17))
@pytest.mark.parametrize("bins", [64, 1024, 2048])
def test_bandwidths_give_back_the_number_of_codebooks(books: int, bins: int) -> None:
    file = AudiocraftFile(golden("mono") / CODEC)
    values = xp_of_codec(codec_values(file.config))
    file.close()
    values["rvq"] |= {"n_q": books, "bins": bins}
    for used in (1, books):
        config = antiphon.EncodecConfig(**codec_values(XpConfig(values, HERE), used))
        assert (config.num_quantizers, config.codebooks_at(None)) == (books, used)


def test_a_language_model_may_use_fewer_codebooks_than_the_codec_has() -> None:
    file = AudiocraftFile(golden("mono") / CODEC)
    assert codec_values(file.config, 2)["target_bandwidths"] == [0.6, 1.2]
    with pytest.raises(ConfigError, match="8 codebooks are used of a codec with rvq.n_q=4"):
        codec_values(file.config, 8)
    file.close()
