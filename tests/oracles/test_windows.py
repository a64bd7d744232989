"""Codes over several windows are those that audiocraft's MusicGen gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .goldens import golden

CASES = golden("windows_mono").about["cases"]


def composed(language_model: Any, case: dict[str, Any], **settings: Any) -> torch.Tensor:
    """Our codes (B, K, T)."""
    source, model = language_model
    longest_delay = 3
    if case["prompt_frames"]:
        prompt = source["prompt"][..., : case["prompt_frames"]]
        settings["decoder_input_ids"] = prompt.flatten(0, 1)
    output = model.generate(
        encoder_outputs=(source["text_states"],),
        attention_mask=torch.ones(source["text_states"].shape[:2], dtype=torch.long),
        max_new_tokens=case["frames"] - case["prompt_frames"] + longest_delay,
        do_sample=False,
        guidance_scale=case["guidance"],
        return_dict_in_generate=True,
        **settings,
    )
    return output.audio_codes


@pytest.mark.parametrize("name", CASES)
def test_codes_over_windows_are_those_of_audiocraft(language_model: Any, name: str) -> None:
    source, _ = language_model
    settings = {name: source.about[name] for name in ("window_seconds", "stride_seconds")}
    assert torch.equal(composed(language_model, CASES[name], **settings), source[f"codes.{name}"])


def test_one_long_window_gives_other_codes_once_the_first_is_over(language_model: Any) -> None:
    source, _ = language_model
    codes, windowed = composed(language_model, CASES["four_windows"]), source["codes.four_windows"]
    first = 100 - 3  # frames of a window, but for the last: their later codebooks come when its first one is over
    assert torch.equal(codes[..., :first], windowed[..., :first])
    assert not torch.equal(codes, windowed)
