"""Encoded sounds are kept by their content, within bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from antiphon.errors import ParamError
from antiphon.tasks.sound_memory import SoundMemory


class _Encoder:
    """Four numbers of four bytes a sound; remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[list[float]] = []

    def __call__(self, sounds: list[np.ndarray]) -> list[torch.Tensor]:
        self.calls.append([float(sound[0]) for sound in sounds])
        return [torch.full((2, 2), float(sound[0])) for sound in sounds]


def sound(value: float) -> np.ndarray:
    return np.full(3, value, np.float32)


def test_equal_sounds_are_encoded_once_and_unknown_ones_together() -> None:
    encode = _Encoder()
    memory = SoundMemory(encode, most_bytes=1000)
    first = memory.recall([sound(1), sound(2), sound(1)])
    again = memory.recall([sound(2), sound(3)])
    assert encode.calls == [[1.0, 2.0], [3.0]]
    assert [float(features[0, 0]) for _, features in first + again] == [1, 2, 1, 2, 3]
    assert first[0][0] == first[2][0] != first[1][0]
    assert (memory.encoded, memory.held_bytes) == (3, 48)


def test_the_sound_that_was_not_asked_for_the_longest_is_forgotten_first() -> None:
    encode = _Encoder()
    memory = SoundMemory(encode, most_bytes=32)
    for value in (1, 2, 1, 3, 1, 2):
        memory.recall([sound(value)])
    assert encode.calls == [[1.0], [2.0], [3.0], [2.0]]
    assert memory.held_bytes == 32


def test_a_sound_above_the_bound_is_given_and_not_kept() -> None:
    encode = _Encoder()
    memory = SoundMemory(encode, most_bytes=15)
    memory.recall([sound(1)])
    memory.recall([sound(1)])
    assert (len(encode.calls), memory.held_bytes) == (2, 0)


def test_what_is_forgotten_is_encoded_again() -> None:
    encode = _Encoder()
    memory = SoundMemory(encode, most_bytes=1000)
    memory.recall([sound(1)])
    memory.forget()
    assert memory.held_bytes == 0
    memory.recall([sound(1)])
    assert len(encode.calls) == 2


@pytest.mark.parametrize("most_bytes", [-1, 1.5, float("nan"), True])
def test_a_bound_is_a_number_of_bytes(most_bytes: object) -> None:
    with pytest.raises(ParamError, match="most_bytes"):
        SoundMemory(_Encoder(), most_bytes=most_bytes)
