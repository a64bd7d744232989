"""Tiny random Flamingos, built by transformers, the oracle of these tests, and opened by us."""

from __future__ import annotations

import functools
from typing import Any

import torch
import transformers
from torch import Tensor

import antiphon

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

TEXTS = 60  # tokens of a text
SOUND, BEGIN, END, PAD = 50, 51, 52, 53
BANDS, MEL = 8, 100  # of a window, which here is of one second


def encoder_fields(**changes: Any) -> dict[str, Any]:
    """Two layers of 40, whose windows are short."""
    own: dict[str, Any] = {
        "num_mel_bins": BANDS,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "hidden_size": 40,
        "max_source_positions": MEL // 2,
    }
    return {**own, **changes}


def text_fields(**changes: Any) -> dict[str, Any]:
    """Two layers of 32 with grouped heads."""
    own: dict[str, Any] = {
        "vocab_size": TEXTS,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "pad_token_id": PAD,
        "max_position_embeddings": 40000,
    }
    return {**own, **changes}


def fields(kind: str = "music", **changes: Any) -> dict[str, Any]:
    """A whole model's; ``kind`` is ``music`` or ``audio``."""
    own: dict[str, Any] = {
        "audio_config": {"model_type": "audioflamingo3_encoder", **encoder_fields()},
        "text_config": {"model_type": "qwen2", **text_fields()},
        "audio_token_id": SOUND,
    }
    if kind == "music":
        own |= {"audio_bos_token_id": BEGIN, "audio_eos_token_id": END}
    return {**own, **changes}


def spread(model: Any) -> Any:
    """Weights of about one over the square root of their inputs, so that greedy choices are no ties."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed" in name:
                parameter.normal_(std=1.0 if "tokens" in name else 0.3)
            elif parameter.dim() > 1:
                parameter.normal_(std=1.5 * parameter[0].numel() ** -0.5)
            elif "norm" in name and name.endswith("weight"):
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(std=0.2)
    return model.eval()


_CLASSES = {"music": "MusicFlamingo", "audio": "AudioFlamingo3"}


def theirs(kind: str = "music", *, seed: int = 0, **changes: Any) -> Any:
    """A model of the oracle: ``music``, ``audio`` (Audio Flamingo 3) or ``text`` (Qwen2)."""
    torch.manual_seed(seed)
    if kind == "text":
        return spread(transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**text_fields(**changes))))
    name = _CLASSES[kind]
    config = getattr(transformers, f"{name}Config")(**fields(kind, **changes))
    return spread(getattr(transformers, f"{name}ForConditionalGeneration")(config))


def ours(model: Any, **changes: Any) -> Any:
    """Our model with the oracle's weights, by way of a state dict."""
    kind = getattr(antiphon, type(model).__name__)
    made = kind(kind.config_class(**{**model.config.to_dict(), **changes})).eval()
    made.load_state_dict(model.state_dict())
    return made


@functools.cache
def pair(kind: str = "music") -> tuple[Any, Any]:
    """The oracle's model and ours with its weights. Shared by all tests of a process: leave both as they are."""
    model = theirs(kind)
    return model, ours(model)


def text(rows: int, columns: int, *, seed: int = 1) -> Tensor:
    """Random text tokens, none of them special."""
    return torch.randint(0, SOUND, (rows, columns), generator=torch.Generator().manual_seed(seed))


def frames_of(mel: int) -> int:
    """Frames that a window of so many mel frames gives, by the document's formulas."""
    return max(0, ((mel - 1) // 2 + 1 - 2) // 2 + 1)


def windows_of(*lengths: int, seed: int = 2) -> dict[str, Tensor]:
    """One window of random features for each length in mel frames, with padding to the whole, and its mask."""
    features = torch.randn((len(lengths), BANDS, MEL), generator=torch.Generator().manual_seed(seed))
    own = torch.arange(MEL) < torch.tensor(lengths)[:, None]
    return {"input_features": features, "input_features_mask": own.to(torch.int32)}


def asked(*rows: list[int], question: int = 5, seed: int = 1, boundaries: bool = True) -> dict[str, Tensor]:
    """A conversation for each row of mel lengths: some text, the sound of one recording, a question.

    Rows are padded on the left. A row without lengths is a question without sound.
    """
    lengths = [length for row in rows for length in row]
    texts = []
    for number, row in enumerate(rows):
        words = text(1, 3 + number + question, seed=seed + number)[0]
        frames = sum(frames_of(length) for length in row)
        sound = [SOUND] * frames
        if row and boundaries:
            sound = [BEGIN, *sound, END]
        texts.append(torch.cat([words[: 3 + number], torch.tensor(sound, dtype=torch.int64), words[3 + number :]]))
    longest = max(len(one) for one in texts)
    ids = torch.stack([torch.nn.functional.pad(one, (longest - len(one), 0), value=PAD) for one in texts])
    sound = windows_of(*lengths, seed=seed) if lengths else {}
    return {"input_ids": ids, "attention_mask": (ids != PAD).long(), **sound}


def distance(one: Tensor, other: Tensor) -> float:
    """The largest absolute difference of two tensors of one shape."""
    assert one.shape == other.shape, (one.shape, other.shape)
    return float((one.detach().double() - other.detach().double()).abs().max()) if one.numel() else 0.0
