"""One measurement of Moshi or Mimi at the published sizes with random weights, of one library; prints one JSON object.

Run by ``benchmarks/duplex.py``, for kyutai's package in an environment of its own. All libraries go through the same
lines: a part is called a few times unmeasured, then its median is taken. Text and codes are sampled with the ``top_k``
of kyutai's package. Times are those of the first frames of a conversation.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from random_weights import filled, ours_filled, theirs_filled
from torch import Tensor, nn

LIBRARIES = ("antiphon", "kyutai", "transformers")
KINDS = ("bfloat16", "int8", "int4")
LAYERS, BOOKS, STREAMS, WIDTH = 32, 8, 17, 4096
TEXTS, CODES, FRAME = 32_000, 2048, 1920
TEXT_TOP_K, CODE_TOP_K, TEMPERATURE = 25, 250, 0.8

Parts = dict[str, Callable[[], Any]]


# --- ours ------------------------------------------------------------------------------------------------------------


def antiphon_model(layers: int, kind: str, dtype: torch.dtype = torch.bfloat16, *, rounds: bool = False) -> Any:
    """The language model with its depth decoder; ``meta`` until each tensor gets its numbers.

    Codes are random as well, or with ``rounds`` those nearest to random weights.
    """
    import antiphon
    from antiphon.models.quantization import KINDS as BITS
    from antiphon.models.quantization import Quantization
    from antiphon.models.quantized import layers_to_round
    from antiphon.nn.quantized_linear import QuantizedLinear

    with torch.device("meta"):
        model = antiphon.MoshiForConditionalGeneration(antiphon.MoshiConfig(num_hidden_layers=layers))
    model.audio_encoder = nn.Identity()  # what is measured apart
    model = ours_filled(model, kind=None if rounds else kind, dtype=dtype)
    if kind in BITS and rounds:
        for path, one in layers_to_round(model, Quantization(BITS[kind])).items():
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, QuantizedLinear.of(one.layer, bits=one.bits))
    return model


@torch.no_grad()
def drifting(model: Any, steps: int) -> dict[str, Tensor]:
    """Logits of texts (T, V) and of codes (T * K, C) over the same random columns and frames."""
    generator = torch.Generator().manual_seed(1)
    columns = torch.randint(CODES, (steps, 1, STREAMS), generator=generator)
    lm, texts, codes = model.lm, list[Tensor](), list[Tensor]()
    state = lm.state(1)

    def keep(_: int, logits: Tensor) -> Tensor:
        codes.append(logits)
        return logits.argmax(dim=-1)

    for column in columns:
        moment, logits = lm.step(column, state)
        texts.append(logits)
        lm.depth.sample(moment, column[:, 0], keep, forced=column[:, 1 : BOOKS + 1])
    return {"text": torch.cat(texts), "codes": torch.cat(codes)}


def antiphon_parts(layers: int, kind: str) -> tuple[Any, Parts]:
    """The weights and the parts."""
    from antiphon.generation.philox import ItemNoise
    from antiphon.generation.sampling import TopK, pick

    model = antiphon_model(layers, kind)
    lm, state, noise = model.lm, model.lm.state(1), ItemNoise([0])
    told = {"step": 0, "column": torch.zeros(1, STREAMS, dtype=torch.int64), "moment": None}

    def chosen(logits: Tensor, stream: int, top_k: int) -> Tensor:
        scores = TopK(top_k)(logits, logits.float() / TEMPERATURE)
        return pick(scores, noise.gumbel(told["step"], 1, scores.shape[-1], first_stream=stream)[:, 0])[0]

    def main() -> Tensor:
        told["step"] += 1
        told["moment"], logits = lm.step(told["column"], state)
        return chosen(logits, 0, TEXT_TOP_K)

    def depth(text: Tensor | None = None) -> Tensor:
        text = torch.zeros(1, dtype=torch.int64) if text is None else text
        frame: Tensor = lm.depth.sample(told["moment"], text, lambda k, logits: chosen(logits, k + 1, CODE_TOP_K))
        return frame

    def frame() -> None:
        text = main()
        codes = depth(text)
        told["column"] = torch.cat([text[:, None], codes, codes.flip(1)], dim=1)

    return model, {"main": main, "depth": depth, "frame": frame}


def antiphon_codec() -> tuple[Any, Parts]:
    """The weights of both sides, and the codec with a state for each direction."""
    import antiphon

    with torch.device("meta"):
        model = antiphon.MimiModel(antiphon.MimiConfig())
    codec = filled(model.to_empty(device="cpu")).codec
    ways = codec.encoder_state(1, BOOKS), codec.decoder_state(1, BOOKS)
    sound, codes = a_frame()
    return nn.ModuleList([codec.encoder, codec.decoder]), {
        "encode": lambda: codec.encode_frames(sound, ways[0]),
        "decode": lambda: codec.decode_frames(codes, ways[1]),
    }


# --- kyutai's package ------------------------------------------------------------------------------------------------


def kyutai_parts(layers: int, kind: str) -> tuple[Any, Parts]:
    """The weights and the parts."""
    from moshi.models import LMGen, loaders

    sizes = {**loaders._lm_kwargs, "num_layers": layers}
    model = loaders.get_moshi_lm(None, sizes, dtype=torch.bfloat16)
    alone = LMGen(model, temp=TEMPERATURE, temp_text=TEMPERATURE, top_k=CODE_TOP_K, top_k_text=TEXT_TOP_K)
    alone.streaming_forever(1)
    heard, column = torch.zeros(1, BOOKS, 1, dtype=torch.int64), torch.zeros(1, STREAMS, 1, dtype=torch.int64)
    text, moment = torch.zeros(1, dtype=torch.int64), torch.randn(1, 1, WIDTH).bfloat16()
    return model, {
        "main": lambda: model.forward_text(column),
        "depth": lambda: alone.depformer_step(text, moment),
        "frame": lambda: alone.step(heard),
    }


def kyutai_codec() -> tuple[Any, Parts]:
    """The codec while it streams."""
    from moshi.models import loaders

    model = loaders.get_mimi(None, num_codebooks=BOOKS)
    model.streaming_forever(1)
    sound, codes = a_frame()
    return model, {"encode": lambda: model.encode(sound), "decode": lambda: model.decode(codes)}


# --- transformers ----------------------------------------------------------------------------------------------------


def transformers_parts(layers: int, kind: str) -> tuple[Any, Parts]:
    """The weights and the parts; a frame is what one step of its ``generate`` calls."""
    from transformers import DynamicCache, MoshiConfig, MoshiForConditionalGeneration

    with torch.device("meta"):
        model = MoshiForConditionalGeneration(MoshiConfig(num_hidden_layers=layers, audio_vocab_size=CODES))
    model.audio_encoder = None
    model = theirs_filled(model)
    cache, told = DynamicCache(config=model.config), {"moment": torch.randn(1, 1, WIDTH).bfloat16()}
    column, text = torch.zeros(1, 1, WIDTH).bfloat16(), torch.zeros(1, 1, dtype=torch.int64)
    settings = {"min_length": BOOKS + 1, "max_length": BOOKS + 1, "cache_implementation": "static"}
    settings |= {"do_sample": True, "top_k": CODE_TOP_K, "temperature": TEMPERATURE}

    def main() -> Any:
        out = model.decoder(inputs_embeds=column, past_key_values=cache, use_cache=True)
        told["moment"] = out.last_hidden_state
        return out

    def depth() -> Any:
        return model.depth_decoder.generate(last_hidden_state=told["moment"], input_ids=text, **settings)

    def frame() -> None:
        main()
        depth()

    return model, {"main": main, "depth": depth, "frame": frame}


def transformers_codec() -> tuple[Any, Parts]:
    """The codec frame by frame; its decoder's convolutions do not remember, so that what it gives has seams."""
    from transformers import DynamicCache, MimiConfig, MimiModel

    model = MimiModel(MimiConfig(use_streaming=True)).eval()
    sound, codes = a_frame()
    told: dict[str, Any] = {"cache": DynamicCache(), "padding": None, "back": DynamicCache()}

    def encode() -> None:
        out = model.encode(
            sound,
            num_quantizers=BOOKS,
            encoder_past_key_values=told["cache"],
            padding_cache=told["padding"],
            use_streaming=True,
            return_dict=True,
        )
        told["cache"], told["padding"] = out.encoder_past_key_values, out.padding_cache

    def decode() -> None:
        out = model.decode(codes, decoder_past_key_values=told["back"], return_dict=True)
        told["back"] = out.decoder_past_key_values

    return model, {"encode": encode, "decode": decode}


