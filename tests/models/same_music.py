"""The comparison of whole generations with transformers.

The seeds are such that the two best scores of every step differ by more than 1e-5 here, so that no greedy choice is a
tie; ``assert_no_tie`` checks that.
"""

from __future__ import annotations

from typing import Any

import torch

from .conftest import Pair
from .tiny_musicgen import CODES, distance, generated

ASK = {"return_dict_in_generate": True}
GREEDY = {"do_sample": False, "guidance_scale": 3.0, "max_new_tokens": 16}


def assert_no_tie(scores: Any) -> None:
    for step in scores:
        best, second = step.topk(2, dim=-1).values.unbind(-1)
        assert float((best - second).min()) > 1e-5


def assert_same_music(pair: Pair, **arguments: Any) -> tuple[Any, Any]:
    """Greedy codes of both are equal and the waveforms within 1e-4; returns both outputs."""
    asked = {**GREEDY, "return_dict_in_generate": True, "output_scores": True, **arguments}
    their_codes, theirs = generated(pair.theirs, **asked)
    our_codes, ours = generated(pair.ours, **asked)
    assert_no_tie(ours.scores)
    assert torch.equal(their_codes, our_codes)
    assert distance(theirs.sequences, ours.sequences) < 1e-4
    return theirs, ours


def complete_generation_config(decoder: Any) -> None:
    """What the reference's standalone decoder fails without."""
    decoder.generation_config.update(
        decoder_start_token_id=CODES, pad_token_id=CODES, num_return_sequences=1, num_beams=1, temperature=1.0
    )
