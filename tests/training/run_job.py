"""Runs jobs in a process of their own, alone or started by torchrun: ``python -m tests.training.run_job ...``.

Arguments: a JSON list of [job, folder, settings], and a JSON object of what goes wrong: ``rank`` (0), ``fault`` and,
for the line, the ``step`` of it. Faults: ``killed`` in a step, ``killed_writing`` a state, ``dies``, ``hangs``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from antiphon.training import run_state
from antiphon.training.processes import joined
from tests.training.jobs import trainer


def go_wrong(fault: str) -> None:
    """Ends this process, or stops it for good."""
    if fault == "hangs":
        threading.Event().wait()
    if fault == "dies":
        sys.exit("this process dies")
    os.kill(os.getpid(), signal.SIGKILL)


def prepare(run: Any, fault: str, step: int) -> None:
    """Makes a run go wrong at its step."""
    if fault == "killed_writing":
        write = run_state.write_weights

        def write_some(folder: Path, tensors: Any, **sizes: Any) -> None:
            if f"{step:08d}" in folder.name:
                write(folder, dict(list(tensors.items())[:2]), **sizes)
                go_wrong(fault)
            write(folder, tensors, **sizes)

        run_state.write_weights = write_some
        return
    losses = run.objective.losses

    def losses_until(batch: Any) -> Any:
        if run.step == step and run.objective.model.training:
            go_wrong(fault)
        return losses(batch)

    run.objective.losses = losses_until


def main() -> None:
    jobs, wrong = (json.loads(text) for text in sys.argv[1:3])
    with joined(device="cpu", timeout_s=wrong.get("timeout_s", 60.0)) as processes:
        for job, folder, numbers in jobs:
            run = trainer(job, Path(folder), processes, **numbers)
            if wrong.get("fault") and wrong.get("rank", 0) == processes.rank:
                prepare(run, wrong["fault"], wrong["step"])
            run.run()


if __name__ == "__main__":
    main()
