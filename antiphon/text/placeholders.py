"""Placeholders in texts that a template wrote: finding them, and putting in their place what they stand for."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.text.chat_template import Rendered, Span


def places_of(row: Rendered, token: str) -> list[int]:
    """Where ``token`` stands in a text, as the numbers of its first characters; what is literal is left out."""
    found: list[int] = []
    place = row.text.find(token)
    while place >= 0:
        if not any(start <= place < end for start, end in row.literal):
            found.append(place)
        place = row.text.find(token, place + len(token))
    return found


def filled(row: Rendered, token: str, places: Sequence[int], fillings: Sequence[str]) -> Rendered:
    """The text with each of ``fillings`` in the place of a ``token``, and its other places moved along."""
    pieces: list[str] = []
    last = 0
    for place, filling in zip(places, fillings, strict=True):
        pieces += [row.text[last:place], filling]
        last = place + len(token)
    pieces.append(row.text[last:])
    ends = [place + len(token) for place in places]
    grown = [len(filling) - len(token) for filling in fillings]

    def moved(spans: Sequence[Span]) -> tuple[Span, ...]:
        def shift(place: int) -> int:
            return place + sum(more for end, more in zip(ends, grown, strict=True) if end <= place)

        return tuple((shift(start), shift(end)) for start, end in spans)

    return Rendered("".join(pieces), moved(row.generated), moved(row.literal))
