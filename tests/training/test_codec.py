"""A codec in training: what it starts from, what it follows, and that it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from antiphon import EncodecModel
from antiphon.errors import ConfigError
from antiphon.nn.conv import Conv1d
from antiphon.nn.transposed_conv import ConvTranspose1d
from antiphon.training.codec import CodecLossWeights, CodecObjective, scale_layers, si_sdr_db
from antiphon.training.loop import Trainer
from antiphon.training.settings import RunSettings

from .jobs import Tones, codec, record, trainer


class TwoTones(Tones):
    """The same two sounds each time."""

    items = 2

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Tensor]:
        return super().example(7 * index, np.random.default_rng(index))


def sounds() -> Tensor:
    return TwoTones().collate([TwoTones().example(index, np.random.default_rng(0)) for index in (0, 1)])["samples"]


def test_one_batch_is_learned_to_more_than_15_db(tmp_path: Path) -> None:
    model = codec(num_filters=8, hidden_size=16, codebook_size=64, upsampling_ratios=[4, 2], target_bandwidths=[16.0])
    weights = CodecLossWeights(log_mel=0.5, mel=0.4, waveform=3.0)
    objective = CodecObjective(model, weights=weights, quantise_from=40)
    settings = RunSettings(
        steps=150, batch=2, learning_rate=5e-3, warmup_steps=20, betas=(0.8, 0.99), average_decay=0.0, save_every=150
    )
    Trainer(objective, TwoTones(), settings, tmp_path).run()
    assert record(tmp_path)[-1]["si_sdr_db"] > 15
    # what was saved codes and decodes as well: through its codes, by its own ways
    saved = EncodecModel.from_pretrained(tmp_path / "final")
    with torch.no_grad():
        rebuilt = saved.decode(saved.encode(sounds()).audio_codes, [None]).audio_values
    assert float(si_sdr_db(sounds()[:, 0], rebuilt[:, 0, : sounds().shape[-1]]).mean()) > 15


def test_layers_are_scaled_to_what_a_batch_gives() -> None:
    model = codec()
    layers = [module for module in model.modules() if isinstance(module, (Conv1d, ConvTranspose1d))]
    scale_layers(model, sounds())
    given: list[Tensor] = []
    for layer in layers:
        layer.register_forward_hook(lambda _, __, out: given.append(out.detach()))
    model.codec.decoder(model.codec.encoder(sounds().requires_grad_()))
    assert len(given) == len(layers)
    *inner, last = (float(out.std()) for out in given)
    assert inner == pytest.approx([1.0] * len(inner), rel=1e-3)
    assert last == pytest.approx(float(sounds().std()), rel=1e-3)
    assert all(not bool(layer.bias.any()) for layer in layers)


def test_codebooks_are_placed_when_their_step_has_come(tmp_path: Path) -> None:
    run = trainer("codec", tmp_path)
    books = run.objective.upkeep.books
    before = [book.vectors.clone() for book in books]
    run.run(until=2)
    assert all(torch.equal(book.vectors, old) for book, old in zip(books, before, strict=True))
    run.run(until=3)
    assert not any(torch.equal(book.vectors, old) for book, old in zip(books, before, strict=True))
    commitments = [line["commitment"] for line in record(tmp_path)]
    run.run(until=4)
    assert commitments == [0.0] * 3 and record(tmp_path)[-1]["commitment"] > 0


def test_a_codec_that_quantises_from_the_first_step_places_its_codebooks_first() -> None:
    objective = CodecObjective(codec())
    losses = objective.losses({"samples": sounds()})
    assert float(losses.parts["commitment"]) > 0
    assert all(bool(book.vectors.any()) for book in objective.upkeep.books)


def test_losses_are_sums_over_rows() -> None:
    objective = CodecObjective(codec(), quantise_from=5)
    whole = objective.losses({"samples": sounds()})
    each = [objective.losses({"samples": row[None]}) for row in sounds()]
    assert objective.weight({"samples": sounds()}) == 2
    torch.testing.assert_close(whole.total, each[0].total + each[1].total)
    for name, value in whole.parts.items():
        torch.testing.assert_close(value, each[0].parts[name] + each[1].parts[name], rtol=1e-4, atol=1e-4)


def test_the_ratio_of_sound_to_noise_is_the_textbooks() -> None:
    sound = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    noise = torch.tensor([[0.1, 0.1, -0.1, -0.1]])  # at a right angle to it
    assert float(si_sdr_db(sound, sound + noise)) == pytest.approx(20.0, abs=1e-3)
    assert float(si_sdr_db(sound, 3 * (sound + noise))) == pytest.approx(20.0, abs=1e-3)


@pytest.mark.parametrize("fields", [{"normalize": True}, {"chunk_length_s": 1.0, "overlap": 0.01}])
def test_a_codec_of_segments_or_levels_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="takes clips whole"):
        CodecObjective(codec(**fields))


def test_a_codec_without_its_codebooks_is_never_the_best_of_a_run(tmp_path: Path) -> None:
    objective = CodecObjective(codec(), quantise_from=3)
    assert not objective.is_whole()
    run = Trainer(
        objective,
        Tones(),
        RunSettings(steps=4, batch=2, held_out_every=1, held_out_batches=1, watch="mel_db", warmup_steps=0),
        tmp_path,
        held_out=Tones(),
    )
    run.run(until=2)
    assert not (tmp_path / "best").exists()
    run.run()
    assert objective.is_whole()
    assert (tmp_path / "best" / "model.safetensors").exists()
