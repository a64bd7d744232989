"""Text: tokenizers read from ``tokenizer.json`` or SentencePiece files."""
