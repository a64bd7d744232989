"""Comparisons: what is run, what is made of it, what is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import antiphon
from antiphon.errors import ConfigError, MissingExtraError, ParamError, SessionError
from antiphon.tasks import comparison as module
from antiphon.tasks.comparison import bytes_per_step, compare
from antiphon.tasks.machine import read_speed_gb_s
from antiphon.tasks.measurement import LOADING, PEER_KINDS, SCRIPT, Request, measure
from antiphon.tasks.random_checkpoint import published_melody, write_random


@pytest.fixture
def tiny_melody(checkpoint: Path) -> antiphon.MusicgenMelodyConfig:
    """A melody model of the small checkpoint's sizes."""
    own = antiphon.MusicgenConfig.from_pretrained(checkpoint)
    codes = own.decoder.vocab_size
    sizes = {"hidden_size": 32, "ffn_dim": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
    special = {"pad_token_id": codes, "bos_token_id": codes}
    decoder = antiphon.MusicgenMelodyDecoderConfig(vocab_size=codes, **sizes, **special)
    return antiphon.MusicgenMelodyConfig(
        text_encoder=own.text_encoder, audio_encoder=own.audio_encoder, decoder=decoder
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Request]]:
    """What was asked of processes that did not run; the second round is twice as slow as the first, and so on."""
    seen: list[tuple[str, Request]] = []

    def measured(library: str, request: Request) -> dict[str, Any]:
        seen.append((library, request))
        assert (Path(request.model) / "config.json").exists()
        number = sum(earlier == (library, request) for earlier in seen)
        figures = {"load_s": 1.0, "ms_per_step": 10.0 * number, "generate_s": 6.0, "sound_s": 2.0}
        figures |= {"first_sound_s": 0.5, "peak_mib": None}
        return figures | ({"decode_s": 0.25, "decode_mib": 7.0} if request.codec_s else {})

    monkeypatch.setattr(module, "measure", measured)
    monkeypatch.setattr(module.Machine, "here", lambda threads: module.Machine("a processor", 2, threads, "here", 20.0))
    return seen


def test_libraries_take_turns_for_each_kind_and_the_codec_is_measured_once_a_round(
    checkpoint: Path, asked: list[tuple[str, Request]]
) -> None:
    compare(checkpoint, steps=8, kinds=("bf16", "int4"), beside="transformers", rounds=2, threads=1)
    expected = [("antiphon", "bf16", True), ("transformers", "bf16", True), ("antiphon", "int4", False)]
    assert [(library, request.kind, request.codec_s > 0) for library, request in asked] == expected * 2
    assert {(request.model, request.steps, request.threads) for _, request in asked} == {(str(checkpoint), 8, 1)}


def test_figures_are_medians_beside_the_time_that_reading_the_weights_takes(
    checkpoint: Path, asked: list[tuple[str, Request]]
) -> None:
    told: list[str] = []
    compared = compare(checkpoint, steps=8, kinds=["fp32"], rounds=3, threads=1, on_measure=told.append)
    figures = compared.of("antiphon", "fp32")
    assert figures is not None
    assert (figures.ms_per_step, figures.whole_s, figures.peak_mib) == (20.0, 3.0, None)
    decoder = antiphon.MusicgenConfig.from_pretrained(checkpoint).decoder.to_dict()
    assert figures.limit_ms == pytest.approx(1000 * bytes_per_step(decoder, "fp32") / 20e9)
    assert figures.share_of_limit == figures.limit_ms / 20
    assert (compared.codecs[0].decode_s, compared.codecs[0].decode_mib) == (0.25, 7.0)
    assert compared.of("antiphon", "int4") is None
    assert compared.to_dict()["figures"][0]["share_of_limit"] == figures.share_of_limit
    assert sum("antiphon fp32" in line for line in told) == 3


