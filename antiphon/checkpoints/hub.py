"""The Hub: a folder on this machine for the name of a checkpoint, fetched if it has to be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from antiphon.checkpoints.built_in import built_in
from antiphon.checkpoints.json_files import CONFIG_NAME
from antiphon.errors import CheckpointError, ParamError, ParamTypeError

_SHOWN_CHARS = 100
_FILES = ["*.json", "*.safetensors"]
_PICKLES = ["pytorch_model*.bin"]
# Published repositories hold these beside the documents' files, or instead of them, for the program they came from;
# by its tokenizer one is known that has no configuration.
ORIGINALS = ("state_dict.bin", "compression_state_dict.bin", "tokenizer_spm_32k_3.model")


def locate(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    subfolder: str = "",
    patterns: Sequence[str] | str | None = None,
    force_download: bool = False,
) -> Path:
    """The folder of a checkpoint: a local folder itself, a built-in one, or a Hub repository in the usual cache.

    The environment variables of the Hub (``HF_HOME``, ``HF_HUB_OFFLINE``, ``HF_TOKEN``, ``HF_ENDPOINT`` ...) hold. A
    snapshot found offline may lack files: whoever reads them says which.

    Args:
        name_or_path: a folder, ``namespace/name`` or ``namespace/name@revision``; what is built in needs no network.
        revision: branch, tag or commit; not together with ``@revision``. Local folders have none.
        token: for private and gated repositories; ``None`` takes the stored one, ``False`` sends none.
        cache_dir: instead of the usual cache.
        local_files_only: never use the network.
        subfolder: a folder inside the checkpoint; it must stay inside.
        patterns: only files of the repository that match one of them (relative to ``subfolder``) are fetched.
        force_download: fetch even what the cache holds.

    Raises:
        ParamError: (a ``ValueError``) neither a folder nor a repository id, or ``subfolder`` leaves the checkpoint.
        CheckpointError: offline and not in the cache, no such repository or revision, no access, network failure.
    """
    name = _checked_name(name_or_path)
    inner = _checked_subfolder(subfolder)
    local = os.path.expanduser(name)
    if os.path.isdir(local):
        return _inside(Path(local), inner)
    own = built_in(name)
    if own is not None:
        return _inside(own, inner)
    repo_id, revision = _repo_and_revision(name, revision, is_path=not isinstance(name_or_path, str))
    allowed = [patterns] if isinstance(patterns, str) else list(patterns) if patterns is not None else None
    if inner:
        allowed = [f"{inner}/{pattern}" for pattern in (["*"] if allowed is None else allowed)]
    snapshot = _snapshot(
        repo_id,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        allow_patterns=allowed,
        force_download=force_download,
    )
    return _inside(snapshot, inner)


def fetched(name: str | os.PathLike[str], *, use_safetensors: bool | None = None, **access: Any) -> Path:
    """The folder of a checkpoint with its weights; pickles are fetched only where they are wanted or all there is.

    Args:
        name: as ``locate`` takes it. use_safetensors: ``False`` fetches pickles too. access: ``locate``'s keywords.
    """
    folder = locate(name, patterns=_FILES, **access)
    has_safetensors = any(folder.glob("*.safetensors"))
    if use_safetensors is False or not (use_safetensors or has_safetensors):
        folder = locate(name, patterns=[*_FILES, *_PICKLES], **access)
    if not (folder / CONFIG_NAME).exists():
        folder = locate(name, patterns=[*_FILES, *ORIGINALS], **access)
    return folder


def described(name: str | os.PathLike[str], *, patterns: Sequence[str] = (CONFIG_NAME,), **access: Any) -> Path:
    """The folder of a checkpoint with its configuration; where that is inside the weights, with these too."""
    folder = locate(name, patterns=patterns, **access)
    if not (folder / CONFIG_NAME).exists():
        folder = locate(name, patterns=[*patterns, *ORIGINALS], **access)
    return folder


def _checked_name(name_or_path: str | os.PathLike[str]) -> str:
    if not isinstance(name_or_path, str | os.PathLike):
        raise ParamTypeError(
            f"the checkpoint is given as a {type(name_or_path).__name__}", expected="a folder or a repository id (text)"
        )
    name = os.fspath(name_or_path)
    if not isinstance(name, str) or not name.strip():
        raise ParamError(f"the checkpoint's name is {name!r}", expected="a folder or a repository id")
    return name


def _checked_subfolder(subfolder: str) -> str:
    parts = PurePosixPath(subfolder).parts
    if "\\" in subfolder or "\0" in subfolder or subfolder.startswith(("/", "~")) or ".." in parts or ":" in subfolder:
        raise ParamError(f"subfolder={subfolder!r}", expected="a relative path inside the checkpoint")
    return "/".join(parts)


def _inside(root: Path, inner: str) -> Path:
    if not inner:
        return root
    folder = root / inner
    if not folder.is_dir():
        raise CheckpointError(f"{root} has no subfolder {inner!r}", fix="Check the name, or fetch the whole checkpoint")
    if not folder.resolve().is_relative_to(root.resolve()):
        raise ParamError(f"subfolder={inner!r} is a link out of {root}", expected="a folder inside the checkpoint")
    return folder


def _repo_and_revision(name: str, revision: str | None, *, is_path: bool) -> tuple[str, str | None]:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    shown = repr(name if len(name) <= _SHOWN_CHARS else name[:_SHOWN_CHARS] + "...")
    if os.path.isfile(name):
        raise ParamError(f"{shown} is a file", expected="a folder or a repository id", fix="Give the folder it is in")
    repo_id, at, wanted = name.partition("@")
    if at and revision is not None and revision != wanted:
        raise ParamError(f"{shown} names a revision, and revision={revision!r} another", fix="Give one of them")
    if at and not wanted:
        raise ParamError(f"{shown} ends in '@'", expected="name@revision")
    revision = wanted if at else revision
    try:
        validate_repo_id(repo_id)
        valid = not is_path and not os.path.isabs(name)
    except HFValidationError:
        valid = False
    if not valid:
        raise ParamError(
            f"{shown}: no such folder and not a repo id",
            expected="an existing folder, or a repository id such as 'facebook/musicgen-small'",
            fix="Check the spelling",
        )
    _check_revision(revision)
    return repo_id, revision


def _check_revision(revision: str | None) -> None:
    if revision is None:
        return
    # It becomes part of a path in the cache.
    bad = not isinstance(revision, str) or not revision.strip() or ".." in revision.split("/")
    if bad or revision.startswith("/") or "\\" in revision or "\0" in revision:
        raise ParamError(f"revision={revision!r}", expected="a branch, a tag or a commit")


def _snapshot(repo_id: str, *, local_files_only: bool, **options: object) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo_id, local_files_only=local_files_only, **options))  # type: ignore[call-overload]
    except Exception as error:  # the hub raises its own, httpx's, xet's and plain OSErrors
        raise _translated(error, repo_id, options.get("revision"), local_files_only) from error


def _translated(error: Exception, repo_id: str, revision: object, local_files_only: bool) -> Exception:
    from huggingface_hub import constants, errors

    what = f"{repo_id!r}" + (f" at {revision!r}" if revision else "")
    pull = f"antiphon pull {repo_id}" + (f"@{revision}" if revision else "")
    offline = local_files_only or constants.HF_HUB_OFFLINE
    if isinstance(error, errors.GatedRepoError):
        page = f"{constants.ENDPOINT}/{repo_id}"
        return CheckpointError(
            f"{what} is gated", fix=f"Accept its terms at {page}, then log in (`hf auth login`) or set HF_TOKEN"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return CheckpointError(
            f"{what}: no such folder, and no such repository, or it is private",
            fix="Check the spelling; for a private one log in (`hf auth login`) or set HF_TOKEN",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return CheckpointError(f"{what}: the repository has no such revision", fix="Check the revision's name")
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        reason = "the network is switched off" if offline else "the Hub could not be reached"
        state = "only in part" if isinstance(error, errors.IncompleteSnapshotError) else "not"
        detail = " ".join(str(error).split())[:400]
        return CheckpointError(
            f"{what} is {state} in the cache, and {reason} ({detail})",
            fix=f"Fetch it once with network access: {pull}; or give a local folder",
        )
    if isinstance(error, ValueError | TypeError) and not isinstance(error, OSError):
        return ParamError(f"{what} cannot be fetched: {error}")
    reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
    return CheckpointError(f"{what} could not be fetched: {reason}", fix=f"Try again, with network access: {pull}")


def is_cached(folder: Path) -> bool:
    """Whether ``folder`` is a snapshot in the Hub's cache, whose files are replaced and never changed in place."""
    parts = folder.absolute().parts
    return any(a.startswith("models--") and b == "snapshots" for a, b in pairwise(parts))
