"""A training job as it runs: the model, the data and the loop that a TOML file asks for."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from antiphon.errors import ConfigError, MissingExtraError
from antiphon.models.auto import AutoModel
from antiphon.models.encodec import EncodecModel
from antiphon.training import job_model
from antiphon.training.adapter import adapted
from antiphon.training.answer_forcing import PARTS
from antiphon.training.asked_sounds import AskedSounds, answered
from antiphon.training.codec import CodecObjective
from antiphon.training.coded_folder import CodedFolder
from antiphon.training.coded_format import is_coded
from antiphon.training.coded_music import CodedMusic
from antiphon.training.coder import Coder
from antiphon.training.conversations import Conversations, usable
from antiphon.training.curves import draw_curves
from antiphon.training.discriminator import AdversarySettings
from antiphon.training.encoding import encode_manifest
from antiphon.training.inspection import Inspected, inspect
from antiphon.training.job_file import JobFile
from antiphon.training.listening import ListeningObjective
from antiphon.training.loop import Progress, Trainer
from antiphon.training.manifest import Manifest
from antiphon.training.music import MusicObjective
from antiphon.training.objective import Examples, Objective
from antiphon.training.processes import Processes
from antiphon.training.replacement import Replaced
from antiphon.training.settings import SpeechLossWeights
from antiphon.training.sounds import Sounds
from antiphon.training.speech import SpeechObjective
from antiphon.training.speech_coder import SpeechCoder

log = logging.getLogger(__name__)

Report = Callable[[Progress], None]
# what a model with a processor learns from, and what it is measured on
ExamplesFor = Callable[[Any], tuple[Examples, Examples | None]]
_HELD_OUT_SEED = 20_260_000
_TOLD_EVERY = 200


class Job:
    """A training job.

    Args:
        file: what to do. processes: which of how many this one is, and on what device. tell: is told what goes on
            before the first step. examples: makes those of a listening model for its processor, where the file's
            ``train`` is no data set that is known here. music_objective, listening_objective: make the objective of a
            music model and of a listening one, by the arguments of ``MusicObjective`` and ``ListeningObjective``.
    """

    def __init__(
        self,
        file: JobFile,
        *,
        processes: Processes | None = None,
        tell: Callable[[str], None] = log.info,
        examples: ExamplesFor | None = None,
        music_objective: Callable[..., MusicObjective] = MusicObjective,
        listening_objective: Callable[..., ListeningObjective] = ListeningObjective,
    ) -> None:
        self.file = file
        self._examples = examples
        self._music_objective, self._listening_objective = music_objective, listening_objective
        self.processes = processes or Processes()
        self.device = self.processes.device
        self.folder = file.path(file.folder)
        self._tell: Callable[[str], object] = tell if self.processes.first else log.debug

    def run(self, *, until: int | None = None, report: Report | None = None) -> Path:
        """Trains, or goes on, and gives the folder of the checkpoint: ``best``, or the run's where it has not ended.

        Raises:
            ConfigError: parts that do not fit each other.
            NumericError: a loss or gradient is not finite. DataError: too much of the data is bad.
        """
        builders = {
            "codec": self._codec,
            "music": self._music,
            "speech": self._speech,
            "listening": self._listening,
        }
        objective, examples, held_out = builders[self.file.objective]()
        trainer = Trainer(
            objective,
            examples,
            self.file.run,
            self.folder,
            held_out=held_out,
            processes=self.processes,
            report=report,
        )
        trainer.run(until)
        if self.processes.first:
            with contextlib.suppress(MissingExtraError):  # the record says it all without a picture
                draw_curves(trainer.folder / "metrics.jsonl", self.folder / "curves.png", title=self.folder.name)
        best = self.folder / "best"
        return best if best.is_dir() else self.folder

    # a codec

    def _codec(self) -> tuple[Objective, Examples, Examples | None]:
        section, data, file = self.file.model, self.file.data, self.file
        if section.start is not None:
            codec = EncodecModel.from_pretrained(job_model.place(file, section.start), dtype=torch.float32)
        else:
            torch.manual_seed(file.run.seed)
            codec = AutoModel.from_config(job_model.stated(file))
        if not isinstance(codec, EncodecModel):
            raise ConfigError(f"a model of type {codec.config.model_type!r}", expected="encodec")
        if file.codec.only_decoder and section.start is None:
            raise ConfigError("only_decoder of a codec from nothing", expected="[model] start, a trained codec")
        objective = CodecObjective(
            codec,
            weights=file.codec,
            quantise_from=file.codec.quantise_from,
            only_decoder=file.codec.only_decoder,
            processes=self.processes,
            adversary=None if file.codec.adversary_from is None else AdversarySettings(start=file.codec.adversary_from),
        )
        train, held_out = self._inspected(channels=codec.config.audio_channels)

        def sounds(inspected: Inspected, gain_db: tuple[float, float]) -> Sounds:
            return Sounds(
                inspected,
                rate_hz=codec.config.sampling_rate,
                channels=codec.config.audio_channels,
                seconds=data.seconds,
                gain_db=gain_db,
            )

        measured = None if held_out is None else Replaced(sounds(held_out, (0.0, 0.0)))
        return objective, Replaced(sounds(train, data.gain_db)), measured

    # a language model

    def _music(self) -> tuple[Objective, Examples, Examples | None]:
        file = self.file
        model, processor = job_model.composite(file)
        model.to(self.device)
        if file.model.train_text_encoder and file.lora is not None:
            raise ConfigError("train_text_encoder with [lora]", expected="one of them")
        train, held_out = self._coded(model, processor)
        self._add_adapter(model)
        objective = self._music_objective(
            model,
            train_text_encoder=file.model.train_text_encoder,
            weight_decay=file.run.weight_decay,
            codebook_weights=file.music.codebook_weights,
            processor=processor,
        )
        return objective, train, held_out

    def _coded(self, model: Any, processor: Any) -> tuple[Examples, Examples | None]:
        """The data as codes, made where they are not yet there."""
        data, tokenizer = self.file.data, processor.tokenizer
        if is_coded(self.file.path(data.train)):
            return self._coded_before(tokenizer)
        states = not self.file.model.train_text_encoder
        coder = Coder(model, processor, text_states=states, separated=data.separate)

        def music(inspected: Inspected, *, drops: bool) -> Replaced:
            encoded = encode_manifest(
                inspected,
                self._cache(),
                coder,
                batch=4,
                workers=max(1, self.file.run.workers),
                progress=self._counted("encoded"),
            )
            return self._passages(encoded.folder, encoded.keys, tokenizer, drops=drops)

        train, held_out = self._inspected(channels=None)
        return music(train, drops=True), None if held_out is None else music(held_out, drops=False)

    def _coded_before(self, tokenizer: Any) -> tuple[Examples, Examples | None]:
        """Data that is codes already."""
        data = self.file.data
        folder = other = CodedFolder(self.file.path(data.train))
        keys = folder.keys()
        if data.held_out is not None:
            other = CodedFolder(self.file.path(data.held_out))
            learnt, kept = keys, other.keys()
        else:
            learnt, kept = ([keys[place] for place in places] for places in _split(len(keys), data.held_out_share))
        train = self._passages(folder, learnt, tokenizer, drops=True)
        return train, self._passages(other, kept, tokenizer, drops=False) if kept else None

    def _passages(self, folder: CodedFolder, keys: list[str], tokenizer: Any, *, drops: bool) -> Replaced:
        """Some items of a folder, with their texts read by the tokenizer where there are no states of them."""
        data = self.file.data
        music = CodedMusic(
            folder,
            keys=keys,
            seconds=data.seconds,
            from_start=data.from_start,
            keep_places=data.keep_places,
            tokenizer=None if folder.format.text_width else tokenizer,
            condition_dropout=data.condition_dropout if drops else 0.0,
            melody_dropout=data.melody_dropout if drops else 0.0,
            word_dropout=data.word_dropout if drops else 0.0,
        )
        return Replaced(music)

    # a speech model

    def _speech(self) -> tuple[Objective, Examples, Examples | None]:
        file = self.file
        model, tokenizer = job_model.moshi(file)
        model.to(self.device)
        train, held_out = self._inspected(channels=None, kind=usable)
        coder = SpeechCoder(model)

        def conversations(inspected: Inspected) -> Replaced:
            encoded = encode_manifest(
                inspected, self._cache(), coder, batch=2, workers=1, progress=self._counted("encoded")
            )
            return Replaced(
                Conversations(
                    encoded.folder,
                    root=inspected.manifest.root,
                    keys=encoded.keys,
                    seconds=file.data.seconds,
                    tokenizer=tokenizer,
                    speaker=file.speech.speaker,
                )
            )

        examples, measured = conversations(train), None if held_out is None else conversations(held_out)
        self._add_adapter(model)
        weights = SpeechLossWeights(file.speech.first_codebook, file.speech.text_padding)
        objective = SpeechObjective(model, weights=weights, weight_decay=file.run.weight_decay, tokenizer=tokenizer)
        return objective, examples, measured

    # a listening model

    def _listening(self) -> tuple[Objective, Examples, Examples | None]:
        file, section = self.file, self.file.listening
        model, processor = job_model.flamingo(file)
        model.to(self.device)
        if self._examples is not None:
            examples, measured = self._examples(processor)
        else:
            train, held_out = self._inspected(channels=None, kind=answered)

            def asked(inspected: Inspected) -> Replaced:
                data = file.data
                return Replaced(
                    AskedSounds(
                        inspected,
                        processor,
                        seconds=data.seconds,
                        from_start=data.from_start,
                        turns=section.turns,
                        learn_questions=section.learn_questions,
                    )
                )

            examples, measured = asked(train), None if held_out is None else asked(held_out)
        self._add_adapter(model)
        objective = self._listening_objective(
            model,
            # adapters have frozen all the rest
            learn=PARTS if section.learn is None or file.lora is not None else section.learn,
            weight_decay=file.run.weight_decay,
            processor=processor,
        )
        return objective, examples, measured

    # shared

    def _add_adapter(self, model: Any) -> None:
        """Gives the model the adapter that the file asks for, if it does."""
        lora = self.file.lora
        if lora is None:
            return
        rank = {"r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout}
        model.add_adapter({**rank, **adapted(model, self.file)})

    def _inspected(
        self, *, channels: int | None, kind: Callable[[Inspected], Inspected] = lambda found: found
    ) -> tuple[Inspected, Inspected | None]:
        """The good items to learn from, and those to measure on; ``kind`` takes out what is of no use."""
        data = self.file.data
        train = self._looked_at(data.train, channels, kind)
        if data.held_out is not None:
            return train, self._looked_at(data.held_out, channels, kind)
        learnt, kept = _split(len(train), data.held_out_share)
        return train.chosen(learnt), train.chosen(kept) if len(kept) else None

    def _looked_at(self, name: str, channels: int | None, kind: Callable[[Inspected], Inspected]) -> Inspected:
        self._cache().mkdir(parents=True, exist_ok=True)
        found = inspect(
            Manifest.read(self.file.path(name)),
            cache=self._cache() / f"looked-at-{Path(name).name}",
            channels=channels,
            progress=self._counted("looked at"),
        )
        found = kind(found)
        if found.skipped.count:
            self._tell(f"{found.skipped.count} items are left out:\n{found.skipped.report()}")
        return found

    def _counted(self, what: str) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            if done % _TOLD_EVERY == 0 or done == total:
                self._tell(f"{what} {done} of {total} items")

        return tell

    def _cache(self) -> Path:
        return self.folder / "cache" if self.file.data.cache is None else self.file.path(self.file.data.cache)


def _split(items: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Places to learn from and places to measure on, always the same ones."""
    count = min(round(share * items), items - 1)
    shuffled = np.random.default_rng(_HELD_OUT_SEED).permutation(items)
    return np.sort(shuffled[count:]), np.sort(shuffled[:count])
