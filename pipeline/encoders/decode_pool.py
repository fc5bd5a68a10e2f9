"""Threads that decode records while the network runs: decoders give up the interpreter's lock."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from pipeline.media.time_limit import TimeLimit

THREADS_MAX = 8  # of a process; a node has several replicas
AHEAD_BYTES_MAX = 256 << 20  # of what is decoded before its batch runs, of all replicas together
_Result = TypeVar("_Result")
_Work = Callable[[], None]


class DecodePool:
    """Decodes for all replicas of a process; with 0 threads, whoever asks decodes, and nothing is
    begun ahead.

    Invariant: work is taken in the order it came and waits for no other work, so threads are
    never all held by what only another one could do. They are daemons: a decoder that hangs must
    not keep the process from ending. ``thread_us``: how long the calling thread has computed.
    """

    def __init__(self, threads: int, thread_us: Callable[[], int]) -> None:
        self.threads = threads
        self._thread_us = thread_us
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._ahead_bytes = 0
        self._lock = threading.RLock()  # a finalizer may run while it is held
        self.running = [
            threading.Thread(target=self._serve, name=f"decode-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self.running:
            thread.start()

    def submit(self, work: Callable[[], _Result]) -> Future[_Result]:
        """What comes of it, an exception too."""
        task: Future[_Result] = Future()

        def run() -> None:
            try:
                result = work()
            except BaseException as error:  # whoever waits for it must be told
                task.set_exception(error)
            else:
                task.set_result(result)

        if self.threads:
            self._work.put(run)
        else:
            run()
        return task

    def limit(self, most_us: int) -> TimeLimit:
        """For one record, begun in the thread that decodes it."""
        return TimeLimit(most_us, self._thread_us)

    def reserve(self, size_bytes: int) -> bool:
        """Whether so much may be decoded ahead; it is then given back by ``release``."""
        with self._lock:
            if not self.threads or self._ahead_bytes + size_bytes > AHEAD_BYTES_MAX:
                return False
            self._ahead_bytes += size_bytes
            return True

    def release(self, size_bytes: int) -> None:
        with self._lock:
            self._ahead_bytes -= size_bytes

    def close(self) -> None:
        """Returns at once; threads end when they have done what was submitted before."""
        for _ in range(self.threads):
            self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work  # or it would hold a batch until the next comes


INLINE = DecodePool(0, lambda: 0)  # its clock stands still: no limit is reached


def decode_threads(cores: int) -> int:
    """How many for a process that may use so many cores."""
    return max(1, min(cores, THREADS_MAX))