def test_without_a_model_one_of_the_published_sizes_is_made_and_goes_again(
    checkpoint: Path, asked: list[tuple[str, Request]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = antiphon.MusicgenConfig.from_pretrained(checkpoint)
    monkeypatch.setattr(module, "published_small", lambda: tiny)
    compared = compare(steps=8, kinds=["fp32"], threads=1)
    assert "random weights" in compared.model
    assert not Path(asked[0][1].model).exists()


def test_the_published_sizes_have_as_many_weights_as_the_published_model() -> None:
    decoder = module.published_small().decoder.to_dict()
    assert bytes_per_step(decoder, "fp32") == 4 * (14 * 1024**2 * 24 + 4 * 2048 * 1024)
    assert bytes_per_step(decoder, "bf16") == bytes_per_step(decoder, "fp32") / 2
    assert bytes_per_step(decoder, "int4") < 0.53 * bytes_per_step(decoder, "int8")


def test_a_step_reads_all_of_the_stack_but_the_keys_and_values_of_the_text(compose: Any) -> None:
    decoder = compose.model.decoder
    matrices = {name: p for name, p in decoder.state_dict().items() if p.dim() == 2 and "embed" not in name}
    kept = [name for name in matrices if "encoder_attn.k_proj" in name or "encoder_attn.v_proj" in name]
    read = sum(p.numel() for name, p in matrices.items() if name not in kept)
    assert len(kept) == 2 * decoder.config.num_hidden_layers
    assert bytes_per_step(decoder.config.to_dict(), "fp32") == 4 * read


def test_the_melody_model_reads_as_many_weights_as_its_stack_has(tiny_melody: antiphon.MusicgenMelodyConfig) -> None:
    decoder = antiphon.MusicgenMelodyForCausalLM(tiny_melody.decoder)
    matrices = [p for name, p in decoder.state_dict().items() if p.dim() == 2 and "embed" not in name]
    assert bytes_per_step(tiny_melody.decoder.to_dict(), "fp32") == 4 * sum(p.numel() for p in matrices)
    sizes = published_melody().decoder
    assert (sizes.hidden_size, sizes.num_hidden_layers, sizes.ffn_dim, sizes.num_attention_heads) == (
        1536,
        48,
        6144,
        24,
    )
    assert published_melody(12).decoder.num_hidden_layers == 12
    assert published_melody().chroma_length == 235


@pytest.mark.parametrize("family", ["musicgen", "musicgen_melody"])
def test_the_script_is_measured_with_either_library(
    checkpoint: Path, tiny_melody: antiphon.MusicgenMelodyConfig, tmp_path: Path, family: str
) -> None:
    folder = checkpoint if family == "musicgen" else write_random(tmp_path, tiny_melody)
    request = Request(model=str(folder), steps=8, codec_s=1.0, chunk_s=0.1)
    for library in ("antiphon", "transformers"):
        found = measure(library, request)
        assert found.keys() >= {"load_s", "ms_per_step", "generate_s", "first_sound_s", "decode_s", "decode_mib"}
        assert found["sound_s"] == pytest.approx((8 - 3) / 50)  # the last codebook begins three columns late
        assert 0 < 8 * found["ms_per_step"] / 1000 < found["generate_s"]


def test_only_the_import_line_of_the_script_names_a_library() -> None:
    assert [line for line in SCRIPT.splitlines() if "LIBRARY" in line] == ["import LIBRARY as library"]
    assert "antiphon" not in SCRIPT
    assert set(PEER_KINDS) < set(LOADING)


def test_a_measurement_that_fails_says_what_the_process_said(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r"antiphon in bf16 failed: .*config\.json is missing"):
        measure("antiphon", Request(model=str(tmp_path), kind="bf16", steps=8))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 7}, "steps=7"),
        ({"steps": float("nan")}, "steps=nan"),
        ({"rounds": 0}, "rounds=0"),
        ({"threads": 0}, "threads=0"),
        ({"kinds": ()}, "fp32, bf16, int8, int4"),
        ({"kinds": ("fp32", "int2")}, "int2"),
        ({"beside": "audiocraft"}, "transformers"),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_runs(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ParamError, match=said):
        compare("no such folder", **settings)


def test_a_library_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install transformers"):
        compare("no such folder", beside="transformers")


def test_a_model_of_another_type_is_refused(tmp_path: Path) -> None:
    antiphon.T5Config().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="t5"):
        compare(tmp_path)


def test_memory_is_read_at_some_speed_and_the_number_of_threads_stays() -> None:
    import torch

    before = torch.get_num_threads()
    assert read_speed_gb_s(1, 1 << 20) > 0.1
    assert torch.get_num_threads() == before
