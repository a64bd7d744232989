"""The ``antiphon`` command: its verbs, and how errors end it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

from antiphon import __version__
from antiphon.cli import (
    ask,
    bench,
    caption,
    convert,
    decode,
    encode,
    eval,
    generate,
    info,
    pull,
    quantize,
    replay,
    talk,
    train,
)
from antiphon.cli.interruption import ended_cleanly, is_interrupted
from antiphon.cli.terminal import is_live, put, say, shown_log
from antiphon.errors import AntiphonError

OK, FAILED, MISUSED, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141

app = typer.Typer(
    help="Compose music from words, or go on from a recording.",
    rich_markup_mode=None,  # plain help: quick to make, and the same in every terminal
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        put(f"antiphon {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


app.command("ask", short_help="Ask about a recording.")(ask.ask)
app.command("bench", short_help="Measure how fast music is made on this machine.")(bench.bench)
app.command("caption", short_help="Describe the recordings in a folder.")(caption.caption)
app.command("convert", short_help="Write a checkpoint in the other format.")(convert.convert)
app.command("decode", short_help="Turn codes into a sound.")(decode.decode)
app.command("encode", short_help="Turn a sound into codes.")(encode.encode)
app.command("eval", short_help="Listen to pieces and report what they are like.")(eval.evaluate)
app.command("generate", short_help="Compose music into sound files.")(generate.generate)
app.command("info", short_help="Show what a checkpoint holds and needs.")(info.info)
app.command("pull", short_help="Fetch a checkpoint from the Hub.")(pull.pull)
app.command("quantize", short_help="Write a checkpoint in 8 or 4 bits.")(quantize.quantize)
app.command("replay", short_help="Make a piece again from its file.")(replay.replay)
app.command("talk", short_help="Converse with a model that listens while it speaks.")(talk.talk)
app.command("train", short_help="Make or adapt a model from sounds.")(train.train)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process: 0 done, 1 failed, 2 misused, 130 interrupted, 141 nobody reads, 143
    asked to end.
    """
    with ended_cleanly():
        code = run(sys.argv[1:] if arguments is None else arguments)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Runs the command line and gives its exit status; every expected error is one line on stderr.

    With ``ANTIPHON_DEBUG=1`` errors are raised instead.
    """
    if not is_live(sys.stderr):
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        with shown_log():
            code = _run(list(arguments))
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _silence()
        return BROKEN_PIPE
    return code


def _run(arguments: list[str]) -> int:
    try:
        code = app(arguments, prog_name="antiphon", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except typer.TyperException as error:
        return _misused(error)
    except BrokenPipeError:
        raise
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # typer ends the process itself then
            raise error.__context__ from None
        raise
    except Exception as error:
        if os.environ.get("ANTIPHON_DEBUG", "") not in ("", "0"):
            raise
        if is_interrupted(error):
            code = INTERRUPTED
        elif isinstance(error, AntiphonError):
            say(f"error: {error}")
            return FAILED
        else:
            say(f"error: {type(error).__name__}: {error} (unexpected; ANTIPHON_DEBUG=1 shows where it happened)")
            return FAILED
    if code == INTERRUPTED:
        say("interrupted")
    return code if isinstance(code, int) else OK


def _misused(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    if type(error).__name__ == "NoArgsIsHelpError":
        for line in message.splitlines():
            say(line)
        return MISUSED
    command = context.command_path if context is not None else "antiphon"
    say(f"error: {' '.join(message.split())} Try: {command} --help")
    return MISUSED


def _silence() -> None:
    # what is still in the buffer would raise again when the interpreter flushes at its end
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
