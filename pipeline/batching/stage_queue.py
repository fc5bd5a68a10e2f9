"""What is queued for one stage, what its replicas have, and who gets how much of it next."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from pipeline.batching.batch import StageJob
from pipeline.batching.fair_queue import FairQueue

HELD_BATCHES = 2  # full batches in flight a replica: one runs, one waits at the door
BATCH_BYTES_MAX = 16 << 20
BACKLOG_BATCHES = 2  # queued a replica: more would only wait, and hold memory
# What waits goes to a replica that is busy once it is this share of what the replica has. A
# smaller one costs more messages; a larger one leaves more behind when the replica is free again.
_WORTH_SHARE = 8


@dataclass(frozen=True, slots=True)
class StageRule:
    """What the dispatcher knows of a stage; ``upstream`` names the stages that it reads.

    ``call_batches``: how many full batches go to a replica as one while it is behind, where a
    message costs more than it delays the first of them. ``films``: its records are pictures that
    move, so windows of one film go together.
    """

    name: str
    upstream: tuple[str, ...]
    batch_max: int
    timeout_us: int
    call_batches: int = 1
    films: bool = False


@dataclass(slots=True, eq=False)
class Task:
    """One window at one stage; ``deaths`` counts the replicas that died with it alone on them."""

    window: Hashable
    stage: str
    job: StageJob
    waits_for: set[str]
    deadline_us: int
    ready_us: int
    deaths: int = 0
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows for one call; ``alone``: one suspect, beside which its replica has nothing."""

    tasks: list[Task]
    size_bytes: int
    alone: bool


@dataclass(slots=True)
class _Held:
    """What a replica has, and since when it is busy; ``alone``: a suspect and nothing else."""

    since_us: int
    batches: int = 0
    windows: int = 0
    size_bytes: int = 0
    alone: bool = False


class StageQueue:
    """Windows that wait for one stage, and the replicas that take them.

    Invariants: a replica never has more than two full batches, or ``call_batches`` times as many
    while it is behind, and a suspect has its replica to itself. Suspects go ahead of all others.
    """

    def __init__(self, rule: StageRule) -> None:
        self.rule = rule
        self.replicas: tuple[str, ...] = ()
        self._ready: FairQueue[Task] = FairQueue()
        self._suspects: deque[Task] = deque()
        self._held: dict[str, _Held] = {}  # by replica that has something
        self._busy_us = 0  # of replicas that have nothing left

    def put(self, task: Task) -> None:
        self._ready.put(task.job.stream, task)

    def suspect(self, tasks: Sequence[Task]) -> None:
        """Windows of a batch that a replica died with: each runs alone, ahead of all others."""
        self._suspects.extendleft(reversed(tasks))

    def waiting(self) -> bool:
        """Whether anything is queued, once what was settled meanwhile has been let go."""
        while self._suspects and self._suspects[0].settled:
            self._suspects.popleft()
        while self._ready and self._ready.peek().settled:
            self._ready.take()
        return bool(self._suspects or self._ready)

    def next_batch(self, now_us: int) -> tuple[str, Batch] | None:
        """The replica with the least to do and what it gets; None where it is better to wait."""
        if not self.replicas or not self.waiting():
            return None
        replica = min(self.replicas, key=self._load)
        room = self._room(replica)
        if not room:
            return None
        batch = self._take(room)
        held = self._held.setdefault(replica, _Held(now_us))
        held.batches += 1
        held.windows += len(batch.tasks)
        held.size_bytes += batch.size_bytes
        held.alone = batch.alone
        return replica, batch

    def returned(self, replica: str, batch: Batch, now_us: int) -> None:
        """The replica does not have the batch any more, whatever came of it."""
        held = self._held[replica]
        held.batches -= 1
        held.windows -= len(batch.tasks)
        held.size_bytes -= batch.size_bytes
        if not held.batches:
            self._busy_us += now_us - held.since_us
            del self._held[replica]

    def busy_us(self, now_us: int) -> int:
        """How long its replicas have had work, added up."""
        return self._busy_us + sum(now_us - held.since_us for held in self._held.values())

    @property
    def backlogged(self) -> bool:
        """Whether more is queued than the replicas will take for a while."""
        most = BACKLOG_BATCHES * self.rule.batch_max * max(1, len(self.replicas))
        return len(self._ready) >= most

    @property
    def windows(self) -> int:
        """How many are queued or with a replica; one that has failed meanwhile may count still."""
        with_replicas = sum(held.windows for held in self._held.values())
        return len(self._suspects) + len(self._ready) + with_replicas

    @property
    def holding(self) -> set[str]:
        """Replicas that get batches, or have some still."""
        return {*self.replicas, *self._held}

    def _load(self, replica: str) -> int:
        held = self._held.get(replica)
        if held is None:
            return 0
        return HELD_BATCHES * self.rule.batch_max if held.alone else held.windows

    def _room(self, replica: str) -> int:
        """How many windows may go to a replica now; 0 also where it is better to wait.

        No replica gets more than its share of what is queued or with replicas: the last of a
        longer row would wait for nothing.
        """
        held, batch_max = self._held.get(replica), self.rule.batch_max
        most = batch_max * (self.rule.call_batches if self.backlogged else 1)
        if held is None:
            return max(1, min(most, self._share()))
        if held.alone or self._suspects:
            return 0
        if held.batches > 1 and held.size_bytes >= HELD_BATCHES * BATCH_BYTES_MAX:
            return 0
        worth_it = len(self._ready) * _WORTH_SHARE >= min(held.windows, batch_max)
        room = min(most, HELD_BATCHES * most - held.windows, self._share() - held.windows)
        return max(0, room) if worth_it else 0

    def _share(self) -> int:
        windows = len(self._ready)
        for replica in self.replicas:
            if replica in self._held:
                windows += self._held[replica].windows
        return -(-windows // len(self.replicas))

    def _take(self, room: int) -> Batch:
        """One suspect alone, else what is ready up to the limits; the first is not settled.

        A film is decoded from its beginning in every batch that has a window of it, so windows
        of one film go together. A payload travels once, however many windows of a batch hold it.
        """
        if self._suspects:
            return Batch([self._suspects.popleft()], 0, True)
        tasks: list[Task] = []
        held: set[int] = set()  # records, by identity
        size_bytes = 0
        while len(tasks) < room and size_bytes < BATCH_BYTES_MAX and self._ready:
            if self.rule.films:
                taken = self._ready.take_together(room - len(tasks), _share_film)
            else:
                taken = [self._ready.take()]
            for task in taken:
                if not task.settled:
                    tasks.append(task)
                    for record in task.job.records:
                        if id(record) not in held:
                            held.add(id(record))
                            size_bytes += len(record.payload)
        return Batch(tasks, size_bytes, False)


def _share_film(one: Task, other: Task) -> bool:
    """Whether some record of pictures that move is in both their windows."""
    films = {id(record) for record in one.job.records if record.facts.kind == "video"}
    return bool(films) and any(id(record) in films for record in other.job.records)
