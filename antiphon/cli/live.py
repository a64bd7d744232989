"""``antiphon talk`` at the microphone: words on stdout as they come, the lag on stderr, until Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from antiphon.cli.interruption import Interruption
from antiphon.cli.terminal import is_live, printable, put_json, put_path, say

if TYPE_CHECKING:
    from antiphon.cli.talk import Conversation
    from antiphon.tasks.talk_session import Moment

_SHOWN_LAG_S = 0.2  # less is within what devices do


def talk_live(wanted: Conversation) -> None:
    """Lets the user talk, and keeps what was said where it was asked for.

    Raises:
        BadParameter: a recording that is no WAV. AntiphonError: as ``load`` and ``SoundDevice``.
    """
    from antiphon.audio.sound_device import SoundDevice
    from antiphon.tasks.live_talk import converse, summary

    if wanted.output is not None and Path(wanted.output).suffix.lower() != ".wav":
        raise typer.BadParameter("what is written while it is said is WAV: name a .wav file.", param_hint="-o")
    talker = wanted.talker()
    session = talker.session(**wanted.asked(talker))
    device = SoundDevice(talker.sampling_rate, talker.frame_samples)
    show = _Display(lag=wanted.progress and is_live(sys.stderr), words=not wanted.as_json)
    with ExitStack() as held:
        stop = held.enter_context(Interruption())
        held.enter_context(device)  # before a file is begun, for there may be none
        path, recorder = held.enter_context(_recorder(wanted, talker.sampling_rate, session.seeds[0]))
        if wanted.progress:
            say("speak; Ctrl-C ends the conversation")
        transcript = converse(
            session, device, stop_when=stop, seconds=wanted.seconds, recorder=recorder, on_moment=show
        )
    show.end()
    told: dict[str, Any] = {"text": transcript.text, "seed": session.seeds[0], **summary(transcript, device)}
    if wanted.transcript is not None:
        told["transcript"] = str(transcript.save(wanted.transcript))
    for name, what in (("late_frames", "came too late to be heard"), ("skipped_frames", "were too late to be played")):
        if told[name]:
            say(f"warning: {told[name]} frames {what}: this machine is slower than the conversation")
    if wanted.as_json:
        put_json(told if path is None else {"path": str(path), **told})
    elif path is not None:
        put_path(path)


@contextmanager
def _recorder(wanted: Conversation, rate_hz: int, seed: int) -> Iterator[tuple[Path | None, Any]]:
    """The file of the conversation, which holds what was said whenever it ends, and its writer."""
    if wanted.output is None:
        yield None, None
        return
    from antiphon.audio.wav_stream import WavWriter
    from antiphon.cli.output_files import OutputFiles

    path = OutputFiles(wanted.output, force=wanted.force).path_for("conversation", seed)
    with open(path, "wb") as file, WavWriter(file, rate_hz, 2) as writer:
        yield path, writer


class _Display:
    """Words as they come, and the lag where it counts."""

    def __init__(self, *, lag: bool, words: bool) -> None:
        self._shows_lag, self._words = lag, words
        self._line = self._lag = False

    def __call__(self, moment: Moment, lag_s: float) -> None:
        text = "".join(piece.text for piece in moment.pieces)
        if self._words and text and sys.stdout is not None:
            sys.stdout.write(printable(text))
            sys.stdout.flush()
            self._line = True
        if self._shows_lag and (lag_s >= _SHOWN_LAG_S or self._lag):
            self._lag = lag_s >= _SHOWN_LAG_S
            sys.stderr.write(f"\r\x1b[K{f'{lag_s:.1f} s behind' if self._lag else ''}")
            sys.stderr.flush()

    def end(self) -> None:
        """Ends the lines that were begun."""
        if self._line and sys.stdout is not None:
            sys.stdout.write("\n")
            sys.stdout.flush()
        if self._lag:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
