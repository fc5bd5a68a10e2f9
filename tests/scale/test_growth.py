"""What must not grow with streams, and what may with lanes only by itself: counted, not timed."""

from __future__ import annotations

import sys
from collections.abc import Callable

import measure_growth as growth
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measure_tasks import BEGIN_US, SECOND_US, fetches, ingest_task, job

from pipeline.batching.batch import JobResult
from pipeline.lane import LaneRecord
from pipeline.monitor.sampler import Sample, Sampler
from pipeline.monitor.state_lanes import slot_states
from pipeline.scaling.preference import preference
from pipeline.tasks.figures import Figures
from pipeline.tasks.view import LaneView, Snapshot

IDLE_STREAM_BYTES_MAX = 1_250  # three inputs, one record kept; docs/SCALING.md has what is measured


def calls_of(work: Callable[[], object]) -> int:
    """How many calls of Python functions and of built-in ones it makes."""
    found = 0

    def seen(_frame: object, event: str, _given: object) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


# -- streams --------------------------------------------------------------------------------------


def test_a_record_costs_the_same_beside_any_number_of_silent_streams():
    def one(streams: int) -> int:
        lane = growth.filled(streams)
        at_us = 5 * SECOND_US
        record = LaneRecord("mic", streams, at_us, "busy", at_us, at_us + SECOND_US, 100)
        return calls_of(lambda: lane.apply(record))

    assert one(10_000) == one(10)


def test_who_holds_a_lane_is_found_without_a_look_at_all_streams():
    def one(streams: int) -> int:
        lane = growth.filled(streams)
        at_us = -5 * SECOND_US
        lane.apply(LaneRecord("mic", streams, at_us, "late", at_us, at_us + SECOND_US, 100))
        held = []
        count = calls_of(lambda: held.append(lane.holding()))
        assert held[0].stream == "late"
        return count

    assert one(10_000) == one(10)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(-4, 40), st.integers(1, 5), st.booleans()),
        max_size=60,
    )
)
def test_the_holder_is_a_stream_that_has_the_earliest_open_window(records):
    lane = growth.lane(idle_us=7 * SECOND_US)
    offsets = {"mic": 0, "camera": 0, "chat": 0}
    for stream, ts_s, length_s, camera in records:
        name = "camera" if camera else ("mic", "chat")[stream % 2]
        begin_us, end_us = ts_s * SECOND_US // 2, (ts_s + length_s) * SECOND_US // 2
        lane.apply(LaneRecord(name, offsets[name], end_us, f"s{stream}", begin_us, end_us, 100))
        offsets[name] += 1
        held = lane.holding()
        assert (held is None) == (lane.open_windows == 0)
        if held is not None:
            streams = lane._streams.values()
            least = min(index for one in streams for index in one.order)
            assert held.start_us == least * SECOND_US
            assert least in lane._streams[held.stream].order
            assert all(sorted(set(one.order)) == one.order for one in streams)


def test_an_idle_stream_holds_what_the_documents_say():
    assert growth.idle_stream_bytes(1_000) < IDLE_STREAM_BYTES_MAX


def test_a_stream_that_was_let_go_holds_nothing_of_its_own():
    few, many = growth.let_go_bytes(500), growth.let_go_bytes(4_000)
    assert many < 60  # what Python's own tables keep of their largest size
    assert many <= few


@pytest.mark.parametrize("streams", [40, 400])
def test_series_of_metrics_do_not_grow_with_streams(streams):
    assert _series(streams) == _series(4)


def _series(streams: int) -> int:
    task = ingest_task(job(), lanes=4)
    for second in range(3):
        now_us = BEGIN_US + second * SECOND_US
        task.on_fetches(fetches(range(second, second + 1), 4, streams), now_us)
        task.pump(now_us)
        for one in task.take_assignments(now_us):
            task.on_batch(one.number, [JobResult(1.0) for _ in one.jobs], now_us)
    figures = task.view(now_us, now_us).figures
    return len(figures.counters) + len(figures.histograms) + len(figures.gauges)


def test_what_is_committed_for_a_partition_does_not_grow_with_inputs_or_streams():
    assert growth.metadata_bytes(1) == growth.metadata_bytes(3)
    assert growth.metadata_bytes() < 300


# -- lanes ----------------------------------------------------------------------------------------


def lanes(count: int, slots: int) -> list[LaneView]:
    return [LaneView(n, n % slots, 1, {"mic": 5}, {"mic": 9}) for n in range(count)]


def shown(count: int, slots: int) -> Snapshot:
    figures = Figures()
    for slot in range(slots):
        figures.gauge("motet_clock_seconds", slot, "mic", str(slot))
    figures.count("motet_windows_total", 3)
    return Snapshot("ray", 0, 0, figures, None, lanes(count, slots))


def test_the_page_of_slots_costs_each_slot_and_each_lane_once():
    def one(count: int) -> int:
        snapshot = shown(count, count // 4)
        return calls_of(lambda: slot_states(snapshot.figures, snapshot.lanes, ["mic"]))

    assert one(800) < 2.2 * one(400)


def test_a_look_at_an_ingest_half_costs_each_slot_and_each_lane_once():
    def one(count: int) -> int:
        task = ingest_task(job(slots=count // 4), count)
        return calls_of(lambda: task.view(BEGIN_US, BEGIN_US))

    assert one(800) < 2.2 * one(400)


def test_a_minute_of_samples_holds_no_lanes_and_no_gauges():
    """At 10,000 lanes they would be half a gigabyte in the driver."""

    class View:
        def snapshot(self) -> Snapshot:
            return shown(100, 10)

    sampler = Sampler()
    try:
        sampler.show(View())
        recent = sampler.recent()
        assert recent is not None
        assert len(recent.now.snapshot.lanes) == 100
        before = recent.minute_ago
        assert not before.snapshot.lanes
        assert not before.snapshot.figures.gauges
        assert before.snapshot.figures.value("motet_windows_total") == 3
        assert before.lag_records == recent.now.lag_records == 400
    finally:
        sampler.close()


def test_a_lag_that_nobody_knows_stays_unknown():
    lane = LaneView(0, 0, 1, {"mic": 5}, {"mic": None})
    sample = Sample(0, Snapshot("ray", 0, 0, Figures(), None, [lane]))
    assert sample.lag_records is sample.past().lag_records is None


# -- owners and replicas --------------------------------------------------------------------------


def test_an_owner_prefers_its_own_node_and_among_others_not_what_all_prefer():
    nodes = {f"sound-{number}": f"node-{number % 50}" for number in range(400)}
    firsts = set()
    for number in range(60):
        order = preference(f"owner-{number}", f"node-{number % 50}", nodes)
        assert sorted(order) == sorted(nodes)
        assert {nodes[name] for name in order[:8]} == {f"node-{number % 50}"}
        assert order == preference(f"owner-{number}", f"node-{number % 50}", dict(nodes))
        firsts.add(order[8])
    assert len(firsts) > 45
    assert preference("owner-0", None, {"a": None, "b": "node-1"})[0] == "a"
