"""What grows with streams, lanes, owners and replicas, on the real classes: time, bytes, series."""

from __future__ import annotations

import gc
import pickle
import time
import tracemalloc
from collections.abc import Callable

from measure_tasks import cpu_us, ingest_task, job

from actors.watch import FusionStatus, IngestStatus
from pipeline.clock import wall_us
from pipeline.lane import InputRule, Lane, LaneCut, LaneRecord, LaneSpec
from pipeline.monitor.exposition import exposition
from pipeline.monitor.sampler import Recent, Sample
from pipeline.monitor.state import StateWriter
from pipeline.slot.committer import SlotIdentity
from pipeline.tasks.figures import Figures
from pipeline.tasks.fusion_runner import FusionState
from pipeline.tasks.ingest_view import IngestView
from pipeline.tasks.owner_figures import OwnerFigures
from pipeline.tasks.totals import Totals
from pipeline.tasks.view import Snapshot

S = 1_000_000
INPUTS = (InputRule("mic", True, 200_000), InputRule("camera", True, 200_000),
          InputRule("chat", False, 0))  # fmt: skip


def lane(idle_us: int = 3_600 * S, inputs: tuple[InputRule, ...] = INPUTS) -> Lane:
    zeros = {rule.name: 0 for rule in inputs}
    return Lane(LaneSpec(inputs, S, S, idle_us), LaneCut(0, zeros, dict(zeros)))


def filled(streams: int, records: int = 1) -> Lane:
    """A lane in which every stream has sent so many records of the first input, and is silent."""
    made = lane()
    for number in range(streams * records):
        second, stream = divmod(number, streams)
        made.apply(
            LaneRecord(
                "mic", number, second * S, f"stream-{stream}", second * S, (second + 1) * S, 0
            )
        )
    return made


def bytes_of(make: Callable[[], object]) -> tuple[int, object]:
    tracemalloc.start()
    made = make()
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size, made


def idle_stream_bytes(streams: int) -> float:
    """Memory of a stream that is silent and not let go yet: one record kept, without payload."""
    size, made = bytes_of(lambda: filled(streams))
    assert isinstance(made, Lane)
    assert made.stream_count == streams
    return size / streams


def let_go_bytes(streams: int) -> float:
    """Memory that is left of a stream once the floor has passed it."""

    def make() -> Lane:
        made = lane(idle_us=5 * S)
        for number in range(streams):
            made.apply(LaneRecord("mic", number, S, f"stream-{number}", 0, S, 0))
        made.apply(LaneRecord("mic", streams, 100 * S, "last", 99 * S, 100 * S, 0))
        return made

    size, made = bytes_of(make)
    assert isinstance(made, Lane)
    assert made.stream_count == 1
    return size / streams


