"""A commission: what all pieces of one call share, from the model to how they are written."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import typer

from antiphon.cli.model_choice import load_composer

if TYPE_CHECKING:
    from pathlib import Path

    from antiphon.audio.clip import Audio
    from antiphon.cli.interruption import Interruption
    from antiphon.cli.output_files import OutputFiles
    from antiphon.tasks.melody import Melody

_TOGETHER = 8  # pieces that are computed together
_TOGETHER_SECONDS = 240  # of sound, all of them; longer pieces run in smaller groups

Loudness = Literal["none", "peak", "rms", "loudness", "clip"]


@dataclass(frozen=True)
class Commission:
    """What all pieces of a call share.

    Attributes:
        model, dtype, device, quantize: as ``load`` takes them. adapters: ``FOLDER`` or ``FOLDER:SCALE`` each.
        settings: of ``compose``, by its names. recording: a file to go on from. melody: a file whose melody is
            followed, and separate whether drums and bass are taken out of it.
        picture: whether a picture is drawn beside each sound.
        loudness: the level files are brought to. format: of outputs whose name has no suffix.
        as_json, progress: what is told of them.
    """

    model: str
    dtype: str | None
    device: str | None
    quantize: str | None
    adapters: tuple[str, ...]
    settings: dict[str, Any]
    recording: str | None
    melody: str | None
    separate: bool
    picture: bool
    loudness: Loudness
    format: str
    as_json: bool
    progress: bool
    _melodies: dict[str, Melody] = field(default_factory=dict)

    def load(self, recording: str | None = None, melody: str | None = None) -> Any:
        """The composer; what cannot be done is told before minutes are spent on loading."""
        from antiphon.audio.clip import Audio

        if recording is not None:
            Audio.load(recording)
        if melody is not None:
            from antiphon.tasks.load import check_follows_melodies

            Audio.load(melody, first_s=1.0)
            check_follows_melodies(self.model)
        if self.separate:
            from antiphon.audio.separation import check_can_separate

            check_can_separate()
        if self.picture:
            from antiphon.audio.figure import check_can_draw

            check_can_draw()
        return load_composer(
            self.model, dtype=self.dtype, device=self.device, quantize=self.quantize, adapters=self.adapters
        )

    def compose(
        self, composer: Any, texts: list[str], stop: Interruption, *, title: str = "", **settings: Any
    ) -> list[Finished]:
        """The pieces of one composition.

        Args:
            settings: win over those of the commission. In them ``melody`` is a file, or a list with one or ``None`` for
                each text.

        Raises:
            KeyboardInterrupt: it was stopped before anything was complete. AntiphonError: as ``compose``.
        """
        from antiphon.cli.progress import progress_bar
        from antiphon.errors import Cancelled

        settings = {**self.settings, "continue_from": self.recording, "melody": self.melody, **settings}
        settings["melody"] = self._heard(settings["melody"])
        started = time.monotonic()
        with progress_bar(
            title or (texts[0] if len(texts) == 1 else f"{len(texts)} prompts"),
            pieces=len(texts) * settings.get("n", 1),
            seconds=settings["seconds"],
            wanted=self.progress,
            spans_s=composer.spans_s(settings),
        ) as on_progress:
            try:
                pieces = composer.compose(texts, on_progress=on_progress, stop_when=stop, **settings)
            except Cancelled:
                raise KeyboardInterrupt from None
        factor = (time.monotonic() - started) / sum(piece.seconds for piece in pieces)
        return [Finished(piece, factor, composer) for piece in pieces]

    def _heard(self, melody: str | list[str | None] | None) -> Any:
        """The melodies of these files; those of the composition before are not read again, all others are let go."""
        from antiphon.tasks.melody import Melody

        files = melody if isinstance(melody, list) else [melody]
        wanted = {
            file: self._melodies.get(file) or Melody(file, separate=self.separate) for file in files if file is not None
        }
        self._melodies.clear()
        self._melodies.update(wanted)
        if isinstance(melody, list):
            return [None if file is None else wanted[file] for file in melody]
        return None if melody is None else wanted[melody]

    def save(self, finished: Finished, path: Path, outputs: OutputFiles, melody: str | None) -> None:
        """Writes a piece and its picture, and tells where it is.

        Args:
            melody: the file that the piece follows.
        """
        from antiphon.cli.terminal import put_json, put_path

        piece = finished.piece
        format = None if path.suffix else self.format
        if self.loudness == "none":
            piece.save(path, format=format)
        else:
            noted = replace(piece, parameters={**(piece.parameters or {}), "loudness": self.loudness})
            noted.save(path, format=format, loudness=self.loudness)
        drawn = self._draw(finished, outputs.beside(path), melody) if self.picture else {}
        if self.as_json:
            put_json({**finished.told(path), **drawn})
        else:
            put_path(path)

    def _draw(self, finished: Finished, path: Path, melody: str | None) -> dict[str, Any]:
        """Draws a piece, or how it follows its melody, and gives what a program wants to know of that."""
        from antiphon.audio.melody_picture import draw_melody
        from antiphon.audio.picture import draw

        piece = finished.piece
        if melody is None:
            return {"picture": os.fspath(draw(piece, path))}
        agreement = finished.composer.agreement(piece, self._melodies[melody])
        draw_melody(agreement, path, title=piece.prompt or "")
        told = {"melody_agreement": round(agreement.share, 4), "melody_chance": round(agreement.chance, 4)}
        return {"picture": os.fspath(path), **told}


@dataclass(frozen=True)
class Finished:
    """A piece, the seconds of computing that a second of its group's sound took, and its composer."""

    piece: Audio
    factor: float
    composer: Any

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
        window, stride = checked.window_seconds, checked.stride_seconds
        if window is not None and stride is not None and not stride < window:
            raise ParamError(
                f"stride_seconds={stride:g} and window_seconds={window:g}", expected="a stride shorter than the window"
            )
    except AntiphonError as error:
        raise typer.BadParameter(str(error)) from error


def together(seconds: float) -> int:
    """How many pieces of this length are computed together."""
    return max(1, min(_TOGETHER, int(_TOGETHER_SECONDS / seconds)))
