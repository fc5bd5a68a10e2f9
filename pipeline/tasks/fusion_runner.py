"""Runs a fusion task: one thread joins and fuses, and each slot commits in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from pipeline.errors import Transient
from pipeline.slot.committer import Committer
from pipeline.slot.ledger import Batch
from pipeline.tasks.fusion import FusionTask
from pipeline.tasks.messages import Message
from pipeline.tasks.totals import Totals

OWNER_CHECK_US = 5_000_000  # how often an idle owner asks whether another took over
WAIT_S = 0.05

Acknowledge = Callable[[int, Mapping[int, int]], None]


class FusionState(NamedTuple):
    """As of the loop's last round, replaced as a whole: safe to read from any thread.

    ``taken`` counts deliveries; ``idle``: all of them are committed, and are in ``totals``.
    """

    taken: int
    idle: bool
    totals: Totals


class FusionRunner:
    """The loop of one fusion owner, until it is stopped or a commit raises.

    Slots commit side by side. ``acknowledge(slot, numbers)`` tells the ingest half what is
    committed. What a commit raises (Fenced above all) ends the loop and comes out of ``run``.
    """

    def __init__(
        self,
        task: FusionTask,
        committers: Mapping[int, Committer],
        acknowledge: Acknowledge,
        now_us: Callable[[], int],
    ) -> None:
        self._task = task
        self._committers = committers
        self._acknowledge = acknowledge
        self._now_us = now_us
        self._inbox: queue.SimpleQueue[tuple[int, list[Message]] | Future[int]] = (
            queue.SimpleQueue()
        )
        # One thread a slot: a committer is never asked by two at once.
        self._pools = {slot: ThreadPoolExecutor(1, f"commit-{slot}") for slot in committers}
        self._stop = threading.Event()
        self._active_us = dict.fromkeys(committers, now_us())
        self._checking: set[Future[int]] = set()
        self.transients_total = 0
        self.stepped_us = now_us()  # when the loop last came round: a host sees here that it hangs
        self._taken = 0
        self.state = FusionState(0, True, Totals())

    def deliver(self, slot: int, messages: list[Message]) -> None:
        """From any one thread a slot: messages in order."""
        self._inbox.put((slot, messages))

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> None:
        try:
            while not self._stop.is_set():
                self._step()
        finally:
            for pool in self._pools.values():
                pool.shutdown(wait=True, cancel_futures=True)

    def _step(self) -> None:
        now_us = self.stepped_us = self._now_us()
        due_us = self._task.next_due_us()
        wait_s = WAIT_S if due_us is None else min(max(due_us - now_us, 0) / 1e6, WAIT_S)
        try:
            item = self._inbox.get(timeout=wait_s) if wait_s else self._inbox.get_nowait()
            self._take(item)
            for _ in range(self._inbox.qsize()):  # what comes meanwhile must not put commits off
                self._take(self._inbox.get_nowait())
        except queue.Empty:
            pass
        now_us = self._now_us()
        for slot, batch in self._task.due(now_us).items():
            self._active_us[slot] = now_us
            self._submit(slot, partial(self._commit, slot, batch))
        self._check_idle(now_us)
        # Only this thread may look: amid a step the task can seem idle with a commit on its way.
        self.state = FusionState(self._taken, self._task.idle, self._task.totals.copy())

    def _take(self, item: tuple[int, list[Message]] | Future[int]) -> None:
        if isinstance(item, Future):
            slot = item.result()  # raises here what the commit raised
            if item in self._checking:
                self._checking.discard(item)
            else:
                self._acknowledge(slot, self._task.on_committed(slot))
        else:
            self._task.on_messages(*item)
            self._taken += 1

    def _submit(self, slot: int, work: Callable[[], int]) -> Future[int]:
        future = self._pools[slot].submit(work)
        future.add_done_callback(self._inbox.put)
        return future

    def _commit(self, slot: int, batch: Batch) -> int:
        self._committers[slot].commit(batch.cuts, batch.records)
        return slot

    def _check_idle(self, now_us: int) -> None:
        for slot, active_us in self._active_us.items():
            if now_us - active_us >= OWNER_CHECK_US and not self._task.committing(slot):
                self._active_us[slot] = now_us
                self._checking.add(self._submit(slot, partial(self._check, slot)))

    def _check(self, slot: int) -> int:
        try:
            self._committers[slot].check_owner()
        except Transient:
            self.transients_total += 1  # a broker that is away ends nothing: it is asked again
        return slot
