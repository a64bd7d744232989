"""Keys, scales and chords."""

from __future__ import annotations

import pytest

from recipes.builtin.songs.patterns import steps
from recipes.builtin.songs.styles import STYLES
from recipes.builtin.songs.theory import MODES, SCALES, chord, key_name, key_spellings, progression


@pytest.mark.parametrize(
    ("numeral", "mode", "tones"),
    [
        ("I", "major", {0, 4, 7}),
        ("vi", "major", {9, 0, 4}),
        ("V7", "major", {7, 11, 2, 5}),
        ("bVII", "major", {10, 2, 5}),
        ("Imaj7", "major", {0, 4, 7, 11}),
        ("i", "minor", {0, 3, 7}),
        ("V", "minor", {7, 11, 2}),
        ("VI", "minor", {8, 0, 3}),
        ("iv7", "minor", {5, 8, 0, 3}),
        ("I5", "major", {0, 7}),
        ("Vsus", "major", {7, 0, 2}),
    ],
)
def test_a_numeral_names_these_notes(numeral: str, mode: str, tones: set[int]) -> None:
    assert chord(numeral, mode).tones == tones


@pytest.mark.parametrize("text", ["", "VIII", "Q", "I9", "iV", "bb"])
def test_what_is_no_numeral_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Roman numeral"):
        chord(text, "major")


@pytest.mark.parametrize("mode", MODES)
def test_the_scale_over_the_tonic_chord_is_that_of_the_mode(mode: str) -> None:
    assert chord("I" if mode == "major" else "i", mode).scale(mode) == SCALES[mode]


def test_the_dominant_of_a_minor_key_brings_the_leading_tone() -> None:
    assert chord("V", "minor").scale("minor") == (0, 2, 3, 5, 7, 8, 11)


def test_a_scale_keeps_its_tonic_and_holds_its_chord_for_every_chord_of_every_style() -> None:
    for style in STYLES.values():
        for mode, progressions in zip(MODES, (style.major, style.minor), strict=True):
            for numerals in progressions:
                chords = progression(numerals, mode)
                assert chords[0].root == 0, "a piece begins on its tonic"
                for each in chords:
                    assert len(set(each.scale(mode))) == 7
                    assert each.tones <= set(each.scale(mode))


def test_keys_have_their_usual_names_and_others() -> None:
    assert key_name(1, "minor") == "C# minor"
    assert key_name(3, "major") == "Eb major"
    assert key_spellings(1, "minor") == ("C# minor", "Db minor", "C sharp minor", "D flat minor")
    assert key_spellings(0, "major") == ("C major",)


def test_a_pattern_says_when_notes_start_and_how_long_they_are_held() -> None:
    found = steps("X--- x.o.", 2)
    assert [(step.beat, step.sign) for step in found] == [(0.0, "X"), (1.0, "x"), (1.5, "o")]
    assert 0.9 < found[0].beats < 1.0
    assert 0.25 < found[1].beats < 0.5
    assert found[0].accent > found[1].accent > found[2].accent


def test_every_pattern_of_every_style_divides_its_bar_into_what_players_can_count() -> None:
    for name, style in STYLES.items():
        bars = [*style.bass, *style.chords, *style.pad, *style.rhythms]
        bars += [pattern for drums in (*style.drums, *style.fills) for pattern in drums.values()]
        for pattern in bars:
            assert len(pattern) in ((6,) if style.beats == 3 else (12, 16)), (name, pattern)
            assert steps(pattern, style.beats), (name, pattern)


def test_every_role_has_several_patterns_to_choose_from() -> None:
    for name, style in STYLES.items():
        assert len(style.bass) >= 3, name
        assert len(style.chords) >= 3, name
        assert len(style.rhythms) >= 3, name
        assert len(style.major) >= 3, name
        assert len(style.minor) >= 3, name
        assert not style.drums or (len(style.drums) >= 3 and len(style.fills) >= 2), name
