"""The sound device: two short queues, in which what is late is dropped and counted, and its stand-in."""

from __future__ import annotations

import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from antiphon.audio.sound_device import SoundDevice
from antiphon.errors import AudioError, MissingExtraError, ParamError

FRAME = 4


def block(value: float) -> np.ndarray:
    return np.full((FRAME, 1), value, np.float32)


def exchanged(device: SoundDevice, value: float, *, overflow: bool = False) -> np.ndarray:
    """What is played while ``value`` is said."""
    played = np.full((FRAME, 1), np.nan, np.float32)
    device.exchange(block(value), played, FRAME, None, SimpleNamespace(input_overflow=overflow))
    return played[:, 0]


def test_what_is_said_comes_in_its_order_and_silence_is_played_unless_there_is_something() -> None:
    device = SoundDevice(100, FRAME)
    assert exchanged(device, 1.0).tolist() == [0.0] * FRAME
    device.play(np.arange(2 * FRAME, dtype=np.float32))
    assert device.lag_s == pytest.approx(0.04)
    assert exchanged(device, 2.0).tolist() == [0, 1, 2, 3]
    assert exchanged(device, 3.0).tolist() == [4, 5, 6, 7]
    assert exchanged(device, 4.0).tolist() == [0.0] * FRAME
    assert [float(device.take(0)[0]) for _ in range(4)] == [1, 2, 3, 4]  # type: ignore[index]
    assert device.take(0) is None
    assert (device.lag_s, device.late_frames, device.skipped_frames, device.overflows) == (0, 0, 0, 0)


def test_F073_who_speaks_faster_than_is_heard_loses_the_oldest_and_it_is_counted() -> None:
    device = SoundDevice(100, FRAME, most_frames=3)
    for number in range(10):
        exchanged(device, float(number), overflow=number == 4)
    assert device.late_frames == 7
    assert device.overflows == 1
    assert device.lag_s == pytest.approx(3 * FRAME / 100)
    assert [float(device.take(0)[0]) for _ in range(3)] == [7, 8, 9]  # type: ignore[index]


def test_F074_replies_that_come_too_late_are_skipped_and_the_queue_stays_short() -> None:
    device = SoundDevice(100, FRAME, most_frames=2)
    device.play(np.repeat(np.arange(5, dtype=np.float32), FRAME))
    assert device.skipped_frames == 3
    assert [float(exchanged(device, 0.0)[0]) for _ in range(3)] == [3, 4, 0]
    device.play(np.zeros(0, np.float32))
    assert device.skipped_frames == 3


def test_a_frame_is_waited_for() -> None:
    device = SoundDevice(100, FRAME)
    speaker = threading.Thread(target=exchanged, args=(device, 5.0))
    speaker.start()
    frame = device.take(30.0)
    speaker.join()
    assert frame is not None
    assert frame.tolist() == [5.0] * FRAME


def test_what_is_said_is_a_copy_because_the_system_uses_its_memory_again() -> None:
    device, said = SoundDevice(100, FRAME), block(1.0)
    device.exchange(said, block(0.0), FRAME, None, None)
    said[:] = 7
    assert device.take(0).tolist() == [1.0] * FRAME  # type: ignore[union-attr]


class Stream:
    """A stream that keeps what it was asked for."""

    made: ClassVar[list[Stream]] = []

    def __init__(self, **asked: Any) -> None:
        self.asked, self.state = asked, "open"
        Stream.made.append(self)

    def start(self) -> None:
        self.state = "running"

    def close(self) -> None:
        self.state = "closed"


def stand_in(stream: Any = Stream) -> ModuleType:
    module = ModuleType("sounddevice")
    module.Stream, module.PortAudioError = stream, type("PortAudioError", (Exception,), {})  # type: ignore[attr-defined]
    return module


def test_the_systems_devices_are_opened_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", stand_in())
    with SoundDevice(24_000, 1920) as device:
        stream = Stream.made[-1]
        assert stream.state == "running"
        assert stream.asked["callback"] == device.exchange
        assert (stream.asked["samplerate"], stream.asked["blocksize"], stream.asked["channels"]) == (24_000, 1920, 1)
    assert stream.state == "closed"


def test_without_devices_or_without_the_package_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    module = stand_in()

    def refused(**asked: Any) -> None:
        raise module.PortAudioError("Error querying device -1")

    module.Stream = refused  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    with pytest.raises(AudioError, match="24000 Hz.*--in"), SoundDevice(24_000, 1920):
        pass
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingExtraError, match=r"antiphon\[live\]"), SoundDevice(24_000, 1920):
        pass


@pytest.mark.parametrize("asked", [{"frame_samples": 0}, {"most_frames": 0}])
def test_queues_of_nothing_are_refused(asked: dict[str, int]) -> None:
    with pytest.raises(ParamError, match=next(iter(asked))):
        SoundDevice(100, **{"frame_samples": FRAME, **asked})
