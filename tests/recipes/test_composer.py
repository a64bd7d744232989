"""Pieces composed by rule: repeatable, in range, tempo and key free of the style, and split for evaluation."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import pytest

from recipes.builtin.songs.composer import TEMPOS_BPM, compose
from recipes.builtin.songs.instruments import DRUM_KEYS, INSTRUMENTS, MELODY_SPAN
from recipes.builtin.songs.piece import Piece
from recipes.builtin.songs.split import TEMPO_BUCKET_BPM, held_out
from recipes.builtin.songs.styles import STYLES
from recipes.builtin.songs.theory import MODES
from recipes.builtin.songs.tonality import clarity

SEEDS = 1000


@cache
def pieces() -> tuple[Piece, ...]:
    return tuple(compose(seed, seconds=8.0) for seed in range(SEEDS))


@cache
def held_out_pieces() -> tuple[Piece, ...]:
    return tuple(compose(seed, held_out=True, seconds=8.0) for seed in range(300))


def combination(piece: Piece) -> tuple[str, int, int, str, str]:
    return piece.style, piece.tempo_bpm, piece.tonic, piece.mode, piece.lead


def chi_square(counts: Counter[object], cells: int) -> float:
    """In standard deviations above what chance gives."""
    expected = sum(counts.values()) / cells
    squares = sum((counted - expected) ** 2 / expected for counted in counts.values())
    squares += (cells - len(counts)) * expected  # cells without any
    return (squares - (cells - 1)) / math.sqrt(2 * (cells - 1))


def test_a_seed_gives_the_same_piece_again_and_another_seed_another() -> None:
    assert [compose(seed, seconds=8.0) for seed in range(20)] == list(pieces()[:20])
    assert len({combination(piece) for piece in pieces()[:200]}) > 190
    assert compose(3) != compose(-3)


@pytest.mark.parametrize("style", STYLES)
def test_every_style_composes_in_every_mode(style: str) -> None:
    assert {compose(seed, style=style).mode for seed in range(12)} == set(MODES)
    assert {compose(seed, style=style).style for seed in range(3)} == {style}


def test_styles_tempos_tonics_and_modes_are_drawn_evenly() -> None:
    assert chi_square(Counter(piece.style for piece in pieces()), len(STYLES)) < 4
    assert chi_square(Counter(piece.tonic for piece in pieces()), 12) < 4
    assert chi_square(Counter(piece.mode for piece in pieces()), 2) < 4
    assert chi_square(Counter(piece.tempo_bpm for piece in pieces()), len(TEMPOS_BPM)) < 4


def test_tempo_and_key_are_independent_of_the_style() -> None:
    """Each pair falls into its cells as often as into any other, but for what is held out."""
    assert chi_square(Counter((piece.style, piece.tonic) for piece in pieces()), len(STYLES) * 12) < 4
    assert chi_square(Counter((piece.style, piece.mode) for piece in pieces()), len(STYLES) * 2) < 4
    thirds = Counter((piece.style, (piece.tempo_bpm - 70) * 3 // 91) for piece in pieces())
    assert chi_square(thirds, len(STYLES) * 3) < 4


def test_training_never_gets_a_held_out_combination_and_evaluation_gets_nothing_else() -> None:
    assert not any(held_out(*combination(piece)) for piece in pieces())
    assert all(held_out(*combination(piece)) for piece in held_out_pieces())
    assert {piece.style for piece in held_out_pieces()} == set(STYLES)


def test_about_one_combination_in_twenty_is_held_out() -> None:
    shares = []
    for name, style in STYLES.items():
        asked = [
            held_out(name, bpm, tonic, mode, lead)
            for bpm in range(TEMPOS_BPM[0], TEMPOS_BPM[-1] + 1, TEMPO_BUCKET_BPM)
            for tonic in range(12)
            for mode in MODES
            for lead in set(style.leads)
        ]
        shares.append(sum(asked) / len(asked))
    assert 0.035 < sum(shares) / len(shares) < 0.07
    assert max(shares) < 0.3  # no style is lost to training


def test_pieces_are_as_long_as_asked_and_no_more_than_a_bar_longer() -> None:
    for seconds in (0.5, 8.0, 12.0, 30.0):
        for seed in range(40):
            piece = compose(seed, seconds=seconds)
            assert seconds <= piece.duration_s + 1e-9 < seconds + piece.beats_per_bar * piece.seconds_a_beat + 1e-6


def test_every_note_is_one_that_can_be_played() -> None:
    for piece in (*pieces(), *held_out_pieces()):
        beats = piece.pickup_beats + piece.bars * piece.beats_per_bar
        for part in piece.parts:
            assert part.notes
            assert 0 <= part.program <= 127
            assert 0 < part.level <= 127
            starts = [note.start_beat for note in part.notes]
            assert starts == sorted(starts)
            assert starts[0] >= 0
            assert starts[-1] < beats
            assert all(1 <= note.velocity <= 127 and note.beats > 0 for note in part.notes)
            if part.drums:
                assert {note.pitch for note in part.notes} <= set(DRUM_KEYS.values())
            elif part.role == "bass":
                assert all(25 <= note.pitch <= 55 for note in part.notes)
            else:
                assert all(40 <= note.pitch <= 95 for note in part.notes)


def test_melodies_stay_within_the_range_of_their_instrument() -> None:
    for piece in pieces():
        low = INSTRUMENTS[piece.lead].low
        pitches = [note.pitch for note in piece.part("melody").notes]
        assert low - 6 <= min(pitches)
        assert max(pitches) <= low + MELODY_SPAN + 6


def test_all_players_begin_at_once_in_most_pieces_and_the_pulse_is_there_from_the_first_beat() -> None:
    together = 0
    for piece in pieces():
        first_bar_ends = piece.pickup_beats + piece.beats_per_bar
        together += all(part.notes[0].start_beat < first_bar_ends for part in piece.parts)
        assert min(part.notes[0].start_beat for part in piece.parts) < 0.51
    assert together > 0.85 * len(pieces())


def test_something_starts_on_nearly_every_beat() -> None:
    for piece in pieces()[:300]:
        onsets = [note.start_beat for part in piece.parts for note in part.notes]
        marked = {round(onset) for onset in onsets if abs(onset - round(onset)) < 0.05}
        beats = range(piece.pickup_beats, piece.pickup_beats + piece.bars * piece.beats_per_bar)
        assert sum(beat in marked for beat in beats) >= 0.9 * len(beats), (piece.style, piece.seed)


def test_the_first_eight_seconds_tell_the_key() -> None:
    clear = [clarity(piece, 8.0) > 0 for piece in pieces()[:400]]
    assert sum(clear) > 0.98 * len(clear)


def test_the_bass_of_the_first_bar_has_the_tonic_in_every_key() -> None:
    for piece in pieces()[:300]:
        end = piece.pickup_beats + piece.beats_per_bar - 0.1
        bass = [note for note in piece.part("bass").notes if note.start_beat < end]
        if bass:  # a late one enters with the second chord
            assert any((note.pitch - piece.tonic) % 12 == 0 for note in bass)


def test_swing_moves_the_second_eighth_and_nothing_else() -> None:
    """Of lo-fi hip hop, whose sixteenths swing, the beats stay where they are."""
    swung = [compose(seed, style="lo-fi hip hop") for seed in range(6)]
    assert all(0.3 <= piece.swing <= 0.7 for piece in swung)
    places = [note.start_beat * 4 % 1 for piece in swung for note in piece.part("drums").notes]
    late = [place for place in places if 0.12 < place < 0.5]
    on_time = [place for place in places if place < 0.1 or place > 0.9]
    assert late
    assert len(late) + len(on_time) > 0.9 * len(places)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_length_that_is_no_length_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds="):
        compose(1, seconds=seconds)


def test_a_style_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"polka.*waltz"):
        compose(1, style="polka")
