"""A Whisper-style audio encoder: log-mel windows to frames of 40 ms.

Source: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022, section 2.2; Goel et al.,
"Audio Flamingo 3: Advancing Audio Intelligence with Fully Open Large Audio Language Models", 2025, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.errors import ParamError
from antiphon.nn.attention import Attention
from antiphon.nn.conv import Conv1d
from antiphon.nn.linear import Embedding
from antiphon.nn.masks import Mask
from antiphon.nn.mlp import MLP, Activation
from antiphon.nn.transformer import Context, Record, Transformer, TransformerLayer

MEL_A_FRAME = 4  # mel frames of one frame that comes out: two for the second convolution, and two of those are averaged


def columns_of(mel: int | Tensor) -> int | Tensor:
    """How many columns the convolutions make of ``mel`` frames."""
    return (mel - 1) // 2 + 1


def frames_of(mel: Tensor) -> Tensor:
    """How many whole frames come out of ``mel`` (W,) frames of a log-mel spectrogram, int64."""
    return (mel.to(torch.int64) + 1) // MEL_A_FRAME


class AudioEncoder(nn.Module):
    """Two convolutions, learned positions, a stack that sees all of its window, an average over pairs, a norm.

    Args:
        mels: bands of the spectrogram. width: D. hidden: of the feed-forward layers.
        positions: the most columns behind the convolutions.
        dropout: on embeddings and on what each part of a layer adds. attention_dropout: on attention weights.
        activation_dropout: inside the feed-forward layer. layerdrop: chance of leaving out a layer. All of them in
            training only.
    """

    def __init__(
        self,
        *,
        mels: int,
        width: int,
        layers: int,
        heads: int,
        hidden: int,
        positions: int,
        act: str | Activation,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        layerdrop: float = 0.0,
    ) -> None:
        super().__init__()
        self.first = Conv1d(mels, width, 3, pad_mode="constant", norm="none")
        self.second = Conv1d(width, width, 3, stride=2, pad_mode="constant", norm="none")
        self.positions = Embedding(positions, width)
        self.positions.requires_grad_(False)

        def layer() -> TransformerLayer:
            return TransformerLayer(
                attention=Attention(width, heads, bias=("query", "value", "out"), dropout=attention_dropout),
                mlp=MLP(width, hidden, act=act, bias=True, dropout=activation_dropout),
                norms=[nn.LayerNorm(width), nn.LayerNorm(width)],
                dropout=dropout,
            )

        # the norm at the end comes behind the average
        self.stack = Transformer([layer() for _ in range(layers)], nn.Identity(), layerdrop=layerdrop)
        self.norm = nn.LayerNorm(width)
        self.dropout = dropout

    def forward(
        self, mel: Tensor, lengths: Tensor | None = None, *, trimmed: bool = False, record: Record | None = None
    ) -> Tensor:
        """Frames (W, T, D) of windows ``mel`` (W, bands, N).

        Args:
            lengths: (W,) of each window's own mel frames, which stand first; what comes behind them is seen by no
                frame. By default all N.
            trimmed: compute only as many columns as the longest window has. The frames of each window's own sound
                (``frames_of``) are the same: padding is hidden from them, and a window's last column looks at two mel
                frames behind its own, which are kept.

        Returns:
            T is ``frames_of(N)``, or with ``trimmed`` of the longest window.

        Raises:
            ParamError: windows longer than the learned positions.
        """
        columns = int(columns_of(mel.shape[-1]))
        own = None if lengths is None else torch.as_tensor(columns_of(lengths))
        if trimmed and own is not None and own.numel():
            columns = min(columns, max(1, int(own.max())))
            mel = mel[..., : 2 * columns + 1]
        if columns > self.positions.num_embeddings:
            raise ParamError(
                f"windows of {mel.shape[-1]} mel frames",
                expected=f"at most {2 * self.positions.num_embeddings}",
                fix="Cut the sound into shorter windows, as the processor does",
            )
        x = F.gelu(self.second(F.gelu(self.first(mel)))).transpose(1, 2)[:, :columns]  # (W, columns, D)
        x = F.dropout(x + self.positions.weight[:columns], self.dropout, self.training)
        x = self.stack(x, Context(mask=self._mask(own, columns, x.device)), record)
        x = x[:, : columns // 2 * 2].unflatten(1, (columns // 2, 2)).mean(dim=2)
        frames: Tensor = self.norm(x)
        return frames

    @staticmethod
    def _mask(own: Tensor | None, columns: int, device: torch.device) -> Mask:
        if own is None or bool((own >= columns).all()):
            return Mask()
        seen = torch.arange(columns, device=device) < own.to(device)[:, None]
        return Mask.of(seen[:, None, None])
