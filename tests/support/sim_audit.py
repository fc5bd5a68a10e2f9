"""What is looked at while a simulated pipeline lives, and what must hold at its end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from lane_oracle import windows_over
from sim_world import INPUTS, NAME, OUTPUTS, TOPICS

from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.errors import Transient
from pipeline.lane import LaneSpec
from pipeline.media.reading import Reader, rules_of
from pipeline.record import MediaRecord, UnsoundRecord
from pipeline.slot import metadata
from pipeline.slot.metadata import CutMetadata
from pipeline.slot.ports import LogRecord, TopicPartition
from pipeline.spec import PipelineSpec

Place = tuple[str, int, int]  # topic, partition, offset
Window = tuple[str, int]  # stream, start


def demand(condition: object, why: object) -> None:
    if not condition:
        raise AssertionError(str(why))


def headers_of(record: LogRecord) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


def window_of(result: LogRecord) -> Window:
    stream, _, start = headers_of(result)["ce_id"].rpartition("/")
    return stream, int(start)


@dataclass
class Audit:
    """Follows what read_committed readers see: nothing twice, nothing out of order, no way back."""

    broker: MemoryBroker
    lanes: int
    size_us: int
    trace: Callable[..., None]
    results: dict[Window, LogRecord] = field(default_factory=dict)
    letters: dict[str, list[LogRecord]] = field(default_factory=lambda: {k: [] for k in OUTPUTS[1:]})
    counts: dict[tuple[str, int], int] = field(default_factory=Counter)  # of output, by partition
    _read: dict[TopicPartition, int] = field(default_factory=dict)
    _newest: dict[str, int] = field(default_factory=dict)
    _committed: dict[TopicPartition, tuple[int, CutMetadata]] = field(default_factory=dict)
    _gone: dict[TopicPartition, set[str]] = field(default_factory=dict)

    def look(self) -> None:
        for lane in range(self.lanes):
            for record in self._new("results", lane):
                self._result(record)
            for kind, letters in self.letters.items():
                letters += self._new(kind, lane)
            for topic in TOPICS.values():
                self._offset(TopicPartition(topic, lane))
            self._one_cut(lane)

    def floor_us(self, lane: int) -> int | None:
        known = self._committed.get(TopicPartition(TOPICS["a"], lane))
        return known[1].floor_us if known else None

    def position(self, partition: TopicPartition) -> int | None:
        known = self._committed.get(partition)
        return known[0] if known else None

    def slots(self) -> int | None:
        """The number of slots that the newest claim of lane 0 was made under."""
        known = self._committed.get(TopicPartition(TOPICS["a"], 0))
        return known[1].slots if known else None

    def owner(self, lane: int) -> str | None:
        known = self._committed.get(TopicPartition(TOPICS["a"], lane))
        return known[1].owner if known else None

    def _new(self, kind: str, lane: int) -> list[LogRecord]:
        partition = TopicPartition(f"run.{kind}", lane)
        records, after = self.broker.log(partition).read(
            self._read.get(partition, 0), 1 << 30, 1 << 40
        )
        self._read[partition] = after
        self.counts[kind, lane] += len(records)
        for record in records:
            self.trace(kind, lane, record.offset, record.key, record.value)
        return records

    def _result(self, record: LogRecord) -> None:
        stream, start_us = window = window_of(record)
        demand(window not in self.results, f"{window} is committed twice")
        newest = self._newest.get(stream)
        demand(newest is None or start_us > newest, f"{window} comes after {newest}")
        self.results[window] = record
        self._newest[stream] = start_us

    def _offset(self, partition: TopicPartition) -> None:
        try:
            entry = self.broker.committed(NAME, partition)
        except Transient:
            return  # a transaction is pending: what was committed before stands until it ends
        before = self._committed.get(partition)
        if entry is None:
            demand(before is None, f"{partition}: the committed offset is gone")
            return
        now = metadata.load(partition, entry)
        if before is not None:
            if before == (entry.offset, now):
                return
            self._forward(partition, before, (entry.offset, now))
        demand(now.start <= entry.offset, f"{partition}: from {now.start} past {entry.offset}")
        self._committed[partition] = entry.offset, now

    def _forward(
        self,
        partition: TopicPartition,
        before: tuple[int, CutMetadata],
        now: tuple[int, CutMetadata],
    ) -> None:
        (old_offset, old), (new_offset, new) = before, now
        what = f"{partition}: {old} at {old_offset}, then {new} at {new_offset}"
        demand(new_offset >= old_offset and new.cut >= old.cut, what)
        demand(new.start >= old.start, what)
        for name in ("floor_us", "top_us"):
            low, high = getattr(old, name), getattr(new, name)
            demand(low is None or (high is not None and high >= low), f"{name} of {what}")
        gone = self._gone.setdefault(partition, set())
        if new.owner != old.owner:
            gone.add(old.owner)
        demand(new.owner not in gone, f"{what}: an owner that was replaced is back")

    def _one_cut(self, lane: int) -> None:
        """All inputs of a lane stand at the same cut, where no transaction hides some of them."""
        try:
            entries = {
                t: self.broker.committed(NAME, TopicPartition(t, lane)) for t in TOPICS.values()
            }
        except Transient:
            return
        shares = {
            (m.cut, m.owner, m.floor_us, m.top_us)
            for topic, entry in entries.items()
            if entry is not None
            for m in [metadata.load(TopicPartition(topic, lane), entry)]
        }
        demand(len(shares) <= 1, f"lane {lane} stands at several cuts: {sorted(map(str, shares))}")
        demand(len({e is None for e in entries.values()}) == 1, f"lane {lane}: offsets are missing")


# -- at the end


@dataclass(frozen=True)
class Logs:
    """What the input topics hold, read as the pipeline reads it."""

    sound: dict[Place, MediaRecord]
    unsound: dict[Place, UnsoundRecord]

    @staticmethod
    def of(broker: MemoryBroker, spec: PipelineSpec, lanes: int) -> Logs:
        reader = Reader(rules_of(spec))
        sound: dict[Place, MediaRecord] = {}
        unsound: dict[Place, UnsoundRecord] = {}
        for name in INPUTS:
            for lane in range(lanes):
                log = broker.log(TopicPartition(TOPICS[name], lane))
                for record in log.read(log.start, 1 << 30, 1 << 40).records:
                    read = reader.read(name, record)
                    place = (record.topic, record.partition, record.offset)
                    if isinstance(read, UnsoundRecord):
                        unsound[place] = read
                    else:
                        sound[place] = read
        return Logs(sound, unsound)

    def windows(self, spec: LaneSpec) -> dict[Place, list[Window]]:
        return {
            place: [(r.stream, start) for start in windows_over(spec, r.ts_us, r.end_us)]
            for place, r in self.sound.items()
        }


def check_fates(audit: Audit, logs: Logs, spec: LaneSpec) -> None:
    """Every record was fused into or late for each of its windows, once; unsound ones told once."""
    late = _late(audit.letters["late"])
    failed = _failed(audit.letters["dead"])
    names = {_name(r): place for place, r in logs.sound.items()}
    fused = {w: _read_by(w, result, names, failed) for w, result in audit.results.items()}
    windows = logs.windows(spec)
    for place, overlapped in windows.items():
        for window in overlapped:
            was_fused = place in fused.get(window, ())
            was_late = window[1] in late.get(place, ())
            demand(
                was_fused != was_late,
                f"{place} for {window}: {'both' if was_fused else 'neither'} fused and late",
            )
    for window, places in fused.items():
        for place in places:
            demand(window in windows[place], f"{place} is in {window}, which it does not overlap")
    for place, starts in late.items():
        missed = {start for _, start in windows[place]}
        demand(set(starts) <= missed, f"{place} is late for {starts}, of {sorted(missed)}")
    told = Counter(_place(r) for r in audit.letters["dead"] if _reason(r) != "encode-failed")
    demand(told == Counter(logs.unsound.keys()), f"unsound {sorted(logs.unsound)}, told {told}")


def expected_counts(
    audit: Audit, logs: Logs, spec: LaneSpec, positions: Mapping[TopicPartition, int]
) -> dict[tuple[str, str], int]:
    """By (input, fate), and by ("read", input), of all records from these positions on."""
    late = _late(audit.letters["late"])
    found: Counter[tuple[str, str]] = Counter()
    windows = logs.windows(spec)
    for place, read in (logs.sound | logs.unsound).items():
        topic, lane, offset = place
        if offset < positions[TopicPartition(topic, lane)]:
            continue
        found["read", read.input] += 1
        if place in logs.unsound:
            found[read.input, "dead_letter"] += 1
        else:
            found[read.input, "late"] += len(late.get(place, ()))
            found[read.input, "fused"] += len(windows[place]) - len(late.get(place, ()))
    return {key: count for key, count in found.items() if count}


def _name(record: MediaRecord) -> bytes:
    return bytes(record.payload).split(b" ")[0]


def _place(letter: LogRecord) -> Place:
    found = headers_of_letter(letter)
    return found["motet-topic"], int(found["motet-partition"]), int(found["motet-offset"])


def _reason(letter: LogRecord) -> str:
    return headers_of_letter(letter)["motet-reason"]


def headers_of_letter(letter: LogRecord) -> dict[str, str]:
    return {n: v.decode() for n, v in letter.headers if n.startswith("motet-")}


def _late(letters: Iterable[LogRecord]) -> dict[Place, list[int]]:
    late: dict[Place, list[int]] = {}
    for letter in letters:
        place = _place(letter)
        demand(place not in late, f"{place} is late twice")
        late[place] = [int(s) for s in headers_of_letter(letter)["motet-windows"].split(",")]
    return late


def _failed(letters: Iterable[LogRecord]) -> dict[tuple[Window, str], set[Place]]:
    failed: dict[tuple[Window, str], set[Place]] = {}
    for letter in letters:
        if _reason(letter) == "encode-failed":
            value = json.loads(letter.value or b"")
            key = ((value["stream"], value["window"]["start_us"]), value["stage"])
            demand(key not in failed, f"{key} has failed twice")
            failed[key] = {
                (topic, partition, offset) for topic, partition, offset in value["records"]
            }
    return failed


def _read_by(
    window: Window,
    result: LogRecord,
    names: Mapping[bytes, Place],
    failed: Mapping[tuple[Window, str], set[Place]],
) -> set[Place]:
    """The records that were fused into a window, by what its own stage says of it."""
    value = json.loads(result.value or b"")
    for stage in value["failed"]:
        demand((window, stage) in failed, f"{window}: no entry tells that {stage} failed")
    if "names" in value["text"]:
        listed = value["text"]["names"].encode().split()
        places = {names[name] for name in listed}
        demand(len(listed) == len(places), f"{window} holds a record twice: {listed}")
        present = sorted({next(i for i in INPUTS if TOPICS[i] == topic) for topic, _, _ in places})
        demand(
            value["present"] == present, f"{window}: {value['present']} are present, not {present}"
        )
        return places
    return failed[window, "names"]


def comparable(
    broker: MemoryBroker, prefix: str, name: str, lanes: int
) -> dict[str, Counter[object]]:
    """By output and lane, what was committed; the pipeline's name, offsets and times taken out."""
    found: dict[str, Counter[object]] = {}
    for kind in OUTPUTS:
        for lane in range(lanes):
            log = broker.log(TopicPartition(f"{prefix}.{kind}", lane))
            found[f"{kind} of lane {lane}"] = Counter(
                (
                    record.key,
                    (record.value or b"").replace(f'"model":"{name}@'.encode(), b'"model":"@'),
                    tuple((h, v.replace(f"motet/{name}".encode(), b"")) for h, v in record.headers),
                )
                for record in log.read(0, 1 << 30, 1 << 40).records
            )
    return found
