"""A column through the whole stack at once, against the layers one by one: their own code is what it must equal."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.errors import CapacityError
from antiphon.nn import transformer
from antiphon.nn.attention import Attention
from antiphon.nn.column_step import Past, column_step
from antiphon.nn.kv_cache import DynamicCache, EncoderDecoderCache, KVCache, StaticCache
from antiphon.nn.linear import Linear, lay_side_by_side
from antiphon.nn.lora import add_branch, branch, merge_branches, use_branches
from antiphon.nn.masks import Mask, causal_mask, memory_mask
from antiphon.nn.mlp import MLP, GatedMLP
from antiphon.nn.native import library, stack
from antiphon.nn.quantized_linear import QuantizedLinear
from antiphon.nn.transformer import Context, Record, Transformer, TransformerLayer

WIDTH, HEADS, PLACES = 64, 2, 7

pytestmark = pytest.mark.usefixtures("answers")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(
    kind: str = "int4", *, memory: bool = True, bias: bool = False, act: Any = "gelu", kv_heads: int = HEADS
) -> Transformer:
    """A stack of three layers, in evaluation, with weights of 4, 8 or 16 bits."""

    def attention() -> Attention:
        return Attention(WIDTH, HEADS, kv_heads=kv_heads, bias=bias)

    def layer() -> TransformerLayer:
        return TransformerLayer(
            attention=attention(),
            memory_attention=attention() if memory else None,
            mlp=MLP(WIDTH, 2 * WIDTH, act=act, bias=bias),
            norms=[nn.LayerNorm(WIDTH) for _ in range(3 if memory else 2)],
        )

    made = Transformer([layer() for _ in range(3)], nn.LayerNorm(WIDTH)).eval()
    with torch.no_grad():
        for number, parameter in enumerate(made.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=number) / 4 + (parameter.dim() == 1))
    if kind == "bfloat16":
        made.bfloat16()
    if kind.startswith("int"):
        rounded(made, int(kind[3:]))
    return made


def rounded(module: nn.Module, bits: int) -> None:
    for name, child in list(module.named_children()):
        if type(child) is Linear:
            setattr(module, name, QuantizedLinear.of(child, bits=bits))
        else:
            rounded(child, bits)
        if isinstance(child, Attention):
            lay_side_by_side(child.stacks()[0])


def context(rows: int, cache: KVCache | None, *, memory: bool = True, dtype: torch.dtype = torch.float32) -> Context:
    """With guidance's mask: the last row of several sees no place of the memory, the one before not all."""
    seen = torch.ones(rows, PLACES, dtype=torch.long)
    if rows > 1:
        seen[-1] = 0
        seen[-2, 4:] = 0
    states = noise(rows, PLACES, WIDTH, seed=50).to(dtype) if memory else None
    return Context(memory=states, memory_mask=memory_mask(seen) if memory else None, cache=cache)


def pair(dtype: str | None = None, capacity: int = 0) -> EncoderDecoderCache:
    return EncoderDecoderCache(KVCache(capacity, dtype=dtype), KVCache(PLACES, dtype=dtype))


def columns_of(
    made: Transformer, given: Context, rows: int, columns: int, *, seed: int = 9, padding: Tensor | None = None
) -> Tensor:
    """(B, T, D): columns that come one by one."""
    assert given.cache is not None
    out = []
    with torch.no_grad():
        for x in noise(rows, columns, WIDTH, seed=seed).to(made.norm.weight.dtype).split(1, dim=1):
            held = given.cache.get_seq_length() + 1
            given.mask = causal_mask(1, held, None if padding is None else padding[:, :held], device=x.device)
            out.append(made(x, given))
    return torch.cat(out, dim=1)


@pytest.fixture
def by_layers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``columns_of`` by the layers' own code."""

    def run(*arguments: Any, **more: Any) -> Tensor:
        with monkeypatch.context() as patch:
            patch.setattr(transformer, "column_step", lambda *_: None)
            return columns_of(*arguments, **more)

    return run


