"""The T5 encoder beside transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

import antiphon

from .tiny_musicgen import distance

pytestmark = pytest.mark.row("R30")


@pytest.fixture(scope="module", params=["relu", "gated-gelu", "gated-silu"])
def pair(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "d_model": 24, "d_kv": 8, "d_ff": 40, "num_layers": 3, "num_heads": 4}
    config = transformers.T5Config(**sizes, feed_forward_proj=request.param, relative_attention_num_buckets=16)
    theirs = transformers.T5EncoderModel(config).eval()
    theirs.set_attn_implementation("eager")
    folder = tmp_path_factory.mktemp("t5")
    theirs.save_pretrained(folder)
    return theirs, antiphon.T5EncoderModel.from_pretrained(folder)


def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(2, 50, (2, 40), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 40, dtype=torch.long)
    mask[1, 7:] = 0
    return ids, mask


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_states_and_attentions_equal_the_references(pair: tuple[Any, Any], attention: str) -> None:
    theirs, ours = pair
    ids, mask = tokens()
    ours.set_attn_implementation(attention)
    wanted = {"output_hidden_states": True, "output_attentions": True}
    with torch.no_grad():
        one, other = ours(ids, mask, **wanted), theirs(input_ids=ids, attention_mask=mask, **wanted)
        plain = ours(ids, mask).last_hidden_state
    assert distance(one.last_hidden_state, other.last_hidden_state) < 1e-5
    assert distance(plain, other.last_hidden_state) < 1e-5
    assert len(one.hidden_states) == len(other.hidden_states) == 4
    assert max(distance(a, b) for a, b in zip(one.hidden_states, other.hidden_states, strict=True)) < 1e-5
    assert max(distance(a, b) for a, b in zip(one.attentions, other.attentions, strict=True)) < 1e-5


def test_pads_do_not_reach_real_tokens(pair: tuple[Any, Any]) -> None:
    ids, mask = tokens()
    other = ids.masked_fill(mask == 0, 9)
    with torch.no_grad():
        one, two = pair[1](ids, mask).last_hidden_state, pair[1](other, mask).last_hidden_state
        alone = pair[1](ids[1:, :7]).last_hidden_state
    assert torch.equal(one[mask == 1], two[mask == 1])
    assert distance(one[1:, :7], alone) < 1e-5


def test_embeddings_in_place_of_ids_give_the_same(pair: tuple[Any, Any]) -> None:
    ids, mask = tokens()
    ours = pair[1]
    with torch.no_grad():
        embedded = ours.get_input_embeddings()(ids)
        assert torch.equal(
            ours(inputs_embeds=embedded, attention_mask=mask).last_hidden_state, ours(ids, mask).last_hidden_state
        )


def test_the_names_of_tensors_are_the_references_both_ways(pair: tuple[Any, Any], tmp_path: Any) -> None:
    theirs, ours = pair
    assert sorted(ours.state_dict()) == sorted(theirs.state_dict())
    copy = antiphon.T5EncoderModel(ours.config)
    copy.load_state_dict(theirs.state_dict())
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(copy.state_dict()[name], tensor), name
    transformers.T5EncoderModel(theirs.config).load_state_dict(ours.state_dict())
    ours.save_pretrained(tmp_path)
    ids, mask = tokens()
    back = transformers.T5EncoderModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert distance(back(ids, mask).last_hidden_state, theirs(ids, mask).last_hidden_state) < 1e-5


def test_the_encoder_is_found_in_a_file_of_the_whole_t5(tmp_path: Any) -> None:
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=50, d_model=24, d_kv=8, d_ff=40, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    whole = transformers.T5ForConditionalGeneration(config).eval()
    whole.save_pretrained(tmp_path)
    ours = antiphon.T5EncoderModel.from_pretrained(tmp_path)
    ids, mask = tokens()
    with torch.no_grad():
        theirs = whole.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        assert distance(ours(ids, mask).last_hidden_state, theirs) < 1e-5


def test_half_precision_keeps_the_last_matrix_of_each_block_wide(pair: tuple[Any, Any], tmp_path: Any) -> None:
    pair[1].save_pretrained(tmp_path)
    half = antiphon.T5EncoderModel.from_pretrained(tmp_path, dtype=torch.float16)
    theirs = transformers.T5EncoderModel.from_pretrained(tmp_path, dtype=torch.float16)
    ours = {name: tensor.dtype for name, tensor in half.state_dict().items()}
    assert ours == {name: tensor.dtype for name, tensor in theirs.state_dict().items()}
    assert set(ours.values()) == {torch.float16, torch.float32}


@pytest.mark.row("R82")
def test_the_embedding_can_be_given_another_number_of_rows(pair: tuple[Any, Any], tmp_path: Any) -> None:
    pair[1].save_pretrained(tmp_path)
    ours = antiphon.T5EncoderModel.from_pretrained(tmp_path)
    before = ours.get_input_embeddings().weight.clone()
    grown = ours.resize_token_embeddings(60)
    assert grown is ours.get_input_embeddings() is ours.shared
    assert ours.config.vocab_size == 60
    assert torch.equal(grown.weight[:50], before)
    assert ours(torch.tensor([[59]])).last_hidden_state.shape == (1, 1, 24)
