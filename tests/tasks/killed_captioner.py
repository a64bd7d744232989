"""Captions a folder in processes that are killed, one after the other, and in a last one that is not.

Run as ``killed_captioner.py CHECKPOINT FOLDER OUTPUT COUNT...``: each process is killed when it has told of so many
captions. It tells of one when its line is in the file.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

import antiphon
from antiphon.tasks.caption_file import CaptionFile
from antiphon.tasks.captioner import Caption, Captioner, sound_files
from antiphon.tasks.listener import Listener


def caption(listener: Listener, folder: Path, output: Path, told: int) -> None:
    """What is not described yet, a byte to ``told`` for each."""
    with CaptionFile(output, resume=True) as captions:
        todo = [file for file in sound_files(folder) if file.name not in captions.done]
        for one in Captioner(listener, question="Key?", max_new_tokens=2).captions(todo):
            if isinstance(one, Caption):
                captions.add({"path": one.path.name, **one.told})
                os.write(told, b".")


def main() -> None:
    checkpoint, folder, output, *counts = sys.argv[1:]
    torch.set_num_threads(1)  # no threads yet that a child would lack
    listener = antiphon.load(checkpoint, device="cpu")
    for count in [*map(int, counts), None]:
        read, write = os.pipe()
        child = os.fork()
        if not child:
            caption(listener, Path(folder), Path(output), write)
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as heard:
            heard.read(count if count is not None else -1)
            if count is not None:
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
