"""A folder that appears under its final name complete, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from antiphon.checkpoints.atomic_files import atomic_write
from antiphon.checkpoints.json_files import CONFIG_NAME
from antiphon.errors import CheckpointError


@contextmanager
def new_folder(target: Path, *, force: bool = False) -> Iterator[Path]:
    """Yields a folder to fill, which takes the name ``target`` once it is complete and is gone after an error.

    With ``force``, a folder that holds something is itself yielded; its other files stay.

    Raises:
        CheckpointError: ``target`` holds something already, or cannot be written.
    """
    occupied = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if occupied and not (force and target.is_dir()):
        raise CheckpointError(
            f"{target} holds something already", expected="an empty folder, or none", fix="Choose another, or use force"
        )
    if occupied:
        yield target
        return
    new = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}.", dir=target.parent))
        yield new
        new.chmod(0o755)  # it was made for its owner alone
        new.rename(target)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"the folder {str(target)[:200]!r} cannot be written: {error.strerror}") from error
    finally:
        if new is not None:
            shutil.rmtree(new, ignore_errors=True)


def copy_beside(source: Path, target: Path, patterns: Sequence[str]) -> None:
    """Copies the files of ``source`` that match a pattern and are not of the configuration or an index.

    Raises:
        CheckpointError: a file cannot be written.
    """
    for pattern in patterns:
        for file in source.glob(pattern):
            own = file.name == CONFIG_NAME or file.name.endswith(".index.json")
            place = target / file.name
            if file.is_file() and not own and not (place.exists() and place.samefile(file)):
                with atomic_write(place) as part:
                    part.write_bytes(file.read_bytes())
