"""A commission: what all pieces of one call share, from the model to how they are written."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import typer

from antiphon.cli.model_choice import load_composer

if TYPE_CHECKING:
    from pathlib import Path

    from antiphon.audio.clip import Audio
    from antiphon.cli.interruption import Interruption

_TOGETHER = 8  # pieces that are computed together
_TOGETHER_SECONDS = 240  # of sound, all of them; longer pieces run in smaller groups

Loudness = Literal["none", "peak", "rms", "loudness", "clip"]


@dataclass(frozen=True)
class Commission:
    """What all pieces of a call share.

    Attributes:
        model, dtype, device, quantize: as ``load`` takes them.
        settings: of ``compose``, by its names. recording: a file to go on from.
        loudness: the level files are brought to. format: of outputs whose name has no suffix.
        as_json, progress: what is told of them.
    """

    model: str
    dtype: str | None
    device: str | None
    quantize: str | None
    settings: dict[str, Any]
    recording: str | None
    loudness: Loudness
    format: str
    as_json: bool
    progress: bool

    def load(self, recordings: Sequence[str] = ()) -> Any:
        """The composer; a recording that cannot be read is told before minutes are spent on loading."""
        from antiphon.audio.clip import Audio

        for recording in recordings:
            Audio.load(recording)
        return load_composer(self.model, dtype=self.dtype, device=self.device, quantize=self.quantize)

    def compose(
        self, composer: Any, texts: list[str], stop: Interruption, *, title: str = "", **settings: Any
    ) -> list[Finished]:
        """The pieces of one composition.

        Args:
            settings: win over those of the commission.

        Raises:
            KeyboardInterrupt: it was stopped before anything was complete. AntiphonError: as ``compose``.
        """
        from antiphon.cli.progress import progress_bar
        from antiphon.errors import Cancelled

        settings = {**self.settings, "continue_from": self.recording, **settings}
        started = time.monotonic()
        with progress_bar(
            title or (texts[0] if len(texts) == 1 else f"{len(texts)} prompts"),
            pieces=len(texts) * settings.get("n", 1),
            seconds=settings["seconds"],
            wanted=self.progress,
            window_s=settings["window_seconds"],
            stride_s=settings["stride_seconds"],
        ) as on_progress:
            try:
                pieces = composer.compose(texts, on_progress=on_progress, stop_when=stop, **settings)
            except Cancelled:
                raise KeyboardInterrupt from None
        factor = (time.monotonic() - started) / sum(piece.seconds for piece in pieces)
        return [Finished(piece, factor) for piece in pieces]

    def save(self, finished: Finished, path: Path) -> None:
        """Writes a piece, and tells where it is."""
        from antiphon.cli.terminal import put_json, put_path

        piece = finished.piece
        format = None if path.suffix else self.format
        if self.loudness == "none":
            piece.save(path, format=format)
        else:
            noted = replace(piece, parameters={**(piece.parameters or {}), "loudness": self.loudness})
            noted.save(path, format=format, loudness=self.loudness)
        if self.as_json:
            put_json(finished.told(path))
        else:
            put_path(path)


@dataclass(frozen=True)
class Finished:
    """A piece, and the seconds of computing that a second of its group's sound took."""

    piece: Audio
    factor: float

    @property
    def is_partial(self) -> bool:
        """Whether the piece was stopped before its length."""
        return bool((self.piece.parameters or {}).get("stopped"))

    def told(self, path: os.PathLike[str]) -> dict[str, Any]:
        """What a program wants to know of its file."""
        piece = self.piece
        record = {
            "path": os.fspath(path),
            "prompt": piece.prompt,
            "seed": piece.seed,
            "seconds": piece.seconds,
            "sampling_rate": piece.sampling_rate,
            "realtime_factor": round(self.factor, 4),
        }
        return {**record, "stopped": True} if self.is_partial else record


def check_settings(settings: dict[str, Any], prompts: Sequence[str], seed: int | None) -> None:
    """Finds values out of range before anything is loaded.

    Args:
        settings: those of ``compose``, windows included.

    Raises:
        BadParameter: a usage error.
    """
    from antiphon.errors import AntiphonError, ParamError
    from antiphon.tasks.settings import Settings, checked_prompts, checked_seed

    try:
        if prompts:
            checked_prompts(list(prompts))
        checked = Settings(**settings)
        checked_seed(seed, checked)
        if not checked.stride_seconds < checked.window_seconds:
            raise ParamError(
                f"stride_seconds={checked.stride_seconds:g} and window_seconds={checked.window_seconds:g}",
                expected="a stride shorter than the window",
            )
    except AntiphonError as error:
        raise typer.BadParameter(str(error)) from error


def together(seconds: float) -> int:
    """How many pieces of this length are computed together."""
    return max(1, min(_TOGETHER, int(_TOGETHER_SECONDS / seconds)))
