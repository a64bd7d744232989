"""Columns of the stacks that talk: rotary positions, rings, gates, root mean squares, layer scales, against the layers.

What the layers' own code gives is what the kernel must equal; what it does not know goes by that code.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.codecs.mimi import MimiCodec
from antiphon.codecs.mimi_layers import MimiShape, MimiTransformerShape
from antiphon.codecs.seanet import SEANetShape
from antiphon.lm.depth_decoder import DepthDecoder
from antiphon.lm.text_decoder import TextDecoder
from antiphon.nn import transformer
from antiphon.nn.attention import Attention
from antiphon.nn.column_step import column_step
from antiphon.nn.kv_cache import DynamicCache, KVCache
from antiphon.nn.layer_scale import LayerScale
from antiphon.nn.linear import Linear, lay_side_by_side
from antiphon.nn.masks import Mask
from antiphon.nn.mlp import MLP, GatedMLP
from antiphon.nn.native import stack
from antiphon.nn.norms import RMSNorm
from antiphon.nn.quantized_linear import QuantizedLinear
from antiphon.nn.ring_cache import RingCache
from antiphon.nn.rotary import Rotary
from antiphon.nn.transformer import Context, Transformer, TransformerLayer

WIDTH, HEADS, WINDOW = 64, 4, 5
ROTARY = Rotary(WIDTH // HEADS)

pytestmark = pytest.mark.usefixtures("answers")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def by_layers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A call by the layers' own code."""

    def run(call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(transformer, "column_step", lambda *_: None)
            return call(*arguments, **more)

    return run


def _norm(kind: str) -> nn.Module:
    return nn.LayerNorm(WIDTH) if kind == "layer" else RMSNorm(WIDTH, scaled_in_float32=kind == "rms")


def _scales(scaled: bool) -> tuple[nn.Module, nn.Module] | None:
    return (LayerScale(WIDTH), LayerScale(WIDTH)) if scaled else None


def made(
    kind: str = "float32",
    *,
    gate: str = "fused",
    norm: str = "rms",
    act: str = "silu",
    kv_heads: int = HEADS,
    scaled: bool = False,
    bias: bool = False,
    closes: bool = True,
) -> Transformer:
    """A stack of two layers, in evaluation."""

    def mlp() -> nn.Module:
        if gate == "none":
            return MLP(WIDTH, 2 * WIDTH, act=act, bias=bias)
        return GatedMLP(WIDTH, 96, act=act, bias=bias, fused=gate == "fused")

    layers = [
        TransformerLayer(
            attention=Attention(WIDTH, HEADS, kv_heads=kv_heads, bias=bias),
            mlp=mlp(),
            norms=[_norm(norm) for _ in range(2)],
            scales=_scales(scaled),
        )
        for _ in range(2)
    ]
    return weighted(Transformer(layers, _norm(norm) if closes else nn.Identity()), kind)


def weighted(module: Any, kind: str) -> Any:
    """The module with random weights of that kind."""
    module.eval()
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=number) / 4 + (parameter.dim() == 1))
    if kind == "bfloat16":
        module.bfloat16()
    if kind.startswith("int"):
        rounded(module, int(kind[3:]))
    return module


def rounded(module: nn.Module, bits: int) -> None:
    for name, child in list(module.named_children()):
        if type(child) is Linear:
            setattr(module, name, QuantizedLinear.of(child, bits=bits))
        else:
            rounded(child, bits)
        if isinstance(child, Attention):
            lay_side_by_side(child.stacks()[0])


def pushed(
    model: Transformer,
    ring: RingCache,
    x: Tensor,
    cuts: Sequence[int],
    live: Sequence[Tensor | None] = (None,),
    resets: dict[int, list[int]] | None = None,
) -> Tensor:
    """(B, T, D): columns that come ``cuts`` at a time."""
    out = []
    with torch.no_grad():
        for number, part in enumerate(x.split(list(cuts), dim=1)):
            if resets and number in resets:
                ring.reset(torch.tensor(resets[number]))
            step = ring.begin(part.shape[1], live[number % len(live)])
            context = Context(mask=step.mask, cache=ring, rotation=ROTARY.tables(step.positions, like=part))
            out.append(model(part, context))
    return torch.cat(out, dim=1)


