"""The documented configuration of Qwen2."""

from __future__ import annotations

from typing import Any, ClassVar

from antiphon.errors import ConfigError
from antiphon.models.configuration import check_activation
from antiphon.models.rotary_config import RotaryConfig

FULL, SLIDING = "full_attention", "sliding_attention"


class Qwen2Config(RotaryConfig):
    """Sizes of a Qwen2; the defaults are the documented ones.

    With ``use_sliding_window`` the layers from ``max_window_layers`` on see ``sliding_window`` columns, their own
    counted, unless ``layer_types`` says which do; without it ``sliding_window`` is ``None``. ``rope_theta`` is the
    older spelling of ``rope_parameters``. A ``head_dim`` is kept and used where a file has one.
    """

    model_type: ClassVar[str] = "qwen2"
    positive: ClassVar[tuple[str, ...]] = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "max_position_embeddings",
        "sliding_window",
    )
    counts: ClassVar[tuple[str, ...]] = ("num_hidden_layers",)

    vocab_size: int = 151936
    hidden_size: int = 4096
    intermediate_size: int = 22016
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = 32
    hidden_act: Any = "silu"
    max_position_embeddings: int = 32768
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    use_cache: bool = True
    tie_word_embeddings: bool = False
    rope_parameters: dict[str, Any] | None = None
    use_sliding_window: bool = False
    sliding_window: int | None = 4096
    max_window_layers: int = 28
    layer_types: list[str] | None = None
    attention_dropout: float = 0.0
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    @property
    def head_width(self) -> int:
        """Of one head."""
        return int(self.get("head_dim") or self.hidden_size // self.num_attention_heads)

    def derive(self) -> None:
        super().derive()
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if not self.use_sliding_window:
            self.sliding_window = None
        if self.layer_types is None and type(self.num_hidden_layers) is int and type(self.max_window_layers) is int:
            first = self.max_window_layers if self.sliding_window is not None else self.num_hidden_layers
            self.layer_types = [SLIDING if layer >= first else FULL for layer in range(self.num_hidden_layers)]

    def validate_architecture(self) -> None:
        super().validate_architecture()
        check_activation(self, "hidden_act", self.hidden_act)
        self._check_heads()
        self._check_windows()
        if not 0 <= self.attention_dropout <= 1:
            raise ConfigError(f"Qwen2Config.attention_dropout={self.attention_dropout}", expected="0 to 1")
        for field in ("rms_norm_eps", "initializer_range"):
            if not getattr(self, field) >= 0:
                raise ConfigError(f"Qwen2Config.{field}={getattr(self, field)}", expected="0 or more")
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            raise ConfigError(
                f"Qwen2Config.pad_token_id={self.pad_token_id}", expected=f"None, or 0 to {self.vocab_size - 1}"
            )
        scaling = self.get("rope_scaling")
        if scaling is not None and scaling != self.rope_parameters:
            raise ConfigError(f"Qwen2Config.rope_scaling={scaling!r}", expected="None: plain rotary positions")

    def _check_heads(self) -> None:
        heads, given = self.num_attention_heads, self.get("head_dim")
        if given is not None and not (type(given) is int and given > 0):
            raise ConfigError(f"Qwen2Config.head_dim={given!r}", expected="a positive integer")
        if given is None and self.hidden_size % heads:
            raise ConfigError(f"Qwen2Config.num_attention_heads={heads} does not divide hidden_size={self.hidden_size}")
        if heads % (self.num_key_value_heads or heads):
            raise ConfigError(
                f"Qwen2Config.num_key_value_heads={self.num_key_value_heads} does not divide "
                f"num_attention_heads={heads}"
            )
        if self.head_width % 2:
            raise ConfigError(f"Qwen2Config: heads of width {self.head_width}", expected="an even width")

    def _check_windows(self) -> None:
        kinds = self.layer_types or []
        if len(kinds) != self.num_hidden_layers or not set(kinds) <= {FULL, SLIDING}:
            raise ConfigError(
                f"Qwen2Config.layer_types={kinds}",
                expected=f"{self.num_hidden_layers} times {FULL!r} or {SLIDING!r}, one for each layer",
            )
        if SLIDING in kinds and self.sliding_window is None:
            raise ConfigError(
                f"Qwen2Config.layer_types has {SLIDING!r} and there is no window",
                expected="use_sliding_window=True and a sliding_window",
            )
