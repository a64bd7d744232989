"""Electronic styles."""

from __future__ import annotations

from recipes.builtin.songs.styles.style import JAZZ_MAJOR, JAZZ_MINOR, Style

_ROLLS = (
    {"kick": "X...X...X...X...", "snare": "x.x.x.x.xxxxXXXX"},
    {"kick": "X...X...X.......", "clap": "....X.......X.XX"},
)
_SHORT = ("x..x..x.x..x..x.", "x.x.x.x.x.x.x.x.", "x...x.x.x...x.x.", "x..x..x...x.x...", "x---x---x--x--x-")

TECHNO = Style(
    names=("techno", "minimal techno", "club techno", "warehouse techno"),
    moods=("hypnotic", "pulsing", "driving", "relentless", "mechanical"),
    drums=(
        {"kick": "X...X...X...X...", "open hat": "..x...x...x...x.", "clap": "....x.......x..."},
        {"kick": "X...X...X...X...", "hat": "oxxooxxooxxooxxo"},
        {"kick": "X...X...X...X...", "open hat": "..x...x...x...x.", "rim": "...x..x....x..x."},
        {"kick": "X...X...X...X...", "hat": "xoxoxoxoxoxoxoxo", "snare": "....X.......X..."},
    ),
    fills=_ROLLS,
    kits=("analog", "electronic"),
    bass=("..1...1...1...1.", ".111.111.111.111", "1..1..1.1..1..1.", "1.1.1.1.1.1.1.8."),
    basses=("synth bass",),
    chords=("X..x..x.X..x..x.", "1232123212321232", "..X.....x.X.....", "1.2.3.2.1.2.3.2."),
    comps=("synth", "synth lead", "synth brass"),
    pad=("X---------------",),
    pads=("synth pad", "synth strings"),
    rhythms=_SHORT,
    leads=("synth lead", "synth lead", "organ", "vibraphone", "electric piano"),
    major=("I I IV I", "I IV I V", "I I V IV", "I V I IV"),
    minor=("i i iv i", "i iv i V", "i i VI V", "i V i VI"),
    jitter_s=0.0,
    drum_words=("a pounding kick", "drum machine", "electronic drums", "drums"),
)

HOUSE = Style(
    names=("house", "EDM", "deep house", "dance", "electronic dance music"),
    moods=("euphoric", "festive", "danceable", "feel-good", "club"),
    drums=(
        {"kick": "X...X...X...X...", "clap": "....X.......X...", "open hat": "..x...x...x...x."},
        {
            "kick": "X...X...X...X...",
            "clap": "....X.......X...",
            "hat": "xoxoxoxoxoxoxoxo",
            "open hat": "..x...x...x...x.",
        },
        {
            "kick": "X...X...X...X...",
            "snare": "....X.......X...",
            "open hat": "..x...x...x...x.",
            "shaker": "oxoxoxoxoxoxoxox",
        },
        {
            "kick": "X...X...X...X...",
            "clap": "....X.......X..x",
            "hat": "..x...x...x...x.",
            "conga": "...x..x....x..x.",
        },
    ),
    fills=_ROLLS,
    kits=("electronic", "analog"),
    bass=("..1...1...1...1.", "..1.1.1...1.1.1.", "..11..11..11..11", "1..1..1.1..1..8."),
    basses=("synth bass",),
    chords=("X..x..x...x..x..", "X..X..X.X..X..X.", "..X...X...X...X.", "1324132413241324"),
    comps=("piano", "synth", "organ", "synth brass"),
    pad=("X---------------", "..X-..X-..X-..X-"),
    pads=("synth strings", "synth pad"),
    rhythms=_SHORT,
    leads=("synth lead", "piano", "saxophone", "flute", "vibraphone"),
    jitter_s=0.0,
    drum_words=("a four-on-the-floor beat", "electronic drums", "drums", "a heavy beat"),
)

LOFI = Style(
    names=("lo-fi hip hop", "lofi", "lo-fi", "lofi chill", "chillhop"),
    moods=("chill", "relaxed", "mellow", "dreamy", "cozy"),
    drums=(
        {"kick": "X......xX.......", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
        {"kick": "X..x....X.x.....", "rim": "....X.......X...", "hat": "x.xox.xox.xox.xo"},
        {"kick": "X.....x.X.......", "snare": "....X.......X..o", "shaker": "x.x.x.x.x.x.x.x."},
        {"kick": "X.......X..x....", "snare": "....X..o....X...", "hat": "x.o.x.o.x.o.x.o."},
    ),
    fills=(
        {"kick": "X...x...X...x...", "snare": "....X....o.oX.xo"},
        {"kick": "X.......x.......", "snare": "....X...x.x.X.x."},
    ),
    kits=("electronic", "standard", "analog"),
    bass=("1------11---5---", "1---....1---5-a-", "1-----5-1-----8-", "1---1---5---1---"),
    basses=("bass guitar", "double bass", "synth bass"),
    chords=("X-------x-------", "X-----x-X-----x-", "X---x---x---x---", "1-2-3-4-3-4-2-3-"),
    comps=("electric piano", "piano", "nylon guitar", "clean guitar"),
    pad=("X---------------",),
    pads=("synth pad", "strings", "choir"),
    rhythms=("x---x.x.x-------", "x.x.x---....x.x.", "x---x---x-x-x---", "x-----x-x---x---"),
    leads=("electric piano", "vibraphone", "flute", "saxophone", "piano", "clean guitar", "trumpet"),
    major=JAZZ_MAJOR,
    minor=JAZZ_MINOR,
    swing=(0.3, 0.7),
    swing_beats=0.5,
    jitter_s=0.008,
    drum_words=("dusty drums", "soft drums", "a hip hop beat", "drums"),
)

AMBIENT = Style(
    names=("ambient", "ambient electronica", "calm ambient", "atmospheric music"),
    moods=("calm", "peaceful", "floating", "spacious", "ethereal"),
    drums=(),
    fills=(),
    bass=("1---1---1---1---", "1-------1-------", "1---5---1---5---"),
    basses=("synth bass", "bass guitar"),
    chords=("1.3.2.3.1.3.2.3.", "1---2---3---2---", "1.2.3.4.3.2.3.2.", "1-3-4-3-2-3-4-3-"),
    comps=("harp", "music box", "vibraphone", "electric piano", "nylon guitar"),
    pad=("X---------------",),
    pads=("synth pad", "choir", "strings", "synth strings"),
    rhythms=("x-------x-------", "x---x---x-------", "x-----------x---", "x-------x---x---"),
    leads=("flute", "violin", "vibraphone", "synth lead", "piano", "electric piano"),
    major=("Imaj7 IV Imaj7 V", "I IV vi V", "I vi IV I", "I Vsus IV I"),
    minor=("i VI iv V", "i iv i V", "i VI i iv", "i iv VI i"),
    mix_db={"chords": 5, "melody": -1},
)
