"""``antiphon encode``: a sound to codes."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antiphon.cli.model_choice import MODEL_VARIABLE, model_name
from antiphon.cli.terminal import put, put_json

if TYPE_CHECKING:
    from antiphon.tasks.codes_file import Codes
    from antiphon.tasks.transcoder import Transcoder

_LABEL_CHARACTERS = 14


def encode(
    sound: Annotated[str, typer.Argument(metavar="SOUND", help="A sound file, of any rate and channels.")],
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="CODES", help="Where to: .safetensors or .npz; replaced if there.")
    ],
    model: Annotated[
        str | None,
        typer.Option(help=f"A checkpoint with a codec, MusicGen's or Mimi's say; else the variable {MODEL_VARIABLE}."),
    ] = None,
    bandwidth: Annotated[
        float | None,
        typer.Option(help="kbit/s, where a codec has several; unless told EnCodec's lowest, Mimi's highest."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Decode again and tell how far it is from SOUND.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best unless told.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Turn a sound into the codes of a codec, and tell how many bits they take."""
    name = model_name(model)
    from antiphon.audio.clip import Audio
    from antiphon.cli.output_files import make_folder
    from antiphon.tasks.codes_file import checked_path, described
    from antiphon.tasks.transcoder import Transcoder

    path = checked_path(output)
    audio = Audio.load(sound)
    make_folder(path.parent)
    transcoder = Transcoder.load(name, device=device)
    codes = transcoder.encode(audio, bandwidth=bandwidth)
    codes.save(path)
    told = {"path": os.fspath(path), **described(codes), "file_bytes": path.stat().st_size}
    if check:
        told |= _errors(transcoder, codes, audio)
    if as_json:
        put_json(told)
    else:
        _put(told)


def _errors(transcoder: Transcoder, codes: Codes, audio: Any) -> dict[str, float | None]:
    from antiphon.tasks.reconstruction import log_spectral_distance_db, snr_db

    again, wanted = transcoder.decode(codes), transcoder.converted(audio)
    snr = snr_db(again, wanted)
    return {
        "snr_db": round(snr, 3) if math.isfinite(snr) else None,  # JSON has no infinity
        "log_spectral_distance_db": round(log_spectral_distance_db(again, wanted), 3),
    }


def _put(told: dict[str, Any]) -> None:
    lines = {
        "codes": Path(told["path"]),
        "model": told["model"],
        "sound": f"{told['seconds']:.2f} s, {told['channels']} ch, {told['sampling_rate']} Hz",
        "frames": f"{told['frames']} of {told['codebooks']} codebooks, {told['frame_rate_hz']:g} a second",
        "bit rate": f"{told['bit_rate_kbps']:g} kbit/s",
        "file": f"{told['file_bytes']} bytes",
    }
    if "snr_db" in told:
        snr = "equal, or silent" if told["snr_db"] is None else f"{told['snr_db']:.2f} dB"
        lines["SNR"] = snr
        lines["spectra"] = f"{told['log_spectral_distance_db']:.2f} dB apart"
    for label, text in lines.items():
        put(f"{label:<{_LABEL_CHARACTERS}}{text}")
