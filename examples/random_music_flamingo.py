"""Makes a small Music Flamingo checkpoint with random weights: the real architecture, babble for answers.

Run it as ``python examples/random_music_flamingo.py FOLDER [--seed 0]``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from antiphon import (
    MusicFlamingoConfig,
    MusicFlamingoForConditionalGeneration,
    MusicFlamingoProcessor,
    Qwen2Tokenizer,
    WhisperFeatureExtractor,
)

_SENTENCES = (
    "What are the tempo, the key and the genre of this song? It is a slow ballad in A minor with piano and strings.",
    '{"genre": "rock", "tempo_bpm": 120, "key": "E major", "instruments": ["guitar", "drums"], "mood": ["calm"],',
    'structure": [{"start_s": 0, "part": "intro"}, {"start_s": 15, "part": "verse"}, {"start_s": 40, "part": "end"}]}',
    "Describe this recording: how it was produced, how it unfolds, and the mood that it is in. Give the object alone.",
)
_VOCABULARY = 512
_END, _START, _STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_SOUND, _BEGIN, _LAST = "<sound>", "<|sound_bos|>", "<|sound_eos|>"
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% if message.content is string %}"
    "{{ message.content }}{% else %}{% for part in message.content %}{% if part.type == 'audio' %}<sound>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_WINDOW_S, _WINDOWS = 2, 4
_MEL_BANDS = 16
_SPREAD = 2.5  # standard deviation of the logits: a choice, not a certainty


def make(folder: str | os.PathLike[str], *, seed: int = 0) -> Path:
    """Writes the checkpoint (less than 1 MB) and gives its folder; the same seed gives the same checkpoint.

    It hears 8 s at once, in windows of 2 s.
    """
    tokenizer = _tokenizer()
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in (_SOUND, _BEGIN, _LAST, _STOP, _END)}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = MusicFlamingoForConditionalGeneration(_config(len(tokenizer), ids)).eval()
        _shape(model)
    model.generation_config.update(eos_token_id=ids[_STOP], pad_token_id=ids[_END])
    model.save_pretrained(folder)
    extractor = WhisperFeatureExtractor(feature_size=_MEL_BANDS, chunk_length=_WINDOW_S, return_attention_mask=True)
    processor = MusicFlamingoProcessor(
        extractor, tokenizer, chat_template=_TEMPLATE, max_audio_len=_WINDOWS * _WINDOW_S
    )
    processor.save_pretrained(folder)
    (Path(folder) / "README.md").write_text("---\nlicense: apache-2.0\n---\nRandom weights: babble, not answers.\n")
    return Path(folder)


def _tokenizer() -> Qwen2Tokenizer:
    """Bytes, the words of a few sentences, and the tokens with a meaning of their own."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=_VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(_SENTENCES, trainer)
    special = (_END, _START, _STOP, _SOUND, _BEGIN, _LAST)
    backend.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in special])
    return Qwen2Tokenizer(
        tokenizer_object=backend,
        eos_token=_STOP,
        pad_token=_END,
        additional_special_tokens=[_START, _SOUND, _BEGIN, _LAST],
        padding_side="left",
    )


def _config(vocabulary: int, ids: dict[str, int]) -> MusicFlamingoConfig:
    layers = {"num_hidden_layers": 2, "num_attention_heads": 4}
    mel_frames = 100 * _WINDOW_S
    encoder = {
        **layers,
        **{"hidden_size": 40, "intermediate_size": 64, "num_mel_bins": _MEL_BANDS},
        "max_source_positions": mel_frames // 2,
    }
    text = {
        **layers,
        **{"hidden_size": 64, "intermediate_size": 128, "num_key_value_heads": 2, "vocab_size": vocabulary},
        **{"max_position_embeddings": 4096, "eos_token_id": ids[_STOP], "pad_token_id": ids[_END]},
    }
    return MusicFlamingoConfig(
        audio_config=encoder,
        text_config=text,
        audio_token_id=ids[_SOUND],
        audio_bos_token_id=ids[_BEGIN],
        audio_eos_token_id=ids[_LAST],
    )


def _shape(model: MusicFlamingoForConditionalGeneration) -> None:
    """Weights at the scale of their inputs' width, so that attention has something to say, and a spread."""
    for name, weight in model.named_parameters():
        if weight.ndim >= 2:
            weight.normal_(std=1.0 if "embed_tokens" in name else 1.5 * weight[0].numel() ** -0.5)
    ids = torch.randint(0, 256, (1, 64))
    model.lm_head.weight *= _SPREAD / model(input_ids=ids).logits.std()


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a small Music Flamingo checkpoint with random weights.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = make(arguments.folder, seed=arguments.seed)
    print(f"{folder}: a Music Flamingo checkpoint with random weights (babble, not answers)")


if __name__ == "__main__":
    main()
