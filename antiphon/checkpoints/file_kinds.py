"""What a file really is, told from its first bytes, for files that are not what their name says."""

from __future__ import annotations

SNIFF_BYTES = 64

_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the weights",
        "Run `git lfs pull` in its repository, or fetch the checkpoint again",
    ),
    (b"PK\x03\x04", "a zip archive", "If it is a PyTorch pickle, name it .bin; else unpack it"),
    (b"PK\x05\x06", "an empty zip archive", "Fetch the file again"),
    (b"\x1f\x8b", "a gzip archive", "Unpack it with `gunzip`"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it with `unzstd`"),
    (b"\xfd7zXZ\x00", "an xz archive", "Unpack it with `unxz`"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it"),
    (b"GGUF", "a GGUF file", "Use the checkpoint's safetensors files instead"),
    (b"\x89HDF", "an HDF5 file", "Use the checkpoint's safetensors files instead"),
    (b"\x93NUMPY", "a NumPy array", "Use the checkpoint's safetensors files instead"),
    (b"RIFF", "a RIFF file, perhaps sound", "Check the name"),
    (b'{"error"', "an error message of a server", "Fetch the file again; a login may be needed"),
)
_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<head")
_HTML = ("an HTML page, as a failed download leaves", "Fetch the file again; a login or a licence may be asked for")


def kind_of(head: bytes) -> tuple[str, str] | None:
    """What a file with these first bytes is, and what to do about it; ``None`` if that cannot be told."""
    for magic, what, fix in _MAGIC:
        if head.startswith(magic):
            return what, fix
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_MARKUP):
        return _HTML
    if len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return "a Python pickle", "Name it .bin if it holds weights; it is then read without running any code"
    return None
