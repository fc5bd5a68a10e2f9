"""How one simulated owner reads its inputs: fetches and ends, whatever comes late or not at all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager

from sim_around import Around
from sim_world import INPUTS, TOPICS

from pipeline.errors import Transient
from pipeline.slot.ports import Source, TopicPartition
from pipeline.tasks.ingest import IngestTask


class Reading:
    """A source and the task that is told what it brings; a broker that is away is asked again."""

    def __init__(
        self,
        task: IngestTask,
        source: Source,
        around: Around,
        now_us: Callable[[], int],
        in_call: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._task = task
        self._source = source
        self._around = around
        self._now_us = now_us
        self._in_call = in_call
        self._paused: set[TopicPartition] = set()
        self._held_back: int | None = None  # an input of which nothing comes for some polls
        self._held_polls = 0
        source.assign(task.assignment())

    def add(self, positions: Mapping[TopicPartition, int]) -> None:
        self._source.add(positions)

    def remove(self, partitions: Collection[TopicPartition]) -> None:
        self._source.remove(partitions)
        self._paused -= set(partitions)

    def poll(self, left_out: int = 0) -> None:
        """One fetch, of all but some partitions."""
        held = self._of_held_back()
        if left_out:
            partitions = list(self._task.assignment())
            held += self._around.rng.sample(partitions, min(left_out, len(partitions)))
        if held:
            self._source.pause(held)
        try:
            with self._in_call():
                fetches = self._source.poll(0)
        except Transient:
            return
        finally:
            self._source.resume([each for each in held if each not in self._paused])
        if self._task.replaying and any(fetch.records for fetch in fetches):
            self._around.sometimes("a replay with records")
        self._task.on_fetches(fetches, self._now_us())

    def hold_back(self) -> None:
        """Nothing of one input comes for a while, as where its broker is slow; all others do."""
        rng = self._around.rng
        self._held_back, self._held_polls = rng.randrange(len(INPUTS)), rng.randint(5, 20)

    def _of_held_back(self) -> list[TopicPartition]:
        if self._held_back is None:
            return []
        topic = TOPICS[INPUTS[self._held_back]]
        self._held_polls -= 1
        if not self._held_polls:
            self._held_back = None
            self._around.sometimes("an input was held back")
        return [each for each in self._task.assignment() if each.topic == topic]

    def ask_ends(self) -> None:
        asked_us = self._now_us()
        wanted = self._task.ends_wanted(asked_us)
        if not wanted:
            return
        try:
            with self._in_call():
                ends = self._source.stable_ends(wanted)
        except Transient:
            return
        self._task.on_ends(ends, self._now_us(), asked_us)

    def take_pauses(self) -> None:
        pause, resume = self._task.take_pauses()
        if pause:
            self._around.sometimes("an input was paused")
        self._source.pause(pause)
        self._source.resume(resume)
        self._paused = (self._paused | pause) - resume
