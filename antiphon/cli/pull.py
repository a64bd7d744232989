"""``antiphon pull``: a checkpoint of the Hub, fetched once and checked to be complete."""

from __future__ import annotations

from typing import Annotated

import typer

from antiphon.cli.terminal import put_path, say


def pull(
    repository: Annotated[str, typer.Argument(metavar="REPO[@REVISION]", help="Such as facebook/musicgen-small.")],
) -> None:
    """Fetch a checkpoint from the Hub, check that it is complete, and print its folder."""
    from antiphon.checkpoints import hub
    from antiphon.checkpoints.checkpoint_folder import CheckpointFolder

    # texts first: they are small, and say the licence even where the weights fail
    hub.locate(repository, patterns=["*.json", "*.model", "*.jinja", "README.md", "LICENSE*"])
    folder = hub.fetched(repository)
    with CheckpointFolder(folder).own_weights() as weights:
        size = sum(weights.info(name).nbytes for name in weights.names())
        say(f"complete: {len(weights)} tensors, {size / 2**20:.1f} MiB")
    put_path(folder)
