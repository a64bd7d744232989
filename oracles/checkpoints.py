"""Checkpoints as audiocraft saves them: writes goldens/audiocraft_*, and looks through what was written for it.

    python oracles/checkpoints.py             a folder for each kind of model, with what the model answers
    python oracles/checkpoints.py FOLDER      loads every checkpoint below FOLDER with audiocraft's own loaders, and
                                              compares what it answers with what the golden of its name says

The models are tiny and random and built by audiocraft's builders from a configuration like those of published models;
its export functions write the files. The text encoder is not in such files, and audiocraft fetches it when it builds a
model: a stand-in of the right width takes its place.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import tiny_audiocraft as tiny
import torch
from audiocraft.models import builders, loaders
from audiocraft.modules import conditioners
from audiocraft.utils import export
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor

CODES, WIDTH, TEXT_WIDTH, TEXT_PLACES, COLUMNS = 64, 16, 24, 5, 9
PADS = 2  # places by which a longer text in the batch would have padded this one
RATE_HZ, RATIOS = 1000, [5, 4]  # 50 frames a second
KINDS = ("mono", "stereo", "melody", "training")


class Absent:
    """What stands for a T5 and its tokenizer: it can be made and moved, and has nothing else."""

    @classmethod
    def from_pretrained(cls, name: str) -> Absent:
        """One, whatever its name."""
        return cls()

    def train(self, mode: bool = True) -> Absent:
        """Itself."""
        return self

    def to(self, device: Any) -> Absent:
        """Itself."""
        return self


@contextmanager
def stand_ins() -> Iterator[None]:
    """Lets audiocraft build models without fetching anything, and read files that hold configurations."""
    with (
        mock.patch.object(conditioners, "T5Tokenizer", Absent),
        mock.patch.object(conditioners, "T5EncoderModel", Absent),
        mock.patch.dict(conditioners.T5Conditioner.MODELS_DIMS, {"t5-base": TEXT_WIDTH}),
        mock.patch.object(torch, "load", functools.partial(torch.load, weights_only=False)),
    ):
        yield


def language_model_config(kind: str) -> DictConfig:
    """A configuration in the form of published ones, references to other values included."""
    stereo, melody = kind == "stereo", kind == "melody"
    books = 8 if stereo else 4
    wanted: dict[str, Any] = {
        "description": {"model": "t5", "t5": {"name": "t5-base", "finetune": False, "word_dropout": 0.2}},
    }
    wanted["description"]["t5"]["normalize_text"] = False
    if melody:
        stem = {"sample_rate": "${sample_rate}", "n_chroma": 12, "radix2_exp": 7, "argmax": True}
        stem |= {"match_len_on_eval": False, "eval_wavs": None, "n_eval_wavs": 100, "cache_path": None}
        wanted = {"self_wav": {"model": "chroma_stem", "chroma_stem": stem}, **wanted}
    settings = {
        "device": "cpu",
        "dtype": "float32",
        "solver": "musicgen",
        "sample_rate": RATE_HZ,
        "channels": 2 if stereo else 1,
        "compression_model_checkpoint": "//pretrained/facebook/encodec_32khz",
        "compression_model_n_q": None,
        "interleave_stereo_codebooks": {"use": stereo, "per_timestep": False},
        "dataset": {"batch_size": 192, "segment_duration": 30, "train": {"merge_text_p": 0.25}},
        "optim": {"lr": 1e-4, "ema": {"use": True, "updates": "${optim.updates_per_epoch}"}},
        "classifier_free_guidance": {"training_dropout": 0.3, "inference_coef": 3.0},
        "attribute_dropout": {
            "args": {"active_on_eval": False},
            "text": {},
            "wav": {"self_wav": 0.5} if melody else {},
        },
        "fuser": {
            "cross_attention_pos_emb": False,
            "cross_attention_pos_emb_scale": 1,
            "sum": [],
            "prepend": ["self_wav", "description"] if melody else [],
            "cross": [] if melody else ["description"],
            "input_interpolate": [],
        },
        "conditioners": wanted,
        "lm_model": "transformer_lm",
        "codebooks_pattern": {
            "modeling": "delay",
            "delay": {"delays": [k // (1 + stereo) for k in range(books)], "flatten_first": 0, "empty_initial": 0},
            "coarse_first": {"delays": [0, 0, 0]},
        },
        "transformer_lm": {
            **{"dim": WIDTH, "num_heads": 2, "num_layers": 2, "hidden_scale": 4, "n_q": books, "card": CODES},
            **{"dropout": 0.0, "emb_lr": None, "activation": "gelu", "norm_first": True, "bias_ff": False},
            **{"bias_attn": False, "bias_proj": False, "past_context": None, "causal": True, "custom": False},
            **{"memory_efficient": True, "attention_as_float32": False, "layer_scale": None, "xpos": False},
            **{"positional_embedding": "sin", "checkpointing": "none", "weight_init": "gaussian"},
            **{"depthwise_init": "current", "zero_bias_init": True, "norm": "layer_norm", "cross_attention": False},
            **{"qk_layer_norm": False, "qk_layer_norm_cross": False, "attention_dropout": None, "kv_repeat": 1},
            **{"two_step_cfg": False},
        },
    }
    return OmegaConf.create(settings)


def codec_config() -> DictConfig:
    """The same for a codec."""
    return OmegaConf.create(
        {
            "device": "cpu",
            "sample_rate": RATE_HZ,
            "channels": 1,
            "compression_model": "encodec",
            "encodec": {
                **{"autoencoder": "seanet", "quantizer": "rvq", "sample_rate": "${sample_rate}"},
                **{"channels": "${channels}", "causal": False, "renormalize": False},
            },
            "seanet": {
                **{"dimension": 16, "channels": "${channels}", "causal": "${encodec.causal}", "n_filters": 2},
                **{"n_residual_layers": 1, "ratios": RATIOS, "activation": "ELU", "activation_params": {"alpha": 1.0}},
                **{"norm": "weight_norm", "norm_params": {}, "kernel_size": 7, "residual_kernel_size": 3},
                **{"last_kernel_size": 7, "dilation_base": 2, "pad_mode": "constant", "true_skip": True, "compress": 2},
                **{"lstm": 2, "disable_norm_outer_blocks": 0, "encoder": {}},
                "decoder": {"trim_right_ratio": 1.0, "final_activation": None, "final_activation_params": None},
            },
            "rvq": {
                **{"n_q": 4, "q_dropout": False, "bins": CODES, "decay": 0.99, "kmeans_init": True},
                **{"kmeans_iters": 50, "threshold_ema_dead_code": 2, "orthogonal_reg_weight": 0.0},
                **{"orthogonal_reg_active_codes_only": False},
            },
        }
    )


def asked(kind: str) -> dict[str, Tensor]:
    """What every model of a kind is asked: columns, states of a text, chroma, a sound."""
    generator = torch.Generator().manual_seed(7)
    books = 8 if kind == "stereo" else 4
    return {
        "columns": torch.randint(CODES + 1, (1, books, COLUMNS), generator=generator).to(torch.uint8),
        "text": torch.randn(1, TEXT_PLACES, TEXT_WIDTH, generator=generator),
        "chroma": torch.eye(12)[torch.randint(12, (1, 4), generator=generator)],
        "sound": torch.randn(1, 1, 420, generator=generator) * 0.3,
    }


def answered(model: Any, codec: Any, questions: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a model and a codec make of it."""
    found = model.condition_provider.conditioners
    states = {"description": questions["text"]} | ({"self_wav": questions["chroma"]} if "self_wav" in found else {})
    with torch.no_grad():
        conditions = {
            name: (found[name].output_proj(state), torch.ones(state.shape[:2])) for name, state in states.items()
        }
        answers = {"logits": model(questions["columns"].long(), [], conditions).contiguous()}
        text, mask = conditions["description"]
        longer = torch.nn.functional.pad(text, (0, 0, 0, PADS)), torch.nn.functional.pad(mask, (0, PADS))
        padded = model(questions["columns"].long(), [], {**conditions, "description": longer})
        answers["logits_padded"] = padded[..., -3:, :].contiguous()
        if codec is not None:
            codes, _ = codec.encode(questions["sound"])
            answers |= {"codes": codes.to(torch.uint8).contiguous(), "decoded": codec.decode(codes).contiguous()}
    return answers


