"""audiocraft's names of tensors and the documents', in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from antiphon.checkpoints.keys import KeyTable
from antiphon.checkpoints.renamed_file import Piece
from antiphon.errors import CheckpointError

TEXT_ENCODER, AUDIO_ENCODER = "text_encoder.", "audio_encoder."

_OURS = "decoder.model.decoder"
_LAYER = "transformer.layers.{}"
_FUSED, _PARTS = ".in_proj_weight", (".q_proj.weight", ".k_proj.weight", ".v_proj.weight")
_CONDITIONERS = "condition_provider.conditioners"

LANGUAGE_MODEL = KeyTable(
    [
        ("emb", f"{_OURS}.embed_tokens"),
        *(
            (f"{_LAYER}.{theirs}", f"{_OURS}.layers.{{}}.{ours}")
            for theirs, ours in (
                ("self_attn", "self_attn"),
                ("cross_attention", "encoder_attn"),
                ("linear1", "fc1"),
                ("linear2", "fc2"),
                ("norm1", "self_attn_layer_norm"),
                ("norm_cross", "encoder_attn_layer_norm"),
                ("norm2", "final_layer_norm"),
            )
        ),
        ("out_norm", f"{_OURS}.layer_norm"),
        ("linears", "decoder.lm_heads"),
        (f"{_CONDITIONERS}.description.output_proj", "enc_to_dec_proj"),
        (f"{_CONDITIONERS}.description.t5", TEXT_ENCODER[:-1]),  # there only if it was trained too
        (f"{_CONDITIONERS}.self_wav.output_proj", "audio_enc_to_dec_proj"),
    ]
)

# Computed from the configuration by whoever needs it, and stored all the same: the window of the chroma's spectrum.
CHROMA_WINDOW = f"{_CONDITIONERS}.self_wav.chroma.spec.window"
# Where torch's own attention was trained instead of audiocraft's, its weights are one level deeper.
_DEEPER = re.compile(r"(?<=\.)(self_attn|cross_attention)\.mha\.")


def codec_table(ratios: int, residual_layers: int, recurrent: bool) -> KeyTable:
    """The table of a codec with so many ratios, residual layers for each, and recurrent layers or none.

    The documents call a transposed convolution like any other, so where they stand has to be known for the way back.
    """
    first = 2 + recurrent
    transposed = range(first, first + ratios * (2 + residual_layers), 2 + residual_layers)
    return KeyTable(
        [
            *(
                (f"decoder.model.{at}.convtr.{theirs}", f"decoder.layers.{at}.{ours}")
                for at in transposed
                for theirs, ours in (("convtr", "conv"), ("norm", "norm"))
            ),
            *(
                (f"{side}.model.{{}}{inner}.conv.{kind}", f"{side}.layers.{{}}{inner}.{kind}")
                for side in ("encoder", "decoder")
                for inner in ("", ".block.{}", ".shortcut")
                for kind in ("conv", "norm")
            ),
            ("encoder.model", "encoder.layers"),
            ("decoder.model", "decoder.layers"),
            ("quantizer.vq.layers.{}._codebook", "quantizer.layers.{}.codebook"),
        ]
    )


def pieces_of(stored: Iterable[str], table: KeyTable) -> dict[str, Piece]:
    """``{the documents' name: where it lies}`` of what a file stores; fused projections fall into three.

    What is computed and stored all the same is left out.

    Raises:
        CheckpointError: two stored tensors have one name.
    """
    found: dict[str, Piece] = {}
    for name in stored:
        if name == CHROMA_WINDOW:
            continue
        ours = table.ours(_DEEPER.sub(r"\1.", name))
        head = ours.removesuffix(_FUSED)
        parts = {head + part: Piece(name, i, len(_PARTS)) for i, part in enumerate(_PARTS)}
        new = {ours: Piece(name)} if head == ours else parts
        doubled = sorted(found.keys() & new.keys())
        if doubled:
            raise CheckpointError(f"{found[doubled[0]].name!r} and {name!r} are both {doubled[0]!r}", expected="one")
        found |= new
    return found


def stored_from(ours: Iterable[str], table: KeyTable) -> dict[str, list[str]]:
    """``{audiocraft's name: the documents' names of what lies in it, in order}``: the way back of ``pieces_of``."""
    found: dict[str, list[str]] = {}
    for name in ours:
        head = next((name.removesuffix(part) for part in _PARTS if name.endswith(part)), name)
        if head == name or name.startswith(TEXT_ENCODER):
            found[_older_weight_norm(table.theirs(name))] = [name]
        else:
            found[table.theirs(head + _FUSED)] = [head + part for part in _PARTS]
    return found


def left_over(stored: Iterable[str], pieces: Mapping[str, Piece]) -> list[str]:
    """The stored names that the documents have no name for."""
    used = {piece.name for piece in pieces.values()}
    return [name for name in stored if name not in used]


def plain_name(stored: str) -> str:
    """A stored name in the spelling that ``stored_from`` gives."""
    return _older_weight_norm(_DEEPER.sub(r"\1.", stored))


def _older_weight_norm(name: str) -> str:
    """The spelling of torch before 2.1, the one that audiocraft's own modules have."""
    head = "parametrizations.weight.original"
    return name.replace(f"{head}0", "weight_g").replace(f"{head}1", "weight_v")
