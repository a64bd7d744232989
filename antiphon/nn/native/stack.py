"""A few new columns through a whole stack of layers in one call: the list of stages that the kernel walks."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.nn.native.attention import Stored
from antiphon.nn.native.library import native
from antiphon.nn.native.products import Codes
from antiphon.nn.rotary import Rotation

# The kernel's numbers; see lanes.h and stack.cpp.
_KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
_CODE_KINDS = {8: 2, 4: 3}
_PROJECT, _ATTEND, _NORMALISE = 0, 1, 2
ACTIVATIONS = {"identity": 0, "relu": 1, "gelu": 2, "silu": 3}
NORMS = {"layer": 0, "rms": 1, "rms rounded": 2}
_COLUMN, _FIRST, _SECOND = 0, 1, 2

# What caches may keep; and the most rows, columns of one row counted alone, of which less where a kernel of torch's is
# faster then: it multiplies as fast as it reads.
STORES = frozenset(_KINDS)
MOST_ROWS = 16
_MOST_ROWS = {torch.bfloat16: 6, torch.float32: 8}

# Inputs that a product widens at once, and lanes of a vector.
_CHUNK, _LANES, _MOST_WIDTH = 32, 16, 256

# Bytes of weights below which waking a second thread costs more than it saves.
_BYTES_A_THREAD = 1 << 18

_whole, _real, _place = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p


class _Norm(ctypes.Structure):
    _fields_ = (("weight", _place), ("bias", _place), ("eps", _real), ("kind", _whole))


class _Matrix(ctypes.Structure):
    _fields_ = (
        *((name, _place) for name in ("weight", "scales", "bias")),
        *((name, _whole) for name in ("kind", "weight_stride", "scale_stride", "group", "inputs", "outputs")),
    )


class _Stage(ctypes.Structure):
    _fields_ = (
        *((name, _whole) for name in ("what", "source", "to")),
        ("norm", _Norm),
        ("matrices", _Matrix * 3),
        ("factors", _place),
        *((name, _whole) for name in ("matrix_count", "activation", "gated", "adds")),
        *((name, _whole) for name in ("heads", "key_heads", "head_width", "fresh", "store", "mask")),
        ("scale", _real),
    )


class _Store(ctypes.Structure):
    _fields_ = (
        *((name, _place) for name in ("keys", "values", "key_scales", "value_scales")),
        *((name, _whole) for name in ("kind", "room", "filled")),
    )


class _Mask(ctypes.Structure):
    _fields_ = (
        ("allowed", _place),
        *((name, _whole) for name in ("batch_stride", "head_stride", "column_stride", "slot_stride")),
    )


class _Rotation(ctypes.Structure):
    _fields_ = (("cosines", _place), ("sines", _place), ("batch_stride", _whole))


class _Step(ctypes.Structure):
    _fields_ = (
        *((name, _place) for name in ("stages", "stores", "masks")),
        ("rotation", _Rotation),
        *((name, _place) for name in ("slots", "live", "x", "out")),
        *((name, _whole) for name in ("slot_stride", "stage_count", "batch", "columns", "width", "widest", "kind")),
        ("threads", _whole),
    )


@dataclass(frozen=True, slots=True)
class Weights:
    """One projection: a weight (O, I) in the columns' dtype or codes that stand for one, and a bias (O,)."""

    weight: Tensor | Codes
    bias: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """O and I."""
        if isinstance(self.weight, Codes):
            return self.weight.codes.shape[0], self.weight.inputs
        outputs, inputs = self.weight.shape
        return outputs, inputs

    def suit(self, dtype: torch.dtype) -> bool:
        """Whether the kernel can read them, for columns of ``dtype``."""
        outputs, inputs = self.shape
        if isinstance(self.weight, Codes):
            stored, scales, group = self.weight.codes, self.weight.scales, self.weight.group
            bytes_a_row = inputs if self.weight.bits == 8 else -(-inputs // 2)
            kinds = stored.dtype is torch.uint8 and scales.dtype is torch.bfloat16
            read = kinds and group % _CHUNK == 0 and scales.is_cpu and scales.stride(-1) == 1
            read = read and stored.shape == (outputs, bytes_a_row) and scales.shape == (outputs, -(-inputs // group))
        else:
            stored = self.weight
            read = stored.dtype is dtype
        bias = self.bias is None or _is_vector(self.bias, outputs, dtype)
        return bias and read and stored.is_cpu and stored.stride(1) == 1 and inputs % _CHUNK == 0

    def described(self) -> _Matrix:
        """As the kernel reads them."""
        bias, (outputs, inputs) = None if self.bias is None else self.bias.data_ptr(), self.shape
        if isinstance(self.weight, Codes):
            codes, scales = self.weight.codes, self.weight.scales
            places, strides = (codes.data_ptr(), scales.data_ptr(), bias), (codes.stride(0), scales.stride(0))
            return _Matrix(*places, _CODE_KINDS[self.weight.bits], *strides, self.weight.group, inputs, outputs)
        stride = self.weight.stride(0) * self.weight.element_size()
        kind = _KINDS[self.weight.dtype]
        return _Matrix(self.weight.data_ptr(), None, bias, kind, stride, 0, inputs, inputs, outputs)

    def parts(self, rows: int) -> tuple[Weights, Weights]:
        """The first ``rows`` outputs, and the others."""
        outputs, pieces = self.shape[0], []
        for begin, end in ((0, rows), (rows, outputs)):
            part = self.weight.rows(begin, end) if isinstance(self.weight, Codes) else self.weight[begin:end]
            pieces.append(Weights(part, None if self.bias is None else self.bias[begin:end]))
        return pieces[0], pieces[1]


@dataclass(frozen=True, slots=True)
class Norm:
    """A normalisation of one of ``NORMS``: weight (D,) and bias (D,), each in the dtype of the columns."""

    weight: Tensor | None
    bias: Tensor | None
    eps: float
    kind: str = "layer"

    def suits(self, width: int, dtype: torch.dtype) -> bool:
        """Whether the kernel can read it, for columns of ``width`` and ``dtype``."""
        return _is_vector(self.weight, width, dtype) and (self.bias is None or _is_vector(self.bias, width, dtype))

    def described(self) -> _Norm:
        """As the kernel reads it."""
        places = (None if part is None else part.data_ptr() for part in (self.weight, self.bias))
        return _Norm(*places, self.eps, NORMS[self.kind])


@dataclass(frozen=True, slots=True)
class Written:
    """Where the columns of a call are stored, in the caches of all layers alike.

    Attributes:
        slots: (B or 1, T) int64, or ``None`` for the last of those that count.
        live: (B,) bool, the rows whose columns are stored, by default all.
    """

    slots: Tensor | None = None
    live: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Heads:
    """How a projection's outputs are attended with.

    Attributes:
        heads: of queries. key_heads: a divisor of it. width: of a head. scale: on the scores.
    """

    heads: int
    key_heads: int
    width: int
    scale: float

    def suit(self) -> bool:
        """Whether the kernel can attend with them."""
        return self.width % _LANES == 0 and 0 < self.width <= _MOST_WIDTH


def _is_vector(tensor: Tensor | None, size: int, dtype: torch.dtype) -> bool:
    if tensor is None or tensor.shape != (size,):
        return False
    return tensor.dtype is dtype and tensor.is_cpu and tensor.stride(0) == 1


class Stages:
    """The stages of a stack, in the order in which a column passes them.

    It keeps places of tensors and not the tensors: whoever keeps it sees to it that they are still there.

    Args:
        width: D of a column. dtype: of the columns, and of all norms and biases.
    """

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        self.width, self.dtype = width, dtype
        self.attentions: list[tuple[Heads, bool]] = []
        self.fit = dtype in (torch.float32, torch.bfloat16) and width % _CHUNK == 0
        self.most_rows = 6 if dtype is torch.bfloat16 else MOST_ROWS
        self._stages: list[_Stage] = []
        self._array: ctypes.Array[_Stage] | None = None
        self._left = self._widest = width  # what the last stage left, and the most that any leaves
        self._bytes = 0

    def project(
        self,
        weights: Sequence[Weights],
        norm: Norm | None = None,
        *,
        activation: str = "identity",
        gated: bool = False,
        factors: Tensor | None = None,
        adds: bool = False,
    ) -> None:
        """The column, normalised first, or what the last stage left, by up to three weights side by side.

        Args:
            activation: of ``ACTIVATIONS``, on the result; with ``gated`` on that of the first of two weights, which is
                then multiplied with that of the second.
            factors: (D,), on the channels. adds: the result is added to the column.
        """
        before = self._stages[-1].to if self._stages else _COLUMN
        outputs = sum(each.shape[0] for each in weights)
        self.fit = (
            self.fit
            and all(each.suit(self.dtype) and each.shape[1] == (self.width if norm else self._left) for each in weights)
            and (norm is None or norm.suits(self.width, self.dtype))
            and (not adds or outputs == self.width)
            and (factors is None or (outputs == self.width and _is_vector(factors, self.width, self.dtype)))
            and (not gated or (len(weights) == 2 and weights[0].shape == weights[1].shape))
        )
        if not self.fit:
            return
        stage = _Stage(_PROJECT, _COLUMN if norm else before, _SECOND if not norm and before == _FIRST else _FIRST)
        if norm:
            stage.norm = norm.described()
        for place, each in enumerate(weights):
            stage.matrices[place] = each.described()
            if not isinstance(each.weight, Codes):
                self.most_rows = min(self.most_rows, _MOST_ROWS[self.dtype])
        stage.factors = None if factors is None else factors.data_ptr()
        stage.matrix_count, stage.activation = len(weights), ACTIVATIONS[activation]
        stage.gated, stage.adds = gated, adds
        self._left, self._widest = outputs // 2 if gated else outputs, max(self._widest, outputs)
        self._bytes += sum(matrix.weight_stride * matrix.outputs for matrix in stage.matrices)
        self._stages.append(stage)

    def attend(self, heads: Heads, *, memory: bool) -> None:
        """Attention with the queries that the last stage left: over the column's own past, or over a memory.

        Over its own past the keys and values lie after the queries, and are stored first.
        """
        queries = heads.heads * heads.width
        fresh = 0 if memory else 2 * heads.key_heads * heads.width
        self.fit = self.fit and heads.suit() and self._left == queries + fresh
        if not self.fit:
            return
        stage = _Stage(_ATTEND, _FIRST, _SECOND)
        stage.heads, stage.key_heads, stage.head_width, stage.scale = (
            heads.heads,
            heads.key_heads,
            heads.width,
            heads.scale,
        )
        stage.fresh, stage.store, stage.mask = not memory, len(self.attentions), memory
        self._left = queries
        self.attentions.append((heads, memory))
        self._stages.append(stage)

    def normalise(self, norm: Norm) -> None:
        """The column itself, normalised."""
        self.fit = self.fit and norm.suits(self.width, self.dtype)
        if self.fit:
            stage = _Stage(_NORMALISE, _COLUMN, _COLUMN)
            stage.norm = norm.described()
            self._stages.append(stage)

    def step(
        self,
        x: Tensor,
        stores: Sequence[tuple[Stored, int]],
        masks: Sequence[Tensor | None],
        *,
        rotation: Rotation | None = None,
        written: Written | None = None,
    ) -> Tensor | None:
        """The columns (B, T, D) behind the last stage, or ``None`` where there is no kernel.

        Args:
            x: (B, T, D), contiguous.
            stores: for each attention keys and values (B, H, S, D), contiguous, and how many of the S columns count.
                Of an attention over the past those of ``written`` are written.
            masks: bool, four dimensions, each 1 or that of (B, H, T, columns that count); over the past, and over a
                memory.
            rotation: cosines and sines (B or 1, 1, T, head width), contiguous and in the dtype of ``x``.
        """
        library = native()
        if library is None:
            return None
        if self._array is None:
            self._array = (_Stage * len(self._stages))(*self._stages)
        written = written or Written()
        out = torch.empty_like(x)
        held = (_Store * len(stores))(*(_store(*each) for each in stores))
        shown = (_Mask * 2)(*(_mask(mask) for mask in masks))
        threads = max(1, min(torch.get_num_threads(), self._bytes // _BYTES_A_THREAD))
        task = _Step(*(ctypes.addressof(part) for part in (self._array, held, shown)), _rotation(rotation))
        if written.slots is not None:
            task.slots = written.slots.data_ptr()
            task.slot_stride = written.slots.stride(0) if len(written.slots) > 1 else 0
        task.live = None if written.live is None else written.live.data_ptr()
        task.x, task.out = x.data_ptr(), out.data_ptr()
        task.stage_count, task.batch, task.columns = len(self._stages), x.shape[0], x.shape[1]
        task.width, task.widest, task.kind, task.threads = self.width, self._widest, _KINDS[self.dtype], threads
        library.antiphon_step(ctypes.byref(task))
        return out


def _store(stored: Stored, filled: int) -> _Store:
    scales = stored.key_scales, stored.value_scales
    places = (None if part is None else part.data_ptr() for part in (stored.keys, stored.values, *scales))
    return _Store(*places, _KINDS[stored.keys.dtype], stored.keys.shape[2], filled)


def _mask(allowed: Tensor | None) -> _Mask:
    if allowed is None:
        return _Mask()
    return _Mask(
        allowed.data_ptr(),
        *(stride if size > 1 else 0 for stride, size in zip(allowed.stride(), allowed.shape, strict=True)),
    )


def _rotation(tables: Rotation | None) -> _Rotation:
    if tables is None:
        return _Rotation()
    cosines, sines = tables
    return _Rotation(cosines.data_ptr(), sines.data_ptr(), cosines.stride(0) if len(cosines) > 1 else 0)
