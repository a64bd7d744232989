"""kyutai's own Moshi and Mimi at a size that fits into a test, saved as the package's loaders want to find them.

Imported by the scripts beside it, in the environment of kyutai's package only.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from moshi.models import loaders
from safetensors.torch import save_file
from torch import Tensor, nn

GOLDENS = Path(__file__).parent / "goldens"
CODES = 16  # of a codebook
RATE_HZ = 600  # 48 samples a frame, 12.5 frames a second
CONFIG, MODEL, MIMI_CONFIG, MIMI = "config.json", loaders.MOSHI_NAME, "mimi.json", loaders.MIMI_NAME
TOKENIZER, LORA, ROUNDED = loaders.TEXT_TOKENIZER_NAME, "lora.safetensors", loaders.MOSHI_Q8_NAME
_SENTENCES = (
    "hello, i am here and i listen to you",
    "good morning, how are you today",
    "the weather is nice and the sea is calm",
    "what would you like to talk about",
    "i can tell you a story about a little boat",
)


@dataclass(frozen=True)
class Kind:
    """One tiny checkpoint: what differs from the other.

    Attributes:
        codebooks: of each speaker. delays: of the text, the model's codebooks and the user's. repeat: query heads that
            share a key. texts: pieces of text; more than 256 have room for the bytes. published: whether names are
            spelled as in the files that were published first.
    """

    name: str
    codebooks: int
    delays: list[int] = field(default_factory=list)
    texts: int = 300
    repeat: int = 1
    published: bool = True

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return GOLDENS / f"kyutai_{self.name}"


KINDS = (
    Kind("moshi", 4, [0, 0, 1, 1, 1, 0, 1, 1, 1]),
    Kind("grouped", 3, [0, 0, 2, 1, 1, 3, 2], texts=48, repeat=2, published=False),
)


def language_config(kind: Kind) -> dict[str, Any]:
    """The keys of a published ``config.json``, with small numbers."""
    return {
        **{"dim": 16, "text_card": kind.texts, "existing_text_padding_id": 3, "n_q": 2 * kind.codebooks},
        **{"dep_q": kind.codebooks, "card": CODES, "num_heads": 2 * kind.repeat, "num_layers": 2},
        **{"hidden_scale": 4.125, "causal": True, "layer_scale": None, "context": 12, "max_period": 10000},
        **{"gating": "silu", "norm": "rms_norm_f32", "positional_embedding": "rope", "depformer_dim": 8},
        **{"depformer_dim_feedforward": int(4.125 * 8), "depformer_num_heads": 2, "depformer_num_layers": 2},
        **{"depformer_layer_scale": None, "depformer_multi_linear": True, "depformer_context": kind.codebooks},
        **{"depformer_max_period": 10000, "depformer_gating": "silu", "depformer_pos_emb": "none"},
        **{"depformer_weights_per_step": True, "delays": kind.delays},
        **({"kv_repeat": kind.repeat, "depformer_kv_repeat": 1} if kind.repeat > 1 else {}),
    }


def codec_config(kind: Kind) -> dict[str, Any]:
    """Mimi's configuration as the package has it, with small numbers."""
    width = 16
    return {
        "sample_rate": RATE_HZ,
        "channels": 1,
        "frame_rate": 12.5,
        "seanet": {**loaders._seanet_kwargs, "dimension": width, "n_filters": 4, "ratios": [4, 3, 2]},
        "quantizer": {
            **{"dimension": 8, "n_q": 6, "bins": CODES, "input_dimension": width, "output_dimension": width},
        },
        "transformer": {
            **loaders._transformer_kwargs,
            **{"d_model": width, "num_heads": 2 * kind.repeat, "num_layers": 2, "context": 10, "dim_feedforward": 24},
            **{"input_dimension": width, "output_dimensions": [width]},
            **({"kv_repeat": kind.repeat} if kind.repeat > 1 else {}),
        },
    }


def language_model(kind: Kind, seed: int) -> Any:
    """An ``LMModel`` with random weights that bfloat16 holds, and logits wide enough apart to choose from."""
    torch.manual_seed(seed)
    model = loaders.get_moshi_lm(None, language_config(kind), dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("alpha"):
                parameter.uniform_(0.5, 1.5)
            elif name.startswith(("linears", "text_linear")):
                parameter.mul_(3.0)
            elif "in_proj" in name:
                parameter.mul_(2.0)
            elif "depformer" in name:
                parameter.mul_(1.4)
            parameter.copy_(parameter.bfloat16().float())
    return model


def codec(kind: Kind, seed: int) -> Any:
    """A ``MimiModel`` with random weights that float16 holds, and codewords near the latents of noise."""
    torch.manual_seed(seed)
    model = loaders.get_mimi(None, codec_config(kind), num_codebooks=6)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("scale"):
                parameter.uniform_(0.3, 0.9)
            elif ".norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
            elif parameter.dim() == 3 and "sample" not in name:
                parameter.mul_(1.6)
            parameter.copy_(parameter.half().float())
        latents = model._encode_to_unquantized_latent(torch.randn(1, 1, 48 * 200) * 0.3)
        for side in (model.quantizer.rvq_first, model.quantizer.rvq_rest):
            _learn_codewords(side, side.input_proj(latents)[0].t())
    model.quantizer.apply(_forget)
    return model


def _learn_codewords(quantizer: Any, points: Tensor) -> None:
    """Codewords that are points of what is to be quantised, with usages to divide by."""
    for layer in quantizer.vq.layers:
        book = layer._codebook
        words = points[torch.randperm(len(points))[:CODES]]
        words = words + torch.randn_like(words) * points.std() / 2  # so that no residual is nothing
        book.cluster_usage.copy_(torch.randint(1, 9, (CODES,)).float())
        book.embedding_sum.copy_((words * book.cluster_usage[:, None]).half().float())
        book._initialized.fill_(1.0)
        words = book.embedding_sum / book.cluster_usage[:, None]
        points = points - words[torch.cdist(points, words).argmin(-1)]


def _forget(module: nn.Module) -> None:
    if hasattr(module, "_embedding"):
        module._embedding = None


def published_spelling(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Projections of attention as the files of 2024 have them: those of all steps in one tensor."""
    spelled: dict[str, list[Tensor]] = {}
    for name, tensor in state.items():
        for new, old in (("in_projs", "in_proj_weight"), ("out_projs", "out_proj.weight")):
            head, found, _ = name.partition(f".{new}.")
            name = f"{head}.{old}" if found else name
        spelled.setdefault(name, []).append(tensor)
    return {name: torch.cat(tensors) if len(tensors) > 1 else tensors[0] for name, tensors in spelled.items()}


def write(path: Path, tensors: dict[str, Tensor], dtype: torch.dtype | None = None) -> None:
    """Writes a file of tensors, floating point ones as ``dtype`` where it is given."""
    cast = {n: t.to(dtype) if dtype is not None and t.is_floating_point() else t for n, t in tensors.items()}
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in cast.items()}, path)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes a configuration."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def write_tokenizer(path: Path, texts: int) -> None:
    """A SentencePiece model with Moshi's special tokens, and bytes for what it has no piece for if there is room."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 20),
        model_writer=written,
        vocab_size=texts,
        model_type="unigram",
        byte_fallback=texts > 256,
        normalization_rule_name="identity",
        **{"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": 3},
        minloglevel=2,
    )
    path.write_bytes(written.getvalue())
