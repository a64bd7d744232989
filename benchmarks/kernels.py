"""How near products and attention come to the memory's speed: a Markdown table.

Decoding costs what is read, so every figure is GB/s of weights, or of keys and values. Each kernel goes round through
more weights than the caches hold; of several short rounds the best counts, taken turn by turn with the others.

    python benchmarks/kernels.py --threads 2
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from antiphon.nn.linear import linear
from antiphon.nn.native.attention import Stored, attended, store_columns
from antiphon.nn.native.library import native
from antiphon.nn.native.products import Codes, coded_product

SHAPES = ((4096, 1024), (1024, 4096), (8192, 2048))
ROWS = (1, 2, 8, 16)
SLOTS = (64, 512, 1500)

# More than four times the largest last-level cache one meets.
_FOOTPRINT = 160 << 20

Call = Callable[[Tensor, int], object]


class Kernel:
    """One way of computing a product: its weights, how many bytes each has, and the call."""

    def __init__(self, name: str, bytes_read: int, make: Callable[[], Call]) -> None:
        self.name = name
        self.bytes_read = bytes_read
        self.copies = max(2, _FOOTPRINT // bytes_read)
        self.make = make

    def best(self, inputs: Sequence[Tensor], rounds: int) -> list[float]:
        """GB/s for each of the inputs."""
        call = self.make()
        seconds = [float("inf")] * len(inputs)
        for _ in range(rounds):
            for number, x in enumerate(inputs):
                begun = time.perf_counter()
                for copy in range(self.copies):
                    call(x, copy)
                seconds[number] = min(seconds[number], (time.perf_counter() - begun) / self.copies)
        return [self.bytes_read / s / 1e9 for s in seconds]


def coded(outputs: int, inputs: int, bits: int) -> Codes:
    """A weight of random codes."""
    codes = torch.randint(0, 256, (outputs, inputs * bits // 8), dtype=torch.uint8)
    return Codes(codes, torch.rand(outputs, inputs // 64).bfloat16(), bits, 64, inputs)


def products(outputs: int, inputs: int) -> list[Kernel]:
    """Every product measured for one shape."""
    numbers = outputs * inputs

    def floats(dtype: torch.dtype, call: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], Call]:
        def make() -> Call:
            first = torch.randn(outputs, inputs).to(dtype)
            weights = [first.clone() for _ in range(max(2, _FOOTPRINT // (numbers * dtype.itemsize)))]
            return lambda x, copy: call(x.to(dtype), weights[copy])

        return make

    def codes(bits: int) -> Callable[[], Call]:
        def make() -> Call:
            weights = [coded(outputs, inputs, bits) for _ in range(max(2, _FOOTPRINT // (numbers * bits // 8)))]
            return lambda x, copy: coded_product(x, weights[copy])

        return make

    def stock_int8() -> Call:
        weights = [torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8) for _ in range(_FOOTPRINT // numbers)]
        scales = torch.rand(outputs)
        return lambda x, copy: torch._weight_int8pack_mm(x, weights[copy], scales)

    return [
        Kernel("F.linear float32", 4 * numbers, floats(torch.float32, F.linear)),
        Kernel("ours float32", 4 * numbers, floats(torch.float32, linear)),
        Kernel("F.linear bfloat16", 2 * numbers, floats(torch.bfloat16, F.linear)),
        Kernel("ours bfloat16", 2 * numbers, floats(torch.bfloat16, linear)),
        Kernel("stock int8 (_weight_int8pack_mm)", numbers, stock_int8),
        Kernel("ours int8", numbers, codes(8)),
        Kernel("ours int4", numbers // 2, codes(4)),
    ]


def columns(slots: int, dtype: torch.dtype) -> Stored:
    """Keys and values of two rows of sixteen heads."""
    keys, values = torch.randn(2, 2, 16, slots, 64)
    if dtype is not torch.int8:
        return Stored(keys.to(dtype), values.to(dtype))
    codes, scales = torch.empty(2, 2, 16, slots, 64, dtype=dtype), torch.empty(2, 2, 16, slots)
    for part, code, scale in zip((keys, values), codes, scales, strict=True):
        store_columns(part, code, scale)
    return Stored(codes[0], codes[1], scales[0], scales[1])


def attentions(slots: int) -> list[Kernel]:
    """Every attention measured for one length."""

    def made(dtype: torch.dtype, ours: bool) -> Kernel:
        def make() -> Call:
            first = columns(slots, dtype)
            held = [first] + [columns(slots, dtype) for _ in range(kernel.copies - 1)]
            if ours:
                return lambda query, copy: attended(query, held[copy], None, 0.125)
            return lambda query, copy: F.scaled_dot_product_attention(
                query.to(dtype), held[copy].keys, held[copy].values, scale=0.125
            )

        name = f"{'ours' if ours else 'stock'} {str(dtype).removeprefix('torch.')}"
        kernel = Kernel(name, 2 * 2 * 16 * slots * 64 * dtype.itemsize, make)
        kernel.copies = min(kernel.copies, 64)
        return kernel

    stock = [made(dtype, False) for dtype in (torch.float32, torch.bfloat16)]
    return stock + [made(dtype, True) for dtype in (torch.float32, torch.bfloat16, torch.int8)]


def memory_speed(rounds: int) -> float:
    """GB/s of reading floats one after the other."""
    numbers = torch.ones(_FOOTPRINT // 4)
    seconds = float("inf")
    for _ in range(rounds):
        begun = time.perf_counter()
        numbers.sum()
        seconds = min(seconds, time.perf_counter() - begun)
    return _FOOTPRINT / seconds / 1e9


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    state = "compiled" if native() is not None else "not available: plain torch stands in"
    print(f"{args.threads} threads; kernels {state}; memory read {memory_speed(args.rounds):.1f} GB/s\n")
    print(f"| GB/s of weights | kernel | {' | '.join(f'{rows} rows' for rows in ROWS)} |")
    print(f"|---|---|{'---|' * len(ROWS)}")
    with torch.inference_mode():
        for outputs, inputs in SHAPES:
            rows = [torch.randn(count, inputs) for count in ROWS]
            for kernel in products(outputs, inputs):
                cells = " | ".join(f"{speed:.1f}" for speed in kernel.best(rows, args.rounds))
                print(f"| {outputs} x {inputs} | {kernel.name} | {cells} |", flush=True)
        print("\n| one query, 2 rows, 16 heads of 64 | slots | us | GB/s of keys and values |\n|---|---|---|---|")
        for slots in SLOTS:
            for kernel in attentions(slots):
                (speed,) = kernel.best([torch.randn(2, 16, 1, 64)], args.rounds)
                print(f"| {kernel.name} | {slots} | {kernel.bytes_read / speed / 1e3:.0f} | {speed:.1f} |", flush=True)


if __name__ == "__main__":
    main()
