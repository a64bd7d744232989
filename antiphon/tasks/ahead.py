"""Work that runs ahead of its reader, in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T], *, most: int = 1) -> Generator[T, None, None]:
    """The items in their order, of which up to ``most`` more than the reader has are computed while it works.

    An error of theirs is raised where its item would have come. Closing it lets the item in work be finished, and no
    further one is begun.
    """
    made: queue.Queue[tuple[list[T], BaseException | None]] = queue.Queue()
    room, closed = threading.Semaphore(most), threading.Event()

    def work() -> None:
        try:
            for item in items:
                made.put(([item], None))
                room.acquire()
                if closed.is_set():
                    return
        except BaseException as error:  # it is the reader's
            made.put(([], error))
        else:
            made.put(([], None))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            found, error = made.get()
            if error is not None:
                raise error
            if not found:
                return
            room.release()
            yield found[0]
    finally:
        closed.set()
        room.release()
        thread.join()
