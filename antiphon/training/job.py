"""A training job as it runs: the model, the data and the loop that a TOML file asks for."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from antiphon.checkpoints.json_files import read_json
from antiphon.errors import ConfigError, MissingExtraError
from antiphon.models import registry
from antiphon.models.auto import AutoConfig, AutoModel, AutoModelForTextToWaveform, AutoProcessor
from antiphon.models.devices import device_of
from antiphon.training.codec import CodecLossWeights, CodecObjective
from antiphon.training.coded_music import CodedMusic
from antiphon.training.coder import Coder
from antiphon.training.curves import draw_curves
from antiphon.training.encoding import encode_manifest
from antiphon.training.inspection import Inspected, inspect
from antiphon.training.job_file import DataSection, JobFile
from antiphon.training.language import MusicObjective
from antiphon.training.loop import Progress, Trainer
from antiphon.training.manifest import Manifest
from antiphon.training.objective import Examples, Objective
from antiphon.training.processes import Processes
from antiphon.training.skipped import Skipped
from antiphon.training.sounds import Sounds

log = logging.getLogger(__name__)

Report = Callable[[Progress], None]
_HELD_OUT_SEED = 20_260_000
_TOLD_EVERY = 200


class Job(contextlib.AbstractContextManager["Job"]):
    """A training job; it is left with ``close``, or as a context.

    Args:
        file: what to do. device: where; CUDA where there is one unless told. tell: is told what goes on before the
            first step.

    Raises:
        ConfigError: parts that do not fit each other.
    """

    def __init__(self, file: JobFile, *, device: Any = None, tell: Callable[[str], None] = log.info) -> None:
        self.file, self._tell = file, tell
        self.processes = Processes()
        default = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = device_of(default if device is None else device)
        self.folder = file.path(file.folder)

    @property
    def leads(self) -> bool:
        """Whether this is the process that reports and writes."""
        return self.processes.rank == 0

    def __exit__(self, *error: object) -> None:
        return None

    def run(self, *, until: int | None = None, report: Report | None = None) -> Path:
        """Trains, or goes on, and gives the folder of the checkpoint: ``best``, or the run's where it has not ended.

        Raises:
            NumericError: a loss or gradient is not finite. DataError: too much of the data is bad.
        """
        build = self._codec if self.file.objective == "codec" else self._music
        objective, examples, held_out = build()
        trainer = Trainer(
            objective,
            examples,
            self.file.run,
            self.folder,
            held_out=held_out,
            processes=self.processes,
            report=report if self.leads else None,
        )
        trainer.run(until)
        if self.leads:
            with contextlib.suppress(MissingExtraError):  # the record says it all without a picture
                draw_curves(trainer.folder / "metrics.jsonl", self.folder / "curves.png", title=self.folder.name)
        best = self.folder / "best"
        return best if best.is_dir() else self.folder

    # a codec

    def _codec(self) -> tuple[Objective, Examples, Examples | None]:
        section, data, file = self.file.model, self.file.data, self.file
        if section.start is not None:
            codec = AutoModel.from_pretrained(self._name(section.start), dtype=torch.float32)
        else:
            codec = AutoModel.from_config(self._config(section.config))
        if codec.config.model_type not in registry.model_types() or not hasattr(codec, "codec"):
            raise ConfigError(f"a model of type {codec.config.model_type!r}", expected="an EnCodec")
        names = CodecLossWeights.__dataclass_fields__
        weights = CodecLossWeights(**{name: getattr(file.codec, name) for name in names})
        objective = CodecObjective(
            codec.to(self.device), weights=weights, quantise_from=file.codec.quantise_from, processes=self.processes
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

        return objective, sounds(train, data.gain_db), None if held_out is None else sounds(held_out, (0.0, 0.0))

    # a language model

    def _music(self) -> tuple[Objective, Examples, Examples | None]:
        file = self.file
        model, processor = self._composite()
        model.to(self.device)
        if file.model.train_text_encoder and file.lora is not None:
            raise ConfigError("train_text_encoder with [lora]", expected="one of them")
        train, held_out = self._coded(model, processor)
        if file.lora is not None:
            model.add_adapter(
                {
                    "r": file.lora.rank,
                    "lora_alpha": file.lora.alpha,
                    "lora_dropout": file.lora.dropout,
                    "target_modules": list(file.lora.targets),
                }
            )
        if file.run.checkpoint_layers:
            model.decoder.gradient_checkpointing_enable()
        objective = MusicObjective(
            model,
            train_text_encoder=file.model.train_text_encoder,
            weight_decay=file.run.weight_decay,
            processor=processor,
        )
        return objective, train, held_out

    def _composite(self) -> tuple[Any, Any]:
        """The model with its processor, from a checkpoint or as a configuration and checkpoints of its parts say."""
        section = self.file.model
        if section.start is not None:
            name = self._name(section.start)
            model = AutoModelForTextToWaveform.from_pretrained(name, dtype=torch.float32)
            return model, AutoProcessor.from_pretrained(name)
        config = self._config(section.config)
        parts = {
            part: AutoModel.from_pretrained(self._name(name), dtype=torch.float32)
            for part, name in (("audio_encoder", section.codec), ("text_encoder", section.text_encoder))
            if name is not None
        }
        for part, made in parts.items():
            setattr(config, part, made.config)
        torch.manual_seed(self.file.run.seed)
        model = registry.model_class(config.model_type, registry.MUSIC)(config, **parts)
        if section.processor is None:
            raise ConfigError("[model] config without processor", expected="a folder with its tokenizer's files")
        return model, AutoProcessor.from_pretrained(self._name(section.processor))

    def _coded(self, model: Any, processor: Any) -> tuple[CodedMusic, CodedMusic | None]:
        """The data as codes, made where they are not yet there."""
        data, learns = self.file.data, self.file.model.train_text_encoder
        coder = Coder(model, processor, text_states=not learns, separated=data.separate)
        cache = self._cache()

        def music(inspected: Inspected | None, *, drops: bool) -> CodedMusic | None:
            if inspected is None:
                return None
            encoded = encode_manifest(
                inspected,
                cache,
                coder,
                batch=4,
                workers=max(1, self.file.run.workers),
                progress=self._counted("encoded"),
            )
            return CodedMusic(
                encoded.folder,
                keys=encoded.keys,
                seconds=data.seconds,
                tokenizer=processor.tokenizer if learns else None,
                condition_dropout=data.condition_dropout if drops else 0.0,
                melody_dropout=data.melody_dropout if drops else 0.0,
                word_dropout=data.word_dropout if drops else 0.0,
            )

        train, held_out = self._inspected(channels=None)
        learnt = music(train, drops=True)
        if learnt is None:  # there is always something to learn from
            raise ConfigError("[data] train holds nothing")
        return learnt, music(held_out, drops=False)

    # shared

    def _inspected(self, *, channels: int | None) -> tuple[Inspected, Inspected | None]:
        """The good items to learn from, and those to measure on."""
        data = self.file.data
        train = self._looked_at(data.train, data, channels)
        if data.held_out is not None:
            return train, self._looked_at(data.held_out, data, channels)
        count = min(round(data.held_out_share * len(train)), len(train) - 1)
        if not count:
            return train, None
        shuffled = np.random.default_rng(_HELD_OUT_SEED).permutation(len(train))
        return train.chosen(np.sort(shuffled[count:])), train.chosen(np.sort(shuffled[:count]))

    def _looked_at(self, name: str, data: DataSection, channels: int | None) -> Inspected:
        self._cache().mkdir(parents=True, exist_ok=True)
        found = inspect(
            Manifest.read(self.file.path(name)),
            cache=self._cache() / f"looked-at-{Path(name).name}",
            channels=channels,
            progress=self._counted("looked at"),
        )
        self._name_bad(found.skipped)
        return found

    def _name_bad(self, skipped: Skipped) -> None:
        if skipped.count:
            self._tell(f"{skipped.count} items are left out:\n{skipped.report()}")

    def _counted(self, what: str) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            if done % _TOLD_EVERY == 0 or done == total:
                self._tell(f"{what} {done} of {total} items")

        return tell

    def _cache(self) -> Path:
        return self.folder / "cache" if self.file.data.cache is None else self.file.path(self.file.data.cache)

    def _name(self, name: str) -> str:
        """A folder beside the file where there is one, else a name on the Hub."""
        beside = self.file.path(name)
        return str(beside) if beside.exists() else name

    def _config(self, name: str | None) -> Any:
        values = read_json(self.file.path(name or ""))
        return AutoConfig.for_model(values.pop("model_type", ""), **values)
