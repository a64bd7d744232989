"""One measurement of Music Flamingo's parts at the published sizes with random weights, of one library; prints JSON.

Run by ``benchmarks/flamingo.py``. Both libraries are called by the names that the documentation gives.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from moshi_worker import memory_mib, timed, weight_bytes
from random_weights import ours_filled, theirs_filled
from torch import Tensor

LIBRARIES = ("antiphon", "transformers")
KINDS = ("bfloat16", "int8", "int4")
RATE_HZ, WINDOW_S, WINDOW_FRAMES, BANDS = 16_000, 30, 3000, 128
ENCODER_LAYERS, LM_LAYERS, CLIPS, PROMPT_TOKENS = 32, 28, 20, 1024
SHORTEST_S, LONGEST_S = 3.0, 19.5
ENCODER = {
    "num_mel_bins": BANDS,
    "hidden_size": 1280,
    "num_attention_heads": 20,
    "intermediate_size": 5120,
    "num_hidden_layers": ENCODER_LAYERS,
}
LM = {
    "vocab_size": 151_670,
    "hidden_size": 3584,
    "intermediate_size": 18_944,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "num_hidden_layers": LM_LAYERS,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
}


def built(library: Any, name: str, config: Any, kind: str = KINDS[0]) -> Any:
    """A model of random weights; ``meta`` until each tensor gets its numbers."""
    with torch.device("meta"):
        model = getattr(library, name)(config)
    return ours_filled(model, kind=kind) if library.__name__ == "antiphon" else theirs_filled(model)


def mel(library: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Ten minutes of sound to log-mel windows."""
    extractor = library.WhisperFeatureExtractor(feature_size=BANDS)
    sound = np.random.default_rng(0).standard_normal(args.minutes * 60 * RATE_HZ).astype(np.float32) / 10
    windows = np.split(sound, len(sound) // (WINDOW_S * RATE_HZ))
    asked = {"sampling_rate": RATE_HZ, "return_attention_mask": True, "return_tensors": "pt", "padding": "max_length"}
    extractor(windows[:1], **asked)
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # VmHWM counts anew
    before, result_mib = memory_mib("VmRSS"), 4 * BANDS * WINDOW_FRAMES * len(windows) / 2**20
    extractor(windows, **asked)
    extra = memory_mib("VmHWM") - before - result_mib
    return {"ms": {"mel": timed(lambda: extractor(windows, **asked), args.times)}, "extra_mib": extra}


def encoder(library: Any, args: argparse.Namespace) -> dict[str, Any]:
    """A window of 30 s to frames."""
    model = built(library, "AudioFlamingo3Encoder", library.AudioFlamingo3EncoderConfig(**ENCODER))
    features = torch.randn(1, BANDS, WINDOW_FRAMES).bfloat16()
    mask = torch.ones(1, WINDOW_FRAMES, dtype=torch.int32)
    call = lambda: model(features, input_features_mask=mask)  # noqa: E731
    return {"ms": {"encoder": timed(call, args.times)}, "weight_bytes": weight_bytes(model)}


def clips(library: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Short clips in a batch to the frames that the language model takes."""
    small = {**LM, "num_hidden_layers": 1, "vocab_size": 64}
    config = library.MusicFlamingoConfig(
        audio_config=library.AudioFlamingo3EncoderConfig(**ENCODER),
        text_config=library.Qwen2Config(**small),
        audio_token_id=1,
        audio_bos_token_id=2,
        audio_eos_token_id=3,
    )
    model = built(library, "MusicFlamingoForConditionalGeneration", config)
    seconds = np.linspace(SHORTEST_S, LONGEST_S, CLIPS)
    lengths = torch.tensor([int(100 * one) for one in seconds])
    mask = (torch.arange(WINDOW_FRAMES) < lengths[:, None]).int()
    features = torch.randn(CLIPS, BANDS, WINDOW_FRAMES).bfloat16()
    held = [((int(n) - 1) // 2 + 1 - 2) // 2 + 1 for n in lengths]
    ids = torch.full((CLIPS, max(held) + 1), 5)
    for row, count in zip(ids, held, strict=True):
        row[:count] = 1
    whole = model.model if hasattr(model, "model") and hasattr(model.model, "get_audio_features") else model
    call = lambda: whole.get_audio_features(features, mask, ids)  # noqa: E731
    begun = time.perf_counter()
    call()  # takes so long that nothing has to be warm
    return {"ms": {"clips": 1000 * (time.perf_counter() - begun)}}


def lm(library: Any, args: argparse.Namespace) -> dict[str, Any]:
    """A prompt to the first token, and what each later token takes."""
    config = library.Qwen2Config(**{**LM, "num_hidden_layers": args.layers})
    model = built(library, "Qwen2ForCausalLM", config, args.kind)
    ids = torch.randint(0, LM["vocab_size"], (1, PROMPT_TOKENS), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)

    moments: list[float] = []

    def told(*_: Any, **__: Any) -> Tensor:
        """A stopping rule that never stops, and knows when each token was there."""
        moments.append(time.perf_counter())
        return torch.zeros(1, dtype=torch.bool)

    settings = {"attention_mask": mask, "do_sample": False, "pad_token_id": 0, "stopping_criteria": [told]}
    model.generate(ids, max_new_tokens=2, **settings)
    firsts, laters = [], []
    for _ in range(args.times):
        moments.clear()
        begun = time.perf_counter()
        found: Tensor = model.generate(ids, max_new_tokens=args.tokens + 1, **settings)
        assert found.shape[1] - PROMPT_TOKENS == len(moments) == args.tokens + 1
        firsts.append(moments[0] - begun)
        laters += [later - one for one, later in itertools.pairwise(moments)]
    return {
        "ms": {"prefill": 1000 * statistics.median(firsts), "decode": 1000 * statistics.median(laters)},
        "weight_bytes": weight_bytes(model),
        "peak_mib": memory_mib("VmHWM"),
    }


PARTS: dict[str, Callable[[Any, argparse.Namespace], dict[str, Any]]] = {
    "mel": mel,
    "encoder": encoder,
    "clips": clips,
    "lm": lm,
}


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=LIBRARIES)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--kind", choices=KINDS, default=KINDS[0])
    parser.add_argument("--layers", type=int, default=LM_LAYERS)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    """Measures and prints."""
    args = parsed()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    with torch.no_grad():
        found = PARTS[args.part](importlib.import_module(args.library), args)
    print(json.dumps(found))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
