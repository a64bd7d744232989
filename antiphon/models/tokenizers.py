"""The documented tokenizers, with access to the Hub."""

from antiphon.text.qwen2_tokenizer import Qwen2Tokenizer, Qwen2TokenizerFast
from antiphon.text.t5_tokenizer import T5Tokenizer
from antiphon.text.tokenizer import PreTrainedTokenizer

__all__ = ["PreTrainedTokenizer", "Qwen2Tokenizer", "Qwen2TokenizerFast", "T5Tokenizer"]
