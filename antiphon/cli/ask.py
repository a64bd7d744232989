"""``antiphon ask``: a question about a recording, a conversation about it, or its facts in fields."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from antiphon.checkpoints.built_in import LISTENER, built_in
from antiphon.cli.interruption import Interruption
from antiphon.cli.model_choice import MODEL_VARIABLE
from antiphon.cli.terminal import is_live, put, put_json, put_piece, say

if TYPE_CHECKING:
    from antiphon.tasks.answer import Turn
    from antiphon.tasks.listener import Listener

PUBLISHED = "nvidia/music-flamingo-2601-hf"


@dataclass(frozen=True)
class Inquiry:
    """What was asked for.

    Attributes:
        sound: the recording. question: or ``None`` for a conversation.
        model, dtype, device, quantize: as ``load`` takes them. asked: arguments of ``Listener.ask``, by their names.
    """

    sound: str
    question: str | None
    model: str
    dtype: str | None
    device: str | None
    quantize: str | None
    asked: dict[str, Any]


def ask(
    sound: Annotated[str, typer.Argument(metavar="SOUND", help="A sound file.")],
    question: Annotated[
        str | None, typer.Argument(metavar="QUESTION", help="What to answer; without it, a conversation.")
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Genre, tempo, key, instruments, mood and structure as JSON, checked by signal."),
    ] = False,
    model: Annotated[
        str | None, typer.Option(help=f"A folder, or a name on the Hub; else the variable {MODEL_VARIABLE}.")
    ] = None,
    long: Annotated[
        Literal["cut", "map"], typer.Option(help="Of a recording too long for the model: its beginning, or its parts.")
    ] = "cut",
    part_seconds: Annotated[float | None, typer.Option(help="Of a part; as much as the model hears at once.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a recording that is too long.")] = False,
    max_tokens: Annotated[int, typer.Option(help="The longest answer.")] = 500,
    temperature: Annotated[float, typer.Option(help="Chance of the words; 0 is none.")] = 0.0,
    top_k: Annotated[int, typer.Option(help="Choose among the k likeliest; 0 is off.")] = 0,
    top_p: Annotated[float, typer.Option(help="Choose among the likeliest of so much probability; 0 is off.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Of the chance; drawn unless told.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best unless told.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16; as stored unless told.")] = None,
    quantize: Annotated[
        Literal["int8", "int4"] | None, typer.Option(help="Smaller and faster weights, a little less exact.")
    ] = None,
) -> None:
    """Listen to a sound file and answer.

    antiphon ask song.mp3 "What are the tempo and the key?"

    antiphon ask song.mp3
    """
    asked: dict[str, Any] = {"long": long, "strict": strict, "max_new_tokens": max_tokens, "temperature": temperature}
    asked |= {"top_k": top_k, "top_p": top_p}
    asked |= {} if seed is None else {"seed": seed}
    asked |= {} if part_seconds is None else {"part_seconds": part_seconds}
    wanted = Inquiry(sound, question, model_name(model), dtype, device, quantize, asked)
    if as_json:
        _put_facts(wanted)
        return
    _check(wanted)
    listener = _listener(wanted)
    if question is None:
        _converse(wanted, listener)
    else:
        _answer(wanted, listener, sound, question)


def model_name(model: str | None) -> str:
    """The model that was named, else the one in the variable, else the built-in one.

    Raises:
        BadParameter: none of them is there.
    """
    name = model or os.environ.get(MODEL_VARIABLE)
    if name:
        return name
    if built_in(LISTENER) is None:
        raise typer.BadParameter(
            f"no model was named. Pass --model or set {MODEL_VARIABLE}: a folder, or a name on the Hub such as "
            f"{PUBLISHED}."
        )
    say(
        f"model: the small built-in one, {LISTENER}, which knows sampled instruments alone; for other music name a "
        f"bigger one with --model, a name on the Hub such as {PUBLISHED}"
    )
    return LISTENER


def load_listener(name: str, *, dtype: str | None, device: str | None, quantize: str | None) -> Listener:
    """The listener of a checkpoint; what cannot listen is told before minutes are spent on loading.

    Raises:
        ConfigError: a model that does not listen. AntiphonError: as ``load``.
    """
    from antiphon.checkpoints import hub
    from antiphon.checkpoints.checkpoint_folder import CheckpointFolder
    from antiphon.errors import ConfigError
    from antiphon.models import registry
    from antiphon.tasks.load import load

    kind = CheckpointFolder(hub.described(name)).values().get("model_type")
    if kind not in registry.model_types(registry.LISTEN):
        raise ConfigError(
            f"{name!r} holds a model of type {kind!r}", expected="a musicflamingo or an audioflamingo3 checkpoint"
        )
    listener: Listener = load(name, dtype=dtype, device=device, quantize=quantize)
    return listener


def _listener(wanted: Inquiry) -> Listener:
    return load_listener(wanted.model, dtype=wanted.dtype, device=wanted.device, quantize=wanted.quantize)


def _check(wanted: Inquiry) -> None:
    """Finds values out of range, and a sound that is not there, before anything is loaded."""
    from antiphon.audio.files import read_header
    from antiphon.errors import ParamError, ParamTypeError
    from antiphon.tasks.listening_request import ListeningRequest
    from antiphon.tasks.listening_settings import checked_question

    try:
        ListeningRequest(float("inf"), wanted.asked)
        if wanted.question is not None:
            checked_question(wanted.question)
    except (ParamError, ParamTypeError) as error:
        raise typer.BadParameter(str(error)) from error
    read_header(wanted.sound)


def _put_facts(wanted: Inquiry) -> None:
    if wanted.question is not None:
        raise typer.BadParameter("--json answers the questions of its fields: leave out QUESTION or --json.")
    shaped = {"long": "cut", "max_new_tokens": 500, "temperature": 0.0, "top_k": 0, "top_p": 0.0}
    foreign = [name for name, value in wanted.asked.items() if name != "strict" and value != shaped.get(name)]
    if foreign:
        raise typer.BadParameter(f"{', '.join(foreign)} beside --json, which always takes the likeliest.")
    _check(wanted)
    from antiphon.audio.clip import Audio
    from antiphon.evaluation.fact_check import checked

    listener = _listener(wanted)
    strict = wanted.asked["strict"]
    facts = listener.facts(wanted.sound, strict=strict)
    fields = checked(facts, Audio.load(wanted.sound, first_s=listener.longest_s))
    put_json({name: field.to_dict() for name, field in fields.items()})


def _answer(
    wanted: Inquiry, listener: Listener, sound: Any, question: str, turns: tuple[Turn, ...] = ()
) -> tuple[Turn, ...]:
    """Says the answer as it comes; gives the turns with it.

    Raises:
        KeyboardInterrupt: Ctrl-C ended it.
    """
    with Interruption() as stop:
        stream = listener.stream(sound, question, history=turns, **wanted.asked, stop_when=stop)
        for piece in stream:
            put_piece(piece)
        put("")
    answer = stream.answer
    if answer.seed is not None:
        say(f"seed: {answer.seed}")
    if answer.finish == "length":
        say(f"the answer was cut at {answer.tokens} tokens; --max-tokens gives it more")
    if answer.finish == "stopped":
        raise KeyboardInterrupt
    return answer.history


def _converse(wanted: Inquiry, listener: Listener) -> None:
    """A question a line, until the lines end."""
    turns: tuple[Turn, ...] = ()
    sound: Any = wanted.sound
    if wanted.asked["long"] == "cut":  # read once, so that a cut is named once
        sound = listener.read(wanted.sound, strict=wanted.asked["strict"])
    for question in _questions():
        turns = _answer(wanted, listener, sound, question, turns)


def _questions() -> Any:
    """Lines of stdin with something in them, asked for where a person types them."""
    while True:
        if is_live(sys.stdin) and is_live(sys.stderr):
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline() if sys.stdin is not None else ""
        if not line:
            return
        if line.strip():
            yield line.strip()
