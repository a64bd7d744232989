"""What rounding costs and saves: bytes, loading, memory, and how far logits move from float32; prints Markdown.

The float32 model composes, greedily or, for texts that are given, by chance; every other kind is then shown the same
columns (teacher forcing), so that one early difference does not decide all later ones. Each kind loads in a fresh
process. Random weights are the worst case: their logits are flat, and the slightest error makes another token the
likeliest.

    python benchmarks/quantized.py MODEL [--steps 500] [--threads 2] [--text TEXT]...
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

KINDS: dict[str, dict[str, str]] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "int8": {"quantize": "int8"},
    "int4": {"quantize": "int4"},
}
_TEXT_TOKENS = 16


def loaded(checkpoint: str, kind: str) -> tuple[Any, dict[str, float]]:
    """The model in that kind, with the seconds it took, its bytes and the peak memory of the process."""
    import antiphon

    begun = time.perf_counter()
    model = antiphon.MusicgenForConditionalGeneration.from_pretrained(checkpoint, copy=True, **KINDS[kind])
    took = time.perf_counter() - begun
    with open("/proc/self/status", encoding="ascii") as file:
        status = dict(line.split(":", 1) for line in file if ":" in line)
    peak = int(status["VmHWM"].split()[0]) * 1024
    return model, {"load_s": took, "weights_bytes": model.get_memory_footprint(), "peak_bytes": peak}


def composed(model: Any, memory: Any, steps: int, sampling: dict[str, Any]) -> Any:
    """The columns (K, T) that the model composes to a text's states (1, S, D), as its decoder reads them."""
    import torch

    from antiphon.generation.delays import DelayPattern

    decoder = model.decoder
    codes = decoder.generate(
        encoder_hidden_states=memory, guidance_scale=1.0, max_new_tokens=steps, min_new_tokens=steps, **sampling
    )
    books, start = decoder.num_codebooks, model.generation_config.decoder_start_token_id
    start = decoder.config.vocab_size if start is None else start
    prompt = torch.cat([torch.full((1, books, 1), start), codes.cpu()], dim=-1)
    pattern = DelayPattern.for_codebooks(books, decoder.config.audio_channels)
    columns = pattern.build(prompt, prompt.shape[-1] + pattern.max_delay, start)[0]
    return columns.where(columns >= 0, start)[:, : prompt.shape[-1]]


def logits(model: Any, memory: Any, columns: Any) -> Any:
    """(K, T, V) float32 of the model over given columns."""
    import torch

    with torch.no_grad():
        out = model.decoder(input_ids=columns, encoder_hidden_states=memory, use_cache=False)
    return out.logits.float()


def compared(near: Any, wide: Any) -> dict[str, float]:
    """How far logits are from those of float32, by their spread, and how often the likeliest token is the same."""
    spread = (wide - wide.mean(-1, keepdim=True)).square().mean().sqrt()
    apart = near - wide
    return {
        "rms": float(apart.square().mean().sqrt() / spread),
        "max": float(apart.abs().max() / spread),
        "agree": float((near.argmax(-1) == wide.argmax(-1)).float().mean()),
    }


def memories(model: Any, checkpoint: str, texts: Sequence[str]) -> list[Any]:
    """The states (1, S, D) of each text, of random tokens where there is none."""
    import torch

    from antiphon import AutoProcessor

    tokens = [torch.randint(3, model.config.text_encoder.vocab_size, (1, _TEXT_TOKENS), generator=_generator())]
    if texts:
        processor = AutoProcessor.from_pretrained(checkpoint)
        tokens = [processor(text=[text], return_tensors="pt")["input_ids"] for text in texts]
    with torch.no_grad():
        states = [model.text_encoder(input_ids=ids).last_hidden_state for ids in tokens]
        return [model.enc_to_dec_proj(one) if hasattr(model, "enc_to_dec_proj") else one for one in states]


def _generator() -> Any:
    import torch

    return torch.Generator().manual_seed(0)


def measured(checkpoint: str, kind: str, reference: Path, steps: int, texts: Sequence[str]) -> dict[str, float]:
    """One kind; float32 makes the reference file that the others are compared with."""
    import torch

    model, result = loaded(checkpoint, kind)
    states = memories(model, checkpoint, texts)
    if kind == "float32":
        sampling = [
            {"do_sample": True, "top_k": 250, "seed": place} if texts else {"do_sample": False}
            for place in range(len(states))
        ]
        columns = [composed(model, one, steps, how) for one, how in zip(states, sampling, strict=True)]
        shown = [logits(model, one, own) for one, own in zip(states, columns, strict=True)]
        torch.save({"columns": columns, "logits": torch.cat(shown)}, reference)
    held = torch.load(reference, weights_only=True)
    near = torch.cat([logits(model, one, own) for one, own in zip(states, held["columns"], strict=True)])
    return result | compared(near, held["logits"])


def line(kind: str, result: dict[str, float]) -> str:
    """A line of the table."""
    mib = {name: result[name] / 2**20 for name in ("weights_bytes", "peak_bytes")}
    return (
        f"| {kind} | {mib['weights_bytes']:.0f} MiB | {result['load_s']:.1f} s | {mib['peak_bytes']:.0f} MiB "
        f"| {100 * result['rms']:.2f} % | {result['max']:.3f} | {100 * result['agree']:.1f} % |"
    )


def main() -> None:
    """Measures every kind in a process of its own and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--text", action="append", default=[], help="compose to it, by chance; may be said again")
    parser.add_argument("--kind", choices=list(KINDS), help=argparse.SUPPRESS)
    parser.add_argument("--reference", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.kind:
        import torch

        torch.set_num_threads(args.threads)
        print(json.dumps(measured(args.model, args.kind, args.reference, args.steps, args.text)))
        return
    print("| weights | bytes | loading | peak memory | logit error, RMS | largest | same likeliest token |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            own = [args.model, "--steps", str(args.steps), "--threads", str(args.threads), "--kind", kind]
            own += [f"--text={text}" for text in args.text]
            done = subprocess.run(
                [sys.executable, __file__, *own, "--reference", os.path.join(folder, "reference.pt")],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise SystemExit(f"{kind} failed:\n{done.stderr[-2000:]}")
            print(line(kind, json.loads(done.stdout.splitlines()[-1])), flush=True)
    print("\nErrors are in parts of the spread of the float32 logits over the vocabulary.")


if __name__ == "__main__":
    main()
