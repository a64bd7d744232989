"""The base of the documented models: foreign names of tensors, initialisation, saving, and the door to loading."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from antiphon.checkpoints.keys import KeyTable
from antiphon.checkpoints.store import write_weights
from antiphon.errors import CheckpointError, ConfigError, ParamError
from antiphon.models.adapter_places import is_of_adapter
from antiphon.models.adapters import Adapters
from antiphon.models.configuration import PreTrainedConfig
from antiphon.models.quantized import plan_of, rounded_layers
from antiphon.nn.attention import IMPLEMENTATIONS, Attention
from antiphon.nn.linear import lay_side_by_side, stacks_of
from antiphon.nn.transformer import Record, Transformer
from antiphon.outputs import ModelOutput

log = logging.getLogger(__name__)


def recorded(config: PreTrainedConfig, hidden_states: bool | None, attentions: bool | None) -> Record:
    """What a call has to keep, the configuration deciding what the call leaves open."""
    return Record.of(
        hidden_states=bool(config.output_hidden_states if hidden_states is None else hidden_states),
        attentions=bool(config.output_attentions if attentions is None else attentions),
    )


def returned(output: ModelOutput, return_dict: bool | None, config: PreTrainedConfig) -> Any:
    """The output, or its tuple where the call or the configuration asks for one."""
    wanted = config.use_return_dict if return_dict is None else return_dict
    return output if wanted else output.to_tuple()


class PreTrainedModel(Adapters):
    """Base of the documented models.

    Inside, tensors have our names; ``state_dict``, ``load_state_dict`` and files speak the documents' names. What they
    hold as one stack and we as several tensors is copied for a state dict.

    Class attributes:
        config_class: its configuration. key_table: their names and ours (an instance may replace it).
        file_keys: names in files and the documents' names, where these changed after files had been published.
        sections: ``{model_type of a composite: (section of its configuration, prefix of the tensors)}`` this model can
            be loaded out of. nested_prefixes: prefixes under which files of larger models hold it.
        relatives: ``{model_type: role}`` of checkpoints that the documents open by this class and that are another's.
        ignored_keys: patterns of names that files may hold and this model has no use for.
        keep_in_fp32: parts whose weights stay float32 in a float16 model.
        rounded_heads: heads that are one linear layer each, and are rounded where weights are.

    Raises:
        ConfigError: ``config`` is of another class.
    """

    config_class: ClassVar[type[PreTrainedConfig]]
    base_model_prefix: ClassVar[str] = ""
    main_input_name: ClassVar[str] = "input_ids"
    supports_gradient_checkpointing: ClassVar[bool] = True
    key_table: KeyTable = KeyTable()
    file_keys: ClassVar[KeyTable] = KeyTable()
    sections: ClassVar[dict[str, tuple[str, str]]] = {}
    nested_prefixes: ClassVar[tuple[str, ...]] = ()
    relatives: ClassVar[dict[str, str]] = {}
    ignored_keys: ClassVar[tuple[str, ...]] = ()
    keep_in_fp32: ClassVar[tuple[str, ...]] = ()
    rounded_heads: tuple[str, ...] = ()

    def __init__(self, config: Any) -> None:
        super().__init__()
        if not isinstance(config, self.config_class):
            raise ConfigError(
                f"{type(self).__name__} got a config of class {type(config).__name__}",
                expected=self.config_class.__name__,
            )
        config.validate()
        self.config: Any = config
        self.register_state_dict_post_hook(_to_their_names)
        self.register_load_state_dict_pre_hook(_to_our_names)

    def post_init(self) -> None:
        """Initialises what the constructor made; loaders build on ``meta`` and skip it."""
        if not any(p.is_meta for p in self.parameters()):
            with torch.no_grad():
                self.initialise()
        self.set_attn_implementation(self.config._attn_implementation or "sdpa")

    def initialise(self) -> None:
        """Fills the weights of a new model."""

    # where and what it is

    @property
    def device(self) -> torch.device:
        """Of the first parameter."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the first floating point parameter."""
        return next(p.dtype for p in self.parameters() if p.is_floating_point())

    @property
    def base_model(self) -> nn.Module:
        """The model without its head."""
        return getattr(self, self.base_model_prefix, self)

    def num_parameters(self, only_trainable: bool = False) -> int:
        """Parameters, each counted once; weights in 8 or 4 bits count too, though none of them can be trained."""
        rounded = 0 if only_trainable else sum(m.in_features * m.out_features for m in rounded_layers(self))
        return rounded + sum(p.numel() for p in self.parameters() if p.requires_grad or not only_trainable)

    def get_memory_footprint(self, return_buffers: bool = True) -> int:
        """Bytes of the parameters, of weights in 8 or 4 bits, and of the other buffers where asked for."""
        rounded = [t for layer in rounded_layers(self) for t in (layer.codes, layer.scales)]
        tensors = [*self.parameters(), *(self.buffers() if return_buffers else rounded)]
        return sum(t.numel() * t.element_size() for t in tensors)

    @classmethod
    def can_generate(cls) -> bool:
        """Whether ``generate`` exists."""
        return hasattr(cls, "generate")

    # embeddings

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of the input tokens."""
        raise ParamError(f"{type(self).__name__} has no input embeddings")

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces it."""
        raise ParamError(f"{type(self).__name__} has no input embeddings")

    def get_output_embeddings(self) -> nn.Module | None:
        """The output layer, where there is one."""
        return None

    def resize_token_embeddings(self, new_num_tokens: int | None = None, **kwargs: Any) -> nn.Module:
        """Gives the token embedding ``new_num_tokens`` rows; new rows are random around the mean of the old.

        Returns:
            The embedding; ``None`` as the count changes nothing.
        """
        old = self.get_input_embeddings()
        if new_num_tokens is None or not isinstance(old, nn.Embedding) or new_num_tokens == old.num_embeddings:
            return old
        if isinstance(new_num_tokens, bool) or not new_num_tokens >= 1:
            raise ParamError(f"new_num_tokens={new_num_tokens}", expected="a positive integer")
        kept = min(new_num_tokens, old.num_embeddings)
        new = type(old)(new_num_tokens, old.embedding_dim, device=old.weight.device, dtype=old.weight.dtype)
        with torch.no_grad():
            nn.init.normal_(new.weight, std=float(old.weight.float().std()))
            new.weight += old.weight.mean(0)
            new.weight[:kept] = old.weight[:kept]
        self.set_input_embeddings(new)
        self.config.update({"vocab_size": new_num_tokens})
        return new

    # how it computes

    def set_attn_implementation(self, implementation: str | dict[str, str]) -> None:
        """Chooses how attention is computed: ``"eager"``, ``"sdpa"``, ``"flash_attention_2"``, or one a sub-model.

        ``flash_attention_2`` is the flash kernel inside ``scaled_dot_product_attention``: CUDA, half precision only.

        Raises:
            ParamError: the name is unknown, or its kernel cannot run here.
        """
        if isinstance(implementation, dict):
            for name, choice in implementation.items():
                part = getattr(self, name, None) if name else self
                if not isinstance(part, PreTrainedModel):
                    raise ParamError(f"attn_implementation names {name!r}", expected="a sub-model")
                part.set_attn_implementation(choice)
            return
        if implementation not in IMPLEMENTATIONS:
            raise ParamError(f"attn_implementation={implementation!r}", expected=f"one of {IMPLEMENTATIONS}")
        if implementation == "flash_attention_2" and not torch.cuda.is_available():
            raise ParamError(
                "attn_implementation='flash_attention_2' without a CUDA device",
                expected="a CUDA device and float16 or bfloat16",
                fix="Use attn_implementation='sdpa'",
            )
        for module in self.modules():
            if isinstance(module, Attention):
                module.implementation = implementation
            if isinstance(module, PreTrainedModel):
                module.config._attn_implementation = implementation

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any] | None = None) -> None:
        """Recomputes each layer in the backward pass instead of keeping what it computed."""
        self._set_checkpointing(True)

    def gradient_checkpointing_disable(self) -> None:
        """Keeps everything again."""
        self._set_checkpointing(False)

    def _set_checkpointing(self, on: bool) -> None:
        for module in self.modules():
            if isinstance(module, Transformer):
                module.gradient_checkpointing = on

    def makes_cache(self, use_cache: bool | None) -> bool:
        """Whether a call that was given no cache makes one: as ``use_cache`` or the configuration says, and never where
        layers are computed a second time."""
        wanted = bool(self.config.use_cache if use_cache is None else use_cache)
        return wanted and not (self.training and self.is_gradient_checkpointing)

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether any stack recomputes."""
        return any(m.gradient_checkpointing for m in self.modules() if isinstance(m, Transformer))

    def lay_out(self) -> None:
        """Moves weights that are read together into one storage; a step then reads each group at once."""
        for group in stacks_of(self):
            lay_side_by_side(group)

    # names

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Loads tensors under the documents' names, or those that files have.

        Raises:
            CheckpointError: with ``strict``, names that are missing or unknown; always, shapes that differ.
        """
        state_dict = {new: state_dict[old] for old, new in self.documented_names(state_dict).items()}
        have = {name: tuple(t.shape) for name, t in self.state_dict().items()}
        given = {name: tuple(t.shape) for name, t in state_dict.items()}
        report(have, given, where=type(self).__name__, strict=strict, ignored=self.ignored_keys)
        kept = {name: t for name, t in state_dict.items() if name in have}
        return super().load_state_dict(kept, strict=False, assign=assign)

    # files

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *model_args: Any,
        config: PreTrainedConfig | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """A model with the weights of a checkpoint, in evaluation mode.

        Args:
            pretrained_model_name_or_path: a folder, or a name on the Hub.
            config: use this configuration instead of the checkpoint's.
            kwargs: ``revision, subfolder, variant, token, cache_dir, local_files_only, force_download,
                use_safetensors`` say which files; ``dtype`` (``"auto"``, a name or a torch dtype; ``torch_dtype`` is
                its old spelling), ``device``, ``device_map`` (a device, ``"auto"`` or a dict of prefixes),
                ``attn_implementation``, ``strict``, ``ignore_mismatched_sizes``, ``output_loading_info`` say how;
                ``quantize="int8"`` or ``"int4"`` (also as ``load_in_8bit``, ``load_in_4bit`` or a
                ``quantization_config``) keeps the linear layers of attention, feed-forward parts and heads in that many
                bits, heads always in 8, and computes in float32 on a CPU unless ``dtype`` says otherwise;
                ``copy`` whether weights get memory of their own (``True``) or are seen
                through the file (``False``; by default only files in the Hub's cache are, which nobody changes in
                place); ``low_cpu_mem_usage`` is accepted and always on. Names of configuration fields override them.
                Anything else is an error.

        Returns:
            The model; with ``output_loading_info`` also a dict of missing, unexpected and mismatched names.

        Raises:
            CheckpointError: missing, damaged or unsafe files, or weights that do not fit.
            ConfigError: a configuration that no model can be built from. CapacityError: it would not fit into memory.
        """
        from antiphon.models.loading import load

        if model_args:
            raise ParamError(f"{len(model_args)} positional arguments after the checkpoint", fix="Pass them by keyword")
        loaded: Self = load(cls, pretrained_model_name_or_path, config=config, **kwargs)
        return loaded

    @classmethod
    def from_config(cls, config: PreTrainedConfig, **kwargs: Any) -> Self:
        """A new model with random weights; ``dtype`` and ``attn_implementation`` as in ``from_pretrained``."""
        from antiphon.models.loading import build

        built: Self = build(cls, config, **kwargs)
        return built

    _from_config = from_config

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *,
        state_dict: dict[str, Tensor] | None = None,
        max_shard_size: int | str = "5GB",
        safe_serialization: bool = True,
        variant: str | None = None,
        is_main_process: bool = True,
        push_to_hub: bool = False,
    ) -> None:
        """Writes ``config.json``, ``generation_config.json`` where there is one, and the weights.

        Every file is complete or absent. Adapters are not written (``save_adapter`` does that), unless they are merged
        into the weights. ``transformers`` opens the folder, unless weights are in 8 or 4 bits: these
        are written as they are, with a ``quantization_config`` that says so, and ``from_pretrained`` opens them with
        no argument. ``safe_serialization=False`` writes a pickle. ``push_to_hub=True`` is refused: upload the folder
        with ``huggingface_hub``.

        Raises:
            CheckpointError: the folder cannot be written. ParamError: layers rounded in ways that no loader looks for.
        """
        if push_to_hub:
            raise ParamError("push_to_hub=True", fix="Save, then run: huggingface-cli upload <repo> <folder>")
        if not is_main_process:
            return
        plan = plan_of(self)
        folder = _folder_to_save_into(save_directory)
        tensors = self.tensors_to_save() if state_dict is None else dict(state_dict)
        tensors = {new: tensors[old] for old, new in self.file_names(tensors).items()}
        self.config.architectures = [type(self).__name__]
        self.config.dtype = self.dtype
        for _, model in self.named_models():  # what they say is of the checkpoint that they came from
            vars(model.config).pop("quantization_config", None)
        if plan is not None:
            self.config.quantization_config = plan.to_dict()
        write_weights(
            folder, tensors, max_shard_size=max_shard_size, safe_serialization=safe_serialization, variant=variant
        )
        self.config.save_pretrained(folder)
        generation_config = getattr(self, "generation_config", None)
        if generation_config is not None:
            generation_config.save_pretrained(folder)

    def tensors_to_save(self) -> dict[str, Tensor]:
        """The state dict with tensors that have two names written once, and without those of adapters."""
        second = {name for prefix, model in self.named_models() for name in _prefixed(prefix, model.key_table.aliases)}
        tensors = {name: t.detach() for name, t in self.state_dict().items() if name not in second}
        return {name: t for name, t in tensors.items() if not is_of_adapter(name)}

    def documented_names(self, stored: Iterable[str]) -> dict[str, str]:
        """The documents' names of tensors, by the names that files have for them."""
        return self._renamed(stored, lambda table, name: table.ours(name), outermost_first=True)

    def file_names(self, documented: Iterable[str]) -> dict[str, str]:
        """The names in files of tensors, by the documents' names."""
        return self._renamed(documented, lambda table, name: table.theirs(name), outermost_first=False)

    def _renamed(
        self, names: Iterable[str], rename: Callable[[KeyTable, str], str], *, outermost_first: bool
    ) -> dict[str, str]:
        """Each name as the documented models that it is of rename it, one after the other."""
        models = sorted(self.named_models(), key=lambda part: len(part[0]), reverse=not outermost_first)
        out = {}
        for name in names:
            renamed = name
            for prefix, model in models:
                if renamed.startswith(prefix):
                    renamed = prefix + rename(model.file_keys, renamed[len(prefix) :])
            out[name] = renamed
        return out

    def named_models(self) -> list[tuple[str, PreTrainedModel]]:
        """This model and the documented models inside it, each with the prefix of its tensors."""
        found = [(n + "." if n else "", m) for n, m in self.named_modules() if isinstance(m, PreTrainedModel)]
        return found


