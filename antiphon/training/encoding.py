"""Encoding a data set once, so that training reads codes instead of sounds."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from antiphon.audio.header import Header
from antiphon.audio.passages import length_at, load_passage
from antiphon.errors import AntiphonError, DataError
from antiphon.training.coded_folder import CodedFolder
from antiphon.training.coded_format import CodedItem
from antiphon.training.coded_writer import CodedWriter
from antiphon.training.coder import Coder
from antiphon.training.inspection import Inspected, Progress, passage_of
from antiphon.training.manifest import Item
from antiphon.training.melody_frames import melody_frames
from antiphon.training.skipped import MOST_SHARE, Skipped
from antiphon.training.speech_coder import SpeechCoder

logger = logging.getLogger(__name__)

_BLOCK_S = 10
# longer sounds are read while they are encoded, so that memory does not grow with them
_WHOLE_S = 60
_GROUPS_AHEAD = 2


@dataclass(frozen=True, eq=False)
class Encoded:
    """A data set as codes.

    Args:
        folder: of them. keys: of the items that belong to the data set. skipped: of those that could not be encoded.
    """

    folder: CodedFolder
    keys: list[str]
    skipped: Skipped


@dataclass(frozen=True, eq=False)
class _Job:
    """One item on its way."""

    key: str
    item: Item
    header: Header
    first: int
    count: int


@dataclass(frozen=True, eq=False)
class _Read:
    """What was read of a job: its sound, unless that is long, and its melody."""

    job: _Job
    sound: np.ndarray | None
    chroma: np.ndarray | None


def encode_manifest(
    inspected: Inspected,
    cache: str | os.PathLike[str],
    coder: Coder | SpeechCoder,
    *,
    batch: int = 8,
    workers: int = 2,
    share: float = MOST_SHARE,
    progress: Progress | None = None,
) -> Encoded:
    """Encodes what of a data set is not in the cache yet, and gives all of it.

    The cache has a folder for each codec, text encoder and settings, and in it an entry for each state of a file and
    its texts: what has changed is encoded anew, and a run that was killed goes on where it was.

    Args:
        cache: a folder. batch: sounds of one length that are encoded together. workers: threads that read ahead.
        share: of the items that may turn out bad on the way. progress: is told how many of how many are there.

    Raises:
        DataError: more are bad.
    """
    folder = Path(cache) / coder.format.made_by[:16]
    skipped = Skipped()
    with CodedWriter(folder, coder.format) as writer:
        there = set(CodedFolder(folder).keys())
        jobs: list[_Job] = []
        keys: list[str] = []
        for place in range(len(inspected)):
            try:
                job = _job(inspected, place, coder)
            except AntiphonError as error:
                skipped.add(inspected.manifest.name(place), error)
                continue
            keys.append(job.key)
            if job.key not in there:
                there.add(job.key)
                jobs.append(job)
        done, failed = len(keys) - len(jobs), set[str]()

        def fail(job: _Job, error: Exception) -> None:
            failed.add(job.key)
            skipped.add(job.item.name, error)
            if skipped.count > share * len(inspected):
                skipped.check(len(inspected), share=share)

        for group in _read_ahead(_groups(jobs, batch, coder), coder, workers, fail):
            for item in _encoded(group, coder, fail):
                writer.write(item)
            writer.flush()
            done += len(group)
            if progress is not None:
                progress(done, len(keys))
    skipped.check(len(inspected), share=share)
    if skipped.count:
        logger.warning("%d of %d items could not be encoded:\n%s", skipped.count, len(inspected), skipped.report())
    return Encoded(CodedFolder(folder), [key for key in keys if key not in failed], skipped)


def _job(inspected: Inspected, place: int, coder: Coder | SpeechCoder) -> _Job:
    item, header = inspected.item(place), inspected.header(place)
    start_s, end_s = passage_of(item, header)
    rate_hz = coder.format.sampling_rate
    first, last = round(start_s * rate_hz), min(round(end_s * rate_hz), length_at(header, rate_hz))
    if not first < last:
        raise DataError("a passage shorter than a sample", expected="some sound")
    texts = hashlib.blake2b("\0".join(item.texts).encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return _Job(f"{inspected.key(place)}-{texts}", item, header, first, last - first)


def _groups(jobs: list[_Job], batch: int, coder: Coder | SpeechCoder) -> Iterator[list[_Job]]:
    """Jobs of one length together, as many as are encoded at once; long ones alone."""
    group: list[_Job] = []
    for job in sorted(jobs, key=lambda job: job.count):
        if group and (len(group) >= batch or job.count != group[0].count or _is_long(job, coder)):
            yield group
            group = []
        group.append(job)
    if group:
        yield group


def _is_long(job: _Job, coder: Coder | SpeechCoder) -> bool:
    return job.count > _WHOLE_S * coder.format.sampling_rate


def _read_ahead(
    groups: Iterator[list[_Job]], coder: Coder | SpeechCoder, workers: int, fail: Callable[[_Job, Exception], None]
) -> Iterator[list[_Read]]:
    """What was read of each group, in order, while the next ones are being read; what cannot be read is left out."""
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        waiting: deque[list[tuple[_Job, Future[_Read]]]] = deque()

        def submit() -> None:
            group = next(groups, None)
            if group is not None:
                waiting.append([(job, pool.submit(_read, job, coder)) for job in group])

        for _ in range(1 + _GROUPS_AHEAD):
            submit()
        try:
            while waiting:
                found = []
                for job, future in waiting.popleft():
                    try:
                        found.append(future.result())
                    except (AntiphonError, OSError) as error:
                        fail(job, error)
                submit()
                yield found
        finally:
            pool.shutdown(cancel_futures=True)


def _read(job: _Job, coder: Coder | SpeechCoder) -> _Read:
    item, rate_hz = job.item, coder.format.sampling_rate
    sound = None if _is_long(job, coder) else _passage(job, coder, 0, job.count)
    chroma = None
    if coder.extractor is not None:
        start_s, end_s = job.first / rate_hz, (job.first + job.count) / rate_hz
        melody = item.melody or item.path
        chroma = melody_frames(melody, coder.extractor, start_s=start_s, end_s=end_s, separated=coder.separated)
    return _Read(job, sound, chroma)


def _passage(job: _Job, coder: Coder | SpeechCoder, start: int, count: int) -> np.ndarray:
    return load_passage(
        job.item.path,
        job.header,
        start=job.first + start,
        count=count,
        rate_hz=coder.format.sampling_rate,
        channels=coder.channels,
    )


def _encoded(
    group: Sequence[_Read], coder: Coder | SpeechCoder, fail: Callable[[_Job, Exception], None]
) -> Iterator[CodedItem]:
    """The items of a group; a long sound that turns out bad is left out."""
    if not group:
        return
    try:
        codes = coder.codes(_blocks(group, coder), len(group))
    except (AntiphonError, OSError) as error:
        if len(group) > 1:  # read already: not the fault of a file
            raise
        fail(group[0].job, error)
        return
    texts = list(dict.fromkeys(text for read in group for text in read.job.item.texts))
    states = dict(zip(texts, coder.states(texts), strict=False))
    for read, own in zip(group, codes, strict=True):
        item = read.job.item
        yield CodedItem(
            codes=own,
            texts=item.texts,
            states=tuple(states[text] for text in item.texts) if states else (),
            chroma=read.chroma,
            key=read.job.key,
            name=item.name,
        )


def _blocks(group: Sequence[_Read], coder: Coder | SpeechCoder) -> Iterator[np.ndarray]:
    """The sounds of a group (B, C, n), block by block."""
    size, count = round(_BLOCK_S * coder.format.sampling_rate), group[0].job.count
    for start in range(0, count, size):
        length = min(size, count - start)
        yield np.stack(
            [
                _passage(read.job, coder, start, length)
                if read.sound is None
                else read.sound[:, start : start + length]
                for read in group
            ]
        )