def assert_near(got: Tensor, wanted: Tensor, *, tolerance: float = 1e-5) -> None:
    assert got.shape == wanted.shape and got.dtype is wanted.dtype
    assert got.isfinite().all()
    assert float((got.double() - wanted.double()).norm() / wanted.double().norm()) < tolerance


# --- the same numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["int4", "int8"])
@pytest.mark.parametrize("rows", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("memory", [True, False])
def test_columns_are_what_the_layers_give(
    kernels: ctypes.CDLL, by_layers: Any, answers: list[bool], kind: str, rows: int, memory: bool
) -> None:
    model, caches = made(kind, memory=memory), [pair(), pair()]
    got = columns_of(model, context(rows, caches[0], memory=memory), rows, 5)
    assert answers == [not memory, *[True] * 4]  # the first column computes the memory's keys and values
    assert_near(got, by_layers(model, context(rows, caches[1], memory=memory), rows, 5))
    for one, other in zip(*caches, strict=True):
        for kept, wanted in zip(one, other, strict=True):
            assert_near(kept, wanted)


@pytest.mark.parametrize("store", ["float32", "bfloat16", "int8"])
def test_caches_of_every_kind_are_read_and_written(
    kernels: ctypes.CDLL, by_layers: Any, answers: list[bool], store: str
) -> None:
    model = made()
    got = columns_of(model, context(2, pair(store)), 2, 20)
    assert answers.count(True) == 19
    # a rounding that falls to the other side is a step of the store
    assert_near(got, by_layers(model, context(2, pair(store)), 2, 20), tolerance=1e-5 if store == "float32" else 1e-3)


@pytest.mark.parametrize("kind", ["bfloat16", "int4"])
def test_half_precision_rounds_where_the_layers_round(
    kernels: ctypes.CDLL, by_layers: Any, answers: list[bool], kind: str
) -> None:
    model = made(kind).bfloat16()
    got = columns_of(model, context(2, pair(), dtype=torch.bfloat16), 2, 8)
    wanted = by_layers(model, context(2, pair(), dtype=torch.bfloat16), 2, 8)
    assert answers.count(True) == 7
    assert_near(got, wanted, tolerance=0.02)
    assert float((got == wanted).double().mean()) > 0.5


@pytest.mark.parametrize("act", ["gelu", "relu"])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_biases_activations_and_shared_heads(
    kernels: ctypes.CDLL, by_layers: Any, answers: list[bool], act: str, kv_heads: int
) -> None:
    model = made("int8", bias=True, act=act, kv_heads=kv_heads)
    got = columns_of(model, context(3, pair()), 3, 4)
    assert answers.count(True) == 3
    assert_near(got, by_layers(model, context(3, pair()), 3, 4))


def test_gelu_is_exact_from_one_end_to_the_other(kernels: ctypes.CDLL, by_layers: Any) -> None:
    """Inputs of the activation from -12 to 12, each alone on its way to the output."""
    model = made("int8", memory=False, bias=True)
    for layer in model.layers:
        layer.attention.out.scales.zero_()
        layer.attention.out.bias.zero_()
        layer.mlp.up.scales.zero_()
        layer.mlp.up.bias.copy_(torch.linspace(-12, 12, 2 * WIDTH))
        layer.mlp.down.bias.zero_()
        layer.mlp.down.codes.fill_(128)
        layer.mlp.down.codes[torch.arange(WIDTH), torch.arange(WIDTH)] = 129
        layer.mlp.down.scales.fill_(1.0)
    got = columns_of(model, context(1, pair(), memory=False), 1, 1)
    assert_near(got, by_layers(model, context(1, pair(), memory=False), 1, 1), tolerance=1e-6)


def test_padded_columns_are_not_seen(kernels: ctypes.CDLL, by_layers: Any, answers: list[bool]) -> None:
    padding = torch.ones(2, 6, dtype=torch.long)
    padding[1, :3] = 0
    model, caches = made(), [pair(), pair()]
    got = columns_of(model, context(2, caches[0]), 2, 6, padding=padding)
    assert answers.count(True) == 5
    assert_near(got, by_layers(model, context(2, caches[1]), 2, 6, padding=padding))
    assert not torch.allclose(got[:, 3:], columns_of(model, context(2, pair()), 2, 6)[:, 3:])


def test_a_row_that_sees_no_place_gets_nothing_from_the_memory(kernels: ctypes.CDLL, answers: list[bool]) -> None:
    model = made()
    far, near = context(2, pair()), context(2, pair())
    far.memory = noise(2, PLACES, WIDTH, seed=51) * 100
    one, other = columns_of(model, far, 2, 3), columns_of(model, near, 2, 3)
    assert torch.equal(one[1], other[1]) and not torch.equal(one[0], other[0])


def test_a_cache_grows_on_the_way_and_a_new_window_starts_anew(
    kernels: ctypes.CDLL, by_layers: Any, answers: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.nn.kv_cache._BLOCK", 4)
    model, caches = made(), [pair("int8"), pair("int8")]
    for window in range(2):
        given = [context(2, cache) for cache in caches]
        got = columns_of(model, given[0], 2, 11, seed=window)
        assert_near(got, by_layers(model, given[1], 2, 11, seed=window), tolerance=1e-3)
        for cache in caches:
            cache.reset()
    assert answers == [False, *[True] * 10] * 2


def test_rows_and_threads_change_no_bit(kernels: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(memory=False)
    alone = columns_of(model, context(1, pair(), memory=False), 1, 4)
    monkeypatch.setattr(stack, "_BYTES_A_THREAD", 1)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            for rows in (1, 5, 16):
                cache = pair()
                x = noise(1, 4, WIDTH, seed=9).repeat(rows, 1, 1)
                x[1:] += noise(rows - 1, 4, WIDTH)
                with torch.no_grad():
                    got = [model(part, Context(cache=cache)) for part in x.split(1, dim=1)]
                assert torch.equal(torch.cat(got, dim=1)[:1], alone)
    finally:
        torch.set_num_threads(threads)


def test_two_threads_step_one_model_at_once(kernels: ctypes.CDLL) -> None:
    model = made()
    wanted = [columns_of(model, context(2, pair()), 2, 30, seed=seed) for seed in range(2)]
    with ThreadPoolExecutor(2) as pool:
        got = pool.map(lambda seed: columns_of(model, context(2, pair()), 2, 30, seed=seed), range(2))
    assert all(torch.equal(one, other) for one, other in zip(got, wanted, strict=True))


# --- what changes between two columns --------------------------------------------------------------------------------


def changed_in_place(model: Any) -> None:
    model.layers[1].mlp.up.codes.fill_(130)


def moved(model: Any) -> None:
    model.layers[1].attention.query.codes = model.layers[1].attention.query.codes.flip(0).contiguous()


def data_replaced(model: Any) -> None:
    model.layers[2].mlp_norm.weight.data = torch.full((WIDTH,), 3.0)


def layer_replaced(model: Any) -> None:
    model.layers[0].mlp.down = QuantizedLinear.of(noise(WIDTH, 2 * WIDTH, seed=77), bits=8)


def rescaled(model: Any) -> None:
    model.layers[0].attention.scale = 1.0


def another_activation(model: Any) -> None:
    model.layers[1].mlp.act = F.relu


def another_eps(model: Any) -> None:
    model.norm.eps = 3.0


def fewer_layers(model: Any) -> None:
    model.layers = model.layers[:2]


@pytest.mark.parametrize(
    "change",
    [
        changed_in_place,
        moved,
        data_replaced,
        layer_replaced,
        rescaled,
        another_activation,
        another_eps,
        fewer_layers,
    ],
)
def test_a_change_between_two_columns_is_seen(
    kernels: ctypes.CDLL, by_layers: Any, answers: list[bool], change: Any
) -> None:
    outs = []
    for run in (columns_of, by_layers):
        model, given = made(), context(2, pair())
        before = run(model, given, 2, 3)
        change(model)
        outs.append(run(model, given, 2, 3))
        assert not torch.allclose(outs[-1], before, rtol=1e-3)
    assert answers == [False, *[True] * 5]
    assert_near(*outs)


# --- what goes by the layers -----------------------------------------------------------------------------------------


class Doubled(Linear):
    """Somebody's own layer."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def hooked(model: Any, calls: list[str]) -> None:
    model.layers[1].mlp.up.register_forward_hook(lambda *_: calls.append("seen"))


def hooked_before(model: Any, calls: list[str]) -> None:
    model.layers[2].register_forward_pre_hook(lambda *_: calls.append("seen"))


def patched(model: Any, calls: list[str]) -> None:
    attention = model.layers[0].memory_attention
    own = attention.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        calls.append("seen")
        return own(*args, **kwargs)

    attention.forward = forward


def adapted(model: Any, calls: list[str]) -> None:
    class Watched(Doubled):
        def forward(self, x: Tensor) -> Tensor:
            calls.append("seen")
            return super().forward(x)

    model.layers[0].attention.out = Watched(WIDTH, WIDTH, bias=False)
    nn.init.eye_(model.layers[0].attention.out.weight)


@pytest.mark.parametrize("watch", [hooked, hooked_before, patched, adapted])
def test_whoever_looks_in_is_called(by_layers: Any, answers: list[bool], watch: Any) -> None:
    model, given, calls = made(), context(2, pair()), []
    columns_of(model, given, 2, 3)
    watch(model, calls)
    columns_of(model, given, 2, 2)
    assert len(calls) == 2
    assert answers == [False, True, True, False, False]


@pytest.mark.parametrize("kind", ["int4", "int8", "bfloat16"])
def test_an_active_adapter_goes_by_the_layers_and_one_at_rest_costs_nothing(answers: list[bool], kind: str) -> None:
    model, given = made(kind), context(2, pair(), dtype=torch.bfloat16 if kind == "bfloat16" else torch.float32)
    columns_of(model, given, 2, 2)
    layer: Any = model.layers[1].attention.value
    add_branch(layer, "a", rank=2, scaling=1.0)
    columns_of(model, given, 2, 1)
    use_branches(layer, {"a": 1.0})
    columns_of(model, given, 2, 2)
    use_branches(layer, {})
    columns_of(model, given, 2, 1)
    assert answers == [False, True, True, False, False, True]


def test_a_merged_adapter_is_in_what_the_kernel_reads(by_layers: Any, answers: list[bool]) -> None:
    wanted = []
    for run in (columns_of, by_layers):
        model, given = made("bfloat16"), context(2, pair(), dtype=torch.bfloat16)
        columns_of(model, given, 2, 3)
        layer: Any = model.layers[1].attention.value
        add_branch(layer, "a", rank=2, scaling=1.0)
        for matrix in branch(layer, "a"):
            nn.init.constant_(matrix, 0.5)
        use_branches(layer, {"a": 1.0})
        merge_branches(layer)
        wanted.append(run(model, given, 2, 2, seed=8))
    assert answers == [False, True, True, True, True, False, True, True]
    assert_near(wanted[0], wanted[1], tolerance=0.02)


def test_a_hook_on_all_modules_is_called(answers: list[bool]) -> None:
    model, given, calls = made(), context(2, pair()), []
    columns_of(model, given, 2, 2)
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: calls.append("seen"))
    try:
        columns_of(model, given, 2, 1)
    finally:
        handle.remove()
    assert len(calls) > 30 and answers == [False, True, False]


def test_training_records_and_gradients_go_by_the_layers(answers: list[bool]) -> None:
    model, given = made(), context(2, pair())
    columns_of(model, given, 2, 2)
    record = Record.of(hidden_states=True, attentions=False)
    with torch.no_grad():
        model(noise(2, 1, WIDTH), given, record)
        model.train()
        model(noise(2, 1, WIDTH), given)
    assert record.hidden_states is not None and len(record.hidden_states) == 4
    assert answers == [False, True]
    model.eval()
    assert model(noise(2, 1, WIDTH).requires_grad_(), given).requires_grad
    assert answers == [False, True, False]


def test_dropout_in_one_layer_goes_by_the_layers(answers: list[bool]) -> None:
    model, given = made(), context(2, pair())
    model.layers[1].mlp.dropout = 0.5
    columns_of(model, given, 2, 2)
    model.layers[1].train()
    columns_of(model, given, 2, 1)
    assert answers == [False, True, False]


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model.layers[0].attention, "implementation", "eager"),
        lambda model: setattr(model.layers[0].mlp, "act", F.mish),
        lambda model: setattr(model.layers[0].mlp, "act", nn.GELU()),
        lambda model: setattr(model.layers[2], "mlp", GatedMLP(WIDTH, 64, act="tanh")),
        lambda model: setattr(model.layers[1], "mlp_norm", nn.Identity()),
        lambda model: setattr(model, "norm", nn.LayerNorm(WIDTH, elementwise_affine=False)),
        lambda model: model.layers[1].mlp_norm.double(),
        lambda model: setattr(model.layers[2].mlp, "down", QuantizedLinear.of(noise(WIDTH, WIDTH), bits=4)),
        lambda model: setattr(model.layers[2].attention, "key", QuantizedLinear.of(noise(32, WIDTH), bits=4)),
        lambda model: setattr(model.layers[1].mlp, "up", QuantizedLinear.of(noise(128, WIDTH), bits=4, group_size=24)),
        lambda model: setattr(model.layers[1].mlp, "up", Linear(WIDTH, 2 * WIDTH, bias=False).bfloat16()),
        lambda model: setattr(model.layers[0].attention, "query", Linear(WIDTH, WIDTH, bias=False)),
    ],
)
def test_other_layers_go_by_their_own_code(answers: list[bool], change: Any) -> None:
    model, given = made(), context(2, pair())
    columns_of(model, given, 2, 2)
    change(model)
    past = Past(given.cache.self_attention_cache.layers, memories=given.cache.cross_attention_cache.layers)
    with torch.no_grad():
        assert column_step(model, list(model.layers), noise(2, 1, WIDTH), past) is None
    assert given.cache.get_seq_length() == 2


def test_odd_widths_go_by_the_layers(answers: list[bool]) -> None:
    model = Transformer(
        [
            TransformerLayer(
                attention=Attention(40, 2), mlp=MLP(40, 48, act="gelu"), norms=[nn.LayerNorm(40) for _ in range(2)]
            )
        ],
        nn.LayerNorm(40),
    ).eval()
    rounded(model, 8)
    with torch.no_grad():
        model(noise(1, 1, 40), Context(cache=DynamicCache()))
    assert answers == [False]


def test_masks_with_numbers_and_of_single_heads_go_by_the_layers(answers: list[bool]) -> None:
    model, given = made(memory=False), Context(cache=pair())
    with torch.no_grad():
        for mask in (
            Mask(bias=noise(1, HEADS, 1, 1)),
            Mask.of(torch.ones(2, HEADS, 1, 2, dtype=torch.bool)),
            Mask.of(torch.ones(2, 1, 1, 3, dtype=torch.bool)),
        ):
            given.mask = mask
            model(noise(2, 1, WIDTH), given)
    assert answers == [False, False, True]


def test_half_precision_caches_and_more_rows_go_by_the_layers(answers: list[bool]) -> None:
    model = made(memory=False)
    columns_of(model, context(2, pair("float16"), memory=False), 2, 2)
    columns_of(model, context(17, pair(), memory=False), 17, 2)
    assert answers == [False] * 4


def test_the_switch_turns_it_off(answers: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.SWITCH, "0")
    library._loaded.cache_clear()
    try:
        columns_of(made(), context(2, pair()), 2, 3)
    finally:
        library._loaded.cache_clear()
    assert answers == [False] * 3


def test_a_full_cache_is_an_error_before_anything_is_written() -> None:
    cache = StaticCache(max_cache_len=2)
    model, given = made(memory=False), Context(cache=cache)
    columns_of(model, given, 2, 2)
    with pytest.raises(CapacityError, match="column 3"):
        columns_of(model, given, 2, 1)
    assert [layer.length for layer in cache.layers] == [2, 2, 2]
