"""The Hub: folders, names, and what is said when neither leads anywhere."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from antiphon.checkpoints import built_in
from antiphon.checkpoints.hub import locate
from antiphon.errors import CheckpointError, ParamError, ParamTypeError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def make_cache(root: Path, repo: str, files: dict[str, bytes], *, branch: str = "main") -> Path:
    """A cache tree as the hub library makes it: blobs, a snapshot of links, a reference."""
    home = root / ("models--" + repo.replace("/", "--"))
    snapshot = home / "snapshots" / COMMIT
    (home / "blobs").mkdir(parents=True)
    for i, (name, content) in enumerate(files.items()):
        blob = home / "blobs" / f"{i:040x}"
        blob.write_bytes(content)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (home / "refs" / branch).parent.mkdir(parents=True, exist_ok=True)
    (home / "refs" / branch).write_text(COMMIT)
    return snapshot


def test_a_folder_is_itself_and_its_subfolder_stays_inside(tmp_path: Path) -> None:
    (tmp_path / "model" / "vae").mkdir(parents=True)
    assert locate(tmp_path / "model") == tmp_path / "model"
    assert locate(str(tmp_path / "model"), subfolder="vae") == tmp_path / "model" / "vae"
    (tmp_path / "model" / "out").symlink_to(tmp_path)
    for bad in ("..", "../model", "/etc", "a/../../b", "a\\b", "~/x", "C:/x", "x\0", "out"):
        with pytest.raises(ParamError, match="subfolder="):
            locate(tmp_path / "model", subfolder=bad)
    with pytest.raises(CheckpointError, match="no subfolder 'absent'"):
        locate(tmp_path / "model", subfolder="absent")


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert locate("~/model") == tmp_path / "model"


def test_a_relative_folder_wins_over_a_repository_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "facebook" / "musicgen-small").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate("facebook/musicgen-small") == Path("facebook/musicgen-small")


def test_a_built_in_checkpoint_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(built_in, "PLACE", tmp_path)
    (tmp_path / "musicgen-mini" / "inner").mkdir(parents=True)
    with pytest.raises(CheckpointError):  # an installation without its weights asks the Hub, which is switched off
        locate("antiphon/musicgen-mini")
    (tmp_path / "musicgen-mini" / "config.json").write_text("{}")
    assert locate("antiphon/musicgen-mini") == tmp_path / "musicgen-mini"
    assert locate("antiphon/musicgen-mini", subfolder="inner") == tmp_path / "musicgen-mini" / "inner"


def test_a_cached_repository_is_found_by_branch_tag_and_commit(tmp_path: Path) -> None:
    snapshot = make_cache(tmp_path, "me/tiny", {"config.json": b"{}", "vae/config.json": b"{}"})
    (snapshot.parent.parent / "refs" / "v1").write_text(COMMIT)
    find: Any = {"cache_dir": tmp_path, "local_files_only": True}
    assert locate("me/tiny", **find) == snapshot
    assert locate("me/tiny@v1", **find) == snapshot
    assert locate("me/tiny", revision=COMMIT, **find) == snapshot
    assert locate("me/tiny@v1", revision="v1", patterns="*.json", **find) == snapshot
    assert locate("me/tiny", subfolder="vae", **find) == snapshot / "vae"
    with pytest.raises(CheckpointError, match="'me/tiny' at 'v2' is not in the cache.*antiphon pull me/tiny@v2"):
        locate("me/tiny@v2", **find)


def test_patterns_are_relative_to_the_subfolder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[Any] = []

    def snapshot_download(repo_id: str, **options: Any) -> str:
        asked.append((repo_id, options["allow_patterns"], options["revision"], options["token"]))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    (tmp_path / "vae").mkdir()
    locate("me/tiny", subfolder="vae/", patterns=["*.json", "a/*"], token="t")
    locate("me/tiny@v1", subfolder="vae")
    locate("me/tiny", patterns="*.json")
    locate("me/tiny")
    assert asked == [
        ("me/tiny", ["vae/*.json", "vae/a/*"], None, "t"),
        ("me/tiny", ["vae/*"], "v1", None),
        ("me/tiny", ["*.json"], None, None),
        ("me/tiny", None, None, None),
    ]


@pytest.mark.parametrize("revision", ["", " ", "../x", "/x", "a\\b", "a\0", 3])
def test_a_revision_cannot_leave_the_cache(tmp_path: Path, revision: Any) -> None:
    with pytest.raises(ParamError, match="revision="):
        locate("me/tiny", revision=revision, cache_dir=tmp_path, local_files_only=True)


def test_two_revisions_or_none_after_the_sign_are_refused() -> None:
    with pytest.raises(ParamError, match="another"):
        locate("me/tiny@a", revision="b")
    with pytest.raises(ParamError, match="ends in '@'"):
        locate("me/tiny@")


def test_a_file_and_other_types_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ParamError, match="is a file.*the folder it is in"):
        locate(tmp_path / "model.safetensors")
    for bad in (None, 3, b"bytes"):
        with pytest.raises((ParamTypeError, ParamError)):
            locate(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("GatedRepoError", "is gated.*Accept its terms"),
        ("RepositoryNotFoundError", "no such folder, and no such repository"),
        ("RevisionNotFoundError", "no such revision"),
        ("HfHubHTTPError", "could not be fetched: 503"),
    ],
)
def test_F023_answers_of_the_hub_become_one_kind_of_error(
    monkeypatch: pytest.MonkeyPatch, kind: str, said: str
) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    kind_of_error = getattr(errors, kind)

    def snapshot_download(repo_id: str, **options: Any) -> str:
        raise kind_of_error("503 Server Error", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(CheckpointError, match=said):
        locate("me/tiny")


@pytest.mark.parametrize("error", [ConnectionError("reset"), OSError(28, "No space left on device"), RuntimeError("x")])
def test_F023_network_and_disk_failures_become_one_kind_of_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    import huggingface_hub

    def snapshot_download(repo_id: str, **options: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(CheckpointError, match="could not be fetched") as caught:
        locate("me/tiny")
    assert caught.value.__cause__ is error
