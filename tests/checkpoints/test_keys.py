"""Key tables: exact in both directions, specific rules before general ones, whole segments only."""

from __future__ import annotations

import pytest

from antiphon.checkpoints.keys import KeyTable
from antiphon.errors import CheckpointError

TABLE = KeyTable(
    [
        ("decoder.layers.{}.self_attn.q_proj", "stack.{}.attention.query"),
        ("decoder.layers.{}.block.{}.conv", "stack.{}.inner.{}"),
        ("decoder.layers.{}", "stack.{}.rest"),
        ("decoder", "net"),
    ],
    aliases={"shared.second": "decoder.embedding"},
)

PAIRS = [
    ("decoder.layers.3.self_attn.q_proj.weight", "stack.3.attention.query.weight"),
    ("decoder.layers.12.block.0.conv.bias", "stack.12.inner.0.bias"),
    ("decoder.layers.0.anything.else", "stack.0.rest.anything.else"),
    ("decoder.embedding", "net.embedding"),
    ("decoder", "net"),
    ("encoder.layers.3.weight", "encoder.layers.3.weight"),
]


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_names_are_turned_both_ways(theirs: str, ours: str) -> None:
    assert TABLE.ours(theirs) == ours
    assert TABLE.theirs(ours) == theirs


def test_a_round_trip_is_the_identity() -> None:
    TABLE.check([theirs for theirs, _ in PAIRS])
    TABLE.check(["shared.second"])


def test_the_first_rule_that_fits_is_the_one() -> None:
    reversed_rules = KeyTable([("a", "general"), ("a.b", "specific")])
    assert reversed_rules.ours("a.b.c") == "general.b.c"
    assert KeyTable([("a.b", "specific"), ("a", "general")]).ours("a.b.c") == "specific.c"


@pytest.mark.parametrize("name", ["decoders.weight", "decoder_layers", "xdecoder.y", "decoder.layersX"])
def test_only_whole_segments_match(name: str) -> None:
    expected = name.replace("decoder.", "net.", 1) if name.startswith("decoder.") else name
    assert TABLE.ours(name) == expected


@pytest.mark.parametrize("name", ["decoder.layers.x.self_attn", "decoder.layers.-1.a", "decoder.layers.1a.b"])
def test_a_placeholder_is_a_number(name: str) -> None:
    assert TABLE.ours(name) == "net" + name.removeprefix("decoder")


def test_dots_in_a_rule_are_dots() -> None:
    assert KeyTable([("a.b", "c")]).ours("axb.weight") == "axb.weight"


def test_a_second_name_is_read_and_the_first_is_written() -> None:
    assert TABLE.ours("shared.second") == "net.embedding"
    assert TABLE.theirs("net.embedding") == "decoder.embedding"


def test_a_table_that_loses_a_name_is_noticed() -> None:
    with pytest.raises(CheckpointError, match=r"turns 'b\.x' into 'a\.x'"):
        KeyTable([("a", "same"), ("b", "same")]).check(["b.x"])


def test_an_empty_table_changes_nothing() -> None:
    assert KeyTable().ours("anything.at.all") == KeyTable().theirs("anything.at.all") == "anything.at.all"


STACKS = KeyTable(
    [("layers.{0}.q_proj.linear.{1}", "steps.{1}.layers.{0}.query"), ("layers.{}.norm", "steps.0.layers.{}.norm")],
    stacked=["layers.{}.q_proj.linear"],
    repeated=["steps.1.layers.{}.norm"],
)


def test_numbers_may_change_places() -> None:
    assert STACKS.ours("layers.4.q_proj.linear.7.weight") == "steps.7.layers.4.query.weight"
    assert STACKS.theirs("steps.7.layers.4.query.weight") == "layers.4.q_proj.linear.7.weight"


def test_a_stack_of_theirs_is_several_tensors_of_ours() -> None:
    assert STACKS.piece("layers.4.q_proj.linear.7.weight") == ("layers.4.q_proj.linear.weight", 7)
    pieces = STACKS.pieces("layers.4.q_proj.linear.codes", 2)
    assert pieces == ["layers.4.q_proj.linear.0.codes", "layers.4.q_proj.linear.1.codes"]
    assert [STACKS.piece(name) for name in pieces] == [("layers.4.q_proj.linear.codes", k) for k in (0, 1)]


@pytest.mark.parametrize("name", ["layers.4.norm.weight", "layers.4.q_proj.linear.7.lora_A.x.weight", "layers.4"])
def test_what_is_no_stack_has_no_pieces(name: str) -> None:
    assert STACKS.piece(name) is None
    assert STACKS.pieces(name, 3) is None


def test_a_module_with_two_names_is_told_by_the_first() -> None:
    assert not STACKS.repeats("layers.0.norm.weight")
    assert STACKS.repeats("steps.1.layers.0.norm.weight")
    assert not STACKS.repeats("steps.1.layers.0.query.weight")
