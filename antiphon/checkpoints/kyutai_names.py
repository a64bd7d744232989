"""kyutai's names of tensors and the documents', in both directions, for its language models and for Mimi."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from antiphon.checkpoints import names as spellings
from antiphon.checkpoints.keys import KeyTable
from antiphon.checkpoints.kyutai_tensors import Heads, attention, attention_of_steps, norm, steps, weight_norm
from antiphon.checkpoints.rebuilt_file import Bond, Layout
from antiphon.checkpoints.renamed_file import Piece
from antiphon.errors import CheckpointError

AUDIO_ENCODER = "audio_encoder."

_DEPTH = "depformer."
# Files of 2024 hold the projections of all steps of the depth transformer in one tensor, one behind the other.
_JOINED = re.compile(r"(?P<head>.+\.self_attn\.)(?P<side>in|out)_proj(?:_|\.)(?P<rest>(?:lora_[AB]\.)?weight(?:_scb)?)")
_MIMI_SPELLINGS = {
    "inited": "_initialized",
    "cluster_size": "cluster_usage",
    "embed_avg": "embedding_sum",
    "embed_sum": "embedding_sum",
}
_PARTS = ("q_proj", "k_proj", "v_proj")
_NORMS = (("norm1", "input_layernorm"), ("norm2", "post_attention_layernorm"))


# one spelling for all files


def language_model_pieces(stored: Iterable[str], codebooks: int) -> dict[str, Piece]:
    """``{name in the newer spelling: where it lies}`` of what a file of a language model stores.

    Raises:
        CheckpointError: two stored tensors have one name.
    """
    return _pieces(stored, lambda name: codebooks if name.startswith(_DEPTH) else 1)


def codec_pieces(stored: Iterable[str]) -> dict[str, Piece]:
    """The same for a file of Mimi's."""
    return _pieces(stored, lambda name: 1)


def _pieces(stored: Iterable[str], count: Any) -> dict[str, Piece]:
    found: dict[str, Piece] = {}
    for name, plain in spellings.canonical(stored).items():
        head, dot, last = plain.rpartition(".")
        joined = _JOINED.fullmatch(plain)
        of = count(plain) if joined else 1
        for part in range(of):
            if joined:
                new = f"{joined['head']}{joined['side']}_projs.{part}.{joined['rest']}"
            else:
                new = f"{head}{dot}{_MIMI_SPELLINGS.get(last, last)}" if "._codebook." in plain else plain
            if new in found:
                raise CheckpointError(f"{found[new].name!r} and {name!r} are both {new!r}", expected="one")
            found[new] = Piece(name, part, of)
    return found


def joined_spelling(theirs: Iterable[str]) -> dict[str, list[str]]:
    """``{name as the files of 2024 have it: the newer names of what lies in it, in order}``."""
    found: dict[str, list[str]] = {}
    for name in theirs:
        new = re.fullmatch(r"(.+\.self_attn\.)(in|out)_projs\.\d+\.weight", name)
        old = {"in": "in_proj_weight", "out": "out_proj.weight"}
        found.setdefault(new[1] + old[new[2]] if new else name, []).append(name)
    return found


# the language model


def language_model_layout(values: Mapping[str, Any]) -> Layout:
    """kyutai's names and the documents' of a Moshi with such a configuration, its codec left out.

    Args:
        values: the documents'.
    """
    depth, books = values["depth_decoder_config"], values["num_codebooks"]
    return Layout(
        KeyTable(
            [
                ("emb", "embed_tokens"),
                ("text_emb", "decoder.model.embed_tokens"),
                ("text_linear", "decoder.lm_head"),
                ("transformer.layers.{}.gating.linear_in", "decoder.model.layers.{}.mlp.fc1"),
                ("transformer.layers.{}.gating.linear_out", "decoder.model.layers.{}.mlp.fc2"),
                ("transformer.layers.{}.self_attn.out_projs.0", "decoder.model.layers.{}.self_attn.o_proj.linear"),
                ("depformer_text_emb", "depth_decoder.text_embed_tokens"),
                ("depformer_emb", "depth_decoder.embed_tokens"),
            ]
        ),
        [
            norm("out_norm.alpha", "decoder.model.norm.weight"),
            *_main_layers(values["num_hidden_layers"], _heads(values, rotary=True)),
            *_depth_layers(depth["num_hidden_layers"], books, _heads(depth, rotary=False)),
            steps([f"depformer_in.{k}.weight" for k in range(books)], "depth_decoder.input_projections.weight"),
            steps([f"linears.{k}.weight" for k in range(books)], "depth_decoder.lm_heads.weight"),
        ],
    )


