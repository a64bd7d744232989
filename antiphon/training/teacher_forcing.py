"""Codes under their conditions, predicted column by column from the true columns before: what a music model learns."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.errors import ParamError
from antiphon.generation.delays import DelayPattern
from antiphon.lm.stream_loss import IGNORED, stream_losses
from antiphon.models.code_decoder import CodeDecoderForCausalLM
from antiphon.models.music_composite import MusicComposite
from antiphon.models.musicgen_generation import special_tokens
from antiphon.models.musicgen_melody_conditions import check_melody, melody_prefix, null_melody, own_text_places
from antiphon.training.objective import Batch


class TeacherForcing(nn.Module):
    """A music model in training: a batch of codes and conditions to the losses of its streams.

    The columns are those of generation: delayed codebooks, the token of the model's generation configuration before and
    behind them. A row whose condition is dropped hears what guidance's unconditional rows hear. Texts of unequal length
    change nothing: each row is what it would be alone.

    Args:
        music: a composite of either family; or its decoder, which then hears ``text_states`` of its own width.
        train_text_encoder: learn the text encoder along; otherwise it is frozen and in evaluation mode.
        stream_weights: factors on the streams' losses in their sum, by default 1 each.

    Its modules are the parts that take part; the codec is none of them.
    """

    def __init__(
        self,
        music: MusicComposite | CodeDecoderForCausalLM,
        *,
        train_text_encoder: bool = False,
        stream_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self._music = (music,)  # in a tuple, so that the codec is no module of this one
        self.train_text_encoder = train_text_encoder
        self.stream_weights = stream_weights
        self.alone = isinstance(music, CodeDecoderForCausalLM)
        if isinstance(music, CodeDecoderForCausalLM):
            if train_text_encoder:
                raise ParamError("train_text_encoder=True for a decoder alone", expected="a composite")
            self.parts = nn.ModuleDict({"decoder": music})
        else:
            music.freeze_audio_encoder()
            music.text_encoder.requires_grad_(train_text_encoder)
            self.parts = nn.ModuleDict({n: m for n, m in music.named_children() if n != "audio_encoder"})
        decoder = self.decoder.config
        pattern = DelayPattern.for_codebooks(decoder.num_codebooks, decoder.audio_channels)
        self.pattern = DelayPattern(pattern.delays)  # whole frames have room for their delays
        _, self.pad = special_tokens(music.generation_config, decoder.vocab_size)

    @property
    def music(self) -> Any:
        """The model itself."""
        return self._music[0]

    @property
    def decoder(self) -> Any:
        """Its decoder, with heads."""
        return self.music if self.alone else self.music.decoder

    def train(self, mode: bool = True) -> TeacherForcing:
        """Training mode for what is trained."""
        super().train(mode)
        if not self.alone and not self.train_text_encoder:
            self.music.text_encoder.eval()
        return self

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The summed cross-entropies of a batch.

        Args:
            batch: ``codes`` (B, K, F) int64, of which ``frames`` (B,) are a row's own (all by default), the columns
                counted from ``first`` (B,) (0 by default). The text:
                ``input_ids`` (B, M), or ``text_states`` (B, M, D), the text encoder's; ``attention_mask`` (B, M), 1 for
                real places; neither of them: no text. For Melody ``input_features`` (B, F', C), chroma from where the
                codes begin, with ``input_features_mask`` (B, F'). ``dropped`` (B,) bool: rows without conditions;
                ``melody_dropped`` (B,) bool: rows without a melody.

        Returns:
            Their weighted sum, a scalar that gradients follow, and the sum of each stream (K,), detached; both float32.

        Raises:
            ParamError: shapes that do not fit each other or the model.
        """
        return self.losses_of(*self.last_states(batch))

    def last_states(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The decoder's last states (B, T, D) for a batch as of ``forward``, and the labels (B, K, T) of its heads."""
        codes = self._codes(batch)
        columns, labels = self._columns(codes, batch.get("frames"))
        states, mask = self._text(batch, len(codes))
        own = self._places(batch, columns.shape[-1])
        if not self.decoder.model.cross_attends:
            return self._behind(columns, *self._front(batch, states, mask), own=own), labels
        out = self.decoder.model(
            columns,
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            position_ids=own,
            use_cache=False,
            return_dict=True,
        )
        return out.last_hidden_state, labels

    def losses_of(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The losses as of ``forward``."""
        return stream_losses(hidden, list(self.decoder.lm_heads), labels, weights=self.stream_weights)

    # columns

    def _codes(self, batch: Batch) -> Tensor:
        codes, streams = batch.get("codes"), self.pattern.streams
        shape = tuple(getattr(codes, "shape", ()))
        if not isinstance(codes, Tensor) or len(shape) != 3 or shape[1] != streams or not shape[2]:
            raise ParamError(f"codes of shape {shape}", expected=f"(rows, {streams}, frames), 1 frame or more")
        return codes

    def _columns(self, codes: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor]:
        """Inputs and labels (B, K, F + delay): every frame is a label once, what is no frame never."""
        rows, streams, length = codes.shape
        columns = self.pattern.columns(length)
        behind = torch.zeros(rows, 1, length, dtype=torch.bool, device=codes.device)
        if frames is not None:
            behind = (torch.arange(length, device=codes.device) >= frames[:, None])[:, None]
        start = codes.new_zeros(rows, streams, 1)

        def plan(codeless: int) -> Tensor:
            own = torch.cat([start, codes.masked_fill(behind, codeless)], dim=2)
            return self.pattern.build(own, columns, codeless)

        return plan(self.pad)[..., :-1], plan(IGNORED)[..., 1:]

    def _places(self, batch: Batch, columns: int) -> Tensor | None:
        """The columns' places (B, T), where they do not begin at 0."""
        first = batch.get("first")
        return None if first is None else first[:, None] + torch.arange(columns, device=first.device)

    # conditions

    def _text(self, batch: Batch, rows: int) -> tuple[Tensor | None, Tensor | None]:
        """The text's states (B, M, D) as the decoder takes them, zero where there is none, and its mask (B, M)."""
        mask, states = batch.get("attention_mask"), batch.get("text_states")
        if states is None and batch.get("input_ids") is not None:
            if self.alone:
                raise ParamError("input_ids for a decoder alone", expected="text_states, as wide as the decoder")
            with nullcontext() if self.train_text_encoder else torch.no_grad():
                states = self.music.text_encoder(batch["input_ids"], mask, return_dict=True).last_hidden_state
        if states is None:
            return None, None
        if len(states) != rows:
            raise ParamError(f"{rows} rows of codes and texts of {len(states)}", expected="as many")
        if mask is None:
            mask = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
        if self.alone:
            states = states * mask[..., None].to(states)
        else:
            states = self.music.project(states, mask)
        dropped = batch.get("dropped")
        return states if dropped is None else states.masked_fill(dropped[:, None, None], 0.0), mask

    def _front(self, batch: Batch, text: Tensor | None, mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """What stands in front of Melody's columns (B, P, D), and which places are real (B, P)."""
        if self.alone:
            return text, mask
        codes, width = batch["codes"], self.decoder.config.hidden_size
        like = self.decoder.model.decoder.embeddings[0].weight if text is None else text
        text = like.new_zeros(len(codes), 1, width) if text is None else text
        melody = melody_prefix(self.music, null_melody(len(codes), self.music.config.num_chroma, like=like)).to(text)
        chroma, chroma_mask = batch.get("input_features"), batch.get("input_features_mask")
        if chroma is not None:
            check_melody(self.music, chroma, chroma_mask, len(codes))
            heard = melody_prefix(self.music, chroma.to(text), chroma_mask).to(text)
            dropped = [batch[name] for name in ("dropped", "melody_dropped") if batch.get(name) is not None]
            for rows in dropped:
                heard = torch.where(rows[:, None, None], melody, heard)
            melody = heard
        places = own_text_places(mask)
        if places is not None:
            places = torch.cat([places.new_ones(melody.shape[:2]), places], dim=1)
        return torch.cat([melody, text], dim=1), places

    def _behind(self, columns: Tensor, front: Tensor | None, mask: Tensor | None, own: Tensor | None) -> Tensor:
        """Hidden states (B, T, D) of columns (B, K, T) behind their conditions, at their ``own`` places (B, T) there.

        Pads between the conditions and the columns move to the end of their row, where no column sees them: so places
        are counted without them, and nothing but causality has to be masked.
        """
        length = columns.shape[-1]
        x = self.decoder.model.decoder.embed(columns)
        if front is None:
            return self._states(x, own)
        heard = front.new_full((len(front), 1), front.shape[1], dtype=torch.long) if mask is None else _real(mask)
        at = heard + torch.arange(length, device=x.device)  # (B, T): where a row's columns stand
        x = torch.cat([front.to(x), x], dim=1)  # (B, P + T, D)
        if mask is not None:
            pads = torch.cat([mask == 0, mask.new_zeros(len(mask), length, dtype=torch.bool)], dim=1)
            order = torch.argsort(pads.to(torch.uint8), dim=1, stable=True)
            x = x.gather(1, order[..., None].expand_as(x))
        places = None
        if own is not None:
            places = torch.arange(x.shape[1], device=x.device).repeat(len(x), 1).scatter(1, at, heard + own)
        hidden = self._states(x, places)
        return hidden.gather(1, at[..., None].expand(-1, -1, hidden.shape[-1]))

    def _states(self, embedded: Tensor, places: Tensor | None) -> Tensor:
        out = self.decoder.model(inputs_embeds=embedded, position_ids=places, use_cache=False, return_dict=True)
        hidden: Tensor = out.last_hidden_state
        return hidden


def _real(mask: Tensor) -> Tensor:
    """How many places of each row are real (B, 1)."""
    return (mask != 0).sum(dim=1, keepdim=True)
