"""How fast a checkpoint makes music on this machine, beside another library and beside what memory allows."""

from __future__ import annotations

import importlib.util
import os
import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from antiphon.checkpoints import hub
from antiphon.errors import ConfigError, MissingExtraError, ParamError
from antiphon.models.auto import AutoConfig
from antiphon.models.musicgen_config import MusicCompositeConfig
from antiphon.models.musicgen_melody_config import MusicgenMelodyDecoderConfig
from antiphon.tasks.machine import Machine
from antiphon.tasks.measurement import LOADING, PEER_KINDS, Request, measure
from antiphon.tasks.random_checkpoint import published_small, write_random

OURS = "antiphon"
PEERS = ("transformers",)
CODEC_SECONDS = 30.0
RANDOM_NAME = "musicgen-small's sizes, random weights"
# Bytes a weight: the layers of the stack, and the heads, which stay in 8 bits; a 16-bit scale for 64 inputs.
_BYTES = {"fp32": (4.0, 4.0), "bf16": (2.0, 2.0), "int8": (1 + 2 / 64, 1 + 2 / 64), "int4": (0.5 + 2 / 64, 1 + 2 / 64)}

OnMeasure = Callable[[str], object]


@dataclass(frozen=True)
class Figures:
    """What one library does with weights of one kind; medians of all rounds.

    Attributes:
        ms_per_step: a token of every codebook, with guidance. limit_ms: the same if a step took as long as reading its
            weights once. whole_s: seconds of work for a second of sound, codec included.
        first_sound_s: from the call to the first sound. load_s: loading. peak_mib: memory of the process at most.
    """

    library: str
    kind: str
    ms_per_step: float
    limit_ms: float
    whole_s: float
    first_sound_s: float
    load_s: float
    peak_mib: float | None

    @property
    def share_of_limit(self) -> float:
        """1 where a step takes no longer than reading its weights."""
        return self.limit_ms / self.ms_per_step


@dataclass(frozen=True)
class CodecFigures:
    """Decoding ``seconds`` of codes: seconds of work, and MiB beside the loaded model."""

    library: str
    seconds: float
    decode_s: float
    decode_mib: float | None


@dataclass(frozen=True)
class Comparison:
    """The figures of a machine and a model; ``versions`` of the libraries, ``steps`` of a call."""

    machine: Machine
    model: str
    steps: int
    rounds: int
    versions: dict[str, str]
    figures: list[Figures]
    codecs: list[CodecFigures]

    def of(self, library: str, kind: str) -> Figures | None:
        """The figures of a library and a kind, ``None`` where there are none."""
        return next((f for f in self.figures if (f.library, f.kind) == (library, kind)), None)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        told = asdict(self)
        for figures, row in zip(self.figures, told["figures"], strict=True):
            row["share_of_limit"] = figures.share_of_limit
        return told


def compare(
    model: str | os.PathLike[str] | None = None,
    *,
    steps: int = 128,
    kinds: Sequence[str] = tuple(LOADING),
    beside: str | None = None,
    rounds: int = 1,
    threads: int | None = None,
    on_measure: OnMeasure | None = None,
) -> Comparison:
    """Measures a checkpoint of either family, each kind of weights in a fresh process, the libraries in turn.

    Args:
        model: a folder or a name on the Hub; random weights of musicgen-small's sizes unless given (2.3 GB in the
            system's temporary folder, gone afterwards).
        steps: new tokens of a call, 8 or more. kinds: of ``fp32``, ``bf16``, ``int8``, ``int4``.
        beside: another library to run the same script with; ``transformers``, for the kinds that it has.
        rounds: how often; medians are given. threads: of torch; as many as it would take unless told.
        on_measure: called with a line of text before each measurement.

    Raises:
        ParamError: a value out of range. ConfigError: no MusicGen. MissingExtraError: ``beside`` is not installed.
        CheckpointError: no such checkpoint. SessionError: a measurement failed.
    """
    threads = torch.get_num_threads() if threads is None else threads
    _check(steps=steps, kinds=kinds, beside=beside, rounds=rounds, threads=threads)
    tell = on_measure or (lambda line: None)
    with ExitStack() as stack:
        if model is None:
            tell("writing random weights")
            home = stack.enter_context(tempfile.TemporaryDirectory(prefix="antiphon-bench-"))
            folder = write_random(Path(home), published_small())
        else:
            folder = hub.fetched(model)
        decoder = decoder_sizes(folder)
        tell("measuring memory")
        machine = Machine.here(threads)
        request = Request(model=str(folder), threads=threads, steps=steps)
        runs = _runs(request, kinds=kinds, beside=beside, rounds=rounds, tell=tell)
    figures = [_figures(*key, found, bytes_per_step(decoder, key[1]), machine) for key, found in runs.items()]
    codecs = [_codec(library, found) for (library, _), found in runs.items() if "decode_s" in found[0]]
    libraries = [OURS, "torch", *([beside] if beside else [])]
    name = RANDOM_NAME if model is None else os.fspath(model)
    return Comparison(machine, name, steps, rounds, {n: version(n) for n in libraries}, figures, codecs)


