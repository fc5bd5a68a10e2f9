"""Runs an ingest task: polls the source, hands batches and messages on, takes replies.

One thread owns the task and its source; everything else reaches it through ``post``.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from math import inf

from pipeline.batching.batch import BatchRun, JobResult
from pipeline.batching.dispatch import Assignment
from pipeline.clock import wall_us
from pipeline.errors import Transient
from pipeline.slot.ports import Source, TopicPartition
from pipeline.tasks.ingest import IngestTask
from pipeline.tasks.ingest_moves import Event, IngestMoves
from pipeline.tasks.messages import Deliveries

POLL_BUSY_S = 0.005  # while batches are out, their results must not wait for a poll
POLL_IDLE_S = 0.02
AWAY_S = 0.25
AWAY_US = 3_000_000  # a question that long without an answer: the broker is away
REPORT_US = 1_000_000
# Of the commit interval: a delivery costs some ms, full or not. Windows of a backlog can wait.
GATHER_SHARE, GATHER_SHARE_BACKLOG = 0.1, 0.4


class IngestRunner:
    """The loop of one ingest owner, until it is drained, stopped or has failed.

    ``encode`` and ``deliver`` must not block for long and may be called from this thread only.
    After a drain nothing more is fetched or applied; what is in flight is finished, or left when
    encoders have had their time.
    """

    def __init__(
        self,
        task: IngestTask,
        source: Source,
        encode: Callable[[Assignment], None],
        deliver: Callable[[Deliveries], None],
        now_us: Callable[[], int],
    ) -> None:
        source.assign(task.assignment())  # its client looks for the topics at once
        self._task = task
        self._source = source
        self._encode = encode
        self._deliver = deliver
        self._now_us = now_us
        self._inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.moves = IngestMoves(source, self._inbox.put)
        self._stop = threading.Event()
        self._draining = threading.Event()
        self.drained = threading.Event()
        self._drain_until_us: float = inf
        self.left = 0  # windows that encoders had when it was drained
        self.delivered = 0  # calls of ``deliver``, none once it is drained
        self.waiting: list[str] = []  # what the lanes wait for, looked at every second
        self.view = task.view(now_us(), wall_us())  # looked at every second, and at the end
        self.warnings: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.overdue: list[str] = []  # replicas that hang, looked at every second
        # Looked at every second: the newest number that came with replicas, and those that get
        # batches or have some. None: not yet.
        self.holding: tuple[int, frozenset[str]] | None = None
        self.stepped_us = now_us()  # when the loop last came round: a host sees here that it hangs
        self._told = 0
        self._report_us = 0
        self._delivered_us = 0
        self._transients = 0
        self._away: str | None = None  # why the broker did not answer, until it does
        self._asked_us: int | None = None  # since when it has been asked, and has not answered
        self._more = False  # whether the lanes have more to do without a fetch

    # -- from any thread --------------------------------------------------------------------

    def post_batch(self, number: int, results: Sequence[JobResult], run: BatchRun) -> None:
        self._inbox.put(lambda task, now_us: task.on_batch(number, results, now_us, run))

    def post_lost(self, number: int, cause: str) -> None:
        self._inbox.put(lambda task, now_us: task.on_batch_lost(number, cause, now_us))

    def post_committed(self, slot: int, numbers: Mapping[int, int]) -> None:
        self._inbox.put(lambda task, now_us: task.on_committed(slot, numbers))

    def post_replicas(self, stage: str, replicas: Sequence[str], number: int = 0) -> None:
        """``number`` grows; it is in ``holding`` once this is in force."""

        def told(task: IngestTask, now_us: int) -> None:
            task.set_replicas(stage, replicas)
            self._told = max(self._told, number)

        self._inbox.put(told)

    def post_limits(self, stage: str, batch_max: int, timeout_us: int) -> None:
        self._inbox.put(lambda task, now_us: task.set_limits(stage, batch_max, timeout_us, now_us))

    def take_warnings(self) -> list[str]:
        lines = []
        while not self.warnings.empty():
            lines.append(self.warnings.get())
        return lines

    @property
    def not_ready(self) -> str | None:
        """Why it does not go on, in words: the broker is away, or a recovery is under way."""
        asked_us = self._asked_us
        if self._away is None and asked_us is not None and self._now_us() - asked_us > AWAY_US:
            return "the broker does not answer"
        if self._away is None and self.view.replay_records:
            return f"recovering: {self.view.replay_records} records are to be read again"
        return self._away

    def drain(self, patience_s: float = inf) -> None:
        """``patience_s``: for encoders; what they still have then is left."""
        self._drain_until_us = self._now_us() + patience_s * 1e6
        self._draining.set()

    def stop(self) -> None:
        self._stop.set()

    # -- in its own thread ------------------------------------------------------------------

    def run(self) -> None:
        """Runs until it is stopped; whatever the source or the task raises comes out here."""
        try:
            while not self._stop.is_set():
                try:
                    self.step()
                except Transient as away:
                    # A broker that is away ends nothing: positions stand, and it is asked again.
                    self._transients += 1
                    self._away = f"waiting for the broker ({away})"
                    self._asked_us = None
                    self.waiting = [self._away]
                    self._hand_on()  # what has closed is encoded meanwhile, or it would time out
                    self._stop.wait(AWAY_S)
        finally:
            self.moves.end()
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
            self._ask_ends(wanted)
            more |= task.pump(self._now_us())
        self._hand_on()
        self.moves.look(task)
        self._report(ask=True)
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
            self._away = None
            self._task.on_fetches(fetches, self._now_us())

    def _ask_ends(self, wanted: Sequence[TopicPartition]) -> None:
        asked_us = self._asked_us = self._now_us()
        ends = self._source.stable_ends(wanted)
        self._away = self._asked_us = None
        self._task.on_ends(ends, self._now_us(), asked_us)

    def _report(self, ask: bool) -> None:
        """``ask``: for the stable ends too, so that the lag is right while nothing arrives."""
        for line in self._task.watch.take_warnings():
            self.warnings.put(line)
        now_us = self._now_us()
        if now_us >= self._report_us:
            self._report_us = now_us + REPORT_US
            shown = self._task.ends_shown() if ask else []
            try:
                if shown:
                    self._ask_ends(shown)
                else:
                    self._away = None  # its ends stand fixed, and it was read from all the same
            finally:
                self._look()

    def _look(self) -> None:
        now_us = self._now_us()
        self.overdue = self._task.dispatcher.overdue(now_us)
        self.holding = self._told, self._task.dispatcher.holding()
        view = self._task.view(now_us, wall_us())
        view.figures.count("motet_transients_total", self._transients, "ingest")
        self.view = view
        self.waiting = [lane.waiting for lane in view.lanes if lane.waiting is not None]

    def _finish_round(self, busy: bool) -> None:
        """Nothing is fetched any more: what is in flight goes out, then the owner is drained."""
        if not self.left:
            self._hand_on()
        self._report(ask=False)
        windows = self._task.dispatcher.windows
        over = not windows or self._now_us() >= self._drain_until_us
        if over and not self.drained.is_set():
            self.left = windows
            self._look()
            self.drained.set()
        if not busy:
            self._wait()

    def _hand_on(self) -> None:
        for assignment in self._task.take_assignments(self._now_us()):
            self._encode(assignment)
        self._hand_over()

    def _hand_over(self) -> None:
        """Messages for the fusion half: gathered while more are sure to come, else at once."""
        now_us, dispatcher = self._now_us(), self._task.dispatcher
        share = GATHER_SHARE_BACKLOG if dispatcher.backlogged else GATHER_SHARE
        gather_us = share * self._task.commit_interval_us
        if dispatcher.windows and now_us - self._delivered_us < gather_us:
            return
        deliveries = self._task.take_deliveries()
        if deliveries:
            self._delivered_us = now_us
            self.delivered += 1
            self._deliver(deliveries)

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