def record_us(streams: int, records: int = 20_000) -> float:
    """Processor time of a record beside so many silent streams."""
    made = filled(streams)
    offset, at = streams, [2]

    def work() -> None:
        nonlocal offset
        for _ in range(records):
            at_us = at[0] * S
            made.apply(LaneRecord("mic", offset, at_us, "busy", at_us, at_us + S // 10, 0))
            offset += 1
            at[0] += 0

    return cpu_us(work, 1) / records


def holding_us(streams: int) -> float:
    """Of one look at who holds a lane back, beside so many streams, the earliest one last."""
    made = lane()
    for number in range(streams):
        at_us = (streams - number) * S // 1_000 // 1_000 * 1_000 + 10 * S
        made.apply(LaneRecord("mic", number, at_us, f"stream-{number}", at_us, at_us + S, 0))
    made.apply(LaneRecord("mic", streams, S, "late", 0, S, 0))
    return cpu_us(made.holding, 5)


# -- owners and their supervisor -----------------------------------------------------------------


def ingest_view(lanes: int) -> IngestView:
    task = ingest_task(job(slots=max(1, lanes // 10)), lanes)
    return task.view(1_000_000, wall_us())


def view_us(lanes: int, slots: int) -> float:
    """Of an ingest half's look at itself, once a second."""
    task = ingest_task(job(slots=slots), lanes)
    return cpu_us(lambda: task.view(1_000_000, wall_us()), 5)


def statuses(lanes: int) -> tuple[IngestStatus, FusionStatus]:
    view = ingest_view(lanes)
    figures = Figures()
    for name in ("motet_commits_total",):
        figures.count(name, 1, "committed")
    figures.observe("motet_commit_seconds", 0.1)
    figures.observe("motet_end_to_end_seconds", 0.1)
    totals = Totals({"mic": 1}, {"mic": 1}, {("mic", "fused"): 1})
    state = FusionState(1, True, totals, dict.fromkeys(range(lanes), 7), figures)
    held = 1, frozenset(f"sound-{n}" for n in range(64))
    return (
        IngestStatus(False, 1, [], [], [], held, 0, view, None),
        FusionStatus(state, 0),
    )


def status_round(owners: int, lanes: int) -> tuple[float, int]:
    """Of the supervisor: all answers read and one snapshot made; and how many bytes they are."""
    from actors.view import ClusterView

    answers = pickle.dumps(statuses(lanes), pickle.HIGHEST_PROTOCOL)

    class Owner:
        not_ready = None
        leaving = retiring = False
        name, node = "owner-0", "node-0"

        def __init__(self) -> None:
            self.slots = [0]
            self.counted = OwnerFigures()

    class Heads:
        model = "scale@sha256:0"

        def view(self, _told: object) -> None:
            return None

    held = [Owner() for _ in range(owners)]
    view = ClusterView(Heads())  # type: ignore[arg-type]

    def round_of() -> None:
        for owner in held:
            ingest, fusion = pickle.loads(answers)
            owner.counted.told(ingest.view, fusion.state)
        view.show(held, {})  # type: ignore[arg-type]

    return cpu_us(round_of, 5), len(answers)


def snapshot(owners: int, lanes: int) -> Snapshot:
    figures = Figures()
    found = []
    for _ in range(owners):
        ingest, fusion = statuses(lanes)
        figures.add(ingest.view.figures)
        figures.add(fusion.state.figures)
        found += ingest.view.lanes
    return Snapshot("ray", wall_us(), wall_us(), figures, None, found)


def exposition_of(owners: int, lanes: int) -> tuple[float, int, int]:
    """A scrape: processor time, bytes and series."""
    figures = Figures()
    for owner in range(owners):
        for number in range(owner * lanes, (owner + 1) * lanes):
            figures.gauge("motet_consumer_lag_records", 1, "scale.audio", str(number))
        for name in ("motet_in_flight_bytes", "motet_open_bytes"):
            figures.gauge(name, 1, str(owner))
        figures.gauge("motet_clock_seconds", 1, "mic", str(owner))
    figures.add(statuses(1)[0].view.figures)
    text = exposition(figures)
    series = sum(not line.startswith(b"#") for line in text.splitlines())
    return cpu_us(lambda: exposition(figures), 3), len(text), series


def state_us(owners: int, lanes: int) -> float:
    """Of one ``/api/state``."""
    shown = snapshot(owners, lanes)
    recent = Recent(Sample(60 * S, shown), Sample(55 * S, shown), Sample(0, shown))
    writer = StateWriter(job())
    return cpu_us(lambda: writer.state(recent, []), 2)


def kept_bytes(lanes: int) -> float:
    """Memory of the lanes of one snapshot as it came from an owner."""
    answers = pickle.dumps(statuses(lanes), pickle.HIGHEST_PROTOCOL)
    size, _ = bytes_of(lambda: pickle.loads(answers))
    return size


def metadata_bytes(inputs: int = 1) -> float:
    """Of one partition's committed offset: topic, partition, offset, metadata string."""
    names = [f"input-{n}" for n in range(inputs)]
    identity = SlotIdentity("pipeline", 999, 1000, "0123456789ab", "0" * 16,
                            {n: f"live.{n}" for n in names},
                            {f"live.{n}": "A" * 22 for n in names}, (9_999,))  # fmt: skip
    at = dict.fromkeys(names, 123_456_789_012)
    cut = LaneCut(1_000_000, at, at, 1_700_000_000_000_000, 1_700_000_000_000_000)
    offsets = identity.offsets(9_999, cut)
    return sum(len(tp.topic) + 4 + 8 + len(one.metadata) for tp, one in offsets.items()) / inputs


def measured() -> dict[str, float]:
    few, _ = status_round(50, 10)
    more, _ = status_round(50, 40)
    lane_us = max(0.0, more - few) / (50 * 30)
    return {
        "owner": few / 50 - 10 * lane_us,
        "lane": lane_us,
        "offset_bytes": metadata_bytes(),
    }


def main() -> None:
    began = time.monotonic()
    for streams in (1_000, 100_000):
        print(f"streams {streams:9,}: idle {idle_stream_bytes(streams):7.0f} B, "
              f"let go {let_go_bytes(streams):5.1f} B, record {record_us(streams):6.2f} us, "
              f"holding {holding_us(streams):9.1f} us")  # fmt: skip
    for lanes, slots in ((10, 1), (100, 10), (1_000, 100), (10_000, 1_000)):
        print(f"lanes {lanes:6,} in {slots:5,} slots: view {view_us(lanes, slots) / 1e3:9.2f} ms")
    for owners, lanes in ((1, 10), (10, 10), (100, 10), (1_000, 10)):
        took, size = status_round(owners, lanes)
        scrape = exposition_of(owners, lanes)
        print(f"owners {owners:5,} of {lanes} lanes: statuses {took / 1e3:8.2f} ms, {size} B each; "
              f"/metrics {scrape[0] / 1e3:8.2f} ms {scrape[1]:,} B {scrape[2]:,} series; "
              f"/api/state {state_us(owners, lanes) / 1e3:9.1f} ms")  # fmt: skip
    print(f"a snapshot's lanes: {kept_bytes(1_000) / 1_000:.0f} B each")
    print({name: round(took, 2) for name, took in measured().items()})
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
