"""A conversation, predicted frame by frame from the true frames before: what Moshi learns."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.errors import ParamError
from antiphon.lm.stream_loss import IGNORED
from antiphon.models.moshi import MoshiForConditionalGeneration
from antiphon.models.moshi_prompts import delayed
from antiphon.training.objective import Batch
from antiphon.training.settings import SpeechLossWeights
from antiphon.training.words import END_OF_PADDING, PADDING


class SpeechForcing(nn.Module):
    """Moshi in training: a batch of conversations to the losses of its text and of its codebooks.

    The columns are those of a conversation: initial tokens first, later codebooks one column behind. From the columns
    before, the main decoder predicts a frame's text; told that text, the depth decoder predicts the frame's codebooks.
    What the user says is heard and not learnt.

    Args:
        moshi: the whole of it. weights: how much each loss counts.

    Its modules are the parts that take part; the codec is none of them.

    Source: kyutai's moshi-finetune, whose weights these are.
    """

    def __init__(self, moshi: MoshiForConditionalGeneration, weights: SpeechLossWeights) -> None:
        super().__init__()
        self._moshi = (moshi,)  # in a tuple, so that the codec is no module of this one
        self.weights = weights
        moshi.freeze_audio_encoder()
        self.parts = nn.ModuleDict({n: m for n, m in moshi.named_children() if n != "audio_encoder"})

    @property
    def moshi(self) -> MoshiForConditionalGeneration:
        """The model itself."""
        return self._moshi[0]

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The summed cross-entropies of a batch.

        Args:
            batch: ``codes`` (B, 2 K, T) int64, Moshi's and the user's; ``text`` (B, T) int64, of each frame; of both
                ``frames`` (B,) are a row's own (all by default).

        Returns:
            Their weighted sum, a scalar that gradients follow: the text's and the mean over the codebooks. And the
            weighted sum of the text and the sum of each codebook (1 + K,), detached; all float32.

        Raises:
            ParamError: shapes that do not fit each other or the model.
        """
        codes, text = self._checked(batch)
        moshi, books = self.moshi, self.moshi.num_codebooks
        initial = moshi.config.audio_vocab_size
        behind = self._behind(batch, codes)  # (B, T)
        own, user = (self._columns(part, initial) for part in (codes[:, :books], codes[:, books:]))
        hidden = self._hidden(text, own, user)
        of_text = self._text_loss(hidden, text.masked_fill(behind, IGNORED))
        # a frame's later codebooks stand in the next column, of whose text and first codebook they are told: the last
        # frame of a row has none
        labels = self._columns(codes[:, :books], IGNORED).masked_fill(behind[:, None], IGNORED)
        of_books = self._depth_losses(hidden, text, own, labels)
        importance = torch.ones_like(of_books)
        importance[0] = self.weights.first_codebook
        total = of_text + (of_books * importance).sum() / importance.sum()
        return total, torch.cat([of_text[None], of_books]).detach()

    def _checked(self, batch: Batch) -> tuple[Tensor, Tensor]:
        codes, text, streams = batch["codes"], batch["text"], 2 * self.moshi.num_codebooks
        if codes.dim() != 3 or codes.shape[1] != streams or tuple(text.shape) != (len(codes), codes.shape[2]):
            raise ParamError(
                f"codes of shape {tuple(codes.shape)} and text of shape {tuple(text.shape)}",
                expected=f"(rows, {streams}, frames) and (rows, frames)",
            )
        return codes, text

    @staticmethod
    def _behind(batch: Batch, codes: Tensor) -> Tensor:
        rows, _, length = codes.shape
        frames = batch.get("frames")
        if frames is None:
            return torch.zeros(rows, length, dtype=torch.bool, device=codes.device)
        behind: Tensor = torch.arange(length, device=codes.device) >= frames[:, None]
        return behind

    @staticmethod
    def _columns(codes: Tensor, initial: int) -> Tensor:
        """One speaker's codes (B, K, T), delayed, with ``initial`` where a codebook has not begun."""
        return delayed(codes, codes.shape[-1] + 1, initial)[..., :-1]

    def _hidden(self, text: Tensor, own: Tensor, user: Tensor) -> Tensor:
        """States (B, T, D), each of the columns before the frame that it predicts."""
        config = self.moshi.config
        columns = torch.cat([text[:, None], own, user], dim=1)[..., :-1]
        start = columns.new_full((*columns.shape[:2], 1), config.audio_vocab_size)
        start[:, 0] = config.vocab_size
        embedded = self.moshi.lm.embed(torch.cat([start, columns], dim=-1))
        hidden: Tensor = self.moshi.decoder.model(
            inputs_embeds=embedded, use_cache=False, return_dict=True
        ).last_hidden_state
        return hidden

    def _text_loss(self, hidden: Tensor, labels: Tensor) -> Tensor:
        logits = self.moshi.decoder.lm_head(hidden).float().flatten(0, 1)
        losses = F.cross_entropy(logits, labels.flatten(), reduction="none", ignore_index=IGNORED)
        padding = (labels == PADDING) | (labels == END_OF_PADDING)
        weighted = torch.where(padding.flatten(), losses * self.weights.text_padding, losses)
        return weighted.sum()

    def _depth_losses(self, hidden: Tensor, text: Tensor, own: Tensor, labels: Tensor) -> Tensor:
        """The summed loss of each codebook (K,)."""
        told = torch.cat([text[:, None], own[:, :-1]], dim=1).transpose(1, 2).flatten(0, 1)  # (B * T, K)
        wanted = labels.transpose(1, 2).flatten(0, 1)
        logits: Tensor = self.moshi.depth_decoder.depth(told, hidden.flatten(0, 1)[:, None])  # (B * T, K, V)
        losses = F.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), reduction="none", ignore_index=IGNORED)
        return losses.view(wanted.shape).sum(dim=0)
