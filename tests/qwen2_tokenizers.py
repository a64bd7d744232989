"""A tiny Qwen2 tokenizer, trained here, with the tokens of a model that listens, and a chat template of ours."""

from __future__ import annotations

import json
from pathlib import Path

import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import antiphon

SENTENCES = [
    "Describe this track in full detail: tell me the genre, tempo and key.",
    "This energetic track at 150 BPM in E major combines bright synth arpeggios with a punchy beat.",
    "What instruments stand out the most? The drums, the bass guitar and a warm piano.",
    "You are a helpful assistant that listens to music. user assistant system",
]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<sound>", "<|sound_bos|>", "<|sound_eos|>"]

TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant that listens.<|im_end|>\n"
    "{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'audio' %}<sound>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# the same, saying which text is the assistant's
MARKED_TEMPLATE = TEMPLATE.replace(
    "{% if message.content is string %}",
    "{% if message.role == 'assistant' %}{% generation %}{% for part in message.content %}{{ part.text }}{% endfor %}"
    "<|im_end|>{% endgeneration %}\n{% continue %}{% endif %}{% if message.content is string %}",
)


def backend() -> Tokenizer:
    """Bytes, and some merges of them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    words = Regex(r"\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return tokenizer


def reference() -> transformers.Qwen2Tokenizer:
    """The reference's tokenizer on that vocabulary, with a chat template."""
    model = json.loads(backend().to_str())["model"]
    tokenizer = transformers.Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        eos_token="<|im_end|>",
        additional_special_tokens=SPECIAL[1:],
        padding_side="left",
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def write(folder: Path) -> Path:
    """``folder`` with the files of that tokenizer, as the reference writes them."""
    reference().save_pretrained(folder)
    return folder


def ours() -> antiphon.Qwen2Tokenizer:
    """Our tokenizer on that vocabulary."""
    return antiphon.Qwen2Tokenizer(
        tokenizer_object=backend(),
        eos_token="<|im_end|>",
        additional_special_tokens=SPECIAL[1:],
        padding_side="left",
        chat_template=TEMPLATE,
    )
