"""Rendering: when notes start and end, who sits where, levels and lengths; played by a synthesizer made of air."""

from __future__ import annotations

import ctypes.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recipes.builtin.songs.composer import compose
from recipes.builtin.songs.piece import Note, Part, Piece
from recipes.builtin.songs.rendering import FluidSynth, Renderer, levelled

RATE_HZ = 32000


class Recorder:
    """Writes down what it is told, and when; each note it holds adds one to every sample."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.at = 0
        self.held: set[tuple[int, int]] = set()

    def reset(self) -> None:
        self.told.append(("reset",))
        self.held.clear()
        self.at = 0

    def program(self, channel: int, bank: int, program: int) -> None:
        self.told.append(("program", channel, bank, program))

    def control(self, channel: int, number: int, value: int) -> None:
        self.told.append(("control", channel, number, value))

    def note_on(self, channel: int, pitch: int, velocity: int) -> None:
        self.told.append(("on", self.at, channel, pitch, velocity))
        self.held.add((channel, pitch))

    def note_off(self, channel: int, pitch: int) -> None:
        self.told.append(("off", self.at, channel, pitch))
        self.held.discard((channel, pitch))

    def samples(self, count: int) -> np.ndarray:
        self.at += count
        return np.full(count, 0.01 * len(self.held), np.float32)

    def said(self, kind: str) -> list[tuple[object, ...]]:
        return [words[1:] for words in self.told if words[0] == kind]


def piece_of(*notes: Note, **changes: object) -> Piece:
    melody = Part("melody", "flute", 73, notes, level=90)
    drums = Part("drums", "drums", 16, (Note(0.0, 0.2, 36, 100),), drums=True, level=80)
    return replace(
        Piece(0, "jazz", 120, 0, "major", 4, 1, 0.0, 0, (melody, drums)),
        **changes,
    )


def test_notes_start_and_end_on_time_to_two_milliseconds() -> None:
    synth = Recorder()
    Renderer(RATE_HZ, synth=synth).render(piece_of(Note(0.0, 1.0, 60, 100), Note(1.01, 0.5, 64, 90)), roles={"melody"})
    second = RATE_HZ // 2  # a beat
    starts = {pitch: at for at, _, pitch, _ in synth.said("on")}
    ends = {pitch: at for at, _, pitch in synth.said("off")}
    for pitch, start, end in ((60, 0.0, 1.0), (64, 1.01, 1.51)):
        assert abs(starts[pitch] - start * second) <= 64
        assert abs(ends[pitch] - end * second) <= 64


def test_a_note_struck_again_is_not_ended_by_its_first_end() -> None:
    synth = Recorder()
    Renderer(RATE_HZ, synth=synth).render(piece_of(Note(0.0, 2.0, 60, 100), Note(1.0, 2.0, 60, 90)), roles={"melody"})
    assert [at for at, *_ in synth.said("on")] == [0, 16000]
    assert [at for at, *_ in synth.said("off")] == [48000]


def test_players_get_their_channels_programs_and_levels() -> None:
    synth = Recorder()
    Renderer(RATE_HZ, synth=synth).render(piece_of(Note(0.0, 1.0, 60, 100)))
    assert synth.told[0] == ("reset",)
    assert set(synth.said("program")) == {(0, 0, 73), (9, 128, 16)}
    assert {(0, 7, 90), (9, 7, 80)} <= set(synth.said("control"))
    assert {channel for _, channel, *_ in synth.said("on")} == {0, 9}


def test_the_melody_alone_may_be_played_by_another_instrument() -> None:
    synth = Recorder()
    Renderer(RATE_HZ, synth=synth).render(piece_of(Note(0.0, 1.0, 60, 100)), roles={"melody"}, program=0)
    assert synth.said("program") == [(0, 0, 0)]
    assert len(synth.said("on")) == 1


@pytest.mark.parametrize("seconds", [0.1, 1.0, 1.99999, 12.0])
def test_the_sound_is_exactly_as_long_as_asked(seconds: float) -> None:
    sound = Renderer(RATE_HZ, synth=Recorder()).render(compose(3), seconds=seconds)
    assert sound.shape == (round(seconds * RATE_HZ),)
    assert sound.dtype == np.float32


def test_without_a_length_it_is_that_of_the_piece() -> None:
    piece = compose(4, seconds=3.0)
    assert Renderer(RATE_HZ, synth=Recorder()).render(piece).shape == (round(piece.duration_s * RATE_HZ),)


def test_every_composed_piece_sounds_and_is_levelled() -> None:
    for seed in range(20):
        sound = Renderer(RATE_HZ, synth=Recorder()).render(compose(seed, seconds=2.0), seconds=2.0)
        assert abs(20 * math.log10(np.sqrt(np.mean(np.square(sound)))) + 20) < 0.5


def test_levels_are_twenty_below_full_scale_and_silence_stays() -> None:
    noise = np.random.default_rng(0).standard_normal(32000).astype(np.float32) * 1e-3
    assert abs(np.sqrt(np.mean(np.square(levelled(noise)))) - 0.1) < 1e-4
    assert not levelled(np.zeros(100, np.float32)).any()


def test_peaks_are_bent_below_full_scale_and_what_is_lower_is_only_scaled() -> None:
    wave = np.sin(np.arange(32000, dtype=np.float32))
    wave[::3200] = np.linspace(2.0, 11.0, 10)  # clicks
    sound = levelled(wave)
    gain = sound[1] / wave[1]
    assert abs(gain - 0.1 / np.sqrt(np.mean(np.square(wave)))) < 1e-6
    low = np.abs(wave) * gain <= 0.9
    assert 0 < (~low).sum() < 10
    assert np.allclose(sound[low], wave[low] * gain, atol=1e-6)
    assert (np.abs(sound[~low]) > 0.9).all()
    assert np.abs(sound).max() < 1.0
    assert (np.diff(sound[::3200]) > 0).all()


def test_a_role_that_there_is_not_and_a_length_that_is_none_are_refused() -> None:
    renderer = Renderer(RATE_HZ, synth=Recorder())
    with pytest.raises(ValueError, match=r"choir.*melody"):
        renderer.render(compose(1), roles={"choir"})
    for seconds in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="seconds="):
            renderer.render(compose(1), seconds=seconds)


def test_a_missing_library_is_named_with_the_packages_that_bring_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(RuntimeError, match=r"apt-get install fluidsynth fluid-soundfont-gm"):
        FluidSynth(RATE_HZ)


def test_a_missing_sound_font_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: "libfluidsynth.so.3")
    with pytest.raises(RuntimeError, match=r"none\.sf2.*fluid-soundfont-gm"):
        Renderer(RATE_HZ, tmp_path / "none.sf2")
