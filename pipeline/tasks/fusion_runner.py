"""Runs a fusion task: one thread joins and fuses, and each slot commits in a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from pipeline.clock import wall_us
from pipeline.errors import Transient
from pipeline.fusion.rules import Fuser
from pipeline.lane import LaneCut
from pipeline.slot.committer import Committer
from pipeline.slot.ledger import Batch
from pipeline.tasks.figures import Figures
from pipeline.tasks.fusion import FusionTask
from pipeline.tasks.fusion_moves import FusionMoves
from pipeline.tasks.messages import Deliveries
from pipeline.tasks.totals import Totals

OWNER_CHECK_US = 5_000_000  # how often an idle owner asks whether another took over
WAIT_S = 0.05
FAILING_US = 3_000_000  # a commit that is tried again for so long: why is told
FIGURES_US = 250_000  # how often figures are copied where no transaction took place

_log = logging.getLogger(__name__)

Acknowledge = Callable[[int, Mapping[int, int]], None]


class FusionState(NamedTuple):
    """As of the loop's last round, replaced as a whole: safe to read from any thread.

    ``taken`` counts deliveries; ``idle``: all of them are committed, and are in ``totals``;
    ``committable``: some of them are or will be, whatever comes next.
    ``cuts``: by lane the number of the newest that is in ``totals`` and ``figures``; what else
    is in ``figures`` may be FIGURES_US old. ``head``: the hash of the one that windows get which
    are opened from now on. ``not_ready``: why a slot cannot commit, in words.
    """

    taken: int
    idle: bool
    totals: Totals
    cuts: Mapping[int, int]
    figures: Figures
    head: str | None = None
    not_ready: str | None = None
    committable: bool = False

    def ended(self, delivered: int, left: int) -> bool:
        """Whether nothing is to be committed any more of what ingest delivered by its end.

        ``left``: windows that it did not wait for; what hangs on them is not committed.
        """
        over = not self.committable if left else self.idle
        return self.taken == delivered and over


class _Done(NamedTuple):
    """A committer is done with a slot; ``took_us`` is None where it only looked who owns it."""

    slot: int
    took_us: int | None
    wall_us: int


_Item = Deliveries | Fuser | Future[_Done] | Callable[[], None]


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
        self._committers = dict(committers)
        self._acknowledge = acknowledge
        self._now_us = now_us
        self._inbox: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._moves = FusionMoves(task)
        self._closes: dict[int, Callable[[], None]] = {}  # by slot that leaves
        # One thread a slot: a committer is never asked by two at once.
        self._pools = {slot: ThreadPoolExecutor(1, f"commit-{slot}") for slot in committers}
        self._stop = threading.Event()
        self._active_us = dict.fromkeys(committers, now_us())
        self._transients = 0
        self._retries = 0  # of slots that have left
        self.stepped_us = now_us()  # when the loop last came round: a host sees here that it hangs
        self._taken = 0
        self._cuts: dict[int, int] = {}
        self._figures_us = now_us()  # when those of ``state`` were copied
        self._counted = True  # something since then
        self.state = FusionState(
            0, True, task.totals.copy(), {}, task.figures.copy(), task.head_hash
        )

    def deliver(self, deliveries: Deliveries) -> None:
        """From any one thread: messages by slot, in order."""
        self._inbox.put(deliveries)

    def swap(self, fuser: Fuser) -> None:
        """From any thread: another head for the windows of deliveries that come after it."""
        self._inbox.put(fuser)

    def take_slot(self, slot: int, committer: Committer) -> None:
        """From any thread: a slot that has been claimed, before anything of it is delivered."""

        def take() -> None:
            self._committers[slot] = committer
            self._pools[slot] = ThreadPoolExecutor(1, f"commit-{slot}")
            self._active_us[slot] = self._now_us()
            self._task.take_slot(slot)

        self._inbox.put(take)

    def leave_slot(
        self, slot: int, numbers: Mapping[int, int], close: Callable[[], None]
    ) -> Future[dict[int, LaneCut]]:
        """From any thread: gives a slot up once its last cuts, by lane ``numbers``, are committed.

        Done when they are; by lane, the newest cut that this owner has committed. What it counted
        is in ``state`` by then. ``close`` is called when its committer is not used any more.
        """
        left: Future[dict[int, LaneCut]] = Future()
        self._closes[slot] = close
        self._inbox.put(partial(self._moves.leave, slot, numbers, left))
        return left

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> None:
        try:
            while not self._stop.is_set():
                self._step()
        finally:
            for pool in self._pools.values():
                pool.shutdown(wait=True, cancel_futures=True)
            self._take_rest()
            self._moves.end()

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
        self._moves.look(self._left)
        for slot, batch in self._task.due(now_us).items():
            self._active_us[slot] = now_us
            self._submit(slot, partial(self._commit, slot, batch))
        self._check_idle(now_us)
        self._show(now_us)

    def _show(self, now_us: int) -> None:
        # Only this thread may look: amid a step the task can seem idle with a commit on its way.
        idle, committable = self._task.idle, self._task.committable
        totals, figures = self.state.totals, self.state.figures
        if self._counted or now_us - self._figures_us >= FIGURES_US:
            totals, figures = self._task.totals.copy(), self._figures()
            self._figures_us, self._counted = now_us, False
        head, not_ready = self._task.head_hash, self._not_ready(now_us)
        self.state = FusionState(
            self._taken, idle, totals, self._cuts, figures, head, not_ready, committable
        )

    def _not_ready(self, now_us: int) -> str | None:
        for slot, committer in self._committers.items():
            for_us, error = now_us - self._active_us[slot], committer.failing
            if error is not None and for_us >= FAILING_US:
                return f"slot {slot} has tried to commit for {for_us // 1_000_000} s: {error}"
        return None

    def _figures(self) -> Figures:
        figures = self._task.figures.copy()
        committers = self._committers.values()
        retries = self._retries + sum(committer.retries_total for committer in committers)
        figures.count("motet_commits_total", retries, "retried")
        figures.count("motet_transients_total", self._transients, "fusion")
        return figures

    def _left(self, slot: int) -> None:
        self._retries += self._committers.pop(slot).retries_total
        pool = self._pools.pop(slot)
        pool.submit(self._closes.pop(slot))  # behind the look at its owner that may be under way
        pool.shutdown(wait=False)
        del self._active_us[slot]
        self._counted = True
        self._show(self._now_us())

    def _take(self, item: _Item) -> None:
        if isinstance(item, Future):
            done = item.result()  # raises here what the commit raised
            if done.took_us is not None:
                self._committed(done, done.took_us)
        elif isinstance(item, Fuser):
            self._task.swap(item)
        elif callable(item):
            item()
        else:
            for slot, messages in item.items():
                self._task.on_messages(slot, messages)
            self._taken += 1

    def _committed(self, done: _Done, took_us: int) -> None:
        figures = self._task.figures
        self._counted = True
        figures.count("motet_commits_total", 1, "committed")
        figures.observe("motet_commit_seconds", took_us / 1e6)
        numbers = self._task.on_committed(done.slot, done.wall_us)
        self._cuts = self._cuts | numbers
        if _log.isEnabledFor(logging.DEBUG):
            facts = {"slot": done.slot, "cuts": dict(numbers), "took_us": took_us}
            _log.debug("committed", extra={"facts": facts})
        self._acknowledge(done.slot, numbers)

    def _take_rest(self) -> None:
        """Transactions that were under way when it was stopped: what took place is counted."""
        while not self._inbox.empty():
            item = self._inbox.get_nowait()
            if isinstance(item, Future) and not item.cancelled() and item.exception() is None:
                self._take(item)
        self._counted = True
        self._show(self._now_us())

    def _submit(self, slot: int, work: Callable[[], _Done]) -> None:
        self._pools[slot].submit(work).add_done_callback(self._inbox.put)

    def _commit(self, slot: int, batch: Batch) -> _Done:
        began_us = self._now_us()
        self._committers[slot].commit(batch.cuts, batch.records)
        return _Done(slot, self._now_us() - began_us, wall_us())

    def _check_idle(self, now_us: int) -> None:
        for slot, active_us in self._active_us.items():
            if now_us - active_us >= OWNER_CHECK_US and not self._task.committing(slot):
                self._active_us[slot] = now_us
                self._submit(slot, partial(self._check, slot))

    def _check(self, slot: int) -> _Done:
        try:
            self._committers[slot].check_owner()
        except Transient:
            self._transients += 1  # a broker that is away ends nothing: it is asked again
        return _Done(slot, None, wall_us())