def _folder_to_save_into(name: str | os.PathLike[str]) -> Path:
    folder = Path(name)
    try:
        if folder.exists() and not folder.is_dir():
            raise CheckpointError(f"{folder} is a file", expected="a folder to save into")
        folder.mkdir(parents=True, exist_ok=True)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"the folder {str(folder)[:200]!r} cannot be made: {error.strerror}") from error
    return folder


def _prefixed(prefix: str, names: Any) -> list[str]:
    return [prefix + name for name in names]


def _to_their_names(module: Any, state_dict: dict[str, Any], prefix: str, local_metadata: Any) -> None:
    """State dict hook: renames this module's tensors, stacks what they hold as one, and adds the second names."""
    table: KeyTable = module.key_table
    stacks: dict[str, dict[int, Tensor]] = {}
    for name in [n for n in state_dict if n.startswith(prefix)]:
        inner, tensor = name[len(prefix) :], state_dict.pop(name)
        theirs = table.theirs(inner)
        piece = table.piece(theirs)
        if piece is not None:
            stacks.setdefault(piece[0], {})[piece[1]] = tensor
        elif not table.repeats(inner):
            state_dict[prefix + theirs] = tensor
    for theirs, pieces in stacks.items():
        state_dict[prefix + theirs] = torch.stack([pieces[number] for number in sorted(pieces)])
    for second, first in table.aliases.items():
        if prefix + first in state_dict:
            state_dict[prefix + second] = state_dict[prefix + first]


