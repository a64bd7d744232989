"""Jazz, dances of several countries, and styles for the concert hall."""

from __future__ import annotations

from recipes.builtin.songs.styles.style import JAZZ_MAJOR, JAZZ_MINOR, ROOT_MAJOR, ROOT_MINOR, Style

JAZZ = Style(
    names=("jazz", "jazz swing", "swing", "bebop jazz", "smooth jazz"),
    moods=("swinging", "smooth", "sophisticated", "cool", "late-night"),
    drums=(
        {"kick": "x..o..x..o..", "ride": "X..X.xX..X.x", "pedal": "...X.....X.."},
        {"kick": "X.....X.....", "ride": "X..X.xX..X.x", "pedal": "...X.....X..", "snare": ".....o.....o"},
        {"kick": "X..x..X..x..", "hat": "x..X.xx..X.x", "snare": "...o.....o.."},
        {"kick": "x.....x.....", "ride": "X.xX.xX.xX.x", "pedal": "...X.....X..", "rim": ".........x.."},
    ),
    fills=(
        {"kick": "X.....x.....", "snare": "X.xX.xx.xX.x", "ride": "X..X........"},
        {"ride": "X..X.xX.....", "snare": "......X.xXxX", "pedal": "...X.....X.."},
    ),
    kits=("jazz", "brush", "standard"),
    bass=("1--3--5--a--", "1--5--3--a--", "1--3--5--6--", "1--5--8--5--"),
    basses=("double bass",),
    chords=("..X.....x...", "X----x------", "x..X..x..X..", "..X..x..X..x"),
    comps=("piano", "clean guitar", "electric piano"),
    rhythms=("x-xx-xx--x--", "x--x-xx-xx--", "..xx-xx-xx--", "x-xx-xx-xx-x"),
    leads=("saxophone", "trumpet", "vibraphone", "piano", "clean guitar", "flute", "violin"),
    major=JAZZ_MAJOR,
    minor=JAZZ_MINOR,
    jitter_s=0.006,
    drum_words=("swinging drums", "brushed drums", "drums"),
)

WALTZ = Style(
    names=("waltz", "Viennese waltz", "ballroom waltz", "waltz in 3/4"),
    moods=("elegant", "graceful", "romantic", "dancing", "charming"),
    drums=(
        {"kick": "X.....", "snare": "..x.x."},
        {"kick": "X.....", "hat": "x.x.x."},
        {"kick": "X.....", "triangle": "..x.x.", "hat": "o.o.o."},
        {"kick": "X.....", "rim": "..x.x.", "ride": "x....."},
    ),
    fills=({"kick": "X.....", "snare": "..x.xx"}, {"kick": "X.....", "snare": "x.xxxx"}),
    kits=("standard", "brush", "jazz"),
    bass=("1-....", "1-----", "1-5-5-"),
    basses=("double bass",),
    chords=("..X.x.", "..x-x-", "1.x.x."),
    comps=("strings", "piano", "accordion", "nylon guitar"),
    pad=("X-----",),
    pads=("strings",),
    rhythms=("x---x-", "x-x-x-", "x-----", "x-xxx-", "x---xx"),
    leads=("violin", "piano", "flute", "accordion", "trumpet", "vibraphone"),
    beats=3,
    major=("I V I IV", "I IV V I", "I vi V I", "I V7 V7 I"),
    minor=ROOT_MINOR,
    drum_words=("soft drums", "light drums", "drums"),
)

CLASSICAL = Style(
    names=("classical", "classical arpeggios", "chamber music", "classical piece"),
    moods=("elegant", "flowing", "delicate", "lyrical", "stately"),
    drums=(),
    fills=(),
    bass=("1-------1-------", "1---5---1---5---", "1---1---1---1---", "1-------5-------"),
    basses=("double bass",),
    chords=("1323132313231323", "1.2.3.2.1.2.3.2.", "1234432112344321", "1.3.2.3.1.3.2.3."),
    comps=("piano", "harp", "nylon guitar", "strings"),
    pad=("X---------------", "x---x---x---x---"),
    pads=("strings",),
    rhythms=("x---x---x---x---", "x-----x-x---x---", "x---x-x-x-x-x---", "x-------x---x---"),
    leads=("violin", "flute", "piano", "trumpet"),
    major=("I V I V7", "I IV V I", "I vi ii V", "I ii V I"),
    minor=ROOT_MINOR,
    mix_db={"chords": 4},
)

