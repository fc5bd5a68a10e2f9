"""Runs an ingest task: polls the source, hands batches and messages on, takes replies.

One thread owns the task and its source; everything else reaches it through ``post``.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence

from pipeline.batching.batch import JobResult
from pipeline.batching.dispatch import Assignment
from pipeline.errors import Transient
from pipeline.slot.ports import Source
from pipeline.tasks.ingest import IngestTask
from pipeline.tasks.messages import Message

POLL_BUSY_S = 0.005  # while batches are out, their results must not wait for a poll
POLL_IDLE_S = 0.02
AWAY_S = 0.25
REPORT_US = 1_000_000

Event = Callable[[IngestTask, int], None]


class IngestRunner:
    """The loop of one ingest owner, until it is drained, stopped or has failed.

    ``encode`` and ``deliver`` must not block for long and may be called from this thread only.
    After a drain nothing more is fetched or applied; what is in flight is finished.
    """

    def __init__(
        self,
        task: IngestTask,
        source: Source,
        encode: Callable[[Assignment], None],
        deliver: Callable[[int, list[Message]], None],
        now_us: Callable[[], int],
    ) -> None:
        self._task = task
        self._source = source
        self._encode = encode
        self._deliver = deliver
        self._now_us = now_us
        self._inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._draining = threading.Event()
        self.drained = threading.Event()
        self.delivered = 0  # calls of ``deliver``
        self.waiting: list[str] = []  # what the lanes wait for, looked at every second
        self.warnings: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.overdue: list[str] = []  # replicas that hang, looked at every second
        self.stepped_us = now_us()  # when the loop last came round: a host sees here that it hangs
        self._report_us = 0
        self.transients_total = 0
        self._more = False  # whether the lanes have more to do without a fetch

    # -- from any thread --------------------------------------------------------------------

    def post_batch(self, number: int, results: Sequence[JobResult]) -> None:
        self._inbox.put(lambda task, now_us: task.on_batch(number, results, now_us))

    def post_lost(self, number: int, cause: str) -> None:
        self._inbox.put(lambda task, now_us: task.on_batch_lost(number, cause, now_us))

    def post_committed(self, slot: int, numbers: Mapping[int, int]) -> None:
        self._inbox.put(lambda task, now_us: task.on_committed(slot, numbers))

    def post_replicas(self, stage: str, replicas: Sequence[str]) -> None:
        self._inbox.put(lambda task, now_us: task.set_replicas(stage, replicas))

    def take_warnings(self) -> list[str]:
        lines = []
        while not self.warnings.empty():
            lines.append(self.warnings.get())
        return lines

    def drain(self) -> None:
        self._draining.set()

    def stop(self) -> None:
        self._stop.set()

    # -- in its own thread ------------------------------------------------------------------

    def run(self) -> None:
        """Runs until it is stopped; whatever the source or the task raises comes out here."""
        self._source.assign(self._task.assignment())
        try:
            while not self._stop.is_set():
                try:
                    self.step()
                except Transient as away:
                    # A broker that is away ends nothing: positions stand, and it is asked again.
                    self.transients_total += 1
                    self.waiting = [f"waiting for the broker ({away})"]
                    self._stop.wait(AWAY_S)
        finally:
            self._source.close()

    def step(self) -> None:
        """One round: replies, fetches, lanes, batches, messages."""
        task = self._task
        self.stepped_us = self._now_us()
        busy = self._take_inbox()
        if self._draining.is_set() or task.finished:
            self._finish_round(busy)
            return
        if task.dispatcher.backlogged:
            # Encoders have enough to do. A poll would only take the interpreter from them: it
            # costs two hops to the client's thread, and brings what would have to wait.
            if not busy:
                self._wait()
        else:
            self._poll(busy)
        more = task.pump(self._now_us())
        wanted = task.ends_wanted(self._now_us())
        if wanted:
            ends = self._source.stable_ends(wanted)
            task.on_ends(ends, self._now_us())
            more |= task.pump(self._now_us())
        self._hand_on()
        self._report()
        pause, resume = task.take_pauses()
        if pause:
            self._source.pause(pause)
        if resume:
            self._source.resume(resume)
        self._more = more

    def _poll(self, busy: bool) -> None:
        out = self._task.dispatcher.windows > 0
        timeout_s = 0.0 if busy or self._more else POLL_BUSY_S if out else POLL_IDLE_S
        fetches = self._source.poll(timeout_s)
        if fetches:
            self._task.on_fetches(fetches, self._now_us())

    def _report(self) -> None:
        for line in self._task.watch.take_warnings():
            self.warnings.put(line)
        now_us = self._now_us()
        if now_us >= self._report_us:
            self._report_us = now_us + REPORT_US
            self.waiting = self._task.waiting()
            self.overdue = self._task.dispatcher.overdue(now_us)

    def _finish_round(self, busy: bool) -> None:
        """Nothing is fetched any more: what is in flight goes out, then the owner is drained."""
        self._hand_on()
        if not self._task.dispatcher.windows:
            self.drained.set()
        if not busy:
            self._wait()

    def _hand_on(self) -> None:
        for assignment in self._task.take_assignments(self._now_us()):
            self._encode(assignment)
        for slot, messages in self._task.take_deliveries().items():
            self.delivered += 1
            self._deliver(slot, messages)

    def _take_inbox(self) -> bool:
        now_us = self._now_us()
        taken = False
        while True:
            try:
                event = self._inbox.get_nowait()
            except queue.Empty:
                return taken
            event(self._task, now_us)
            taken = True

    def _wait(self) -> None:
        try:
            event = self._inbox.get(timeout=POLL_IDLE_S)
        except queue.Empty:
            return
        event(self._task, self._now_us())
