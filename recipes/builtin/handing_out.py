"""The trained models as they are handed out: normal checkpoints at 16 bits, in files that both have in common."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from antiphon import AutoModelForTextToWaveform, AutoProcessor, EncodecModel, MusicFlamingoForConditionalGeneration
from antiphon.checkpoints.json_files import write_json
from antiphon.checkpoints.store import open_weights
from antiphon.checkpoints.weight_writer import cast, write_tensors

# Which tensors lie in which file. Codec and text encoder are the same in both models, byte for byte: what stores
# files by their content stores them once.
_PARTS = ("audio_encoder.", "text_encoder.", "")
_FILES = [f"model-{number:05d}-of-{len(_PARTS):05d}.safetensors" for number in range(1, len(_PARTS) + 1)]
_CARD = Path(__file__).with_name("card.md")
_LISTENER_CARD = Path(__file__).with_name("listener_card.md")


def hand_out(trained: Path, destination: Path, *, codec: Path) -> int:
    """Writes a trained checkpoint at 16 bits into ``destination``, which is emptied, and gives its size in bytes.

    Args:
        codec: the codec to hand out with it, which may give codes back as sound in a better way than the one that the
            model was trained with.

    Raises:
        ValueError: ``codec`` gives other codes.
    """
    shutil.rmtree(destination, ignore_errors=True)
    model = AutoModelForTextToWaveform.from_pretrained(trained, dtype=torch.float16)
    better = EncodecModel.from_pretrained(codec, dtype=torch.float16).state_dict()
    for name, tensor in model.audio_encoder.state_dict().items():
        if not name.startswith("decoder.") and not torch.equal(tensor, better[name]):
            raise ValueError(f"{codec} is another codec than that of {trained}: {name} differs")
    model.audio_encoder.load_state_dict(better)
    model.save_pretrained(destination)
    (whole,) = destination.glob("*.safetensors")
    with open_weights(destination) as weights:
        # T5 keeps one of its layers in float32 inside a float16 model
        tensors = {name: cast(weights[name], torch.float16) for name in sorted(weights)}
    places = {
        name: next(file for part, file in zip(_PARTS, _FILES, strict=True) if name.startswith(part)) for name in tensors
    }
    for file in _FILES:
        write_tensors(destination / file, {name: tensors[name] for name in tensors if places[name] == file})
    size = sum(tensor.nbytes for tensor in tensors.values())
    write_json(destination / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": places})
    whole.unlink()
    for other in trained.iterdir():
        if not other.name.startswith("model") and not (destination / other.name).exists():
            shutil.copyfile(other, destination / other.name)
    shutil.copyfile(_CARD, destination / "README.md")
    return sum(file.stat().st_size for file in destination.iterdir())


def hand_out_listener(trained: Path, destination: Path) -> int:
    """Writes a trained listening model at 16 bits into ``destination``, which is emptied, and gives its bytes."""
    shutil.rmtree(destination, ignore_errors=True)
    MusicFlamingoForConditionalGeneration.from_pretrained(trained, dtype=torch.float16).save_pretrained(destination)
    AutoProcessor.from_pretrained(trained).save_pretrained(destination)
    shutil.copyfile(_LISTENER_CARD, destination / "README.md")
    return sum(file.stat().st_size for file in destination.iterdir())
