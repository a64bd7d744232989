"""The rotary time embedding: its formula, its precision, and what it tells apart."""

from __future__ import annotations

import math

import pytest
import torch

from antiphon.encoders.rotary_time import RotaryTime
from antiphon.errors import ConfigError

PUBLISHED = RotaryTime(width=256, base=1200.0, longest=1200.0, frame_s=0.04)


@pytest.mark.row("R114", "R128", "R139")
def test_angles_are_the_documented_formula() -> None:
    cosines, sines = PUBLISHED.tables(torch.tensor([0, 3, 39]), 750, 750)
    assert cosines.shape == sines.shape == (3, 750, 512)
    speeds = [1200.0 ** (-2 * pair / 256) for pair in range(128)]
    for row, window in enumerate((0, 3, 39)):
        for frame in (0, 1, 77, 749):
            seconds = window * 30.0 + frame * 0.04
            for pair in (0, 1, 40, 127):
                of_window = window / 1200 * speeds[pair] * -2 * math.pi * seconds
                of_frame = frame / 1200 * 2 * math.pi * speeds[pair] * -2 * math.pi * seconds
                # float32 knows an angle of thousands to a few thousandths
                for place, angle in ((2 * pair, of_window), (256 + 2 * pair + 1, of_frame)):
                    allowed = 1e-6 + 4e-7 * abs(angle)
                    assert float(cosines[row, frame, place]) == pytest.approx(math.cos(angle), abs=allowed)
                    assert float(sines[row, frame, place]) == pytest.approx(math.sin(angle), abs=allowed)


@pytest.mark.row("R128")
def test_neighbouring_channels_turn_together_and_the_rest_passes_through() -> None:
    small = RotaryTime(width=2, base=10.0, longest=10.0, frame_s=0.25)
    frames = torch.randn((1, 3, 6), generator=torch.Generator().manual_seed(0))
    out = small.turned(frames, torch.tensor([2]), 4)
    assert torch.equal(out[..., 4:], frames[..., 4:])
    for frame in range(3):
        seconds = 2 * 1.0 + frame * 0.25
        for pair, angle in ((0, 2 / 10), (1, frame / 10 * 2 * math.pi)):
            turn = torch.polar(torch.tensor(1.0), torch.tensor(angle * -2 * math.pi * seconds))
            x = frames[0, frame, 2 * pair : 2 * pair + 2]
            expected = torch.view_as_real(torch.view_as_complex(x.contiguous()) * turn)
            assert torch.allclose(out[0, frame, 2 * pair : 2 * pair + 2], expected, atol=1e-5)


def test_the_first_moment_is_not_turned_and_lengths_are_kept() -> None:
    frames = torch.randn((2, 750, 512), generator=torch.Generator().manual_seed(0))
    out = PUBLISHED.turned(frames, torch.tensor([0, 5]), 750)
    assert torch.equal(out[0, 0], frames[0, 0])
    assert torch.allclose(out.norm(dim=-1), frames.norm(dim=-1), rtol=1e-5)


@pytest.mark.row("R128")
def test_half_precision_frames_are_turned_by_exact_tables() -> None:
    frames = torch.randn((1, 750, 640), generator=torch.Generator().manual_seed(0)).bfloat16()
    windows = torch.tensor([11])
    out = PUBLISHED.turned(frames, windows, 750)
    assert out.dtype is torch.bfloat16
    assert torch.equal(out, PUBLISHED.turned(frames.float(), windows, 750).bfloat16())


def test_some_of_the_frames_are_turned_as_they_are_among_all() -> None:
    frames = torch.randn((1, 750, 512), generator=torch.Generator().manual_seed(0))
    windows = torch.tensor([1])
    assert torch.equal(PUBLISHED.turned(frames[:, :31], windows, 750), PUBLISHED.turned(frames, windows, 750)[:, :31])


@pytest.mark.parametrize("field", ["width", "base", "longest", "frame_s"])
@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf])
def test_what_no_angles_come_of_is_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{field}="):
        RotaryTime(**{**vars(PUBLISHED), field: value})
