"""The delay pattern: when each codebook of a frame gets its turn, as a value.

Column ``s`` holds for stream ``k`` the token of frame ``s - d_k``, real frames counted from 1; while ``s <= d_k`` it
holds the initial token. Frames ``1 .. F`` need ``F + 1 + max(d)`` columns, the start column included; after its last
frame a stream is filled up with the initial token again.

Source: Copet et al., "Simple and controllable music generation" (2023), section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from antiphon.errors import ParamError

UNDECIDED = -1  # what a column plan holds where the model decides


@dataclass(frozen=True)
class DelayPattern:
    """How many columns each stream lags behind.

    Args:
        delays: one delay for each stream, 0 or more.
        skip_when_short: a quirk of the reference for MusicGen: fewer than ``2 * max_delay + 1`` planned columns get no
            pattern at all; every stream then starts at once and every column is left to the model.

    Raises:
        ParamError: there is no stream, or a delay is negative or not an int.
    """

    delays: tuple[int, ...]
    skip_when_short: bool = False

    def __post_init__(self) -> None:
        if not self.delays or any(isinstance(d, bool) or not isinstance(d, int) or d < 0 for d in self.delays):
            raise ParamError(f"delays={self.delays!r}", expected="one int, 0 or more, for each stream")

    @classmethod
    def for_codebooks(cls, codebooks: int, audio_channels: int = 1) -> DelayPattern:
        """MusicGen's pattern: 0, 1, 2, .. for mono; left and right in turn and equal, 0, 0, 1, 1, .., for stereo.

        Raises:
            ParamError: ``audio_channels`` is not 1 or 2, or does not divide ``codebooks``.
        """
        if audio_channels not in (1, 2):
            raise ParamError(f"audio_channels={audio_channels!r}", expected="1 (mono) or 2 (stereo) audio channels")
        if codebooks < 1 or codebooks % audio_channels:
            raise ParamError(
                f"codebooks={codebooks!r}", expected=f"a positive multiple of audio_channels={audio_channels}"
            )
        return cls(tuple(k // audio_channels for k in range(codebooks)), skip_when_short=True)

    @property
    def streams(self) -> int:
        """K, the number of streams."""
        return len(self.delays)

    @property
    def max_delay(self) -> int:
        """The longest delay, which is also the number of columns a clip costs beyond its frames and its start."""
        return max(self.delays)

    def is_skipped(self, length: int) -> bool:
        """Whether ``length`` planned columns are so few that the pattern is left out (see ``skip_when_short``)."""
        return self.skip_when_short and length < 2 * self.max_delay + 1

    def columns(self, frames: int) -> int:
        """Columns, the start column included, that ``frames`` whole frames take."""
        return frames + 1 + self.max_delay

    def frames(self, columns: int) -> int:
        """Whole frames that ``columns`` columns, the start column included, hold; 0 while there is none."""
        return max(0, columns - 1 - self.max_delay)

    def start_column(self, prompt_columns: int, length: int) -> int:
        """The first column with a token for the model to decide, which is where a prompt of that length ends."""
        return min(prompt_columns, length)

    def build(self, prompt: torch.Tensor, length: int, pad: int) -> torch.Tensor:
        """The plan of ``length`` columns: forced tokens, and -1 where the model decides.

        Args:
            prompt: (B, K, L0) int64, the start column first, each stream without its delay, L0 at least 1.
            length: columns of the plan, the start column included.
            pad: the token before and after a stream's frames.

        Returns:
            (B, K, length) int64. What of the prompt does not fit into ``length`` is cut off at its end.

        Raises:
            ParamError: ``prompt`` has another shape.
        """
        if prompt.ndim != 3 or prompt.shape[1] != self.streams or prompt.shape[2] < 1:
            raise ParamError(
                f"a prompt of shape {tuple(prompt.shape)}",
                expected=f"(rows, {self.streams}, columns), 1 column or more",
            )
        plan = torch.full((prompt.shape[0], self.streams, length), UNDECIDED, dtype=torch.long, device=prompt.device)
        if self.is_skipped(length):
            return plan
        for k, delay in enumerate(self.delays):
            kept = min(prompt.shape[2], max(0, length - delay))
            plan[:, k, delay : delay + kept] = prompt[:, k, :kept]
            plan[:, k, : delay + 1] = pad
            plan[:, k, self.frames(length) + delay + 1 :] = pad
        return plan

    def revert(self, columns: torch.Tensor, *, planned: int | None = None) -> torch.Tensor:
        """The whole frames in (B, K, L) columns, aligned again: (B, K, F) with ``F = frames(L)``.

        Args:
            columns: any dtype; the start column first. Fewer columns than planned give the frames that are complete.
            planned: columns of the plan where that is more than L; decides whether the pattern had been left out.
        """
        length = columns.shape[-1]
        skipped = self.is_skipped(length if planned is None else planned)
        frames = max(0, length - 1) if skipped else self.frames(length)
        streams = [columns[:, k, (0 if skipped else d) + 1 :][..., :frames] for k, d in enumerate(self.delays)]
        return torch.stack(streams, dim=1)


def build_delay_pattern_mask(
    input_ids: torch.Tensor, pad_token_id: int, max_length: int, *, codebooks: int, audio_channels: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """The documented method of MusicGen's decoders: the delayed prompt, and the plan of all columns.

    Args:
        input_ids: (B * K, L0) int64, the start column first.
        pad_token_id: the token before and after each codebook's frames.
        max_length: columns in all.

    Returns:
        The prompt (B * K, L0) with delays applied, and the plan (B * K, max_length) with -1 where the model decides.
        With fewer than ``2 * codebooks per channel - 1`` columns the prompt comes back as it was, the plan is all -1.
    """
    pattern = DelayPattern.for_codebooks(codebooks, audio_channels)
    if input_ids.ndim < 2 or input_ids.shape[-1] < 1 or input_ids.numel() % (codebooks * input_ids.shape[-1]):
        raise ParamError(
            f"input_ids of shape {tuple(input_ids.shape)}", expected=f"(rows * {codebooks} codebooks, columns)"
        )
    prompt = input_ids.reshape(-1, codebooks, input_ids.shape[-1])  # (B * K, L0) -> (B, K, L0)
    plan = pattern.build(prompt, max_length, pad_token_id).reshape(-1, max_length)  # (B, K, L) -> (B * K, L)
    if pattern.is_skipped(max_length):
        return prompt.reshape(-1, prompt.shape[-1]), plan
    return plan[:, : pattern.start_column(prompt.shape[-1], max_length)], plan


def apply_delay_pattern_mask(input_ids: torch.Tensor, decoder_pad_token_mask: torch.Tensor) -> torch.Tensor:
    """``input_ids`` (B * K, L) kept where the plan (B * K, at least L) holds -1, and the plan's token elsewhere."""
    plan = decoder_pad_token_mask[..., : input_ids.shape[-1]]
    return torch.where(plan == UNDECIDED, input_ids, plan)
