"""``-o -``: sound into a pipe while it is made."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING

import typer

from antiphon.cli.interruption import Interruption
from antiphon.cli.terminal import say

if TYPE_CHECKING:
    from antiphon.cli.commission import Commission


def check_reader() -> None:
    """Refuses to write sound where a person would read it.

    Raises:
        BadParameter: stdout is a terminal, or closed.
    """
    if sys.stdout is None or sys.stdout.isatty():
        raise typer.BadParameter(
            "sound does not go to a terminal: pipe it into a player, or name a file", param_hint="-o"
        )


def compose_to_pipe(commission: Commission, prompt: str, seed: int | None) -> None:
    """Writes one piece to stdout as WAV (PCM, 16 bit), second by second.

    A header in a pipe cannot be mended, so it states no length. The seed is told on stderr where it was drawn.

    Raises:
        KeyboardInterrupt: it was stopped; what was made is written. BrokenPipeError: the reader went away.
    """
    from antiphon.audio.wav_stream import WavWriter
    from antiphon.cli.progress import progress_bar
    from antiphon.errors import Cancelled
    from antiphon.generation.philox import item_seeds

    settings = {name: value for name, value in commission.settings.items() if name != "n"}
    if settings["temperature"] > 0:
        settings["seed"] = item_seeds(seed, 1)[0]
        if seed is None:
            say(f"seed {settings['seed']}")
    composer = commission.load(commission.recording, commission.melody)
    writer = WavWriter(sys.stdout.buffer, composer.sampling_rate, composer.channels)
    with (
        Interruption() as stop,
        progress_bar(
            prompt,
            pieces=1,
            seconds=settings["seconds"],
            wanted=commission.progress,
            spans_s=composer.spans_s(settings),
        ) as on_progress,
    ):
        chunks = composer.stream(
            prompt,
            continue_from=commission.recording,
            melody=commission.melody,
            separate=commission.separate,
            on_progress=on_progress,
            stop_when=stop,
            **settings,
        )
        try:
            with closing(chunks), closing(writer):
                for chunk in chunks:
                    writer.write(chunk.samples)
                    sys.stdout.buffer.flush()
        except Cancelled:
            raise KeyboardInterrupt from None
        if stop.asked:
            raise KeyboardInterrupt