def make(kind: str) -> None:
    """Writes the golden of a kind."""
    folder = tiny.GOLDENS / f"audiocraft_{kind}"
    folder.mkdir(exist_ok=True)
    torch.manual_seed(KINDS.index(kind))
    config = language_model_config(kind)
    with stand_ins():
        model = builders.get_lm_model(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(2.0 if parameter.dim() > 1 else 1.0)
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    tiny.half_exact(model)
    codec = trained_codec() if kind == "mono" else None
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    run = {
        "best_state": {"model": state},
        "fsdp_best_state": {},
        "xp.cfg": config,
        "epoch": 3,
        "history": [{"ce": 3.5}],
    }
    run_file = folder / "checkpoint.th"
    torch.save(run, run_file)
    with stand_ins():
        if kind != "training":
            export.export_lm(run_file, folder / "state_dict.bin")
            run_file.unlink()
        if kind in ("stereo", "melody"):
            export.export_pretrained_compression_model("facebook/encodec_32khz", folder / "compression_state_dict.bin")
        elif codec is not None:
            trained = folder / "codec.th"
            torch.save({"best_state": {"model": codec.state_dict()}, "xp.cfg": codec_config()}, trained)
            export.export_encodec(trained, folder / "compression_state_dict.bin")
            trained.unlink()
    questions = asked(kind)
    save_file(questions | answered(model, codec, questions), folder / "answers.safetensors")


def trained_codec() -> Any:
    """A codec with codewords of its own, as training leaves them."""
    codec = builders.get_compression_model(codec_config()).eval()
    with torch.no_grad():
        latents = codec.encoder(torch.randn(1, 1, 2_000) * 0.3)[0].t()
        for layer in codec.quantizer.vq.layers:
            words = latents[torch.randperm(len(latents))[:CODES]]
            layer._codebook.embed.copy_(words)
            layer._codebook.embed_avg.copy_(words * 3)
            layer._codebook.cluster_size.fill_(3.0)
            layer._codebook.inited.fill_(1.0)
            nearest = torch.cdist(latents, words).argmin(-1)
            latents = latents - words[nearest]
    return codec


def check(folder: Path) -> None:
    """Loads a checkpoint with audiocraft's loaders and compares its answers with those of the golden of its name.

    Names of folders begin with a kind, as ``mono-rebuilt``.
    """
    golden = load_file(tiny.GOLDENS / f"audiocraft_{folder.name.partition('-')[0]}" / "answers.safetensors")
    with stand_ins():
        model = loaders.load_lm_model(folder)
        codec = loaders.load_compression_model(folder) if "codes" in golden else None
    for name, answer in answered(model, codec, golden).items():
        if not torch.equal(answer, golden[name]):
            raise SystemExit(f"{folder.name}: {name} differs by {float((answer - golden[name]).abs().max()):.1e}")
    print(f"{folder.name}: audiocraft reads it and answers as before")


def main() -> None:
    """Writes the goldens, or checks a folder of checkpoints."""
    for folder in sorted(Path(sys.argv[1]).iterdir()) if len(sys.argv) > 1 else ():
        check(folder)
    for kind in KINDS if len(sys.argv) == 1 else ():
        make(kind)
        files = sorted((tiny.GOLDENS / f"audiocraft_{kind}").iterdir())
        print(f"{kind}: {', '.join(f'{file.name} {file.stat().st_size / 1024:.0f} kB' for file in files)}")


if __name__ == "__main__":
    main()
