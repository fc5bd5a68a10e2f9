"""The transaction of a slot: one cut of each lane, all its output, and the offsets, or nothing.

    begin, produce, flush (every acknowledgement read), offsets, commit

A failed transaction whose outcome is unknown is resolved by what the log says (design, the
commit cut): the cut is there (go on), the one before is (send the same again), or another
owner is (stop, and never fence back).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import Fenced, TakenOver, Transient
from pipeline.lane.record import LaneCut
from pipeline.slot import metadata
from pipeline.slot.metadata import CutMetadata
from pipeline.slot.ports import Committed, Control, OutRecord, Sink, TopicPartition


@dataclass(frozen=True, slots=True)
class SlotIdentity:
    """What a slot is called and what it owns; the same in every owner of it.

    ``topics``: input name -> topic. ``lanes``: the partitions it owns in all of them.
    """

    pipeline: str
    slot: int
    slots: int
    owner: str
    rules: str
    topics: Mapping[str, str]
    topic_ids: Mapping[str, str]
    lanes: tuple[int, ...]

    @property
    def transactional_id(self) -> str:
        return f"{self.pipeline}.{self.slot}"

    def partitions(self, lanes: Sequence[int] | None = None) -> list[TopicPartition]:
        chosen = self.lanes if lanes is None else lanes
        return [TopicPartition(t, lane) for lane in chosen for t in self.topics.values()]

    def offsets(self, lane: int, cut: LaneCut) -> dict[TopicPartition, Committed]:
        """What is committed for a cut of a lane: every input partition, one cut number."""
        return {
            TopicPartition(topic, lane): Committed(
                cut.positions[name],
                CutMetadata(
                    cut=cut.number,
                    owner=self.owner,
                    start=cut.froms[name],
                    floor_us=cut.floor_us,
                    top_us=cut.top_us,
                    slots=self.slots,
                    rules=self.rules,
                    topic_id=self.topic_ids[topic],
                ).dump(),
            )
            for name, topic in self.topics.items()
        }


class Committer:
    """Commits cuts of one slot, one transaction at a time.

    Invariant: when ``commit`` returns, the records and offsets are committed exactly once;
    when it raises Fenced, nothing of this owner will ever be committed again.
    """

    def __init__(
        self,
        identity: SlotIdentity,
        sink: Sink,
        control: Control,
        pause: Callable[[int], None],
    ) -> None:
        """``pause(attempt)`` waits between tries and may raise to give up."""
        self._identity = identity
        self._sink = sink
        self._control = control
        self._pause = pause
        self._last: dict[int, int] = {}  # lane -> number of the newest committed cut of ours
        self.retries_total = 0
        self.failing: str | None = None  # the newest error of a commit that is tried again

    def claim(self, cuts: Mapping[int, LaneCut], seen_owners: Mapping[int, str | None]) -> None:
        """Commits the recovered cuts unchanged, under this owner (``seen_owners`` had them)."""
        self._commit(
            cuts, [], {lane: (seen_owners[lane], cut.number) for lane, cut in cuts.items()}
        )

    def commit(self, cuts: Mapping[int, LaneCut], records: Sequence[OutRecord]) -> None:
        owner = self._identity.owner
        self._commit(cuts, records, {lane: (owner, self._last[lane]) for lane in cuts})

    def check_owner(self, wait: bool = True) -> None:
        """Raises Fenced where another run has claimed the slot; an idle owner asks now and then.

        ``wait``: for an open transaction that hides the answer, as in ``Control.committed``.
        """
        for lane, found in self._read(self._identity.lanes, wait).items():
            if found is None or found[0] != self._identity.owner:
                raise self._taken(lane, found)

    def _commit(
        self,
        cuts: Mapping[int, LaneCut],
        records: Sequence[OutRecord],
        before: Mapping[int, tuple[str | None, int]],
    ) -> None:
        offsets: dict[TopicPartition, Committed] = {}
        for lane, cut in cuts.items():
            offsets |= self._identity.offsets(lane, cut)
        attempt = 0
        while not (attempt and self._resolve(cuts, before)):
            try:
                self._transaction(records, offsets)
                break
            except Transient as error:
                attempt += 1
                self.retries_total += 1
                self.failing = str(error)
                self._pause(attempt)
        self.failing = None
        self._last |= {lane: cut.number for lane, cut in cuts.items()}

    def _transaction(
        self, records: Sequence[OutRecord], offsets: Mapping[TopicPartition, Committed]
    ) -> None:
        sink = self._sink
        sink.begin()
        if records:
            sink.produce(records)
            sink.flush()
        sink.send_offsets(offsets)
        sink.commit()

    def _resolve(
        self, cuts: Mapping[int, LaneCut], before: Mapping[int, tuple[str | None, int]]
    ) -> bool:
        """After an error: whether it was committed all the same, with a producer to go on with.

        The log is asked before anyone is fenced, since one that took over must not be fenced
        back. Where our own open transaction hides the answer, fencing it ends the wait.
        """
        attempt = 0
        while True:
            try:
                try:
                    self._resolved(cuts, before, wait=False)
                except Transient:
                    self._pause(attempt)
                self._sink.open()
                return self._resolved(cuts, before)
            except Transient as error:
                attempt += 1
                self.failing = str(error)
                self._pause(attempt)

    def _resolved(
        self,
        cuts: Mapping[int, LaneCut],
        before: Mapping[int, tuple[str | None, int]],
        wait: bool = True,
    ) -> bool:
        """Whether the log says that the transaction took place; Fenced where it is another's."""
        done = set()
        for lane, found in self._read(tuple(cuts), wait).items():
            if found == (self._identity.owner, cuts[lane].number) and found != before[lane]:
                done.add(True)
            elif found == before[lane] or (found is None and before[lane][0] is None):
                done.add(False)
            else:
                raise self._taken(lane, found)
        if len(done) != 1:
            raise Fenced(f"slot {self._identity.slot}: its lanes were committed by two owners")
        return done.pop()

    def _read(self, lanes: Sequence[int], wait: bool = True) -> dict[int, tuple[str, int] | None]:
        """By lane: (owner, cut number) as committed."""
        committed = self._control.committed(
            self._identity.pipeline, self._identity.partitions(lanes), wait
        )
        found: dict[int, tuple[str, int] | None] = {}
        for partition, entry in committed.items():
            if entry is None:
                found.setdefault(partition.partition, None)
            else:
                loaded = metadata.load(partition, entry)
                found[partition.partition] = (loaded.owner, loaded.cut)
        return found

    def _taken(self, lane: int, found: tuple[str, int] | None) -> TakenOver:
        by = "nobody" if found is None else f"run {found[0]} at cut {found[1]}"
        return TakenOver(
            f"pipeline {self._identity.pipeline}: lane {lane} is owned by {by} now; "
            "another `motet run` of the same name took over, or a `motet reset` moved it, and this "
            "one has stopped"
        )
