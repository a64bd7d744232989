"""The logits of given columns are audiocraft's."""

from __future__ import annotations

from typing import Any

import torch


def test_logits_are_those_of_audiocraft(language_model: Any) -> None:
    source, model = language_model
    texts = model.project(source["text_states"], None)
    with torch.no_grad():
        logits = model.decoder(source["columns"].flatten(0, 1), encoder_hidden_states=texts).logits
    assert (logits[..., ::8] - source["logits"].flatten(0, 1)).abs().max() < 1e-4 * source["logits"].abs().max()
