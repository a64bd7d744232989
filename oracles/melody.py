"""What audiocraft composes to melodies: writes goldens/melody_mono and goldens/melody_stereo.

Each holds a tiny random model that hears melodies, the states of three texts, what stands in front of the columns and
the logits of a forward pass, and for every case in ``CASES`` the codes that audiocraft's ``MusicGen`` makes greedily:
``codes`` of the batch, ``alone`` of each item by itself, and ``chroma``, the pitch classes that the batch was given in
each window. Windows have 2 s and move on by 1.2 s. Chroma, tiling and projection are audiocraft's own; the separation
of stems before them lets the whole sound through. Melodies are formulas (``TUNES``), so that both sides make them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import tiny_audiocraft as tiny
import torch
from audiocraft.models.musicgen import MusicGen
from audiocraft.modules.conditioners import ClassifierFreeGuidanceDropout
from greedy import Choices, first_clear, spread
from torch import Tensor

WINDOW_S, STRIDE_S = 2.0, 1.2
TEXTS = {"one": 7, "other": 7, "brief": 4}  # places of each
# name: (seconds, seconds of a note, notes as MIDI numbers and how loud they are, both played in turn)
TUNES = {
    "song": (7.0, 0.5, [60, 64, 67, 71, 62, 65, 69, 57, 61, 66], [1.0]),
    "march": (6.1, 0.375, [55, 55, 62, 58, 70, 68, 63], [1.0]),
    "call": (1.3, 0.25, [69, 73, 76, 66], [1.0]),
    "answer": (1.3, 0.5, [59, 56, 63], [1.0]),
    "burst": (3.0, 1.0, [65, 65, 70], [0.1, 0.1, 1.0]),  # what comes behind the first window is heard in its end
}
CLEAR_PITCH = 1e-3  # by how much the strongest pitch class of a frame must stand out; 1 is its strength


@dataclass(frozen=True)
class Case:
    """One call: texts and melodies of its items, and how long their music is, the frames of a prompt included."""

    texts: tuple[str | None, ...] = ("one", "other")
    melodies: tuple[str | None, ...] | None = ("song", "march")
    seconds: float = WINDOW_S
    guidance: float = 3.0
    prompt_frames: int = 0


CASES = {
    "melodies": Case(),
    "short_melodies": Case(melodies=("call", "answer")),
    "melodies_of_two_lengths": Case(melodies=("song", "call")),
    "loud_behind_the_window": Case(melodies=("burst", "answer")),
    "one_melody": Case(melodies=("march", None)),
    "no_melody": Case(melodies=None),
    "texts_of_two_lengths": Case(texts=("one", "brief")),
    "one_text": Case(texts=(None, "other")),
    "no_text": Case(texts=(None, None)),
    "nothing": Case(texts=(None, None), melodies=None),
    "no_guidance": Case(guidance=1.0),
    "prompt": Case(prompt_frames=30),
    "windows": Case(seconds=5.0),
    "windows_of_short_melodies": Case(melodies=("call", "answer"), seconds=5.0),
    "windows_of_one_melody": Case(melodies=(None, "call"), seconds=5.0),
    "windows_of_no_melody": Case(melodies=None, seconds=5.0),
    "windows_behind_a_prompt": Case(texts=("one", "brief"), seconds=5.0, prompt_frames=30),
}


def tune(name: str | None) -> Tensor | None:
    """A melody (1, N) float32: notes with an overtone."""
    if name is None:
        return None
    seconds, note_s, notes, levels = TUNES[name]
    time = torch.arange(round(seconds * tiny.RATE_HZ), dtype=torch.float64) / tiny.RATE_HZ
    number = (time / note_s).long()
    pitches = torch.tensor(notes, dtype=torch.float64)[number % len(notes)]
    turns = 2 * math.pi * 440 * 2 ** ((pitches - 69) / 12) * time
    waves = 0.3 * torch.sin(turns) + 0.1 * torch.sin(2 * turns)
    return (waves * torch.tensor(levels, dtype=torch.float64)[number % len(levels)]).float()[None]


class Heard:
    """Watches the chroma: the pitch classes (B, F) of each window, and how clearly the least clear one stood out."""

    def __init__(self, conditioner: Any) -> None:
        self.windows: list[Tensor] = []
        self.clearest = 1.0
        self._conditioner, self._embed = conditioner, conditioner._get_wav_embedding
        conditioner._get_wav_embedding = self._embedded
        self._hook = conditioner.chroma.register_forward_hook(self._analysed)

    def _embedded(self, condition: Any) -> Tensor:
        chroma = self._embed(condition)
        items = chroma.argmax(-1).chunk(2)[0]  # behind them the rows without a melody
        self.windows.append(items.to(torch.uint8).contiguous())
        return chroma

    def _analysed(self, extractor: Any, inputs: Any, chroma: Tensor) -> None:
        extractor.argmax = False
        strength = extractor.forward(*inputs)
        extractor.argmax = True
        best = strength.topk(2).values[strength.amax(-1) > 0]
        if len(best):
            self.clearest = min(self.clearest, float((best[:, 0] - best[:, 1]).min()))

    def done(self) -> Tensor:
        """Stops watching: (W, B, F)."""
        self._hook.remove()
        self._conditioner._get_wav_embedding = self._embed
        if self.clearest < CLEAR_PITCH:
            raise SystemExit(f"a pitch class stands out by {self.clearest:.1e} only: choose another tune")
        return torch.stack(self.windows)


def composed(model: Any, case: Case, prompt: Tensor | None) -> tuple[Tensor, Tensor, float]:
    """The codes (B, K, T) of a case, the pitch classes heard, and how close a choice came."""
    music = MusicGen("tiny", tiny.codec(pad_mode="reflect"), model, max_duration=30.0)
    music.max_duration = WINDOW_S  # it can only be set below the default stride afterwards
    music.set_generation_params(
        use_sampling=False, duration=case.seconds, cfg_coef=case.guidance, extend_stride=STRIDE_S
    )
    melodies = None if case.melodies is None else [tune(name) for name in case.melodies]
    asked, _ = music._prepare_tokens_and_attributes(case.texts, None, melodies)
    choices, heard = Choices(model, case.guidance), Heard(model.condition_provider.conditioners["self_wav"])
    with torch.no_grad():
        codes = music._generate_tokens(asked, prompt)
    if codes.shape[-1] != round(case.seconds * tiny.FRAME_RATE_HZ):
        raise SystemExit(f"{case.seconds} s made {codes.shape[-1]} frames: choose another length")
    return codes, heard.done(), choices.done()


def alone(case: Case, item: int) -> Case:
    """The case of one item."""
    melodies = None if case.melodies is None else (case.melodies[item],)
    return Case((case.texts[item],), melodies, case.seconds, case.guidance, case.prompt_frames)


def one_pass(model: Any, books: int) -> dict[str, Tensor]:
    """What stands in front of the columns and the logits, with conditions in two rows and without them in two more."""
    music = MusicGen("tiny", tiny.codec(pad_mode="reflect"), model, max_duration=30.0)
    asked, _ = music._prepare_tokens_and_attributes(("one", "brief"), None, [tune("song"), None])
    provider = model.condition_provider
    rows = asked + ClassifierFreeGuidanceDropout(p=1.0)(asked)
    columns = torch.randint(tiny.CODES + 1, (len(rows), books, 12))
    seen: list[Tensor] = []
    hook = model.transformer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    heard = Heard(provider.conditioners["self_wav"])
    with torch.no_grad():
        logits = model(columns, [], provider(provider.tokenize(rows)))
    hook.remove()
    return {
        "columns": columns.to(torch.uint8),
        "logits": logits[..., :: tiny.EVERY_CODE].contiguous(),
        "prefix": seen[0][:, : -columns.shape[-1], ::2].contiguous(),
        "chroma": heard.done()[0],
    }


def golden(kind: str, seed: int) -> tuple[dict[str, Tensor], float]:
    """The tensors of one kind, and how close a choice came in any case."""
    torch.manual_seed(seed)
    delays = tiny.DELAYS[kind]
    states = {text: torch.randn(places, tiny.TEXT_WIDTH) for text, places in TEXTS.items()}
    model = tiny.language_model(states, delays=delays, melody_s=WINDOW_S)
    spread(model)
    prompt = torch.randint(tiny.CODES, (2, len(delays), 30))
    tensors = tiny.published_names(model) | {f"text.{text}": own for text, own in states.items()}
    tensors |= {"prompt": prompt.to(torch.uint8)} | one_pass(model, len(delays))
    closest = float("inf")
    for name, case in CASES.items():
        given = prompt if case.prompt_frames else None
        codes, chroma, gap = composed(model, case, given)
        singles = [
            composed(model, alone(case, item), None if given is None else given[item : item + 1])
            for item in range(len(case.texts))
        ]
        apart = torch.cat([own for own, _, _ in singles])
        tensors[f"codes.{name}"] = codes.to(torch.uint8).contiguous()
        tensors[f"alone.{name}"] = apart.to(torch.uint8).contiguous()
        tensors[f"chroma.{name}"] = chroma
        closest = min(closest, gap, *(own for _, _, own in singles))
    return tensors, closest


def main() -> None:
    """Writes the goldens of the first seeds without a near tie."""
    facts = {
        "tunes": TUNES,
        "cases": {name: asdict(case) for name, case in CASES.items()},
        "window_seconds": WINDOW_S,
        "stride_seconds": STRIDE_S,
        "rate_hz": tiny.RATE_HZ,
    }
    for kind in tiny.DELAYS:
        tensors, about = first_clear(f"melody, {kind}", partial(golden, kind))
        tiny.save(f"melody_{kind}", tensors, about | facts)


if __name__ == "__main__":
    main()
