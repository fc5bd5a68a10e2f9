"""Moves the committed position of a stopped pipeline: what stands, what is planned, the commit."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Literal

from pipeline.errors import MotetError, Transient
from pipeline.lane.record import LaneCut
from pipeline.media.reading import Reader, rules_of
from pipeline.record import UnsoundRecord, header_texts
from pipeline.slot.ports import Committed, Connector, Control, LogRecord, Sink, TopicPartition
from pipeline.slot.reset import (
    Standing,
    doubts,
    go_on,
    go_to,
    needed_from_us,
    place,
    read_before,
)
from pipeline.spec import PipelineSpec, Wrong, parse_rfc3339_us
from pipeline.tasks.retry import Retry
from pipeline.tasks.starting import Layout, start_positions

Target = Literal["earliest", "latest"] | int  # a time in microseconds goes by Kafka's timestamps
RESULTS_LOOKED_AT = 10_000  # of a lane whose offsets are gone, for its largest window's end
POLL_S = 0.5


@dataclass(frozen=True)
class ResetPlan:
    """What a reset would do; ``cuts`` holds the lanes that it moves.

    ``committed`` is what stood there when it was made: nothing is moved once that has changed.
    """

    standings: Mapping[int, Standing]
    committed: Mapping[TopicPartition, Committed | None]
    cuts: dict[int, LaneCut] = field(default_factory=dict)
    doubts: dict[int, list[str]] = field(default_factory=dict)


def committed_now(
    spec: PipelineSpec, layout: Layout, control: Control
) -> dict[TopicPartition, Committed | None]:
    return control.committed(spec.name, layout.partitions(spec))


def standings_of(
    spec: PipelineSpec,
    layout: Layout,
    control: Control,
    committed: Mapping[TopicPartition, Committed | None],
) -> dict[int, Standing]:
    """By lane, where it stands; nothing is asked of the results topic."""
    begins = control.beginnings(list(committed))
    ends = control.stable_ends(list(committed))
    found = {}
    for lane in range(layout.lanes):
        places = {}
        for name, entry in spec.inputs.items():
            at = TopicPartition(entry.topic, lane)
            topic_id = layout.topic_ids[entry.topic]
            places[name] = place(at, topic_id, committed[at], begins[at], ends[at])
        found[lane] = Standing(lane, places)
    return found


def plan_reset(
    spec: PipelineSpec, connector: Connector, layout: Layout, target: Target | None
) -> ResetPlan:
    """``target`` None: go on from the records of the open windows, in the lanes that need it."""
    with closing(connector.control()) as control:
        committed = committed_now(spec, layout, control)
        standings = standings_of(spec, layout, control, committed)
        for lane, standing in standings.items():
            if not standing.known:
                standings[lane] = _with_emitted(spec, connector, control, standing)
        plan = ResetPlan(standings, committed)
        if target is not None:
            positions = _positions(control, target, layout.partitions(spec))
            for lane, standing in standings.items():
                wanted = {name: positions[at.partition] for name, at in standing.places.items()}
                plan.cuts[lane] = go_to(standing, wanted)
            return plan
        for lane, standing in standings.items():
            plan.doubts[lane] = doubts(standing, spec.decision_hash())
            if plan.doubts[lane]:
                cut = go_on(standing, _fallback(spec, control, standing))
                plan.cuts[lane] = _without_done(spec, connector, standing, cut)
    return plan


def _positions(
    control: Control, target: Target, partitions: list[TopicPartition]
) -> Mapping[TopicPartition, int]:
    if target == "earliest":
        return control.beginnings(partitions)
    if target == "latest":
        return control.stable_ends(partitions)
    return control.offsets_at(partitions, int(target))


def _fallback(spec: PipelineSpec, control: Control, standing: Standing) -> dict[str, int]:
    """Where inputs are read of which nothing is committed: no record that counts lies before.

    A sound record ends ``future_max`` after its Kafka timestamp at most, so one that a window
    behind ``closed_us`` or its context holds has a timestamp of at least the time below.
    """
    missing = {n: at.partition for n, at in standing.places.items() if at.entry is None}
    if not missing:
        return {}
    wanted = list(missing.values())
    if standing.closed_us is None:
        found = start_positions(spec, control, wanted)
    else:
        lane = spec.lane_spec()
        reach_us = lane.size_us + lane.before_us + spec.windows.future_max_us
        found = control.offsets_at(wanted, standing.closed_us - reach_us)
    return {name: found[partition] for name, partition in missing.items()}


def _without_done(
    spec: PipelineSpec, connector: Connector, standing: Standing, cut: LaneCut
) -> LaneCut:
    """Passes over what was read before and belongs to no window that is still to be emitted."""
    needed_us = needed_from_us(standing, spec.lane_spec())
    if needed_us is None:
        return cut
    positions = dict(cut.positions)
    reader = Reader(rules_of(spec))
    for name, read in read_before(standing, cut).items():
        positions[name] = read.stop
        partition = standing.places[name].partition
        for record in _records(connector, partition, read.start, read.stop):
            found = reader.read(name, record)
            needed = not isinstance(found, UnsoundRecord) and found.end_us > needed_us
            if needed or (read.append_us is not None and record.timestamp_us > read.append_us):
                positions[name] = record.offset
                break
    return replace(cut, positions=positions, froms=dict(positions))


def _with_emitted(
    spec: PipelineSpec, connector: Connector, control: Control, standing: Standing
) -> Standing:
    """Asks the results topic, where no cut tells what was emitted."""
    partition = TopicPartition(spec.outputs.results, standing.lane)
    source = f"motet/{spec.name}".encode()
    last = control.last_record(partition)
    if last is None or dict(last.headers).get("ce_source") != source:
        return standing
    begin = control.beginnings([partition])[partition]
    first = max(begin, last.offset + 1 - RESULTS_LOOKED_AT)
    ends_us = [_window_end_us(r) for r in _records(connector, partition, first, last.offset + 1)]
    emitted_us = max((end_us for end_us in ends_us if end_us is not None), default=None)
    return replace(standing, emitted_us=emitted_us, emitted_at_us=last.timestamp_us)


def _records(
    connector: Connector, partition: TopicPartition, first: int, stop: int
) -> Iterator[LogRecord]:
    """Committed records of ``[first, stop)``."""
    if first >= stop:
        return
    with closing(connector.source()) as source:
        source.assign({partition: first})
        position = first
        while position < stop:
            for fetch in source.poll(POLL_S):
                position = fetch.position
                yield from (record for record in fetch.records if record.offset < stop)


def _window_end_us(result: LogRecord) -> int | None:
    try:
        return parse_rfc3339_us(header_texts(result.headers)["ce_time"])
    except (KeyError, ValueError, Wrong):
        return None


def move(
    spec: PipelineSpec, connector: Connector, layout: Layout, plan: ResetPlan, retry: Retry
) -> None:
    """Fences every slot, then commits the plan's cuts: one transaction a slot.

    A run that is still there can commit nothing from then on and ends. Raises MotetError with
    nothing moved where something was committed since the plan was made, and Fenced where a run
    began meanwhile.
    """
    owner = f"reset-{uuid.uuid4().hex[:12]}"
    with ExitStack() as stack:
        sinks = {}
        # Slot 0 first: of two that start side by side one ends before its first commit.
        for slot in range(max(spec.slots, *(s.slots for s in plan.standings.values()))):
            sinks[slot] = connector.sink(f"{spec.name}.{slot}", spec.name)
            stack.callback(sinks[slot].close)
            retry.call(sinks[slot].open)
        control = stack.enter_context(closing(connector.control()))
        if retry.call(lambda: committed_now(spec, layout, control)) != plan.committed:
            raise MotetError(
                f"pipeline {spec.name}: it ran until this moment, and has been ended now; "
                "nothing was moved: run the same `motet reset` again"
            )
        for slot in layout.slots(spec):
            identity = layout.identity(spec, slot, owner)
            offsets = {
                partition: entry
                for lane in identity.lanes
                if lane in plan.cuts
                for partition, entry in identity.offsets(lane, plan.cuts[lane]).items()
            }
            if offsets:
                _commit(sinks[slot], offsets, retry)


def _commit(sink: Sink, offsets: Mapping[TopicPartition, Committed], retry: Retry) -> None:
    """The same offsets may be committed twice; a newer owner's are never written over."""
    attempt = 0
    while True:
        try:
            if attempt:
                sink.open()
            sink.begin()
            sink.send_offsets(offsets)
            sink.commit()
            return
        except Transient:
            attempt += 1
            retry(attempt)
