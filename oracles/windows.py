"""What audiocraft composes over several windows: writes goldens/windows_mono and goldens/windows_stereo.

Each holds a tiny random model, the states of two texts, logits of a forward pass, and for every case in ``CASES`` the
codes that audiocraft's ``MusicGen`` makes greedily with windows of 2 s that move on by 1.2 s. Behind them are the codes
of two texts of different lengths, in one call and in two.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import tiny_audiocraft as tiny
import torch
from audiocraft.models.musicgen import MusicGen
from audiocraft.modules.conditioners import ConditioningAttributes, WavCondition
from greedy import Choices, first_clear, spread
from torch import Tensor

WINDOW_S, STRIDE_S = 2.0, 1.2
TEXTS = ("one", "other")
BRIEF, BRIEF_PLACES = "brief", 4  # a shorter one
# name: seconds of the whole, prompt included; frames of the prompt; guidance
CASES = {
    "one_window": (2.0, 0, 3.0),
    "four_windows": (5.0, 0, 3.0),
    "no_guidance": (5.0, 0, 1.0),
    "prompt": (5.0, 30, 3.0),
    "prompt_of_a_window_less_one": (5.0, 99, 3.0),
    "odd_length": (4.26, 0, 3.0),
}


def attributes(texts: Sequence[str] = TEXTS) -> list[ConditioningAttributes]:
    """The texts, and the silent melody that ``MusicGen`` expects with any text."""
    silence = WavCondition(torch.zeros(1, 1, 1), torch.tensor([0]), [32000], [None])
    return [ConditioningAttributes(text={"description": text}, wav={"self_wav": silence}) for text in texts]


def composed(
    model: Any, prompt: Tensor | None, seconds: float, guidance: float, texts: Sequence[str] = TEXTS
) -> tuple[Tensor, float]:
    """The codes (B, K, T) of a case, and how close a choice came."""
    music = MusicGen("tiny", tiny.codec(pad_mode="reflect"), model, max_duration=30.0)
    music.max_duration = WINDOW_S  # it can only be set below the default stride afterwards
    music.set_generation_params(use_sampling=False, duration=seconds, cfg_coef=guidance, extend_stride=STRIDE_S)
    choices = Choices(model, guidance)
    with torch.no_grad():
        codes = music._generate_tokens(attributes(texts), prompt)
    if codes.shape[-1] != round(seconds * tiny.FRAME_RATE_HZ):
        raise SystemExit(f"{seconds} s made {codes.shape[-1]} frames: choose another length")
    return codes, choices.done()


def golden(kind: str, seed: int) -> tuple[dict[str, Tensor], float]:
    """The tensors of one kind, and how close a choice came in any case."""
    torch.manual_seed(seed)
    states = {text: torch.randn(tiny.TEXT_PLACES, tiny.TEXT_WIDTH) for text in TEXTS}
    model = tiny.language_model(states, delays=tiny.DELAYS[kind])
    spread(model)
    prompt = torch.randint(tiny.CODES, (len(TEXTS), len(tiny.DELAYS[kind]), 99))
    tensors = tiny.published_names(model)
    tensors["text_states"] = torch.stack([states[text] for text in TEXTS])
    tensors["prompt"] = prompt.to(torch.uint8)
    columns = torch.randint(tiny.CODES + 1, (len(TEXTS), len(tiny.DELAYS[kind]), 12))
    with torch.no_grad():
        texts = model.condition_provider(model.condition_provider.tokenize(attributes()))
        tensors |= {
            "columns": columns.to(torch.uint8),
            "logits": model(columns, [], texts)[..., :: tiny.EVERY_CODE].contiguous(),
        }
    closest = float("inf")
    for name, (seconds, prompt_frames, guidance) in CASES.items():
        given = prompt[..., :prompt_frames] if prompt_frames else None
        codes, gap = composed(model, given, seconds, guidance)
        tensors[f"codes.{name}"] = codes.to(torch.uint8).contiguous()
        closest = min(closest, gap)
    tensors["brief_states"] = states[BRIEF] = torch.randn(BRIEF_PLACES, tiny.TEXT_WIDTH)
    texts = (TEXTS[0], BRIEF)
    for name, calls in (("together", [texts]), ("apart", [(text,) for text in texts])):
        made = [composed(model, None, WINDOW_S, 3.0, called) for called in calls]
        tensors[f"codes.{name}"] = torch.cat([codes for codes, _ in made]).to(torch.uint8)
        closest = min(closest, *(gap for _, gap in made))
    return tensors, closest


def main() -> None:
    """Writes the goldens of the first seeds without a near tie."""
    facts = {
        name: {"frames": round(seconds * tiny.FRAME_RATE_HZ), "prompt_frames": prompt, "guidance": guidance}
        for name, (seconds, prompt, guidance) in CASES.items()
    }
    for kind in tiny.DELAYS:
        tensors, about = first_clear(kind, partial(golden, kind))
        about |= {"cases": facts, "window_seconds": WINDOW_S, "stride_seconds": STRIDE_S}
        tiny.save(f"windows_{kind}", tensors, about)


if __name__ == "__main__":
    main()
