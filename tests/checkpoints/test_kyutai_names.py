"""Weights of kyutai's files and of the documents' layout become one another, bit for bit."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from antiphon.checkpoints.destinations import TensorInfo
from antiphon.checkpoints.kyutai_folder import CODEC_FILE, MODEL_FILE, KyutaiFolder
from antiphon.checkpoints.kyutai_names import (
    AUDIO_ENCODER,
    codec_layout,
    codec_pieces,
    joined_spelling,
    language_model_layout,
    language_model_pieces,
)
from antiphon.checkpoints.kyutai_tensors import Heads
from antiphon.errors import CheckpointError

from .kyutai_files import KINDS, golden, read


def values_of(kind: str) -> dict[str, object]:
    original = KyutaiFolder.found(golden(kind))
    assert original is not None
    return original.config()


def canonical(kind: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The stored tensors of both files in the newer spelling."""
    books = int(str(values_of(kind)["num_codebooks"]))
    found = []
    for file, pieces in ((MODEL_FILE, lambda n: language_model_pieces(n, books)), (CODEC_FILE, codec_pieces)):
        stored = load_file(golden(kind) / file)
        found.append({name: piece.out(stored[piece.name]) for name, piece in pieces(stored).items()})
    return found[0], found[1]


@pytest.mark.parametrize("kind", KINDS)
def test_reading_and_writing_again_gives_every_tensor_bit_for_bit(kind: str) -> None:
    ours, values = read(golden(kind)), values_of(kind)
    own = {n: t for n, t in ours.items() if not n.startswith(AUDIO_ENCODER)}
    codec = {n.removeprefix(AUDIO_ENCODER): t for n, t in ours.items() if n.startswith(AUDIO_ENCODER)}
    layouts = language_model_layout(values), codec_layout(values["audio_encoder_config"])  # type: ignore[arg-type]
    for part, layout, stored in zip((own, codec), layouts, canonical(kind), strict=True):
        plan = layout.theirs({n: TensorInfo(tuple(t.shape), t.dtype) for n, t in part.items()})
        back = {name: making([part[source] for source in making.sources]) for name, making in plan.items()}
        assert back.keys() == stored.keys()
        for name, tensor in stored.items():
            assert back[name].dtype == tensor.dtype and torch.equal(back[name], tensor), name


@pytest.mark.parametrize("kind", KINDS)
def test_every_stored_number_is_in_some_tensor_of_ours(kind: str) -> None:
    ours = read(golden(kind))
    stored = {**load_file(golden(kind) / MODEL_FILE), **load_file(golden(kind) / CODEC_FILE)}
    assert sum(t.numel() for t in ours.values()) == sum(t.numel() for t in stored.values())
    assert {t.dtype for n, t in ours.items() if n.startswith(AUDIO_ENCODER)} == {torch.float16}
    assert {t.dtype for n, t in ours.items() if not n.startswith(AUDIO_ENCODER)} == {torch.bfloat16}


def test_heads_are_turned_from_neighbouring_channels_to_halves() -> None:
    heads = Heads(query=2, key=1, channels=4, rotary=True)
    fused = torch.arange(16.0).view(16, 1).expand(16, 3)
    query, key, value = heads.apart(fused)
    assert query[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert key[:, 0].tolist() == [8, 10, 9, 11]
    assert value[:, 0].tolist() == [12, 13, 14, 15]
    assert torch.equal(heads.together(query, key, value), fused)


def test_turned_channels_give_the_scores_of_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    heads, width = Heads(query=2, key=2, channels=6, rotary=True), 5
    fused, x = torch.randn(36, width, generator=generator), torch.randn(7, width, generator=generator)
    angles = torch.arange(7.0)[:, None] * torch.tensor([1.0, 0.3, 0.1])

    def turned(rows: torch.Tensor, *, halves: bool) -> torch.Tensor:
        """(T, H, D) with the positions in it."""
        each = (x @ rows.T).view(7, 2, 6)
        first, second = (each[..., :3], each[..., 3:]) if halves else (each[..., ::2], each[..., 1::2])
        cos, sin = angles.cos()[:, None], angles.sin()[:, None]
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

    query, key, _ = heads.apart(fused)
    ours = torch.einsum("thd,shd->hts", turned(query, halves=True), turned(key, halves=True))
    theirs = torch.einsum("thd,shd->hts", turned(fused[:12], halves=False), turned(fused[12:24], halves=False))
    torch.testing.assert_close(ours, theirs)


def test_all_spellings_of_projections_become_one() -> None:
    old = ["depformer.layers.0.self_attn.in_proj_weight", "transformer.layers.1.self_attn.out_proj.weight"]
    named = language_model_pieces([*old, "depformer.layers.0.self_attn.in_proj.lora_A.weight"], codebooks=2)
    assert list(named) == [
        "depformer.layers.0.self_attn.in_projs.0.weight",
        "depformer.layers.0.self_attn.in_projs.1.weight",
        "transformer.layers.1.self_attn.out_projs.0.weight",
        "depformer.layers.0.self_attn.in_projs.0.lora_A.weight",
        "depformer.layers.0.self_attn.in_projs.1.lora_A.weight",
    ]
    assert (named["depformer.layers.0.self_attn.in_projs.1.weight"].part, named[list(named)[1]].of) == (1, 2)
    assert list(joined_spelling(list(named)[:3])) == old


def test_older_names_of_the_quantiser_are_known() -> None:
    head = "quantizer.rvq_first.vq.layers.0._codebook."
    assert list(codec_pieces([head + "inited", head + "cluster_size", head + "embed_avg", "encoder.inited"])) == [
        head + "_initialized",
        head + "cluster_usage",
        head + "embedding_sum",
        "encoder.inited",
    ]


def test_two_spellings_of_one_tensor_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"in_proj_weight.*in_projs\.0\.weight"):
        language_model_pieces(["a.self_attn.in_proj_weight", "a.self_attn.in_projs.0.weight"], codebooks=1)


def test_weights_in_two_parts_become_the_weights_that_they_mean() -> None:
    values = values_of("moshi")["audio_encoder_config"]
    convolution = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(2, 3, 4))
    head = "encoder.model.0.conv.conv."
    stored = {
        head
        + name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in convolution.state_dict().items()
    }
    spelled = {name: stored[piece.name] for name, piece in codec_pieces(stored).items()}
    infos = {name: TensorInfo(tuple(t.shape), t.dtype) for name, t in spelled.items()}
    plan = codec_layout(values, infos).ours(infos)  # type: ignore[arg-type]
    assert plan.keys() == {"encoder.layers.0.conv.weight", "encoder.layers.0.conv.bias"}
    making = plan["encoder.layers.0.conv.weight"]
    torch.testing.assert_close(making([spelled[source] for source in making.sources]), convolution.weight.detach())
