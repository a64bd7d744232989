"""Moshi and Mimi as kyutai's package runs and saves them: writes goldens/kyutai_*, and looks through what we wrote.

    python oracles/kyutai.py             a folder for each kind of model, with what the models answer
    python oracles/kyutai.py FOLDER      loads every checkpoint below FOLDER with the package's own loaders, and
                                         compares what it answers with what the golden of its name says

A seed is only taken if no choice that the models make in it was a near tie.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import kyutai_answers as answers
import tiny_kyutai as tiny
import torch
from moshi.models import loaders
from moshi.modules.lora import LoRALinear
from moshi.utils.quantize import QLinear, replace_linear_with_qlinear
from safetensors.torch import load_file
from torch import Tensor, nn

MARGIN = 3e-3  # of the logits, in every choice
DISTANCE_MARGIN = 1e-4  # of the distances to the two nearest codewords
RANK, SCALING = 2, 2.0


def without_ties(kind: tiny.Kind, build: Callable[..., Any], ask: Callable[..., Any], margin: float) -> Any:
    """The first model without a near tie, and its answers."""
    for seed in range(200):
        model = build(kind, seed)
        found, least = ask(model)
        if least > margin:
            print(f"{kind.name}: {build.__name__} with the seed {seed}, whose choices lead by {least:.1e} or more")
            return model, found
    raise SystemExit(f"{kind.name}: every seed of {build.__name__} has a near tie")


def make(kind: tiny.Kind) -> None:
    """Writes the golden of a kind."""
    kind.folder.mkdir(exist_ok=True)
    codec, of_codec = without_ties(kind, tiny.codec, answers.of_codec, DISTANCE_MARGIN)
    generate = functools.partial(answers.of_generation, kind=kind)
    model, of_generation = without_ties(kind, tiny.language_model, generate, MARGIN)
    state = model.state_dict()
    spelled = tiny.published_spelling(state) if kind.published else state
    tiny.write(kind.folder / tiny.MODEL, spelled, torch.bfloat16)
    tiny.write(kind.folder / tiny.MIMI, codec.state_dict(), torch.float16)
    tiny.write_json(kind.folder / tiny.CONFIG, {**tiny.language_config(kind), "mimi_config_name": tiny.MIMI_CONFIG})
    tiny.write_json(kind.folder / tiny.MIMI_CONFIG, tiny.codec_config(kind))
    tiny.write_tokenizer(kind.folder / tiny.TOKENIZER, kind.texts)
    found = answers.of_columns(model, kind) | of_generation
    if kind.published:
        found |= with_lora(kind) | rounded(kind, model) | tokenized(kind)
    tiny.write(kind.folder / "language.safetensors", found)
    tiny.write(kind.folder / "codec.safetensors", of_codec)


def with_lora(kind: tiny.Kind) -> dict[str, Tensor]:
    """Writes an adapter file, and gives the logits with it, beside the weights and added to them."""
    config = tiny.language_config(kind) | {"lora": True, "lora_rank": RANK, "lora_scaling": SCALING}
    model = loaders.get_moshi_lm(kind.folder / tiny.MODEL, config, dtype=torch.float32)
    torch.manual_seed(11)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LoRALinear):
                for side in (module.lora_A, module.lora_B):
                    side.weight.normal_(std=0.3).copy_(side.weight.bfloat16())
    adapter = {name: tensor for name, tensor in model.state_dict().items() if "lora_" in name}
    tiny.write(kind.folder / tiny.LORA, adapter, torch.bfloat16)
    found = {}
    for fused in (False, True):
        path = kind.folder / tiny.LORA
        read = loaders.get_moshi_lm(
            kind.folder / tiny.MODEL, config, dtype=torch.float32, lora_weights=path, fuse_lora=fused
        )
        found[f"lora_{'added' if fused else 'beside'}"] = answers.whole(read, kind)[0]
    return found


def rounded(kind: tiny.Kind, model: Any) -> dict[str, Tensor]:
    """Writes the model in 8 bits as the package rounds it, and gives the logits of the weights that the codes mean.

    The package's own product rounds its inputs too; what is compared is what the file says.
    """
    replace_linear_with_qlinear(model)
    tiny.write(kind.folder / tiny.ROUNDED, published(model.state_dict()))
    _widen(model)
    return {"rounded": answers.whole(model, kind)[0]}


def published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Codes and scales as they are, all other tensors in bfloat16."""
    return {name: t if t.dtype == torch.int8 or name.endswith("_scb") else t.bfloat16() for name, t in state.items()}


def _widen(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, QLinear):
            plain = nn.Linear(child.weight.shape[1], child.weight.shape[0], bias=False)
            plain.weight.data = child.weight.float() * child.weight_scb[:, None] / 127
            setattr(module, name, plain)
        else:
            _widen(child)


def tokenized(kind: tiny.Kind) -> dict[str, Tensor]:
    """What SentencePiece makes of two sentences."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(str(kind.folder / tiny.TOKENIZER))
    return {
        "text_plain": torch.tensor(processor.encode("hello, how are you"), dtype=torch.int16),
        "text_bytes": torch.tensor(processor.encode("a caf\u00e9 by the sea"), dtype=torch.int16),
    }


def check(folders: Iterable[Path]) -> None:
    """Loads checkpoints that we wrote and compares their answers with those of the golden of their name.

    Names of folders begin with a kind, as ``moshi-anew``.
    """
    kinds = {kind.name: kind for kind in tiny.KINDS}
    for folder in folders:
        kind = kinds[folder.name.partition("-")[0]]
        config = json.loads((folder / tiny.CONFIG).read_text(encoding="utf-8"))
        codec_config = json.loads((folder / config["mimi_config_name"]).read_text(encoding="utf-8"))
        files = {"mimi_name", "moshi_name", "mimi_config_name", "tokenizer_name", "model_type", "lm_gen_config"}
        values = {key: value for key, value in config.items() if key not in files}
        model = loaders.get_moshi_lm(folder / tiny.MODEL, values, dtype=torch.float32)
        codec = loaders.get_mimi(folder / tiny.MIMI, codec_config, num_codebooks=6)
        of_codec, _ = answers.of_codec(codec)
        _compare(folder, answers.of_columns(model, kind), load_file(kind.folder / "language.safetensors"))
        _compare(folder, of_codec, load_file(kind.folder / "codec.safetensors"))
        print(f"{folder.name}: kyutai's package reads it and answers as before")


def _compare(folder: Path, found: dict[str, Any], golden: dict[str, Tensor]) -> None:
    for name, tensor in found.items():
        if not torch.equal(tensor, golden[name]):
            raise SystemExit(f"{folder.name}: {name} differs by {float((tensor - golden[name]).abs().max()):.1e}")


def main() -> None:
    """Writes the goldens, or checks a folder of checkpoints."""
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        check(sorted(Path(sys.argv[1]).iterdir()))
        return
    for kind in tiny.KINDS:
        make(kind)
        files = sorted(kind.folder.iterdir())
        print(f"{kind.name}: {', '.join(f'{file.name} {file.stat().st_size / 1024:.0f} kB' for file in files)}")


if __name__ == "__main__":
    main()
