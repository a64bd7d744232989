"""The chunks of WAV files: text tags of any length, and headers that say two things at once.

libsndfile loses a tag of more than 2 kB in WAV, and every tag behind it, when reading as when writing. A prompt with
its parameters is often longer, so this one chunk is written and read here.

Source: Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft, 1991), "INFO List Chunk";
EBU Tech 3306 for RF64.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from antiphon.audio.stream import GuardedStream
from antiphon.errors import AudioError

_KEYS = {
    "title": b"INAM",
    "artist": b"IART",
    "album": b"IPRD",
    "date": b"ICRD",
    "genre": b"IGNR",
    "copyright": b"ICOP",
    "software": b"ISFT",
    # last: readers that stop at a long text have the others by then
    "comment": b"ICMT",
}
_NAMES = {key: name for name, key in _KEYS.items()}
KEYS = tuple(_KEYS)
_MAX_CHUNKS = 256
_MAX_LIST_BYTES = 1 << 20
_IN_DS64 = 0xFFFFFFFF


def append_info(file: BinaryIO, tags: Mapping[str, str]) -> None:
    """Adds ``tags`` behind the last chunk of the RIFF or RF64 file, which is open for reading and writing."""
    body = b"INFO" + b"".join(_chunk(key, tags[name].encode() + b"\0") for name, key in _KEYS.items() if tags.get(name))
    if len(body) == 4:
        return
    end = file.seek(0, os.SEEK_END)
    file.write(b"\0" * (end & 1) + _chunk(b"LIST", body))
    size = file.tell() - 8
    file.seek(0)
    if file.read(4) == b"RF64":
        file.seek(20)  # RF64, size, WAVE, ds64, its size: then 64 bits of file size
        file.write(struct.pack("<Q", size))
    else:
        file.write(struct.pack("<I", size))
    file.seek(0, os.SEEK_END)


def _chunk(key: bytes, body: bytes) -> bytes:
    return key + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


def check_header(stream: GuardedStream, name: str) -> None:
    """Raises ``AudioError`` for a WAV header that decoders read differently, or wrote past their memory for.

    Refused: a second format (libsndfile kept the buffers of the first), RF64 without its sizes, samples of fewer than 8
    bits, and more chunks than are looked at. Any other file passes; the stream is left at its start.
    """
    stream.seek(0)
    head, found = stream.read(12), ""
    if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
        formats, sizes, count = [], 0, 0
        for key, _, start in _chunks(stream):
            count += 1
            sizes += key == b"ds64"
            if key == b"fmt ":
                stream.seek(start)
                formats.append(stream.read(16))
        if len(formats) > 1:
            found = "more than one format"
        elif head[:4] == b"RF64" and not sizes:
            found = "no sizes (ds64)"
        elif formats and formats[0][:2] == b"\1\0" and int.from_bytes(formats[0][14:16], "little") < 8:
            found = "samples of fewer than 8 bits"
        elif count >= _MAX_CHUNKS:
            found = f"{_MAX_CHUNKS} chunks and more"
    stream.seek(0)
    if found:
        raise AudioError(f"{name} has a damaged WAV header: {found}", expected="a WAV file", fix="Export it again")


def read_info(stream: GuardedStream) -> dict[str, str]:
    """Gives the tags of a WAV file by name; empty for any other file, and as far as it goes for a damaged one."""
    stream.seek(0)
    head = stream.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        return {}
    tags: dict[str, str] = {}
    for key, size, start in _chunks(stream):
        if key != b"LIST" or size > _MAX_LIST_BYTES:
            continue
        stream.seek(start)
        body = stream.read(size)
        if body[:4] == b"INFO":
            tags.update(_texts(body))
    return tags


def _chunks(stream: GuardedStream) -> Iterator[tuple[bytes, int, int]]:
    """Key, size and start of the body of each chunk of the file."""
    position, data_size = 12, 0
    for _ in range(_MAX_CHUNKS):
        stream.seek(position)
        head = stream.read(8)
        if len(head) < 8:
            return
        key, size = head[:4], int(struct.unpack("<I", head[4:])[0])
        start = position + 8
        if key == b"ds64":
            sizes = stream.read(16)
            data_size = int(struct.unpack("<Q", sizes[8:])[0]) if len(sizes) == 16 else 0
        elif key == b"data" and size == _IN_DS64:
            size = data_size
        if not (start + size < 1 << 62):
            return
        yield key, size, start
        position = start + size + (size & 1)


def _texts(body: bytes) -> dict[str, str]:
    texts, position = {}, 4
    while position + 8 <= len(body):
        key, size = body[position : position + 4], int(struct.unpack("<I", body[position + 4 : position + 8])[0])
        value = body[position + 8 : position + 8 + size].split(b"\0")[0]
        if key in _NAMES and value:
            texts[_NAMES[key]] = value.decode("utf-8", "replace")
        position += 8 + size + (size & 1)
    return texts
