"""The loss of next tokens follows its definition and leaves out what does not count."""

from __future__ import annotations

import torch

from antiphon.lm.text_loss import next_token_loss


def test_each_token_is_predicted_from_the_column_before() -> None:
    logits = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[9, 1, -100, 3], [-100, 5, 2, 0]])  # 5 is beyond the vocabulary
    chances = logits.log_softmax(dim=-1)
    counted = [chances[0, 0, 1], chances[0, 2, 3], chances[1, 1, 2], chances[1, 2, 0]]
    torch.testing.assert_close(next_token_loss(logits, labels), -torch.stack(counted).mean())


def test_half_precision_is_summed_in_float32() -> None:
    logits = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(1)).bfloat16()
    loss = next_token_loss(logits, torch.tensor([[0, 1, 2]]))
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, next_token_loss(logits.float(), torch.tensor([[0, 1, 2]])))
