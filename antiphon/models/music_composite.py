"""A text encoder, a codec and a decoder as one model: all that the documented composites for music share."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from antiphon.errors import ConfigError, ParamError, unknown_argument
from antiphon.generation.config import GenerationConfig
from antiphon.models import registry
from antiphon.models.code_decoder import shift_right
from antiphon.models.configuration import PreTrainedConfig
from antiphon.models.generation_mixin import GenerationMixin
from antiphon.models.pretrained import PreTrainedModel
from antiphon.nn.linear import Linear
from antiphon.outputs import BaseModelOutput

if TYPE_CHECKING:
    from antiphon.models.musicgen_generation import Hearing

log = logging.getLogger(__name__)

_PARTS = ("text_encoder", "audio_encoder", "decoder")


class MusicComposite(PreTrainedModel, GenerationMixin):
    """Text, and what else a family listens to, to music.

    Args:
        config: of the family's class; or the three parts, of which any may also be given beside it.

    Class attributes:
        conditions_accepted: what ``generate`` takes beside text and a sound to go on from.
        routes: arguments of ``forward`` that belong to a part without bearing its name.

    Raises:
        ConfigError: neither a configuration nor all three parts, or parts that do not fit each other.
    """

    base_model_prefix = "encoder_decoder"
    conditions_accepted: ClassVar[tuple[str, ...]] = ()
    routes: ClassVar[dict[str, str]] = {}

    def __init__(
        self,
        config: Any = None,
        text_encoder: Any = None,
        audio_encoder: Any = None,
        decoder: Any = None,
    ) -> None:
        given = {"text_encoder": text_encoder, "audio_encoder": audio_encoder, "decoder": decoder}
        if config is None:
            if any(part is None for part in given.values()):
                raise ConfigError(
                    "Either a configuration has to be provided, or all three of text encoder, audio encoder and "
                    "MusicGen decoder"
                )
            config = self.config_class(**{name: part.config for name, part in given.items()})
        super().__init__(config)
        self._check_memory_width()
        self._warn_of_the_codec()
        # a model for text states stands for T5; anything with `hidden_size` and the same call may take its place
        self.text_encoder = self._part("text_encoder", "text_encoding", text_encoder)
        self.audio_encoder = self._part("audio_encoder", "model", audio_encoder)
        self.decoder = self._part("decoder", "causal_lm", decoder)
        for name, widths in self._projections().items():
            setattr(self, name, Linear(*widths))
        output = getattr(self.text_encoder, "get_output_embeddings", lambda: None)()
        if output is not None:
            raise ConfigError(f"the text encoder {type(self.text_encoder).__name__} has a language model head")
        self.generation_config = GenerationConfig.from_model_config(self.config)
        self.post_init()

    def _check_memory_width(self) -> None:
        stated = getattr(self.config.decoder, "cross_attention_hidden_size", None)
        width = self.config.text_encoder.hidden_size
        if stated is not None and stated != width:
            raise ConfigError(
                f"decoder.cross_attention_hidden_size={stated} and text_encoder.hidden_size={width}", expected="equal"
            )

    def _warn_of_the_codec(self) -> None:
        """A codec that cannot hold what the decoder makes: legal, as in the default configurations, and no music."""
        codec, decoder = self.config.audio_encoder, self.config.decoder
        books = decoder.num_codebooks // decoder.audio_channels
        if codec.codebook_size < decoder.vocab_size or codec.num_quantizers < books:
            log.warning(
                "the codec has %d codebooks of %d codes and the decoder makes %d of %d: they do not belong together",
                codec.num_quantizers,
                codec.codebook_size,
                books,
                decoder.vocab_size,
            )

    def _projections(self) -> dict[str, tuple[int, int]]:
        """Names and widths of the layers between the encoders and the decoder."""
        text, width = self.config.text_encoder.hidden_size, self.config.decoder.hidden_size
        stated = getattr(self.config.decoder, "cross_attention_hidden_size", None)
        return {"enc_to_dec_proj": (text, width)} if text != width and stated is None else {}

    def _part(self, name: str, role: str, given: Any) -> Any:
        config = getattr(self.config, name)
        if given is None:
            given = registry.model_class(config.model_type, role)(config)
        elif given.config is not config and given.config.to_dict() != config.to_dict():
            log.warning("the %s's own configuration is replaced by the composite's", name)
        if config._attn_implementation is None:
            config._attn_implementation = given.config._attn_implementation
        given.config = config  # one object, so that a change is seen from both sides
        return given

    def post_init(self) -> None:
        if self.config._attn_implementation is not None:  # otherwise each part keeps its own
            self.set_attn_implementation(self.config._attn_implementation)
        with torch.no_grad():
            self.initialise()

    def initialise(self) -> None:
        """The projections; the parts have initialised themselves."""
        for layer in (getattr(self, name) for name in self._projections()):
            if not layer.weight.is_meta:
                nn.init.normal_(layer.weight, std=self.config.initializer_factor)
                nn.init.zeros_(layer.bias)

    # parts

    def get_encoder(self, modality: str | None = None) -> Any:
        """The text encoder, or the codec with ``modality="audio"``."""
        return self.audio_encoder if modality == "audio" else self.text_encoder

    def get_decoder(self) -> Any:
        """The decoder."""
        return self.decoder

    def get_audio_encoder(self) -> Any:
        """The codec."""
        return self.audio_encoder

    def get_text_encoder(self) -> Any:
        """The text encoder."""
        return self.text_encoder

    def get_input_embeddings(self) -> nn.Module:
        embedding: nn.Module = self.text_encoder.get_input_embeddings()
        return embedding

    def get_output_embeddings(self) -> nn.Module:
        heads: nn.Module = self.decoder.get_output_embeddings()
        return heads

    def set_output_embeddings(self, new_embeddings: Any) -> None:
        """Replaces the decoder's heads."""
        self.decoder.set_output_embeddings(new_embeddings)

    def resize_token_embeddings(self, new_num_tokens: int | None = None, **kwargs: Any) -> nn.Module:
        raise ParamError(
            "the composite's embeddings belong to its parts",
            fix="Use model.text_encoder.resize_token_embeddings(...)",
        )

    def freeze_text_encoder(self) -> None:
        """Excludes the text encoder from training."""
        self.text_encoder.requires_grad_(False)

    def freeze_audio_encoder(self) -> None:
        """Excludes the codec from training."""
        self.audio_encoder.requires_grad_(False)

    @classmethod
    def from_sub_models_pretrained(
        cls,
        text_encoder_pretrained_model_name_or_path: Any = None,
        audio_encoder_pretrained_model_name_or_path: Any = None,
        decoder_pretrained_model_name_or_path: Any = None,
        *model_args: Any,
        **kwargs: Any,
    ) -> Self:
        """A composite from three checkpoints, or models.

        Args:
            kwargs: ``text_encoder_<name>``, ``audio_encoder_<name>`` and ``decoder_<name>`` go to the loading of that
                part (``text_encoder_model`` takes its place); the rest are fields of the composite's configuration.

        Raises:
            ParamError: a part is missing.
        """
        names = {
            "text_encoder": text_encoder_pretrained_model_name_or_path,
            "audio_encoder": audio_encoder_pretrained_model_name_or_path,
            "decoder": decoder_pretrained_model_name_or_path,
        }
        parts = {}
        for part, name in names.items():
            own = {k.removeprefix(f"{part}_"): kwargs.pop(k) for k in list(kwargs) if k.startswith(f"{part}_")}
            model = own.pop("model", None)
            if model is None:
                if name is None:
                    raise ParamError(f"no {part}", fix=f"Give {part}_pretrained_model_name_or_path or {part}_model")
                model = _load_part(part, name, own)
            parts[part] = model
        config = cls.config_class(**{part: model.config for part, model in parts.items()}, **kwargs)
        return cls(config=config, **parts)

    # one call

    def _routed(self, kwargs: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Further arguments of ``forward`` by the part they belong to."""
        routed: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
        for name, value in kwargs.items():
            part = self.routes.get(name) or next((p for p in _PARTS if name.startswith(f"{p}_")), None)
            if part is None:
                known = [*self.routes, *(f"{p}_..." for p in _PARTS), *type(self).forward.__annotations__]
                raise unknown_argument(name, known, where=f"{type(self).__name__}.forward")
            routed[part][name.removeprefix(f"{part}_")] = value
        return routed

    def project(self, memory: Tensor, padding: Tensor | None) -> Tensor:
        """Text states (B, M, D_text) as the decoder's conditions (B, M, D): projected where widths differ, pads zero.

        The mask comes after the projection, whose bias would make pads visible.
        """
        if hasattr(self, "enc_to_dec_proj"):
            layer: Any = self.enc_to_dec_proj
            memory = layer(memory.to(layer.weight.device))
        return memory if padding is None else memory * padding[..., None].to(memory)

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """Labels (B, T, K) as decoder inputs (B, K, T), one column later."""
        config = self.config.decoder
        start = getattr(config, "decoder_start_token_id", None)
        return shift_right(labels, config.pad_token_id, config.bos_token_id if start is None else start)

    # generation

    @abstractmethod
    def hearing(self, config: Any, given: dict[str, Any], texts: Any, padding: Any, items: int) -> Hearing:
        """What the decoder hears in each window of a piece.

        Args:
            config: of the call. given: its other arguments. texts, padding: the text encoder's outputs, with the mask
                of their places, or ``None``. items: B.
        """

    @torch.no_grad()
    def generate(
        self,
        inputs: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        synced_gpus: bool | None = None,
        streamer: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Music.

        Args:
            inputs: text tokens (B, M), also as ``input_ids``, with ``attention_mask``; or ``inputs_embeds``; or
                ``encoder_outputs``. Nothing at all is unconditional.
            generation_config: instead of the model's own, which is never changed.
            logits_processor, stopping_criteria: lists of callables over ids (B * K, L) and scores (B * K, V); with
                guidance they see the joined scores. streamer: gets the prompt, each step's tokens, and ``end()``.
            kwargs: fields of the generation configuration; ``input_values`` (B, C, N) with ``padding_mask`` (B, N), a
                sound to go on from; ``decoder_input_ids`` (B * K, L0) and ``decoder_attention_mask``;
                ``past_key_values``; with Melody ``input_features`` (B, F, C), the chroma of a melody to follow.
                ``seed``: an int s gives the items seeds s, s + 1, ..., a list one each.
                ``independent_rows=True``: item i is what it would be alone, whatever its neighbours' lengths.
                ``batch_invariant=True``: and bit for bit, each item being computed by itself.
                ``window_seconds`` and ``stride_seconds``: what is longer than a window (the published models know 30
                s) is made in windows, each ``stride_seconds`` (18 of 30) behind the one before.
                ``cache_dtype="int8"``: keys and values in a quarter of float32's memory, and a little less exact.
                ``on_column``: called with each new column (B, K).

        Returns:
            (B * num_return_sequences, C, N) float, or ``GenerateEncoderDecoderOutput``. With ``independent_rows`` and
            prompts of different lengths, rows begin with as much silence as their prompt's padding, and end with zeros.

        Raises:
            ParamError: beams, or a value out of range. ParamTypeError: an unknown argument. NumericError: the model
                gave numbers that are not finite.
        """
        from antiphon.models.musicgen_compose import Asked, generate
        from antiphon.models.musicgen_generation import Callers

        callers = Callers(logits_processor, stopping_criteria, streamer)
        return generate(self, Asked.of(self, inputs, generation_config, callers, kwargs))

    def stream(
        self,
        inputs: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        *,
        chunk_seconds: float = 1.0,
        **kwargs: Any,
    ) -> Iterator[Tensor]:
        """The music of ``generate``, in pieces, each as soon as its tokens are there.

        The pieces in a row are what ``generate`` gives for the same arguments (to the rounding of the codec). A piece
        waits for its own frames, the delay of the codebooks and the look-ahead of the codec: 57 steps for the first
        second of a published model. The model works while a piece is asked for, not before; closing the iterator, or an
        error in a callable, ends the work and frees its memory.

        Args:
            chunk_seconds: length of a piece; the last one may be shorter, and a prompt's sound comes first.
            kwargs: as for ``generate``; ``batch_invariant`` for one item only.

        Returns:
            An iterator over (B * num_return_sequences, C, N) float.

        Raises:
            ParamError: as ``generate``, before the first step; or a codec that decodes whole segments only.
        """
        from antiphon.models.musicgen_compose import Asked
        from antiphon.models.musicgen_generation import Callers
        from antiphon.models.musicgen_stream import stream

        callers = Callers(logits_processor, stopping_criteria)
        with torch.no_grad():
            return stream(self, Asked.of(self, inputs, generation_config, callers, kwargs), chunk_seconds)


def as_encoder_outputs(outputs: Any) -> Any:
    """Encoder outputs given as a tuple, as an output object."""
    if isinstance(outputs, (tuple, list)):
        return BaseModelOutput(*outputs)
    if isinstance(outputs, Tensor):
        return BaseModelOutput(outputs)
    return outputs


def _load_part(part: str, name: Any, kwargs: dict[str, Any]) -> Any:
    from antiphon.models.auto import AutoConfig

    config = kwargs.get("config")
    if not isinstance(config, PreTrainedConfig):
        config = AutoConfig.from_pretrained(name if config is None else config)
    inner = getattr(config, part) if part in config.sub_configs else config
    role = {"text_encoder": "text_encoding", "audio_encoder": "model", "decoder": "causal_lm"}[part]
    if part == "decoder":
        kwargs = {"is_decoder": True, "add_cross_attention": True, **kwargs}
    return registry.model_class(inner.model_type, role).from_pretrained(name, **kwargs)