def _to_our_names(module: Any, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Load hook: the way back."""
    table: KeyTable = module.key_table
    for name in [n for n in state_dict if n.startswith(prefix)]:
        theirs, tensor = name[len(prefix) :], state_dict.pop(name)
        pieces = table.pieces(theirs, len(tensor)) if tensor.dim() else None
        for one, piece in zip(pieces or [theirs], tensor.unbind(0) if pieces else [tensor], strict=True):
            state_dict[prefix + table.ours(one)] = piece


def report(
    have: dict[str, tuple[int, ...]],
    given: dict[str, tuple[int, ...]],
    *,
    where: str,
    strict: bool,
    ignored: tuple[str, ...] = (),
    ignore_mismatched: bool = False,
) -> tuple[list[str], list[str], list[str]]:
    """Compares the names and shapes a model has with those given.

    Returns:
        Missing, unexpected and mismatched names.

    Raises:
        CheckpointError: listing up to five of each kind; without ``strict`` only for mismatched shapes.
    """
    missing = [n for n in have if n not in given]
    unexpected = [n for n in given if n not in have and not any(re.match(pattern, n) for pattern in ignored)]
    mismatched = [n for n in have if n in given and have[n] != given[n]]
    lines = []
    if missing and strict:
        lines.append(_listed("missing", missing))
    if unexpected and strict:
        lines.append(_listed("unexpected", unexpected))
    if mismatched and not ignore_mismatched:
        lines.append(_listed("of another shape", [f"{n}: got {given[n]}, want {have[n]}" for n in mismatched]))
    if lines:
        raise CheckpointError(
            f"the weights do not fit {where}: " + "; ".join(lines),
            fix="Check that the checkpoint is complete and of this model; strict=False accepts missing and extra names",
        )
    for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", mismatched)):
        if names:
            log.warning("%s: %s", where, _listed(kind, names))
    return missing, unexpected, mismatched


def _listed(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{len(names)} {kind} ({', '.join(names[:5])}{more})"
