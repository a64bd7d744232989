"""A training job as a TOML file: which model, from which data, with which numbers."""

from __future__ import annotations

import dataclasses
import os
import tomllib
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from antiphon.errors import ConfigError, unknown_argument
from antiphon.training.settings import CodecLossWeights, RunSettings, SpeechLossWeights

OBJECTIVES = ("codec", "music", "speech", "listening")
# of each part of a listening model: its name in the documents, and the layers that get an adapter
LISTENING_LAYERS = {
    "audio_encoder": ("audio_tower", ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")),
    "projector": ("multi_modal_projector", ("linear_1", "linear_2")),
    "language_model": (
        "language_model",
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    ),
}
_FILE_BYTES = 1_000_000

Section = TypeVar("Section")


@dataclass(frozen=True)
class ModelSection:
    """Which model is trained.

    Attributes:
        start: a checkpoint to go on from, by name or folder. config: instead, a ``config.json`` for random weights.
        codec, text_encoder: with ``config``, checkpoints that these parts are taken from. processor: a folder with the
            tokenizer's and the feature extractor's files.
        train_text_encoder: whether the text encoder learns too.
    """

    start: str | None = None
    config: str | None = None
    codec: str | None = None
    text_encoder: str | None = None
    processor: str | None = None
    train_text_encoder: bool = False

    def __post_init__(self) -> None:
        if (self.start is None) == (self.config is None):
            raise ConfigError("[model] has to name one of start and config", expected="a checkpoint, or a config.json")


@dataclass(frozen=True)
class DataSection:
    """What it learns from.

    Attributes:
        train: a folder of sounds with texts beside them, a JSONL manifest, or a folder of coded music.
        held_out: another; without one, ``held_out_share`` of the items is held out. seconds: of an example.
        from_start: share of a language model's examples that are the beginning of their item; the others lie anywhere.
        keep_places: whether these keep the places of their columns in the item; otherwise all are learnt as beginnings.
        cache: where codes and states are kept; beside the run unless told.
        condition_dropout, melody_dropout, word_dropout: shares of examples without text (and melody), of melodies
            alone, and of words. separate: take melodies from the voices and instruments alone (the extra ``separate``).
        gain_db: lowest and highest change of a sound's level, for a codec.
    """

    train: str
    held_out: str | None = None
    held_out_share: float = 0.05
    seconds: float = 10.0
    from_start: float = 0.0
    keep_places: bool = False
    cache: str | None = None
    condition_dropout: float = 0.1
    melody_dropout: float = 0.2
    word_dropout: float = 0.0
    separate: bool = False
    gain_db: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if not 0 < self.seconds < float("inf"):
            raise ConfigError(f"[data] seconds={self.seconds!r}", expected="above 0")
        for name in ("condition_dropout", "melody_dropout", "word_dropout", "held_out_share"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise ConfigError(f"[data] {name}={share!r}", expected="0 to less than 1")
        if not 0 <= self.from_start <= 1:
            raise ConfigError(f"[data] from_start={self.from_start!r}", expected="0 to 1")


@dataclass(frozen=True)
class LoraSection:
    """Trains adapters of low rank instead of the weights.

    Attributes:
        rank, alpha: the adapters add ``alpha / rank`` times a product of that rank. dropout: of their inputs.
        targets: names of the layers that get one; unless told those of attention and feed-forward parts.
        stacks: names of tensors that are a stack of layers' weights, all of which get one; unless told, and where no
            targets are, those of attention and feed-forward parts.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] | None = None
    stacks: tuple[str, ...] | None = None


@dataclass(frozen=True)
class CodecSection(CodecLossWeights):
    """The losses of a codec, and when its codebooks begin.

    Attributes:
        quantise_from: a step. only_decoder: encoder and codebooks of a checkpoint stay as they are.
        adversary_from: the step from which a discriminator takes part; never unless told.
    """

    quantise_from: int = 0
    only_decoder: bool = False
    adversary_from: int | None = None


@dataclass(frozen=True)
class SpeechSection(SpeechLossWeights):
    """The losses of a speech model, and whose words it learns.

    Attributes:
        speaker: who of the aligned words is on the left channel.
    """

    speaker: str = "SPEAKER_MAIN"


@dataclass(frozen=True)
class MusicSection:
    """The loss of a language model.

    Attributes:
        codebook_weights: how much each codebook counts, in proportion; all the same unless told. The first says what is
            played, the later ones how it sounds.
    """

    codebook_weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class ListeningSection:
    """What of a listening model learns, and from what.

    Attributes:
        learn: some of ``audio_encoder``, ``projector`` and ``language_model``; all three unless told, and of adapters
            the language model's alone. turns: questions of an example, at most.
        learn_questions: whether the questions are learnt too; the answers alone unless told.
    """

    learn: tuple[str, ...] | None = None
    turns: int = 1
    learn_questions: bool = False

    def __post_init__(self) -> None:
        odd = sorted(set(self.learn or ()) - LISTENING_LAYERS.keys())
        if odd or self.learn == ():
            raise ConfigError(f"[listening] learn={list(self.learn or ())}", expected=f"some of {[*LISTENING_LAYERS]}")
        if not self.turns >= 1:
            raise ConfigError(f"[listening] turns={self.turns}", expected="1 or more")


@dataclass(frozen=True)
class JobFile:
    """A training job.

    Attributes:
        objective: ``codec``, ``music``, ``speech`` or ``listening``. folder: where all of it goes. source: the file's
            own folder, from which relative paths start.
    """

    objective: str
    folder: str
    model: ModelSection
    data: DataSection
    run: RunSettings
    lora: LoraSection | None = None
    codec: CodecSection = field(default_factory=CodecSection)
    speech: SpeechSection = field(default_factory=SpeechSection)
    music: MusicSection = field(default_factory=MusicSection)
    listening: ListeningSection = field(default_factory=ListeningSection)
    source: Path = Path()

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ConfigError(f"objective={self.objective!r}", expected=f"one of {OBJECTIVES}")
        if self.lora is not None and self.objective == "codec":
            raise ConfigError("[lora] for a codec", expected="adapters of a language model", fix="Leave [lora] out")

    def path(self, name: str) -> Path:
        """A path of the file."""
        return self.source / Path(name).expanduser()


def read_job(path: str | os.PathLike[str]) -> JobFile:
    """The job that a TOML file describes.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or holds a value that cannot be.
        ParamTypeError: it holds a name that does not exist; gives the nearest one that does.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _FILE_BYTES:
            raise ConfigError(f"{path} has {path.stat().st_size} bytes", expected="a training job in TOML")
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    if "source" in table:
        raise unknown_argument("source", _names(JobFile) - {"source"}, where=str(path))
    return dataclasses.replace(_section(JobFile, table, str(path)), source=path.parent)


def _names(kind: type) -> set[str]:
    return {entry.name for entry in dataclasses.fields(kind)}


def _section(kind: type[Section], table: Any, where: str) -> Section:
    """A dataclass from a table, every value of the type that it is declared to have."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: {table!r}", expected="a table")
    hints = get_type_hints(kind)
    for name in table:
        if name not in hints:
            raise unknown_argument(name, hints, where=where)
    given = {name: _value(hints[name], value, f"{where}: {name}") for name, value in table.items()}
    entries = dataclasses.fields(kind)  # type: ignore[arg-type]
    required = {e.name for e in entries if e.default is e.default_factory is dataclasses.MISSING}
    if not required <= given.keys():
        raise ConfigError(f"{where} lacks {sorted(required - given.keys())}", fix="Add what is missing")
    return kind(**given)


def _value(hint: Any, value: Any, where: str) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    if dataclasses.is_dataclass(hint):
        return _section(hint, value, where)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        if isinstance(value, list) and (inner[-1] is Ellipsis or len(value) == len(inner)):
            return tuple(_value(inner[0], entry, where) for entry in value)
    elif hint is float and type(value) in (int, float):
        return float(value)
    elif type(value) is hint:
        return value
    raise ConfigError(f"{where} = {value!r}", expected=_told(hint))


def _told(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"a list of {_told(get_args(hint)[0])}"
    return {str: "a text", int: "an integer", float: "a number", bool: "true or false"}.get(hint, str(hint))
