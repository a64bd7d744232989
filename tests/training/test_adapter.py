"""Where adapters go in training unless one says it."""

from __future__ import annotations

import antiphon
from antiphon.training.adapter import adapted
from antiphon.training.job_file import DataSection, JobFile, LoraSection, ModelSection
from antiphon.training.settings import RunSettings

from ..models.tiny_moshi import fields
from .music_models import ours


def job(objective: str) -> JobFile:
    """One that says no more of its adapters than that it wants them."""
    sections = ModelSection(start="model"), DataSection(train="sounds"), RunSettings(steps=200)
    return JobFile(objective, "run", *sections, lora=LoraSection())


def test_both_of_moshis_decoders_have_adapters_and_the_codec_has_none() -> None:
    moshi = antiphon.MoshiForConditionalGeneration(antiphon.MoshiConfig(**fields()))
    moshi.add_adapter({"r": 1, **adapted(moshi, job("speech"))})
    places = {name.rpartition(".lora_")[0] for name in moshi.get_adapter_state_dict()}
    parts = [f"self_attn.{kind}_proj.linear" for kind in "qkvo"] + ["mlp.fc1", "mlp.fc2"]
    wanted = {f"decoder.model.layers.{layer}.{part}" for layer in range(3) for part in parts}
    wanted |= {f"depth_decoder.layers.{layer}.{part}" for layer in range(2) for part in parts}
    assert places == wanted


def test_a_music_models_decoder_has_adapters_and_its_other_parts_have_none() -> None:
    music = ours("mono")
    music.add_adapter({"r": 1, **adapted(music, job("music"))})
    places = {name.rpartition(".lora_")[0] for name in music.get_adapter_state_dict()}
    assert {name.rpartition(".")[2] for name in places} == {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"}
    assert all(name.startswith("decoder.") for name in places)
