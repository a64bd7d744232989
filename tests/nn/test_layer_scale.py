"""A factor for each channel, behind attention and behind the feed-forward part."""

from __future__ import annotations

import torch
from torch import nn

from antiphon.nn.attention import Attention
from antiphon.nn.layer_scale import LayerScale
from antiphon.nn.mlp import MLP
from antiphon.nn.transformer import Context, TransformerLayer


def test_each_channel_has_its_factor() -> None:
    scale = LayerScale(3, 0.5)
    assert scale.scale.tolist() == [0.5, 0.5, 0.5]
    with torch.no_grad():
        scale.scale.copy_(torch.tensor([1.0, 2.0, 3.0]))
        assert scale(torch.ones(2, 1, 3)).tolist() == [[[1, 2, 3]], [[1, 2, 3]]]


def test_a_layer_scales_what_its_two_parts_add() -> None:
    torch.manual_seed(0)
    attention, mlp = Attention(8, 2), MLP(8, 12, act="gelu")
    for parameter in [*attention.parameters(), *mlp.parameters()]:
        nn.init.normal_(parameter)
    norms = [nn.LayerNorm(8), nn.LayerNorm(8)]
    layer = TransformerLayer(attention=attention, mlp=mlp, norms=norms, scales=(LayerScale(8, 0.1), LayerScale(8, 3.0)))
    x = torch.randn(2, 4, 8)
    with torch.no_grad():
        out, _, _ = layer.eval()(x, Context(), 0)
        between = x + 0.1 * attention(norms[0](x))[0]
        torch.testing.assert_close(out, between + 3.0 * mlp(norms[1](between)))
