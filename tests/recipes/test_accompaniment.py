"""Bass, chords and drums from patterns."""

from __future__ import annotations

from random import Random

import pytest

from recipes.builtin.songs.accompaniment import bass, chord_notes, driven, drums, sparse
from recipes.builtin.songs.instruments import DRUM_KEYS, INSTRUMENTS, MAX_VOLUME
from recipes.builtin.songs.melody import melody, upbeat
from recipes.builtin.songs.piece import Note
from recipes.builtin.songs.theory import SCALES, chord, progression

C, A_MINOR = 0, 9


def test_a_bass_plays_the_degrees_of_its_chords() -> None:
    notes = bass(Random(0), "1.3.5.8.", progression("I V", "major"), tonic=C, beats=4)
    assert [note.pitch % 12 for note in notes] == [0, 4, 7, 0, 7, 11, 2, 7]
    assert [note.start_beat for note in notes] == [0, 1, 2, 3, 4, 5, 6, 7]


def test_an_approach_lies_a_semitone_below_the_next_root() -> None:
    first, last, following = bass(Random(0), "1..a", progression("I IV", "major"), tonic=C, beats=4)[:3]
    assert (following.pitch - last.pitch) % 12 == 1
    assert abs(last.pitch - first.pitch) <= 7


def test_strokes_play_the_chord_and_figures_its_notes_upwards() -> None:
    notes = chord_notes(Random(0), "X...1234", [chord("i", "minor")], tonic=A_MINOR, beats=4, centre=62)
    assert {note.pitch % 12 for note in notes[:3]} == {9, 0, 4}
    figure = [note.pitch for note in notes[3:]]
    assert figure == sorted(figure)
    assert figure[3] - figure[0] == 12


def test_power_chords_put_the_third_on_top() -> None:
    pitches = [note.pitch for note in chord_notes(Random(0), "X", [chord("i", "minor")], tonic=A_MINOR, beats=4,
                                                  centre=62, power=True)]  # fmt: skip
    assert [pitch - pitches[0] for pitch in pitches] == [0, 7, 12, 15]


def test_a_fill_ends_a_phrase_and_a_crash_begins_the_next() -> None:
    notes = drums(Random(0), {"kick": "X..."}, ({"low tom": "XXXX"},), bars=5, beats=4, every=4)
    assert [note.start_beat for note in notes if note.pitch == DRUM_KEYS["low tom"]] == [12, 13, 14, 15]
    assert [note.start_beat for note in notes if note.pitch == DRUM_KEYS["crash"]] == [16]
    assert [note.start_beat for note in notes if note.pitch == DRUM_KEYS["kick"]] == [0, 4, 8, 16]


def test_fast_grooves_get_a_kick_on_each_beat_and_slow_ones_soft_cymbals_between() -> None:
    groove = {"kick": "X.......X.x.....", "hat": "x.X.x.X.x.X.x.X.", "snare": "..X.X.......X..."}
    assert driven(groove) == {**groove, "kick": "X...x...X.x.x..."}
    assert driven({"rim": "x..x..x..x.."})["kick"] == "x...x...x...x..."
    assert sparse(groove, 4) == {**groove, "hat": "x.o.x.o.x.o.x.o."}


def test_a_melody_belongs_to_its_chords_on_the_beat_and_to_their_scale_everywhere() -> None:
    chords = progression("i iv V i", "minor")
    notes = melody(Random(3), ["x.x.x.x.x.x.x.x."], chords, tonic=A_MINOR, mode="minor", beats=4, low=60)
    for note in notes:
        under = chords[int(note.start_beat // 4)]
        above = (note.pitch - A_MINOR) % 12
        assert above in under.scale("minor")
        assert note.start_beat % 1 or above in under.tones
    assert (notes[-1].pitch - A_MINOR) % 12 == 0


def test_a_motif_comes_back() -> None:
    notes = melody(Random(5), ["x.x.x...", "x...xx.."], progression("I I I I", "major"), tonic=C, mode="major", beats=4,
                   low=60)  # fmt: skip
    bars = [[note.start_beat % 4 for note in notes if note.start_beat // 4 == bar] for bar in range(4)]
    assert bars[0] in bars[1:]


def test_an_upbeat_leads_up_the_scale() -> None:
    notes = upbeat(Note(0.0, 1.0, 72, 100), SCALES["major"], tonic=C)
    assert [(note.start_beat, note.pitch) for note in notes] == [(-1.0, 69), (-0.5, 71)]


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_louder_instruments_are_turned_down(name: str) -> None:
    instrument = INSTRUMENTS[name]
    assert instrument.volume(instrument.loudness_db) == 100
    assert instrument.volume(instrument.loudness_db - 6) == round(100 * 10 ** (-6 / 40))
    assert instrument.volume(instrument.loudness_db + 40) == MAX_VOLUME
