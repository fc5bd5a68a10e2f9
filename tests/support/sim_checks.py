"""What must hold of all that a simulated pipeline has read and written, at its end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lane_oracle import windows_over
from sim_audit import Audit, Window, demand, everything
from sim_world import INPUTS, OUTPUTS, TOPICS

from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.lane import LaneSpec
from pipeline.media.reading import Reader, rules_of
from pipeline.record import MediaRecord, UnsoundRecord
from pipeline.slot.ports import LogRecord, TopicPartition
from pipeline.spec import PipelineSpec

Place = tuple[str, int, int]  # topic, partition, offset


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
                for record in everything(broker, TopicPartition(TOPICS[name], lane)):
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
    late = _late(audit.written["late"])
    failed = _failed(audit.written["dead"])
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
    told = Counter(_place(r) for r in audit.written["dead"] if _reason(r) != "encode-failed")
    demand(told == Counter(logs.unsound.keys()), f"unsound {sorted(logs.unsound)}, told {told}")


def check_stage_output(audit: Audit) -> None:
    """A stage's own topic holds what it gave for each window, once; failures are told on both
    sides."""
    given = {}
    for record in audit.written["loud"]:
        stream, start, _ = dict(record.headers)["ce_id"].decode().rsplit("/", 2)
        window = (stream, int(start))
        demand(window not in given, f"loud of {window} is written twice")
        given[window] = (record.value or b"").decode()
    told = {}
    failed = set()
    for window, result in audit.results.items():
        value = json.loads(result.value or b"")
        failed |= {(window, stage) for stage in value["failed"]}
        if "loud" in value["text"]:
            told[window] = value["text"]["loud"]
    demand(given == told, f"loud wrote {given}, and the results hold {told}")
    entries = set(_failed(audit.written["dead"]))
    demand(entries == failed, f"entries {sorted(entries)} for failures {sorted(failed)}")


def expected_counts(
    audit: Audit, logs: Logs, spec: LaneSpec, positions: Mapping[TopicPartition, int]
) -> dict[tuple[str, str], int]:
    """By (input, fate), and by ("read", input), of all records from these positions on."""
    late = _late(audit.written["late"])
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
            records = everything(broker, TopicPartition(f"{prefix}.{kind}", lane))
            found[f"{kind} of lane {lane}"] = Counter(
                (
                    record.key,
                    (record.value or b"").replace(f'"model":"{name}@'.encode(), b'"model":"@'),
                    tuple((h, v.replace(f"motet/{name}".encode(), b"")) for h, v in record.headers),
                )
                for record in records
            )
    return found
