"""The documented Moshi classes: the whole model, and its parts under their names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from antiphon.errors import ParamError, unknown_argument
from antiphon.generation.config import GenerationConfig
from antiphon.lm.speech_lm import SpeechLM
from antiphon.lm.zero_token import ZERO
from antiphon.models import registry
from antiphon.models.generation_mixin import GenerationMixin
from antiphon.models.moshi_config import MoshiConfig as MoshiConfig
from antiphon.models.moshi_config import MoshiDepthConfig as MoshiDepthConfig
from antiphon.models.moshi_decoder import MoshiForCausalLM as MoshiForCausalLM
from antiphon.models.moshi_decoder import MoshiModel as MoshiModel
from antiphon.models.moshi_depth import MoshiDepthDecoder as MoshiDepthDecoder
from antiphon.models.moshi_prompts import delayed, encoded
from antiphon.models.pretrained import PreTrainedModel, returned
from antiphon.models.text_generation import check_ids
from antiphon.models.text_model import cache_wanted, initialise_text
from antiphon.nn.linear import Embedding
from antiphon.outputs import MoshiConditionalGenerationOutputWithPast, MoshiUnconditionalInput

_ROUTES = ("audio_encoder_", "depth_decoder_", "decoder_")


class MoshiForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Moshi: it hears a user, speaks, and thinks in text while it does.

    Args:
        config: a ``MoshiConfig``.

    Attributes:
        embed_tokens: 2 K embeddings, of Moshi's codebooks and then of the user's. audio_encoder: the codec.
        decoder: the main decoder, a ``MoshiForCausalLM``. depth_decoder: over the codebooks of a frame.
    """

    config_class = MoshiConfig
    base_model_prefix = "model"

    def __init__(self, config: MoshiConfig) -> None:
        super().__init__(config)
        vocabulary = config.audio_vocab_size or 0
        self.num_codebooks = config.num_codebooks
        self.embed_tokens = nn.ModuleList(
            Embedding(vocabulary + 1, config.hidden_size) for _ in range(2 * config.num_codebooks)
        )
        codec = config.audio_encoder_config
        self.audio_encoder = registry.model_class(codec.model_type, "model")(codec)
        self.decoder = MoshiForCausalLM(config)
        self.depth_decoder = MoshiDepthDecoder(config.depth_decoder_config)
        self.generation_config = GenerationConfig.from_model_config(config)
        self.post_init()

    def initialise(self) -> None:
        initialise_text(self, self.config.initializer_range)

    @property
    def lm(self) -> SpeechLM:
        """The streams' model without the documents' calls: one step over all streams, and the frame's depth."""
        return SpeechLM(
            self.decoder.model.text, self.decoder.lm_head, list(self.embed_tokens), self.depth_decoder.depth
        )

    # parts

    def get_depth_decoder(self) -> MoshiDepthDecoder:
        """The depth decoder."""
        return self.depth_decoder

    def get_decoder(self) -> MoshiForCausalLM:
        """The main decoder."""
        return self.decoder

    def get_audio_encoder(self) -> Any:
        """The codec."""
        return self.audio_encoder

    def get_input_embeddings(self) -> nn.Module:
        return self.decoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.decoder.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.decoder.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: Any) -> None:
        """Replaces the main decoder's head."""
        self.decoder.set_output_embeddings(new_embeddings)

    def freeze_audio_encoder(self) -> None:
        """Excludes the codec from training."""
        self.audio_encoder.requires_grad_(False)

    def freeze_depth_decoder(self) -> None:
        """Excludes the depth decoder from training."""
        self.depth_decoder.requires_grad_(False)

    def get_unconditional_inputs(self, num_samples: int = 1) -> MoshiUnconditionalInput:
        """What a conversation begins with when nothing was said: one column of initial tokens for each row."""
        if isinstance(num_samples, bool) or not isinstance(num_samples, int) or not num_samples >= 1:
            raise ParamError(f"num_samples={num_samples!r}", expected="a positive integer")
        device, books = self.device, self.num_codebooks
        codes = torch.full((num_samples, books, 1), self.config.audio_vocab_size, device=device)
        return MoshiUnconditionalInput(
            input_ids=torch.full((num_samples, 1), self.config.vocab_size, device=device),
            user_audio_codes=codes,
            moshi_audio_codes=codes.clone(),
            attention_mask=torch.ones((num_samples, 1), dtype=torch.int64, device=device),
        )

    # one call

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        user_input_values: Tensor | None = None,
        user_audio_codes: Tensor | None = None,
        moshi_input_values: Tensor | None = None,
        moshi_audio_codes: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        text_labels: Tensor | None = None,
        audio_labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Text logits of the next T columns, and losses.

        Args:
            input_ids: (B, T) int64, the text. Any of the three inputs may be left out, but not all.
            attention_mask: (B, S) over all columns so far, 1 for real ones.
            user_input_values, moshi_input_values: (B, 1, N) samples, which the codec encodes; or user_audio_codes,
                moshi_audio_codes: (B, K, T) int64, as the columns hold them, which have priority.
            past_key_values: a cache, written in place and returned.
            inputs_embeds: (B, T, D), in place of all three inputs.
            text_labels: (B, T) int64, the text itself, which is shifted here; -100 does not count.
            audio_labels: (B, K, T) int64, codes; -100 and the token after the codes do not count. Their codebooks are
                delayed here and not shifted: column t's state predicts codebook 0 of frame t and the others of frame
                t - 1, as the reference has it.
            kwargs: ``decoder_<name>``, ``depth_decoder_<name>`` and ``audio_encoder_<name>`` go to that part's call.

        Returns:
            ``MoshiConditionalGenerationOutputWithPast`` with ``logits`` (B, T, V), or a tuple. ``loss`` is the sum of
            both losses. What is called ``depth_`` is the depth decoder's own.

        Raises:
            ParamError: no inputs, inputs of different lengths, or audio labels without a text.
            ParamTypeError: an unknown argument.
        """
        routed = _routed(kwargs)
        use_cache = cache_wanted(use_cache, audio_labels, past_key_values)
        if inputs_embeds is None:
            own = encoded(self, moshi_input_values, moshi_audio_codes, routed["audio_encoder_"])
            user = encoded(self, user_input_values, user_audio_codes, routed["audio_encoder_"])
            inputs_embeds = self.lm.embed(self._columns(input_ids, own, user))
        out = self.decoder(
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            past_key_values=past_key_values,
            labels=text_labels,
            use_cache=use_cache,
            return_dict=True,
            **{
                "output_attentions": output_attentions,
                "output_hidden_states": output_hidden_states,
                **routed["decoder_"],
            },
        )
        loss, hidden, depth = out.loss, out.last_hidden_state, None
        if audio_labels is not None:
            depth = self._depth(hidden, input_ids, text_labels, audio_labels, routed["depth_decoder_"])
            loss = depth.loss if loss is None else loss + depth.loss
            hidden = hidden.flatten(0, 1)[:, None]  # (B * T, 1, D), as the reference hands it back
        output = MoshiConditionalGenerationOutputWithPast(
            loss=loss,
            logits=out.logits,
            last_hidden_state=hidden,
            past_key_values=out.past_key_values,
            hidden_states=out.hidden_states,
            attentions=out.attentions,
            depth_loss=None if depth is None else depth.loss,
            audio_logits=None if depth is None else depth.logits,
            depth_past_key_values=None if depth is None else depth.past_key_values,
            depth_hidden_states=None if depth is None else depth.hidden_states,
            depth_attentions=None if depth is None else depth.attentions,
        )
        return returned(output, return_dict, self.config)

    def _columns(self, ids: Tensor | None, own: Tensor | None, user: Tensor | None) -> Tensor:
        """(B, 1 + 2 K, T) int64; a stream that was left out says nothing."""
        given = [part for part in (ids, own, user) if part is not None]
        if not given:
            raise ParamError(
                "no inputs", expected="input_ids, user and Moshi audio as codes or samples, or inputs_embeds"
            )
        if len({(len(part), part.shape[-1]) for part in given}) > 1:
            shapes = [tuple(part.shape) for part in given]
            raise ParamError(f"inputs of shapes {shapes}", expected="the same number of rows and of columns in all")
        rows, columns = len(given[0]), given[0].shape[-1]
        if ids is not None:
            check_ids(ids, self.config.vocab_size)
        nothing = torch.full((rows, self.num_codebooks, columns), ZERO, device=self.device)
        streams = [nothing[:, :1] if ids is None else ids[:, None]]
        streams += [nothing if part is None else part for part in (own, user)]
        return torch.cat([stream.to(nothing) for stream in streams], dim=1)

    def _depth(
        self, hidden: Tensor, ids: Tensor | None, text: Tensor | None, codes: Tensor, kwargs: dict[str, Any]
    ) -> Any:
        """The depth decoder's call over all columns, each a sequence of its own."""
        if text is None and ids is None:
            raise ParamError("audio_labels without text", fix="Give text_labels or input_ids too")
        labels = delayed(codes.to(hidden.device), codes.shape[-1] + 1, self.config.audio_vocab_size)[..., :-1]
        told = ids if text is None else text
        if ids is not None and told is not None:  # where no label counts, the depth decoder is told what was said
            told = torch.where(told >= 0, told, ids)
        if told is None or tuple(told.shape) != (len(labels), labels.shape[-1]):
            raise ParamError(
                f"audio_labels of shape {tuple(codes.shape)}",
                expected=f"(rows, {self.num_codebooks}, columns) with the rows and columns of the text",
            )
        labels = labels.transpose(1, 2).flatten(0, 1)  # (B, K, T) -> (B * T, K)
        before = torch.cat([told.reshape(-1, 1).to(labels), labels[:, :-1]], dim=1)
        return self.depth_decoder(
            input_ids=before.clamp(min=ZERO),
            last_hidden_state=hidden.flatten(0, 1)[:, None],
            labels=labels,
            return_dict=True,
            **kwargs,
        )

    @torch.no_grad()
    def generate(  # type: ignore[override]  # the documented arguments
        self,
        input_ids: Tensor | None = None,
        user_input_values: Tensor | None = None,
        user_audio_codes: Tensor | None = None,
        moshi_input_values: Tensor | None = None,
        moshi_audio_codes: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        return_audio_waveforms: bool | None = True,
        return_audio_codes: bool | None = None,
        concat_unconditional_inputs: bool | None = True,
        *,
        user_goes_on: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Moshi's answer: text and speech.

        What the user says while Moshi speaks is a choice. By default it is the documented one: the user falls silent,
        as one frame of zeros that the codec met by itself, again and again. With ``user_goes_on`` the user's input may
        be longer than the other two, and what is longer is heard while Moshi speaks; behind its end the user is silent.
        A user who is listened to while he speaks needs a session, which takes sound as it comes.

        Args:
            input_ids: (B, L) int64, the text so far. user_input_values, moshi_input_values: (B, 1, N) samples, or
                user_audio_codes, moshi_audio_codes: (B, K, L) int64, which have priority: what was said so far. All
                three inputs have one length in columns. Nothing at all is the start of a conversation.
            inputs_embeds: (B, L, D), in place of what is embedded; the codes are needed still.
            return_audio_waveforms, return_audio_codes: what to return beside the text.
            concat_unconditional_inputs: put a column of initial tokens in front; not with ``inputs_embeds``.
            kwargs: fields of the generation configuration, and ``generation_config``; ``attention_mask`` (B, L),
                ``past_key_values``, a cache that may hold the first columns of this very prompt; ``logits_processor``,
                ``stopping_criteria`` and ``streamer`` over the text;
                ``on_column``, called with each new column (B, 1 + 2 K). With ``depth_`` or ``depth_decoder_`` in front
                they go to the depth decoder's ``generate``; by default it is greedy, or as the checkpoint says.
                ``seed``: an int s gives the items seeds s, s + 1, ..., a list one each.

        Returns:
            ``MoshiConditionalGenerationGenerateOutput``; without waveforms and codes the text (B, L) alone, or
            ``GenerateDecoderOnlyOutput`` with ``return_dict_in_generate``. Of F new columns the last two make no whole
            frame: the codebooks come with a delay.

        Raises:
            ParamError: inputs that are missing or of different lengths, or a value out of range. ParamTypeError: an
                unknown argument. NumericError: the model gave numbers that are not finite.
        """
        from antiphon.models.moshi_generation import generate
        from antiphon.models.moshi_prompts import Said

        said = Said(
            input_ids, user_input_values, user_audio_codes, moshi_input_values, moshi_audio_codes, inputs_embeds
        )
        returns = bool(return_audio_waveforms), bool(return_audio_codes)
        return generate(
            self, said, kwargs, returns=returns, initial=bool(concat_unconditional_inputs), goes_on=user_goes_on
        )


def _routed(kwargs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Further arguments of ``forward`` by the prefix of the part that they belong to."""
    routed: dict[str, dict[str, Any]] = {route: {} for route in _ROUTES}
    for name, value in kwargs.items():
        route = next((route for route in _ROUTES if name.startswith(route)), None)
        if route is None:
            known = [*MoshiForConditionalGeneration.forward.__annotations__, *(f"{r}..." for r in _ROUTES)]
            raise unknown_argument(name, known, where="MoshiForConditionalGeneration.forward")
        routed[route][name.removeprefix(route)] = value
    return routed
