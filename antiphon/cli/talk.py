"""``antiphon talk``: a conversation with a recording, or with somebody at the microphone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from antiphon.cli.interruption import Interruption
from antiphon.cli.model_choice import MODEL_VARIABLE
from antiphon.cli.terminal import put, put_json, put_path

if TYPE_CHECKING:
    from antiphon.tasks.talker import Reply

_PUBLISHED = "kyutai/moshiko-pytorch-bf16"


@dataclass(frozen=True)
class Conversation:
    """What was asked for.

    Attributes:
        model, dtype, device, quantize: as ``load`` takes them. adapters: ``FOLDER`` or ``FOLDER:SCALE`` each.
        settings: of ``Talker.session``, by its names. said: the user's recording.
        seconds, seed: as for ``Talker.reply``.
        opening, voice, silent: what the talker says first, in whose voice, and whether it is silent meanwhile.
        output, transcript: where to. force, mono, picture, as_json, progress: as the options.
    """

    model: str
    dtype: str | None
    device: str | None
    quantize: str | None
    adapters: tuple[str, ...]
    settings: dict[str, Any]
    said: str | None
    seconds: float | None
    seed: int | None
    opening: str | None
    voice: str | None
    silent: bool
    output: str | None
    transcript: str | None
    force: bool
    mono: bool
    picture: bool
    as_json: bool
    progress: bool

    def talker(self) -> Any:
        """The talker; what cannot be done is told before minutes are spent on loading.

        Raises:
            ConfigError: a model that does not talk. AntiphonError: as ``load``.
        """
        from antiphon.checkpoints import hub
        from antiphon.checkpoints.checkpoint_folder import CheckpointFolder
        from antiphon.errors import ConfigError
        from antiphon.models import registry
        from antiphon.tasks.adapters import ScaledAdapter
        from antiphon.tasks.load import load

        kind = CheckpointFolder(hub.described(self.model)).values().get("model_type")
        if kind not in registry.model_types(registry.TALK):
            raise ConfigError(f"{self.model!r} holds a model of type {kind!r}", expected="a moshi checkpoint")
        adapters = [ScaledAdapter.parsed(adapter) for adapter in self.adapters]
        return load(self.model, dtype=self.dtype, device=self.device, quantize=self.quantize, adapters=adapters)

    def asked(self, talker: Any) -> dict[str, Any]:
        """What both ``session`` and ``reply`` are asked for."""
        told = {**self.settings, "seed": self.seed}
        if self.opening or self.voice:
            told["opening"] = talker.opening(self.opening, self.voice, heard=not self.silent)
        return told


def talk(
    said: Annotated[
        str | None, typer.Option("--in", metavar="FILE", help="What the user says; without it, the microphone.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="The conversation: user left, reply right; live: wav."),
    ] = None,
    transcript: Annotated[
        str | None,
        typer.Option(
            "--transcript", metavar="FILE", help="Text with times, events and entropies: JSON, replaced if there."
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="How long; as long as the recording, or until Ctrl-C, unless told.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the chance; drawn unless told.")] = None,
    model: Annotated[
        str | None, typer.Option(help=f"A folder, or a name on the Hub; else the variable {MODEL_VARIABLE}.")
    ] = None,
    opening: Annotated[str | None, typer.Option(metavar="TEXT", help="What the talker says first.")] = None,
    voice: Annotated[
        str | None, typer.Option(metavar="FILE", help="A recording that it begins with, in the voice it is to have.")
    ] = None,
    silent: Annotated[bool, typer.Option("--silent-opening", help="The opening is not heard.")] = False,
    text_temperature: Annotated[float | None, typer.Option(help="Chance of the words; 0 is none.")] = None,
    text_top_k: Annotated[int | None, typer.Option(help="Choose words among the k likeliest; 0 is off.")] = None,
    audio_temperature: Annotated[float | None, typer.Option(help="Chance of the sound; 0 is none.")] = None,
    audio_top_k: Annotated[int | None, typer.Option(help="Choose sound among the k likeliest; 0 is off.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Above 1: fewer words that were said.")] = None,
    repetition_context: Annotated[int | None, typer.Option(help="Words that the penalty looks back.")] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER[:SCALE]", help="A LoRA adapter on the model; several times for several."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best unless told.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16; as stored unless told.")] = None,
    quantize: Annotated[
        Literal["int8", "int4"] | None, typer.Option(help="Smaller and faster weights, a little less exact.")
    ] = None,
    mono: Annotated[bool, typer.Option("--mono", help="Only the reply in the file.")] = False,
    picture: Annotated[bool, typer.Option("--picture", help="A PNG of the sound beside it.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="What goes on, on stderr.")] = True,
) -> None:
    """Talk with a Moshi, which listens while it speaks.

    Ctrl-C ends a conversation and keeps what was said.

    antiphon talk --in question.wav -o conversation.wav --transcript words.json --seconds 20

    antiphon talk -o conversation.wav
    """
    settings = {
        "text_temperature": text_temperature,
        "text_top_k": text_top_k,
        "audio_temperature": audio_temperature,
        "audio_top_k": audio_top_k,
        "repetition_penalty": repetition_penalty,
        "repetition_context": repetition_context,
    }
    wanted = Conversation(
        model=_model(model),
        dtype=dtype,
        device=device,
        quantize=quantize,
        adapters=tuple(adapter or ()),
        settings={name: value for name, value in settings.items() if value is not None},
        said=said,
        seconds=seconds,
        seed=seed,
        opening=opening,
        voice=voice,
        silent=silent,
        output=output,
        transcript=transcript,
        force=force,
        mono=mono,
        picture=picture,
        as_json=as_json,
        progress=progress,
    )
    _check(wanted)
    if said is None:
        from antiphon.cli.live import talk_live

        talk_live(wanted)
    else:
        _talk_to_file(wanted)


def _model(model: str | None) -> str:
    name = model or os.environ.get(MODEL_VARIABLE)
    if not name:
        raise typer.BadParameter(
            f"no model was named. Pass --model or set {MODEL_VARIABLE}: a folder, or a name on the Hub such as "
            f"{_PUBLISHED}."
        )
    return name


def _check(wanted: Conversation) -> None:
    """Finds what does not go together, and values out of range, before anything is loaded."""
    from antiphon.errors import AntiphonError
    from antiphon.generation.duplex_settings import DuplexSettings
    from antiphon.generation.philox import check_seed

    if wanted.said is not None and wanted.output is None:
        raise typer.BadParameter("name the file that the conversation goes to.", param_hint="-o")
    if wanted.said is None and (wanted.mono or wanted.picture):
        raise typer.BadParameter("--mono and --picture are about a recording: name one with --in.")
    if wanted.silent and not (wanted.opening or wanted.voice):
        raise typer.BadParameter("--silent-opening is about an opening: name one with --opening or --voice.")
    if wanted.transcript is not None and not wanted.transcript.lower().endswith(".json"):
        raise typer.BadParameter(f"{wanted.transcript!r} does not end with .json.", param_hint="--transcript")
    if wanted.seconds is not None and not 0 < wanted.seconds < float("inf"):
        raise typer.BadParameter(f"{wanted.seconds} is no length: give seconds above 0.", param_hint="--seconds")
    try:
        DuplexSettings(**wanted.settings)
        if wanted.seed is not None:
            check_seed(wanted.seed)
    except AntiphonError as error:
        raise typer.BadParameter(str(error)) from error


def _talk_to_file(wanted: Conversation) -> None:
    from antiphon.audio.clip import Audio
    from antiphon.cli.output_files import OutputFiles, make_folder
    from antiphon.cli.progress import progress_bar
    from antiphon.errors import Cancelled

    heard = Audio.load(wanted.said or "")
    outputs = OutputFiles(wanted.output, force=wanted.force)
    if wanted.transcript is not None:
        make_folder(Path(wanted.transcript).parent)
    if wanted.picture:
        from antiphon.audio.figure import check_can_draw

        check_can_draw()
    talker = wanted.talker()
    length = heard.seconds if wanted.seconds is None else wanted.seconds
    shown: dict[str, Any] = {"pieces": 1, "seconds": length, "wanted": wanted.progress, "spans_s": (length, length)}
    with Interruption() as stop, progress_bar(Path(wanted.said or "").name, **shown) as on_progress:
        try:
            reply = talker.reply(
                heard, seconds=wanted.seconds, on_progress=on_progress, stop_when=stop, **wanted.asked(talker)
            )
        except Cancelled:
            raise KeyboardInterrupt from None
    _save(wanted, reply, outputs)
    if stop.asked:
        raise KeyboardInterrupt


def _save(wanted: Conversation, reply: Reply, outputs: Any) -> None:
    path = outputs.path_for("conversation", reply.seed, partial=reply.stopped)
    sound = reply.audio if wanted.mono else reply.stereo
    sound.save(path)
    told: dict[str, Any] = {
        "path": os.fspath(path),
        "text": reply.transcript.text,
        "seed": reply.seed,
        "seconds": sound.seconds,
        "sampling_rate": sound.sampling_rate,
    }
    if reply.stopped:
        told["stopped"] = True
    if wanted.transcript is not None:
        told["transcript"] = os.fspath(reply.transcript.save(wanted.transcript))
    if wanted.picture:
        from antiphon.audio.picture import draw

        told["picture"] = os.fspath(draw(sound, outputs.beside(path)))
    if wanted.as_json:
        put_json(told)
        return
    put_path(path)
    if reply.transcript.text:
        put(reply.transcript.text)