# --- the measurement -------------------------------------------------------------------------------------------------


def a_frame() -> tuple[Tensor, Tensor]:
    """Samples (1, 1, N) and codes (1, K, 1) of one frame."""
    return torch.randn(1, 1, FRAME) / 10, torch.arange(BOOKS).view(1, BOOKS, 1)


def memory_mib(name: str) -> float:
    """What this process holds now (VmRSS) or held at most (VmHWM)."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))


def weight_bytes(module: nn.Module) -> int:
    """Of what a step reads whole: all but the tables that are looked up row by row."""
    tables = {id(t) for part in module.modules() if isinstance(part, nn.Embedding) for t in part.parameters()}
    held = {id(t): t for t in (*module.parameters(), *module.buffers()) if id(t) not in tables}
    return sum(t.numel() * t.element_size() for t in held.values())


def timed(call: Callable[[], Any], times: int) -> float:
    """The median in ms."""
    took = []
    for number in range(times + 2):
        begun = time.perf_counter()
        call()
        if number >= 2:
            took.append(time.perf_counter() - begun)
    return 1000 * statistics.median(took)


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=LIBRARIES)
    parser.add_argument("what", choices=["moshi", "mimi"])
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--kind", choices=KINDS, default=KINDS[0])
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--parts", default="", help="some of main, depth, frame; by default all")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    """Measures and prints."""
    args = parsed()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    begun = time.perf_counter()
    own = globals()
    with torch.no_grad():
        if args.what == "mimi":
            model, parts = own[f"{args.library}_codec"]()
        else:
            model, parts = own[f"{args.library}_parts"](args.layers, args.kind)
        found: dict[str, Any] = {"built_s": time.perf_counter() - begun, "weight_bytes": weight_bytes(model)}
        wanted = args.parts.split(",") if args.parts else list(parts)
        found["ms"] = {name: timed(parts[name], args.times) for name in wanted}
    found["peak_mib"] = memory_mib("VmHWM")
    print(json.dumps(found))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
