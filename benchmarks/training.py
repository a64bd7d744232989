"""Training a small MusicGen beside a plain loop over transformers; prints Markdown.

Both have the same weights, batch, dtype, cached codes and text states, and torch's fused AdamW; they take turns, a step
each, in one process that keeps its freed memory. The plain loop is what the documents show: the model is called with
labels and its loss followed. Seconds are the processor's own, so that neighbours count little; figures are medians.

    python benchmarks/training.py [--dtype bf16,fp32] [--layers 6] [--width 256] [--rows 16] [--frames 400] [--steps 5]
                                  [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
import transformers
from torch.profiler import ProfilerActivity, profile

import antiphon
from antiphon.generation.delays import DelayPattern
from antiphon.tasks.machine import Machine
from antiphon.training.memory import keep_freed_memory
from antiphon.training.music import MusicObjective

CODES, STREAMS, TEXT = 1024, 4, 192
PRODUCTS = ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "mkldnn::_linear_pointwise")
FUSED = ("aten::_scaled_dot_product_flash_attention_for_cpu",)


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="bf16,fp32")
    for name, value in {"layers": 6, "width": 256, "rows": 16, "frames": 400, "steps": 5, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser.parse_args()


def models(args: argparse.Namespace) -> tuple[Any, Any]:
    """The same small decoder under transformers and here, without dropout."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": CODES,
        "hidden_size": args.width,
        "ffn_dim": 4 * args.width,
        "num_hidden_layers": args.layers,
        "num_attention_heads": args.width // 64,
        "num_codebooks": STREAMS,
        "dropout": 0.0,
        "pad_token_id": CODES,
        "bos_token_id": CODES,
    }
    text = {"vocab_size": 512, "d_model": TEXT, "d_kv": 32, "d_ff": 768, "num_layers": 1, "num_heads": 6}
    codec = {"codebook_size": CODES, "num_filters": 2, "hidden_size": 16, "upsampling_ratios": [8, 5, 4, 4]}
    found = []
    for library in (transformers, antiphon):
        config = library.MusicgenConfig(
            text_encoder=library.T5Config(**text),
            audio_encoder=library.EncodecConfig(**codec, sampling_rate=32000, target_bandwidths=[2.0]),
            decoder=library.MusicgenDecoderConfig(**sizes),
        )
        found.append(library.MusicgenForConditionalGeneration(config))
    theirs, ours = found
    ours.load_state_dict(theirs.state_dict())
    theirs.freeze_audio_encoder()
    theirs.freeze_text_encoder()
    return theirs.train(), ours


def batch(args: argparse.Namespace) -> dict[str, torch.Tensor]:
    """Random codes and text states of unequal length."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(args.rows, 24, dtype=torch.long)
    for row in range(args.rows):
        mask[row, 24 - row // 2 :] = 0
    return {
        "codes": torch.randint(0, CODES, (args.rows, STREAMS, args.frames), generator=generator),
        "text_states": torch.randn(args.rows, 24, TEXT, generator=generator),
        "attention_mask": mask,
    }


def their_step(model: Any, given: dict[str, torch.Tensor], dtype: str) -> Callable[[], float]:
    """A step of a plain loop over transformers, which does not delay its labels: that was done in advance."""
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    codes, pattern = given["codes"], DelayPattern(tuple(range(STREAMS)))
    padded = torch.cat([torch.zeros_like(codes[..., :1]), codes], dim=-1)
    columns = pattern.columns(codes.shape[-1])
    inputs = pattern.build(padded, columns, CODES)[..., :-1].flatten(0, 1)
    labels = pattern.build(padded, columns, -100)[..., 1:].transpose(1, 2)

    def step() -> float:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
            loss = model(
                encoder_outputs=(given["text_states"],),
                attention_mask=given["attention_mask"],
                decoder_input_ids=inputs,
                labels=labels,
                use_cache=False,
            ).loss
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step


def our_step(model: Any, given: dict[str, torch.Tensor], dtype: str) -> Callable[[], float]:
    """A step of ours."""
    objective = MusicObjective(model)
    objective.model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)

    def step() -> float:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
            loss = objective.losses(given).total / objective.weight(given)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step


def share_of_products(step: Callable[[], float]) -> float:
    """The share of a step's time that is spent in matrix products, those inside of fused attention included."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    events = seen.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    names = (*PRODUCTS, *FUSED, *(f"{name}_backward" for name in FUSED))
    return sum(event.self_cpu_time_total for event in events if event.key in names) / total


def main() -> None:
    """Measures and prints."""
    args = parsed()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    print(f"{Machine.here(args.threads).processor}, {args.threads} threads; torch {version('torch')},")
    print(f"transformers {version('transformers')}; `python benchmarks/training.py {' '.join(sys.argv[1:])}`\n")
    print("| dtype | library | s a step | tokens/s | ratio | in products | loss, first and last |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for dtype in args.dtype.split(","):
        theirs, ours = models(args)
        given = batch(args)
        steps = {"transformers": their_step(theirs, given, dtype), "Antiphon": our_step(ours, given, dtype)}
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        losses: dict[str, list[float]] = {name: [step()] for name, step in steps.items()}
        for _ in range(args.steps):
            for name, step in steps.items():
                started = time.process_time()
                losses[name].append(step())
                seconds[name].append((time.process_time() - started) / args.threads)
        base = statistics.median(seconds["transformers"])
        for name, step in steps.items():
            taken = statistics.median(seconds[name])
            tokens = args.rows * args.frames * STREAMS / taken
            print(
                f"| {dtype} | {name} | {taken:.2f} | {tokens:.0f} | {base / taken:.2f} | {share_of_products(step):.0%} "
                f"| {losses[name][0]:.4f}, {losses[name][-1]:.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
