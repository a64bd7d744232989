"""The audio encoder: lengths, padding that is not heard, and what is computed."""

from __future__ import annotations

import pytest
import torch

from antiphon.encoders.audio_encoder import AudioEncoder, columns_of, frames_of
from antiphon.encoders.projector import Projector
from antiphon.errors import ParamError

BANDS, WIDTH, POSITIONS = 4, 16, 30


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    torch.manual_seed(0)
    made = AudioEncoder(mels=BANDS, width=WIDTH, layers=2, heads=2, hidden=24, positions=POSITIONS, act="gelu")
    for name, parameter in made.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm.weight" in name), std=0.3)
    return made.eval()


def mel(windows: int, frames: int, seed: int = 1) -> torch.Tensor:
    return torch.randn((windows, BANDS, frames), generator=torch.Generator().manual_seed(seed))


@pytest.mark.row("R126", "R133", "R136")
def test_frames_follow_the_documented_formulas_for_every_length() -> None:
    for length in range(1, 3001):
        columns = (length - 1) // 2 + 1
        assert columns_of(length) == columns
        assert frames_of(torch.tensor(length)) == (columns - 2) // 2 + 1
    assert frames_of(torch.tensor([0, 3000])).tolist() == [0, 750]


@pytest.mark.row("R126", "R136")
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 9, 10, 11, 57, 58, 59, 60])
def test_as_many_frames_come_out_as_the_formula_says(encoder: AudioEncoder, length: int) -> None:
    with torch.no_grad():
        assert encoder(mel(2, length)).shape == (2, int(frames_of(torch.tensor(length))), WIDTH)


@pytest.mark.row("R143")
def test_padding_reaches_no_frame_of_the_sound_but_through_the_two_mel_frames_behind_it(encoder: AudioEncoder) -> None:
    windows, lengths = mel(2, 60), torch.tensor([37, 60])
    with torch.no_grad():
        before = encoder(windows, lengths)
        windows[0, :, 39:] = 100.0
        assert torch.equal(encoder(windows, lengths)[0, :9], before[0, :9])
        windows[0, :, 38] = 100.0
        assert not torch.equal(encoder(windows, lengths)[0, :9], before[0, :9])


@pytest.mark.row("R143")
@pytest.mark.parametrize("length", [*range(1, 14), 36, 37, 38, 39, 57, 58, 59, 60])
def test_what_is_trimmed_gives_the_same_frames(encoder: AudioEncoder, length: int) -> None:
    windows, lengths = mel(1, 60, seed=length), torch.tensor([length])
    own = int(frames_of(lengths))
    with torch.no_grad():
        whole, trimmed = encoder(windows, lengths), encoder(windows, lengths, trimmed=True)
    assert whole.shape == (1, 15, WIDTH)
    assert trimmed.shape == (1, own, WIDTH)
    assert torch.allclose(trimmed, whole[:, :own], atol=2e-6)


def test_windows_of_different_lengths_are_what_each_is_alone(encoder: AudioEncoder) -> None:
    windows, lengths = mel(3, 60), torch.tensor([12, 41, 33])
    with torch.no_grad():
        together = encoder(windows, lengths, trimmed=True)
        for window in range(3):
            alone = encoder(windows[window : window + 1], lengths[window : window + 1], trimmed=True)
            assert torch.allclose(together[window, : alone.shape[1]], alone[0], atol=2e-6)


def test_a_window_without_sound_gives_no_frames_and_no_nan(encoder: AudioEncoder) -> None:
    with torch.no_grad():
        out = encoder(mel(2, 60), torch.tensor([0, 60]))
        assert bool(out.isfinite().all())
        assert encoder(mel(1, 60), torch.tensor([0]), trimmed=True).shape == (1, 0, WIDTH)
        assert encoder(mel(0, 60), torch.zeros(0, dtype=torch.int64), trimmed=True).shape == (0, 15, WIDTH)


def test_a_window_longer_than_its_positions_is_refused(encoder: AudioEncoder) -> None:
    with pytest.raises(ParamError, match=r"windows of 61 mel frames.*at most 60"):
        encoder(mel(1, 61))


def test_learned_positions_are_left_alone_by_training(encoder: AudioEncoder) -> None:
    assert [n for n, p in encoder.named_parameters() if not p.requires_grad] == ["positions.weight"]


@pytest.mark.row("R129")
def test_the_projector_is_two_layers_with_an_activation_between() -> None:
    torch.manual_seed(0)
    made = Projector(3, 5, act="gelu")
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    frames = torch.randn(2, 3)
    inner = torch.nn.functional.gelu(frames @ made.linear_1.weight.T + made.linear_1.bias)
    assert torch.allclose(made(frames), inner @ made.linear_2.weight.T + made.linear_2.bias, atol=1e-6)
    assert Projector(3, 5, act="relu", bias=False).linear_2.bias is None
