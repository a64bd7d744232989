"""Rock, pop and what grew beside them."""

from __future__ import annotations

from recipes.builtin.songs.styles.style import ROOT_MAJOR, ROOT_MINOR, Style

_TOMS = (
    {
        "snare": "X.x.X.x.........",
        "high tom": "........XX......",
        "mid tom": "..........XX....",
        "low tom": "............XXXX",
    },
    {"kick": "X...x...X...x...", "snare": "X.......X.X.XXXX"},
    {
        "kick": "X...x...x...x...",
        "snare": "....X...........",
        "high tom": "........X.x.....",
        "low tom": "............X.x.",
    },
)
_STRAIGHT = ("x...x...x...x...", "x.x.x...x.x.x---", "x---x.x.x---x...", "x.x.x.x.x---x---", "x---x---x.x.x---")

POP_80S = Style(
    names=("80s pop", "eighties pop", "1980s pop", "80s synth pop", "retro synth pop"),
    moods=("catchy", "nostalgic", "glossy", "neon", "danceable"),
    drums=(
        {"kick": "X...x...X...x...", "snare": "....X.......X...", "hat": "x.o.x.o.x.o.x.o."},
        {"kick": "X.......X.x.....", "snare": "....X.......X...", "hat": "xoxoxoxoxoxoxoxo"},
        {
            "kick": "X...x...X...x...",
            "clap": "....X.......X...",
            "snare": "....X.......X...",
            "hat": "x.x.x.x.x.x.x.x.",
            "tambourine": "..o...o...o...o.",
        },
        {"kick": "X..x....X..x....", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.X."},
    ),
    fills=_TOMS,
    kits=("electronic", "power", "room"),
    bass=("1.1.1.1.1.1.1.1.", "1.8.1.8.1.8.1.8.", "1---1.1.1---1.5.", "1-1.5-1.1-1.8-5."),
    basses=("synth bass", "bass guitar", "picked bass"),
    chords=("X...x...x...x...", "X-..x-..X-..x-..", "1.3.2.3.1.3.2.3.", "x..x..x.x..x..x."),
    comps=("synth", "synth brass", "clean guitar", "electric piano"),
    pad=("X---------------", "X-------x-------"),
    pads=("synth pad", "synth strings"),
    rhythms=_STRAIGHT,
    leads=("synth lead", "saxophone", "electric piano", "clean guitar", "trumpet", "flute"),
    jitter_s=0.002,
    drum_words=("drums", "bassy drums", "heavy drums", "electronic drums"),
)

ROCK_90S = Style(
    names=("90s rock", "nineties rock", "1990s rock", "alternative rock", "rock"),
    moods=("loud", "raw", "powerful", "gritty", "anthemic"),
    drums=(
        {"kick": "X.....x.X.......", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
        {"kick": "X.x.....X.x.....", "snare": "....X.......X...", "open hat": "x...x...x...x..."},
        {"kick": "X.......X.x.....", "snare": "....X.......X...", "crash": "x...x...x...x..."},
        {"kick": "X...x...X...x...", "snare": "....X.......X.o.", "ride": "x.o.x.o.x.o.x.o."},
    ),
    fills=_TOMS,
    kits=("power", "room", "standard"),
    bass=("1.1.1.1.1.1.1.1.", "1---1.1.1---1.5.", "1...1.1.1...5.a.", "1.1.1.1.5.5.1.1."),
    basses=("picked bass", "bass guitar"),
    chords=("X.x.x.x.X.x.x.x.", "X---x-x-X---x-x-", "X-..x-xxX-..x-xx", "X--x--x-X---x-x-"),
    comps=("distorted guitar", "overdriven guitar"),
    rhythms=_STRAIGHT,
    leads=("distorted guitar", "clean guitar", "organ", "harmonica", "violin", "piano"),
    major=("I V vi IV", "I IV V IV", "I IV I V", "I vi IV V", "I bVII IV I"),
    drum_words=("heavy drums", "drums", "pounding drums", "loud drums"),
    mix_db={"chords": 3.5, "drums": 1},
)

METAL = Style(
    names=("metal", "heavy metal", "thrash metal", "hard metal"),
    moods=("aggressive", "brutal", "heavy", "furious", "epic"),
    drums=(
        {"kick": "X.xxX.xxX.xxX.xx", "snare": "....X.......X...", "ride": "x...x...x...x..."},
        {"kick": "XxxxXxxxXxxxXxxx", "snare": "....X.......X...", "crash": "x...x...x...x..."},
        {"kick": "X...x...X...x...", "snare": "..x...x...x...x.", "hat": "x.x.x.x.x.x.x.x."},
        {"kick": "X..xx..xX..xx..x", "snare": "....X.......X...", "open hat": "x...x...x...x..."},
    ),
    fills=_TOMS,
    kits=("power",),
    bass=("1.111.111.111.11", "1.1.1.1.1.1.1.1.", "1111111111111111", "1..11..11..11..1"),
    basses=("picked bass",),
    chords=("X.xxX.xxX.xxX.xx", "X---x.x.X---x.x.", "X..xx..xX..xx..x", "XxxxXxxxXxxxXxxx"),
    comps=("distorted guitar",),
    rhythms=("x.x.x.x.x.x.x.x.", "x---x---x.x.x.x.", "x-x-x---x-x-x---", "xxxxx.x.xxxxx.x."),
    leads=("distorted guitar", "synth lead", "violin", "organ"),
    major=("I IV V I", "I I V IV", "I V IV I", "I5 bVII5 IV V"),
    minor=("i VI V i", "i i VI V", "i iv V i", "i5 VII5 VI5 V", "i V i VI"),
    drum_words=("double bass drums", "pounding drums", "heavy drums", "drums"),
    mix_db={"chords": 4, "drums": -1},
)

FUNK = Style(
    names=("funk", "funky soul", "70s funk", "funk groove"),
    moods=("groovy", "tight", "funky", "playful", "danceable"),
    drums=(
        {"kick": "X..x..x.X.......", "snare": "....X..o.o..X...", "hat": "xoxoxoxoxoxoxoxo"},
        {"kick": "X.x.....X.x..x..", "snare": "....X..o....X..o", "hat": "x.xox.xox.xox.xo"},
        {
            "kick": "X......xX.x.....",
            "snare": "....X.......X.o.",
            "hat": "x.x.x.x.x.x.x.x.",
            "cowbell": "x...x...x...x...",
        },
        {"kick": "X..x....X..x....", "snare": "o..oX..oo..oX..o", "hat": "x.x.x.x.x.x.x.x."},
    ),
    fills=_TOMS,
    bass=("1..1..8.1...5.7.", "1.1...8.1..15.a.", "1---..881...5.1.", "1..8..1.1.5.7.8."),
    basses=("slap bass", "bass guitar"),
    chords=("X.xx..x.X.xx..x.", "x..x..x.x..x..x.", "..X...x...X...x.", "X...x.xxX...x.xx"),
    comps=("muted guitar", "clean guitar", "electric piano", "organ"),
    pad=("....X-......x-..", "X.......x.xx....", "X-.....xX-......"),
    pads=("brass",),
    rhythms=("x..x..x.x...x...", "x.xx..x.x.......", "x...x.x.x..x..x.", "x.x.x..xx...x---"),
    leads=("saxophone", "trumpet", "organ", "electric piano", "clean guitar", "flute"),
    major=("I7 IV7 I7 V7", "I7 I7 IV7 I7", "I IV I V", "I7 IV7 V7 I7"),
    minor=("i7 iv7 i7 V7", "i7 i7 iv7 V7", "i iv i V", "i7 iv7 V7 i7"),
    drum_words=("drums", "tight drums", "funky drums"),
    mix_db={"pad": 5},
)

BLUES_80S = Style(
    names=("80s blues", "blues", "blues rock", "electric blues", "blues shuffle"),
    moods=("groovy", "soulful", "smoky", "gritty", "laid-back"),
    drums=(
        {"kick": "X.....X.....", "snare": "...X.....X..", "ride": "x.xx.xx.xx.x"},
        {"kick": "X..x..X..x..", "snare": "...X.....X..", "hat": "x.ox.ox.ox.o"},
        {"kick": "X.....X.x...", "snare": "...X....oX..", "hat": "x.xx.xx.xx.x"},
        {"kick": "X.....X.....", "rim": "...X.....X..", "ride": "x..x.xx..x.x"},
    ),
    fills=(
        {"kick": "X..x..x.....", "snare": "...X..x.xXxX"},
        {"kick": "X..x..X..x..", "snare": "...X........", "high tom": "......X.x...", "low tom": ".........X.x"},
    ),
    bass=("1.13.35.56.6", "1--3--5--6--", "1.15.56.65.5", "1--1-15--a-a"),
    basses=("bass guitar", "double bass"),
    chords=("X.xx.xx.xx.x", "..X..x..X..x", "X-----X--x--", "x..X..x..X.."),
    comps=("clean guitar", "piano", "organ", "overdriven guitar"),
    rhythms=("x.xx--x.xx--", "x-xx-xx-----", "x--x-xx--x--", "..xx-xx-xx--"),
    leads=("saxophone", "harmonica", "clean guitar", "distorted guitar", "piano", "organ", "trumpet"),
    major=("I7 IV7 I7 V7", "I7 I7 IV7 I7", "I IV7 I V7", "I7 V7 IV7 I7"),
    minor=("i7 iv7 i7 V7", "i iv i V7", "i7 i7 iv7 V7"),
    jitter_s=0.007,
    drum_words=("drums", "shuffling drums", "soft drums"),
)

COUNTRY = Style(
    names=("country", "folk", "bluegrass", "country folk"),
    moods=("warm", "homely", "rustic", "down-home", "friendly"),
    drums=(
        {"kick": "X.......X.......", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
        {"kick": "X...x...X...x...", "snare": "o.xoo.xoo.xoo.xo"},
        {"kick": "X.......X.......", "rim": "....X.......X...", "shaker": "xoxoxoxoxoxoxoxo"},
        {"kick": "X.......X.......", "snare": "....X.......X...", "tambourine": "x...x...x...x..."},
    ),
    fills=_TOMS[1:],
    kits=("standard", "brush"),
    bass=("1---....5---....", "1---5---1---5---", "1---1---5---a---", "1---3---5---3---"),
    basses=("double bass", "bass guitar"),
    chords=("1-x.5-x.1-x.5-x.", "X...x.x.X...x.x.", "..X...x...X...x.", "1.3.4.3.2.3.4.3."),
    comps=("acoustic guitar", "banjo", "nylon guitar"),
    pad=("X.x.x.x.X.x.x.x.", "X---x.x.X---x.x."),
    pads=("acoustic guitar",),
    rhythms=_STRAIGHT,
    leads=("violin", "harmonica", "acoustic guitar", "flute", "piano"),
    major=ROOT_MAJOR,
    minor=ROOT_MINOR,
    drum_words=("drums", "light drums", "brushed drums"),
    mix_db={"drums": -1},
)
