"""The documented tokenizers, with access to the Hub."""

from antiphon.text.t5_tokenizer import T5Tokenizer
from antiphon.text.tokenizer import PreTrainedTokenizer

__all__ = ["PreTrainedTokenizer", "T5Tokenizer"]