def _main_layers(layers: int, heads: Heads) -> Iterator[Bond]:
    for layer in range(layers):
        theirs, ours = f"transformer.layers.{layer}", f"decoder.model.layers.{layer}"
        projections = [f"{ours}.self_attn.{part}.linear.weight" for part in _PARTS]
        yield attention(f"{theirs}.self_attn.in_projs.0.weight", projections, heads)
        yield from (norm(f"{theirs}.{old}.alpha", f"{ours}.{new}.weight") for old, new in _NORMS)


def _depth_layers(layers: int, books: int, heads: Heads) -> Iterator[Bond]:
    for layer in range(layers):
        theirs, ours = f"depformer.layers.{layer}", f"depth_decoder.layers.{layer}"
        projections = [f"{ours}.self_attn.{part}.linear.weight" for part in _PARTS]
        fused = [f"{theirs}.self_attn.in_projs.{k}.weight" for k in range(books)]
        yield attention_of_steps(fused, projections, heads)
        yield from (norm(f"{theirs}.{old}.alpha", f"{ours}.{new}.weight") for old, new in _NORMS)
        for old, new in (
            ("self_attn.out_projs.{}", "self_attn.o_proj.linear"),
            ("gating.{}.linear_in", "mlp.fc1"),
            ("gating.{}.linear_out", "mlp.fc2"),
        ):
            yield steps([f"{theirs}.{old.format(k)}.weight" for k in range(books)], f"{ours}.{new}.weight")


def _heads(values: Mapping[str, Any], *, rotary: bool) -> Heads:
    return Heads(values["num_attention_heads"], values["num_key_value_heads"], values["head_dim"], rotary)


# Mimi


def codec_layout(values: Mapping[str, Any], theirs: Iterable[str] = ()) -> Layout:
    """kyutai's names and the documents' of a Mimi with such a configuration.

    Args:
        values: the documents'. theirs: names in a file that is to be read; those of weight norm are told by them.
    """
    table = _codec_table(len(values["upsampling_ratios"]), values["num_residual_layers"])
    return Layout(table, [*_codec_attention(values), *_weight_norms(theirs, table)])


def _codec_table(ratios: int, residual_layers: int) -> KeyTable:
    # the documents call a transposed convolution like any other, so where they stand has to be known for the way back
    transposed = range(2, 2 + ratios * (2 + residual_layers), 2 + residual_layers)
    sides = ("encoder", "decoder")
    layer = "{side}_transformer.transformer.layers.{{}}.{name}", "{side}_transformer.layers.{{}}.{name}"
    inside = (
        *(("norm1", "input_layernorm"), ("norm2", "post_attention_layernorm"), ("linear1", "mlp.fc1")),
        *(("linear2", "mlp.fc2"), ("layer_scale_1", "self_attn_layer_scale"), ("layer_scale_2", "mlp_layer_scale")),
        ("self_attn.out_projs.0", "self_attn.o_proj"),
    )
    books = (("first", "semantic"), ("rest", "acoustic"))
    new = "quantizer.{}_residual_vector_quantizer"
    inner_new = "{}.layers.{{}}.codebook".format
    return KeyTable(
        [
            *((f"decoder.model.{at}.convtr.convtr", f"decoder.layers.{at}.conv") for at in transposed),
            *(
                (f"{side}.model.{{}}{inner}.conv.conv", f"{side}.layers.{{}}{inner}.conv")
                for side in sides
                for inner in ("", ".block.{}", ".shortcut")
            ),
            *(
                (layer[0].format(side=side, name=old), layer[1].format(side=side, name=name))
                for side in sides
                for old, name in inside
            ),
            ("downsample.conv.conv.conv", "downsample.conv"),
            ("upsample.convtr.convtr.convtr", "upsample.conv"),
            *(
                (f"quantizer.rvq_{old}.vq.layers.{{}}._codebook.{theirs}", f"{inner_new(new.format(name))}.{ours}")
                for old, name in books
                for theirs, ours in (
                    ("_initialized", "initialized"),
                    ("embedding_sum", "embed_sum"),
                    ("cluster_usage", "cluster_usage"),
                )
            ),
            *((f"quantizer.rvq_{old}", new.format(name)) for old, name in books),
        ]
    )


def _codec_attention(values: Mapping[str, Any]) -> Iterator[Bond]:
    for side in ("encoder_transformer", "decoder_transformer"):
        for layer in range(values["num_hidden_layers"]):
            ours = f"{side}.layers.{layer}.self_attn"
            yield attention(
                f"{side}.transformer.layers.{layer}.self_attn.in_projs.0.weight",
                [f"{ours}.{part}.weight" for part in _PARTS],
                _heads(values, rotary=True),
            )


def _weight_norms(theirs: Iterable[str], table: KeyTable) -> Iterator[Bond]:
    suffix = ".parametrizations.weight.original0"
    for name in theirs:
        if name.endswith(suffix):
            head = name.removesuffix(suffix)
            yield weight_norm(name, f"{name[:-1]}1", table.ours(f"{head}.weight"))
