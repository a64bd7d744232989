"""Destinations: memory for weights, and what fits into it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from antiphon.checkpoints.destinations import TensorInfo, check_fit, empty, is_plain, memory_of
from antiphon.errors import CheckpointError, ParamError

HERE = Path("model.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (2, 3, 4)])
def test_empty_has_the_shape_the_dtype_and_aligned_memory(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensor = empty(shape, dtype)
    assert tensor.shape == shape
    assert tensor.dtype == dtype
    assert tensor.is_contiguous()
    assert tensor.numel() == 0 or tensor.data_ptr() % 64 == 0
    assert len(memory_of(tensor)) == tensor.numel() * tensor.element_size()
    tensor.fill_(1)
    assert (tensor == 1).all()


def test_bytes_written_into_the_memory_arrive_in_the_tensor() -> None:
    tensor = torch.zeros(3, dtype=torch.int16)
    memory_of(tensor)[2:4] = b"\x01\x01"
    assert tensor.tolist() == [0, 257, 0]


def test_info_counts_elements_and_bytes() -> None:
    info = TensorInfo((2, 3), torch.bfloat16)
    assert (info.numel, info.nbytes) == (6, 12)
    assert TensorInfo((), torch.float64).nbytes == 8


def test_only_tensors_in_order_in_main_memory_are_plain() -> None:
    tensor = torch.zeros(4, 4)
    assert is_plain(tensor)
    assert is_plain(tensor[1:3])
    assert not is_plain(tensor.T)
    assert not is_plain(torch.zeros(1).expand(3))
    assert not is_plain(torch.zeros(2, dtype=torch.complex64).conj())


def test_F012_floats_are_cast_among_each_other_and_the_rest_must_be_equal() -> None:
    floats = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    others = (torch.int8, torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64, torch.bool, torch.int64)
    for stored in floats + others:
        for wanted in floats + others:
            info, target = TensorInfo((2,), stored), torch.empty(2, dtype=wanted)
            if stored == wanted or (stored in floats and wanted in floats):
                check_fit("layer.weight", info, target, HERE)
            else:
                with pytest.raises(CheckpointError, match=r"model\.safetensors: the tensor 'layer\.weight' is stored"):
                    check_fit("layer.weight", info, target, HERE)


def test_a_wrong_shape_says_both_and_a_meta_target_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"shape \[2, 3\]\. Expected \[3, 2\]"):
        check_fit("a", TensorInfo((2, 3), torch.float32), torch.empty(3, 2), HERE)
    with pytest.raises(ParamError, match="meta"):
        check_fit("a", TensorInfo((2,), torch.float32), torch.empty(2, device="meta"), HERE)