def _check(*, steps: int, kinds: Sequence[str], beside: str | None, rounds: int, threads: int) -> None:
    for name, value, least in (("steps", steps, 8), ("rounds", rounds, 1), ("threads", threads, 1)):
        if not (value >= least):
            raise ParamError(f"{name}={value}", expected=f"{least} or more")
    unknown = [kind for kind in kinds if kind not in LOADING]
    if unknown or not kinds:
        raise ParamError(f"kinds={list(kinds)}", expected=f"some of {', '.join(LOADING)}")
    if beside is None:
        return
    if beside not in PEERS:
        raise ParamError(f"beside={beside!r}", expected=f"one of {', '.join(PEERS)}")
    if importlib.util.find_spec(beside) is None:
        raise MissingExtraError(f"{beside} is not installed here", fix=f"Install it: pip install {beside}")


def decoder_sizes(folder: Path) -> dict[str, Any]:
    """The decoder's configuration, what the file leaves out filled in.

    Raises:
        ConfigError: the checkpoint is no MusicGen and no MusicGen Melody.
    """
    config = AutoConfig.from_pretrained(folder)
    if not isinstance(config, MusicCompositeConfig):
        raise ConfigError(f"a model of type {config.model_type!r}", expected="musicgen or musicgen_melody")
    sizes: dict[str, Any] = config.decoder.to_dict()
    return sizes


def _runs(
    request: Request, *, kinds: Sequence[str], beside: str | None, rounds: int, tell: OnMeasure
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """What every process found, by library and kind; the codec is measured with the first kind of each library."""
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for number in range(rounds):
        measured = set()
        for kind in kinds:
            for library in (OURS, *([beside] if beside and kind in PEER_KINDS else [])):
                tell(f"{library} {kind}, round {number + 1} of {rounds}")
                codec_s = 0.0 if library in measured else CODEC_SECONDS
                runs.setdefault((library, kind), []).append(
                    measure(library, replace(request, kind=kind, codec_s=codec_s))
                )
                measured.add(library)
    return runs


def hears_melodies(decoder: dict[str, Any]) -> bool:
    """Whether a decoder of that configuration has a melody and a text in front of its columns."""
    return bool(decoder["model_type"] == MusicgenMelodyDecoderConfig.model_type)


def bytes_per_step(decoder: dict[str, Any], kind: str) -> float:
    """The bytes of weights that a step reads once the keys and values of the conditions are kept."""
    width, inner = decoder["hidden_size"], decoder["ffn_dim"]
    # four maps of attention over columns, two of attention over the text, unless that stands in front of the columns
    maps = 4 if hears_melodies(decoder) else 6
    layer = maps * width**2 + 2 * width * inner
    heads = decoder["num_codebooks"] * decoder["vocab_size"] * width
    layer_bytes, head_bytes = _BYTES[kind]
    return float(decoder["num_hidden_layers"] * layer * layer_bytes + heads * head_bytes)


def _figures(library: str, kind: str, found: list[dict[str, Any]], step_bytes: float, machine: Machine) -> Figures:
    return Figures(
        library=library,
        kind=kind,
        ms_per_step=statistics.median(run["ms_per_step"] for run in found),
        limit_ms=step_bytes / machine.read_gb_s / 1e6,
        whole_s=statistics.median(run["generate_s"] / run["sound_s"] for run in found),
        first_sound_s=statistics.median(run["first_sound_s"] for run in found),
        load_s=statistics.median(run["load_s"] for run in found),
        peak_mib=_median_told(run["peak_mib"] for run in found),
    )


def _codec(library: str, found: list[dict[str, Any]]) -> CodecFigures:
    seconds = statistics.median(run["decode_s"] for run in found)
    return CodecFigures(library, CODEC_SECONDS, seconds, _median_told(run["decode_mib"] for run in found))


def _median_told(values: Iterable[float | None]) -> float | None:
    """The median, ``None`` where the system does not tell."""
    told = [value for value in values if value is not None]
    return statistics.median(told) if told else None
