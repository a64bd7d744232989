"""Weights in 8 bits are widened, and adapters are added, while a file of kyutai's is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from antiphon.checkpoints.kyutai_folder import MODEL_FILE, ROUNDED_FILE, KyutaiFolder
from antiphon.checkpoints.store import Weights
from antiphon.errors import CheckpointError, ConfigError

from .kyutai_files import ADAPTER, IN_8_BITS, WITH_ADAPTER, copied, golden, read

HEAD = "decoder.lm_head.weight"


def opened(folder: Path) -> Weights:
    original = KyutaiFolder.found(folder)
    assert original is not None
    return original.open("decoder.")


def test_codes_of_8_bits_become_the_weights_that_they_stand_for(tmp_path: Path) -> None:
    stored = load_file(golden("moshi") / ROUNDED_FILE)
    meant = stored["text_linear.weight"].float() * stored["text_linear.weight_scb"][:, None] / 127
    with opened(copied("moshi", tmp_path, **IN_8_BITS)) as weights:
        assert weights.info(HEAD).dtype is torch.bfloat16
        target = torch.empty(weights.info(HEAD).shape)
        weights.read_into({HEAD: target})
        torch.testing.assert_close(target, meant, rtol=1e-6, atol=0)
        assert torch.equal(weights.read(HEAD), meant.bfloat16())
        assert weights.mapped([HEAD]) == {}
    plain = read(golden("moshi"))[HEAD].float()
    assert 0 < (target - plain).abs().max() < plain.abs().max() / 127


def test_an_adapter_is_added_in_full_precision(tmp_path: Path) -> None:
    adapter = load_file(golden("moshi") / ADAPTER)
    plain = load_file(golden("moshi") / MODEL_FILE)["text_linear.weight"].float()
    product = adapter["text_linear.lora_B.weight"].float() @ adapter["text_linear.lora_A.weight"].float()
    with opened(copied("moshi", tmp_path, **WITH_ADAPTER)) as weights:
        target = torch.empty(plain.shape)
        weights.read_into({HEAD: target})
        assert weights.mapped([HEAD]) == {}
    assert torch.equal(target, plain + 2.0 * product)


def test_an_adapter_reaches_every_kind_of_layer(tmp_path: Path) -> None:
    plain, adapted = read(golden("moshi")), read(copied("moshi", tmp_path, **WITH_ADAPTER))
    changed = {name for name, tensor in plain.items() if not torch.equal(adapted[name], tensor)}
    assert plain.keys() == adapted.keys()
    layers = ("q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2", "lm_head", "input_projections")
    assert changed == {
        n for n in plain if not n.startswith("audio_encoder.") and any(f".{part}" in n for part in layers)
    }


def test_other_tensors_of_an_adapter_take_the_place_of_those_of_their_name(tmp_path: Path) -> None:
    folder = copied("moshi", tmp_path, **WITH_ADAPTER)
    learned = torch.randn(load_file(folder / MODEL_FILE)["emb.0.weight"].shape)
    save_file({**load_file(folder / ADAPTER), "emb.0.weight": learned}, folder / ADAPTER)
    assert torch.equal(read(folder)["embed_tokens.0.weight"], learned.bfloat16())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_rank": 3}, r"lora_A.*\[2, 8\].*\[3, 8\]"),
        ({"lora": False}, "lora=false"),
        ({"lora_rank": "two"}, "lora_rank='two'"),
        ({"lora_name": "elsewhere.safetensors"}, "elsewhere.safetensors is missing"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    folder = copied("moshi", tmp_path, **WITH_ADAPTER | changes)
    with pytest.raises((CheckpointError, ConfigError), match=message):
        opened(folder)


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = copied("moshi", tmp_path, **WITH_ADAPTER)
    save_file({"head.lora_A.weight": torch.ones(2, 16), "head.lora_B.weight": torch.ones(2, 2)}, folder / ADAPTER)
    with pytest.raises(CheckpointError, match=r"head\.lora_A\.weight"):
        opened(folder)
    one = {"text_linear.lora_A.weight": torch.ones(2, 16)}
    save_file(one, folder / ADAPTER)
    with pytest.raises(CheckpointError, match="stands alone"):
        opened(folder)


def test_codes_without_scales_are_refused(tmp_path: Path) -> None:
    folder = copied("moshi", tmp_path, **IN_8_BITS)
    stored = load_file(folder / ROUNDED_FILE)
    del stored["text_linear.weight_scb"]
    save_file(stored, folder / ROUNDED_FILE)
    with pytest.raises(CheckpointError, match="text_linear.weight_scb"):
        opened(folder)