def assert_near(got: Tensor, wanted: Tensor, *, tolerance: float = 1e-5) -> None:
    assert got.shape == wanted.shape and got.dtype is wanted.dtype
    assert got.isfinite().all()
    assert float((got.double() - wanted.double()).norm() / wanted.double().norm()) < tolerance


# --- the same numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float32", "int8", "int4"])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("at_once", [1, 2])
def test_a_ring_past_its_end_is_what_the_layers_give(
    kernels: ctypes.CDLL, by_layers: Any, answers: list[bool], kind: str, rows: int, at_once: int
) -> None:
    model, rings = made(kind), [RingCache(WINDOW, rows, at_once=at_once) for _ in range(2)]
    x, cuts = noise(rows, 12, WIDTH), [at_once] * (12 // at_once)
    got = pushed(model, rings[0], x, cuts)
    assert answers == [True] * len(cuts)
    assert_near(got, by_layers(pushed, model, rings[1], x, cuts))
    for one, other in zip(*rings, strict=True):
        for kept, wanted in zip(one, other, strict=True):
            assert_near(kept, wanted)


@pytest.mark.parametrize("gate", ["fused", "separate", "none"])
@pytest.mark.parametrize("act", ["silu", "gelu", "relu"])
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_gates_and_activations(
    kernels: ctypes.CDLL, by_layers: Any, answers: list[bool], gate: str, act: str, kind: str
) -> None:
    model, x = made(kind, gate=gate, act=act, bias=True), noise(2, 3, WIDTH)
    got = pushed(model, RingCache(WINDOW, 2), x, [1] * 3)
    assert answers == [True] * 3
    assert_near(got, by_layers(pushed, model, RingCache(WINDOW, 2), x, [1] * 3))


@pytest.mark.parametrize("norm", ["layer", "rms", "rms rounded"])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_norms_scales_and_shared_heads(
    kernels: ctypes.CDLL, by_layers: Any, answers: list[bool], norm: str, scaled: bool, closes: bool, kv_heads: int
) -> None:
    model, x = made(norm=norm, scaled=scaled, closes=closes, kv_heads=kv_heads), noise(2, 6, WIDTH)
    got = pushed(model, RingCache(WINDOW, 2, at_once=2), x, [2] * 3)
    assert answers == [True] * 3
    assert_near(got, by_layers(pushed, model, RingCache(WINDOW, 2, at_once=2), x, [2] * 3))


@pytest.mark.parametrize("norm", ["layer", "rms", "rms rounded"])
@pytest.mark.parametrize("kind", ["bfloat16", "int4"])
def test_half_precision_rounds_where_the_layers_round(
    kernels: ctypes.CDLL, by_layers: Any, answers: list[bool], kind: str, norm: str
) -> None:
    model, x = made(kind, norm=norm, scaled=True).bfloat16(), noise(2, 8, WIDTH).bfloat16()
    got = pushed(model, RingCache(WINDOW, 2), x, [1] * 8)
    wanted = by_layers(pushed, model, RingCache(WINDOW, 2), x, [1] * 8)
    assert answers == [True] * 8
    assert_near(got, wanted, tolerance=0.02)
    assert float((got == wanted).double().mean()) > 0.5


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("still_shapes", [True, False])
def test_rows_begin_anew_and_stand_still_as_by_the_layers(
    kernels: ctypes.CDLL, by_layers: Any, answers: list[bool], at_once: int, still_shapes: bool
) -> None:
    live = [torch.tensor(rows) for rows in ([True, True, True], [True, False, True], [False, True, True])]
    model, x, cuts = made(), noise(3, 18, WIDTH), [at_once] * (18 // at_once)
    kept = torch.cat([live[number % 3].expand(at_once, 3) for number in range(len(cuts))]).t()
    found = []
    for run in (pushed, lambda *arguments: by_layers(pushed, *arguments)):
        ring = RingCache(WINDOW, 3, at_once=at_once, still_shapes=still_shapes)
        found.append(run(model, ring, x, cuts, live, {4: [2], 7: [0]})[kept])
    assert answers == [True] * len(cuts)
    assert_near(*found)


def test_rows_threads_and_neighbours_change_no_bit(kernels: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = made("int8"), noise(4, 8, WIDTH)
    alone = pushed(model, RingCache(WINDOW, 1, at_once=2), x[:1], [2] * 4)
    monkeypatch.setattr(stack, "_BYTES_A_THREAD", 1)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert torch.equal(pushed(model, RingCache(WINDOW, 4, at_once=2), x, [2] * 4)[:1], alone)
    finally:
        torch.set_num_threads(threads)


def test_silu_is_exact_from_one_end_to_the_other(kernels: ctypes.CDLL, by_layers: Any) -> None:
    """Inputs of the activation from -100 to 100, each alone on its way to the output."""
    model = made(gate="none", bias=True)
    with torch.no_grad():
        for layer in model.layers:
            layer.attention.out.weight.zero_()
            layer.attention.out.bias.zero_()
            layer.mlp.up.weight.zero_()
            layer.mlp.up.bias.copy_(torch.linspace(-100, 100, 2 * WIDTH))
            layer.mlp.down.weight.copy_(torch.eye(WIDTH, 2 * WIDTH))
            layer.mlp.down.bias.zero_()
    x = torch.zeros(1, 1, WIDTH)
    got = pushed(model, RingCache(WINDOW, 1), x, [1])
    assert_near(got, by_layers(pushed, model, RingCache(WINDOW, 1), x, [1]), tolerance=1e-6)


# --- the models that are made of them --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8", "int4"])
def test_a_text_decoder_steps_by_one_call(kernels: ctypes.CDLL, by_layers: Any, answers: list[bool], kind: str) -> None:
    decoder = weighted(
        TextDecoder(
            **{"vocabulary": 20, "width": WIDTH, "layers": 2, "heads": HEADS, "kv_heads": 2, "head_width": 16},
            **{"hidden": 96, "act": "silu", "eps": 1e-8, "base": 10000.0, "window": WINDOW},
        ),
        kind,
    )

    def run() -> Tensor:
        ring = decoder.ring(2)
        with torch.no_grad():
            return torch.cat([decoder(torch.tensor([[n], [n + 1]]), cache=ring) for n in range(9)], dim=1)

    got = run()
    assert answers == [True] * 9
    assert_near(got, by_layers(run), tolerance=0.02 if kind == "bfloat16" else 1e-5)


@pytest.mark.parametrize("kind", ["bfloat16", "int8", "int4"])
def test_every_step_of_a_frame_is_one_call(
    kernels: ctypes.CDLL, by_layers: Any, answers: list[bool], kind: str
) -> None:
    decoder = weighted(
        DepthDecoder(
            **{"codebooks": 4, "text_vocabulary": 9, "audio_vocabulary": 11, "input_width": 32, "width": WIDTH},
            **{"layers": 2, "heads": HEADS, "kv_heads": HEADS, "head_width": 16, "hidden": 96, "act": "silu"},
            **{"eps": 1e-8, "window": 4},
        ),
        kind,
    )
    moment = noise(2, 1, 32).to(decoder.text_embedding.weight.dtype)

    def run() -> Tensor:
        logits = []

        def keep(codebook: int, found: Tensor) -> Tensor:
            logits.append(found)
            return torch.tensor([codebook, codebook + 3])

        decoder.sample(moment, torch.tensor([3, 4]), keep)
        return torch.stack(logits)

    got = run()
    assert answers == [True] * 4
    assert_near(got, by_layers(run), tolerance=0.02 if kind == "bfloat16" else 1e-5)


def test_frames_of_mimi_go_by_one_call_a_side(kernels: ctypes.CDLL, by_layers: Any, answers: list[bool]) -> None:
    codec = weighted(
        MimiCodec(
            MimiShape(
                SEANetShape(
                    **{"channels": 1, "width": WIDTH, "filters": 4, "ratios": (2, 2), "kernel": 3, "last_kernel": 3},
                    **{"residual_kernel": 3, "residual_layers": 1, "dilation_growth": 2, "compress": 2},
                    **{"lstm_layers": 0, "causal": True, "pad_mode": "constant", "norm": "none"},
                    **{"trim_right_ratio": 1.0, "shortcut_conv": False},
                ),
                MimiTransformerShape(
                    **{"width": WIDTH, "layers": 2, "heads": HEADS, "kv_heads": HEADS, "head_width": 16, "hidden": 96},
                    window=WINDOW,
                ),
                **{"upsample_groups": WIDTH, "codebooks": 3, "codebook_size": 8, "codebook_width": 16},
            )
        ),
        "float32",
    )
    codes = torch.arange(2 * 3 * 6).view(2, 3, 6) % 8

    def run() -> Tensor:
        return codec.decode_frames(codes, codec.decoder_state(2))

    got = run()
    assert answers == [True] * 6
    assert_near(got, by_layers(run))
    sound = noise(2, 1, 6 * codec.frame_samples)
    assert torch.equal(
        codec.encode_frames(sound, codec.encoder_state(2)),
        by_layers(lambda: codec.encode_frames(sound, codec.encoder_state(2))),
    )


# --- what changes between two columns --------------------------------------------------------------------------------


def other_factors(model: Any) -> None:
    model.layers[1].mlp_scale.scale.data = torch.full((WIDTH,), 3.0)


def another_order(model: Any) -> None:
    model.layers[0].mlp_norm.scaled_in_float32 = False
    model.layers[0].mlp_norm.eps = 2.0


def another_activation(model: Any) -> None:
    model.layers[1].mlp.act = F.gelu


def no_last_norm(model: Any) -> None:
    model.norm = nn.Identity()


@pytest.mark.parametrize("change", [other_factors, another_order, another_activation, no_last_norm])
def test_a_change_between_two_columns_is_seen(
    kernels: ctypes.CDLL, by_layers: Any, answers: list[bool], change: Any
) -> None:
    outs, x = [], noise(1, 4, WIDTH)
    for run in (pushed, lambda *arguments: by_layers(pushed, *arguments)):
        model, ring = made(scaled=True), RingCache(WINDOW, 1)
        run(model, ring, x, [1] * 4)
        change(model)
        outs.append(run(model, ring, x, [1] * 4))
        assert not torch.allclose(outs[-1], run(made(scaled=True), RingCache(WINDOW, 1), x, [1] * 4), rtol=1e-3)
    assert answers == [True] * 12
    assert_near(*outs)


# --- what goes by the layers -----------------------------------------------------------------------------------------


class Twice(LayerScale):
    """Somebody's own scale."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model.layers[0], "mlp_scale", Twice(WIDTH)),
        lambda model: setattr(model.layers[0], "attention_scale", nn.Identity()),
        lambda model: setattr(model.layers[0], "attention_scale", LayerScale(WIDTH).double()),
        lambda model: setattr(model.layers[1], "mlp_norm", nn.Identity()),
        lambda model: setattr(model.layers[1].mlp, "act", F.mish),
        lambda model: setattr(model.layers[1].mlp, "act", torch.nn.SiLU()),
        lambda model: setattr(model.layers[1].mlp, "gate_up", Linear(WIDTH, 2 * WIDTH, bias=False)),
        lambda model: setattr(model.layers[0].attention, "implementation", "eager"),
        lambda model: model.layers[0].attention_norm.double(),
        lambda model: model.layers[0].mlp_scale.register_forward_hook(lambda *_: None),
    ],
)
def test_what_the_kernel_does_not_know_it_leaves(change: Any) -> None:
    model, ring = made(scaled=True), RingCache(WINDOW, 1)
    change(model)
    step, x = ring.begin(1), noise(1, 1, WIDTH)
    context = Context(mask=step.mask, cache=ring, rotation=ROTARY.tables(step.positions, like=x))
    past = context.past(2)
    with torch.no_grad():
        assert past is not None and column_step(model, list(model.layers), x, past) is None
    assert ring.layer(0).length == 0


@pytest.mark.parametrize(
    "other",
    [
        lambda table: table.double(),
        lambda table: table[..., :1].expand(1, 1, 1, 16),
        lambda table: table.expand(1, HEADS, 1, 16).contiguous(),
    ],
)
def test_tables_of_another_kind_go_by_the_layers(other: Callable[[Tensor], Tensor]) -> None:
    model, ring, x = made(), RingCache(WINDOW, 2), noise(2, 1, WIDTH)
    step = ring.begin(1)
    cosines, sines = ROTARY.tables(step.positions, like=x)
    past = Context(mask=step.mask, cache=ring, rotation=(other(cosines), sines)).past(2)
    with torch.no_grad():
        assert past is not None and column_step(model, list(model.layers), x, past) is None


def test_several_columns_go_at_once_in_rings_that_have_room_for_them(answers: list[bool]) -> None:
    model, x = made(), noise(1, 3, WIDTH)
    pushed(model, RingCache(WINDOW, 1, at_once=2), x, [3])
    with torch.no_grad():
        tables = ROTARY.tables(torch.arange(2)[None], like=x)
        model(x[:, :2], Context(mask=Mask(causal=True), cache=DynamicCache(), rotation=tables))
    assert answers == []


def test_one_column_of_a_cache_that_grows_is_turned_too(
    kernels: ctypes.CDLL, by_layers: Any, answers: list[bool]
) -> None:
    model, x = made(), noise(2, 4, WIDTH)

    def run() -> Tensor:
        cache, out = KVCache(), []
        with torch.no_grad():
            for at, column in enumerate(x.split(1, dim=1)):
                tables = ROTARY.tables(torch.tensor([[at], [at + 7]]), like=x)
                out.append(model(column, Context(cache=cache, rotation=tables)))
        return torch.cat(out, dim=1)

    got = run()
    assert answers == [True] * 4
    assert_near(got, by_layers(run))


def test_rings_of_other_rows_and_layers_of_two_rings_go_by_the_layers(answers: list[bool]) -> None:
    model, ring, x = made(), RingCache(WINDOW, 3), noise(2, 1, WIDTH)
    step = ring.begin(1)
    tables = ROTARY.tables(step.positions, like=x)
    with torch.no_grad(), pytest.raises(Exception, match="2 rows"):
        model(x, Context(mask=step.mask, cache=ring, rotation=tables))
    mixed, other = RingCache(WINDOW, 2), RingCache(WINDOW, 2)
    mixed.begin(1), other.begin(1)
    mixed.layers = [mixed.layer(0), other.layer(1)]
    with torch.no_grad():
        model(x, Context(cache=mixed, rotation=tables))
    assert answers == [False, False]


def test_plain_float32_without_positions_goes_by_the_layers(answers: list[bool]) -> None:
    with torch.no_grad():
        made()(noise(1, 1, WIDTH), Context(cache=KVCache()))
    assert answers == [False]


def test_many_rows_of_plain_weights_go_by_the_layers(answers: list[bool]) -> None:
    pushed(made(), RingCache(WINDOW, 9), noise(9, 1, WIDTH), [1])
    pushed(made("bfloat16"), RingCache(WINDOW, 4, at_once=2), noise(4, 2, WIDTH).bfloat16(), [2])
    assert answers == [False, False]
