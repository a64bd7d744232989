"""The styles by name."""

from __future__ import annotations

from recipes.builtin.songs.styles import acoustic, electronic, rock
from recipes.builtin.songs.styles.style import Style

STYLES: dict[str, Style] = {
    style.names[0]: style
    for style in (
        rock.POP_80S,
        rock.ROCK_90S,
        rock.BLUES_80S,
        rock.METAL,
        rock.FUNK,
        rock.COUNTRY,
        electronic.TECHNO,
        electronic.HOUSE,
        electronic.LOFI,
        electronic.AMBIENT,
        acoustic.JAZZ,
        acoustic.WALTZ,
        acoustic.CLASSICAL,
        acoustic.REGGAE,
        acoustic.BOSSA_NOVA,
        acoustic.LATIN,
        acoustic.FOLK_MARCH,
    )
}
