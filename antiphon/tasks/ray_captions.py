"""Captions by several workers, on one machine or many, through Ray Data (the extra ``ray``)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.errors import missing_extra
from antiphon.tasks.captioner import QUESTION, Caption, Captioner, Failure
from antiphon.tasks.load import load

Batch = Mapping[str, np.ndarray]


class CaptionWorker:
    """What a worker does: it loads a listener once, and describes batch after batch.

    Args:
        model: folder or name. loading: the keywords of ``load``. question, together, asked: as for ``Captioner``.
    """

    def __init__(
        self, model: str, loading: dict[str, Any], question: str, together: int, asked: dict[str, Any]
    ) -> None:
        self._captioner = Captioner(load(model, **loading), question=question, together=together, **asked)

    def __call__(self, batch: Batch) -> dict[str, np.ndarray]:
        """Of ``path`` (B,) bytes: ``path``, ``told`` (B,) JSON and ``reason`` (B,) text, one of the two empty."""
        paths = [Path(os.fsdecode(path)) for path in batch["path"]]
        results = list(self._captioner.captions(paths))
        told = [json.dumps(one.told) if isinstance(one, Caption) else "" for one in results]
        reasons = [one.reason if isinstance(one, Failure) else "" for one in results]
        return {
            "path": np.array([os.fsencode(one.path) for one in results], dtype=object),
            "told": np.array(told, dtype=object),
            "reason": np.array(reasons, dtype=object),
        }


def ray_captions(
    files: Sequence[Path],
    model: str,
    *,
    workers: int,
    loading: Mapping[str, Any],
    question: str = QUESTION,
    together: int = 4,
    asked: Mapping[str, Any],
) -> Iterator[Caption | Failure]:
    """What is said of each file, in the order in which it is done.

    Every worker needs the files and the model under the same names. Each gets a GPU where the cluster has some.

    Args:
        workers: how many listeners work side by side. model, loading, question, together, asked: as of a worker.

    Raises:
        MissingExtraError: without Ray.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise missing_extra("ray", "ray", purpose="captioning with several workers") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    rows = [{"path": os.fsencode(file)} for file in files]
    blocks = -(-len(rows) // together)  # what is done shows batch by batch
    described = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
        CaptionWorker,
        fn_constructor_args=(model, dict(loading), question, together, dict(asked)),
        batch_size=together,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_gpus=1 if ray.cluster_resources().get("GPU") else 0,
    )
    for row in described.iter_rows():
        path = Path(os.fsdecode(row["path"]))
        yield Failure(path, row["reason"]) if row["reason"] else Caption(path, json.loads(row["told"]))
