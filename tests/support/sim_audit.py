"""What is looked at while a simulated pipeline lives: whatever readers of its topics may see."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sim_host import Host
from sim_world import NAME, OUTPUTS, TOPICS

from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.errors import Transient
from pipeline.slot import metadata
from pipeline.slot.metadata import CutMetadata
from pipeline.slot.ports import LogRecord, TopicPartition

ALL = 1 << 40  # more than any log here holds

Window = tuple[str, int]  # stream, start


def demand(condition: object, why: object) -> None:
    """An assertion that stands without rewriting, and in optimised Python."""
    if not condition:
        raise AssertionError(str(why))


def everything(broker: MemoryBroker, partition: TopicPartition) -> list[LogRecord]:
    """What a read_committed reader of the whole partition gets now."""
    log = broker.log(partition)
    return log.read(log.start, ALL, ALL).records


def window_of(result: LogRecord) -> Window:
    stream, _, start = dict(result.headers)["ce_id"].decode().rpartition("/")
    return stream, int(start)


class _Share(NamedTuple):
    """What is committed for one input of a lane."""

    offset: int
    cut: CutMetadata


class Audit:
    """Follows committed output and offsets: nothing twice, nothing out of order, no way back."""

    def __init__(self, broker: MemoryBroker, lanes: int, trace: Callable[..., None]) -> None:
        self._broker = broker
        self._trace = trace
        self._lanes = range(lanes)
        self._read: dict[TopicPartition, int] = {}
        self._newest: dict[str, int] = {}  # start of each stream's last result
        self._shares: dict[int, dict[str, _Share]] = {}  # by lane and topic
        self._replaced: dict[int, set[str]] = {lane: set() for lane in self._lanes}
        self.results: dict[Window, LogRecord] = {}
        self.written: dict[str, list[LogRecord]] = {kind: [] for kind in OUTPUTS}

    def look(self) -> None:
        """Takes in all that was committed since the last look."""
        for lane in self._lanes:
            for kind, written in self.written.items():
                new = self._new(kind, lane)
                written += new
                if kind == "results":
                    for record in new:
                        self._result(record)
            self._offsets(lane)

    def look_at(self, host: Host) -> None:
        """The floors of a host's lanes never fall, nor below what it recovered; budgets hold."""
        for lane, feed in host.task.lanes.items():
            floor_us = feed.lane.floor_us
            before = host.floors.get(lane, host.claims[lane].floor_us)
            demand(
                before is None or (floor_us is not None and floor_us >= before),
                f"{host.name}: the floor of lane {lane} fell from {before} to {floor_us}",
            )
            host.floors[lane] = floor_us
        in_flight = host.task.in_flight_bytes
        demand(min(in_flight.values(), default=0) >= 0, f"{host.name}: in flight {in_flight}")

    def position(self, partition: TopicPartition) -> int | None:
        share = self._shares.get(partition.partition, {}).get(partition.topic)
        return share.offset if share is not None else None

    def slots(self) -> int | None:
        """The number of slots under which lane 0 was committed last."""
        shares = self._shares.get(0)
        return shares[TOPICS["a"]].cut.slots if shares else None

    def _new(self, kind: str, lane: int) -> list[LogRecord]:
        partition = TopicPartition(f"run.{kind}", lane)
        log = self._broker.log(partition)
        records, self._read[partition] = log.read(self._read.get(partition, 0), ALL, ALL)
        for record in records:
            self._trace(kind, lane, record.offset, record.key, record.value)
        return records

    def _result(self, record: LogRecord) -> None:
        stream, start_us = window = window_of(record)
        demand(window not in self.results, f"{window} is committed twice")
        newest = self._newest.get(stream)
        demand(newest is None or start_us > newest, f"{window} comes after {newest}")
        self.results[window] = record
        self._newest[stream] = start_us

    def _offsets(self, lane: int) -> None:
        """All inputs of a lane stand at one cut; looked at where no transaction hides some."""
        now: dict[str, _Share] = {}
        for topic in TOPICS.values():
            partition = TopicPartition(topic, lane)
            try:
                entry = self._broker.committed(NAME, partition)
            except Transient:
                return
            if entry is not None:
                now[topic] = _Share(entry.offset, metadata.load(partition, entry))
        before = self._shares.get(lane)
        if now == (before or {}):
            return
        cuts = {(s.cut.cut, s.cut.owner, s.cut.floor_us, s.cut.top_us) for s in now.values()}
        demand(len(now) == len(TOPICS) and len(cuts) == 1, f"lane {lane} stands at {now}")
        self._shares[lane] = now
        if before is not None:
            for topic in TOPICS.values():
                self._forward(lane, before[topic], now[topic])

    def _forward(self, lane: int, old: _Share, new: _Share) -> None:
        what = f"lane {lane}: {old}, then {new}"
        demand(new.offset >= old.offset and new.cut.cut >= old.cut.cut, what)
        demand(old.cut.start <= new.cut.start <= new.offset, what)
        for low, high in (
            (old.cut.floor_us, new.cut.floor_us),
            (old.cut.top_us, new.cut.top_us),
        ):
            demand(low is None or (high is not None and high >= low), what)
        if new.cut.owner != old.cut.owner:
            demand((new.cut.cut, new.offset) == (old.cut.cut, old.offset), f"claimed: {what}")
            self._replaced[lane].add(old.cut.owner)
        demand(new.cut.owner not in self._replaced[lane], f"a replaced owner is back: {what}")