REGGAE = Style(
    names=("reggae", "roots reggae", "island reggae", "reggae groove"),
    moods=("laid-back", "relaxed", "warm", "easygoing", "island"),
    drums=(
        {"kick": "X...X...X...X...", "rim": "....x.......x...", "hat": "x.X.x.X.x.X.x.X."},
        {"kick": "X.......X.......", "rim": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
        {"kick": "x...x...x...x...", "snare": "........X.......", "hat": "x.Xox.Xox.Xox.Xo"},
    ),
    fills=(
        {"kick": "X...X...X...X...", "high tom": "..x.x...........", "snare": "........X.xxX..."},
        {"snare": "X.xxX...X.xxX...", "kick": "X...x...X...x..."},
    ),
    bass=("1...1.3.5...3...", "1-1.3-..5-5.3-..", "1---..1.5---3.1.", "1.1.5...1.3.5..."),
    basses=("bass guitar",),
    chords=("..X...X...X...X.", "..Xx..Xx..Xx..Xx", "..X...x...X...x."),
    comps=("clean guitar", "muted guitar", "piano"),
    pad=("..xx..xx..xx..xx", ".x.x.x.x.x.x.x.x"),
    pads=("organ",),
    rhythms=("x...x.x.x---....", "x.x.x---..x.x---", "x---x...x.x.x...", "x.x...x.x---x---"),
    leads=("organ", "saxophone", "trumpet", "harmonica", "clean guitar", "flute"),
    major=ROOT_MAJOR,
    minor=ROOT_MINOR,
    swing=(0.0, 0.35),
    drum_words=("drums", "laid-back drums", "one-drop drums"),
    mix_db={"chords": 1, "pad": 4},
)

BOSSA_NOVA = Style(
    names=("bossa nova", "bossa", "Brazilian bossa nova", "latin bossa"),
    moods=("smooth", "gentle", "tropical", "relaxed", "intimate"),
    drums=(
        {"kick": "X..xX..xX..xX..x", "rim": "X..x..x...x..x..", "hat": "x.x.x.x.x.x.x.x."},
        {"kick": "X..xX..xX..xX..x", "rim": "..x..x..X..x..x.", "shaker": "xoxoxoxoxoxoxoxo"},
        {"kick": "X...x...X...x...", "rim": "X..x..x...x.x...", "hat": "x.x.x.x.x.x.x.x."},
    ),
    fills=(
        {"kick": "X..xX..xX..xX..x", "snare": "........x.xxx.x."},
        {"kick": "X..xX..xX..xX...", "rim": "X..x..x.........", "low tom": "........x..x..x."},
    ),
    kits=("brush", "jazz", "standard"),
    bass=("1--15--51--15--5", "1-----5-5-----1-", "1---..5-5---..a-"),
    basses=("double bass", "bass guitar"),
    chords=("x..x..x...x..x..", "X..x..x.X..x..x.", "x.x..x..x..x.x.."),
    comps=("nylon guitar", "electric piano", "piano"),
    pad=("X---------------",),
    pads=("strings", "synth strings"),
    rhythms=("x..x..x-x--x----", "x---x--x--x-x---", "x-x-x--x--x-----", "x--x--x---x-x---"),
    leads=("flute", "saxophone", "acoustic guitar", "piano", "vibraphone", "trumpet"),
    major=JAZZ_MAJOR,
    minor=JAZZ_MINOR,
    drum_words=("soft percussion", "brushed drums", "light percussion"),
)

LATIN = Style(
    names=("salsa", "latin", "cuban salsa", "latin dance music"),
    moods=("fiery", "festive", "spicy", "hot", "danceable"),
    drums=(
        {"conga": "x.X.x.XXx.X.x.XX", "cowbell": "X...x...X...x...", "kick": "X...x...X...x..."},
        {"conga": "..XX..XX..XX..XX", "bell": "X.x.X.x.X.x.X.x.", "kick": "X.......X......."},
        {"bongo": "XoxoXoxoXoxoXoxo", "stick": "X..X..X...X.X...", "cowbell": "X...X...X...X..."},
    ),
    fills=(
        {"conga": "X.XXX.XXX.XXXXXX", "kick": "X...x...X...x..."},
        {"cowbell": "X...x...X...x...", "snare": "........X.XXX.X."},
    ),
    bass=("1-....5-....8-5-", "1---..5---..a---", "1...1.5.1...5.1."),
    basses=("double bass", "bass guitar"),
    chords=("1.x.x..xx.x.x.x.", "X..x.x.xX.x.x.x.", "1342134213421342"),
    comps=("piano",),
    pad=("X.......x.xx....", "....X-......x-x-", "X-.x..x.X-......"),
    pads=("brass",),
    rhythms=("x.x.x..xx.x.x...", "x..x..x.x---x---", "x.xx.x.xx---....", "x...x.x.x.x.x---"),
    leads=("trumpet", "flute", "saxophone", "piano", "violin"),
    major=("I IV V IV", "I V7 V7 I", "I ii V7 I", "I IV V7 I"),
    minor=("i iv V7 i", "i V7 i V7", "i VII VI V7", "i iv V7 iv"),
    drum_words=("congas", "latin percussion", "percussion"),
    mix_db={"chords": 1, "pad": 3, "drums": -1},
)

FOLK_MARCH = Style(
    names=("march", "marching band", "military march", "parade march"),
    moods=("proud", "festive", "bold", "solemn", "grand"),
    drums=(
        {"kick": "X...x...X...x...", "snare": "x.xxx.xxx.xxxxxx"},
        {"kick": "X...x...X...x...", "snare": "..x.x.x...x.xxx.", "crash": "X.......x......."},
        {"kick": "X...X...X...X...", "snare": "xxxxx.x.xxxxx.x."},
    ),
    fills=(
        {"kick": "X...x...X...x...", "snare": "xxxxxxxxxxxxXxXx"},
        {"kick": "X...x...X.......", "snare": "x.xxx.xxX.......", "crash": "........X......."},
    ),
    bass=("1---5---1---5---", "1-..5-..1-..5-..", "1---1---5---a---"),
    basses=("double bass", "bass guitar"),
    chords=("..X...X...X...X.", "..x.X.x...x.X.x.", "X-..x-..X-..x-.."),
    comps=("brass", "accordion"),
    pad=("X-------x-------",),
    pads=("strings", "brass"),
    rhythms=("x---x---x-.xx---", "x-.xx-.xx---x---", "x---x-x-x---x---", "x-x-x-x-x---x---"),
    leads=("trumpet", "flute", "violin", "harmonica"),
    major=ROOT_MAJOR,
    minor=ROOT_MINOR,
    drum_words=("marching drums", "snare drums", "drums"),
)
