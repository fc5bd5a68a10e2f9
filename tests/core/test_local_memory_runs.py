"""Runs in one process that are stopped, fenced, disturbed or cramped: no result shows it."""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import user_encoders
from pipelines import (
    CHAT,
    LOBBY,
    SECOND_US,
    broken_jpeg,
    broker_for,
    committed,
    connector_for,
    header,
    jpeg,
    load,
    sent,
    tone,
    values,
)

from pipeline.errors import Fenced, MotetError, Transient
from pipeline.local import run_local
from pipeline.slot import metadata
from pipeline.slot.dead_letter_rate import TooManyDeadLetters
from pipeline.slot.ports import TopicPartition
from pipeline.tasks import ingest_runner, retry
from pipeline.tasks.host import RunControl

SUPPORT = Path(__file__).parents[1] / "support"
ECHO = {"encoder": "user_encoders:Upper", "of": "chat", "out": "out.echo"}
PATIENCE_S = 30.0  # far above what anything here takes; reached only where a test fails

MEDIA = {
    "windows.hop": "500ms",
    "stages.echo": ECHO,
    "stages.sizes": {"encoder": "user_encoders:Sizes", "of": "cam", "out": "out.sizes"},
    "limits.dead_letter_rate": "100%",
}

CRAMPED = {"commit_interval": "1ms", "limits.in_flight_bytes": "20KiB"}  # many transactions


def produce(broker, lanes=3, seconds=8) -> None:
    """Media of five streams with late, unsound and undecodable records, the same every time."""
    rng = random.Random(5)
    pictures = [jpeg((n * 20, 80, 200 - n * 20)) for n in range(8)] + [broken_jpeg()]
    for number in range(seconds * 4):
        for lane in range(lanes):
            stream = f"s{rng.randrange(2)}-{lane}"
            place = {"stream": stream, "lane": lane}
            at_us = number * 250_000 + rng.randrange(100_000)
            broker.append(sent("in.mic", tone(200 + 100 * lane, 0.25), number * 250_000, **place))
            if rng.random() < 0.7:
                broker.append(sent("in.cam", rng.choice(pictures), at_us, **place))
            if rng.random() < 0.5:
                text = rng.choice([b"good day", b"calm", b"poison", b"\xff"])
                broker.append(sent("in.chat", text, at_us, **place))
            if rng.random() < 0.1:
                late_us = at_us - 3 * SECOND_US
                broker.append(sent("in.cam", pictures[0], late_us, append_us=at_us, **place))


def outcome(broker, spec) -> dict[str, list]:
    """All that a run has written, in an order that does not hang on commits."""
    found = {}
    for topic in spec.topics_out():
        records = [
            (r.partition, r.key, r.value, sorted((k, v) for k, v in r.headers))
            for r in committed(broker, topic)
        ]
        found[topic] = sorted(records, key=repr)
    return found


def calm_run(changes=None, **settings) -> tuple[dict[str, list], dict]:
    spec = load(LOBBY, {**MEDIA, **(changes or {})}, SUPPORT)
    broker = broker_for(spec, lanes=3)
    produce(broker)
    totals, _ = run_local(spec, connector_for(broker, **settings), RunControl(until_end=True))
    return outcome(broker, spec), totals


@pytest.fixture(scope="module")
def calm():
    found, totals = calm_run()
    results = found["out.results"]
    assert len(results) == totals.windows > 60
    assert totals.late > 3
    reasons = {dict(headers)["motet-reason"] for *_, headers in found["out.dead"]}
    assert reasons == {b"undecodable", b"encode-failed"}
    return found, totals


# -- what must not show ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"slots": 1},
        {"slots": 3},
        {"slots": 4},
        {"limits.in_flight_bytes": "1B"},
        {"limits.in_flight_bytes": "100KiB"},
        {"commit_interval": "1ms"},
        {"stages.echo": {**ECHO, "batch_max": 1}, "stages.colour.batch_max": 1},
        {"stages.sound.batch_max": 1},
        {"stages.colour.replicas": 3, "stages.echo": {**ECHO, "replicas": 2}},
    ],
    ids=lambda changes: " ".join(f"{k}={v}" for k, v in changes.items())[:60],
)
def test_slots_memory_commits_batches_and_replicas_change_no_byte(calm, changes):
    found, totals = calm_run(changes)
    assert found == calm[0]
    assert totals == calm[1]


@pytest.mark.parametrize("fetch_records", [1, 7])
def test_fetch_sizes_change_no_byte(calm, fetch_records):
    found, totals = calm_run(fetch_records=fetch_records)
    assert found == calm[0]
    assert totals == calm[1]


def test_a_broker_that_is_away_now_and_then_changes_no_byte(calm, monkeypatch):
    """Every step of the ports fails now and then, before its effect or after it."""
    monkeypatch.setattr(retry, "LONGEST_S", 0.001)
    monkeypatch.setattr(ingest_runner, "AWAY_S", 0.001)
    spec = load(LOBBY, {**MEDIA, **CRAMPED}, SUPPORT)
    broker = broker_for(spec, lanes=3)
    produce(broker)
    calls: Counter[str] = Counter()
    lock = threading.Lock()

    def hook(step: str, _port: object) -> None:
        with lock:
            calls[step] += 1
            if step != "poll-reply" and calls[step] in (4, 5, 9):
                raise Transient("the broker is away")

    broker.hook = hook
    totals, _ = run_local(spec, connector_for(broker), RunControl(until_end=True))
    broker.hook = None
    steps = ("poll", "open", "begin", "produce", "flush", "send_offsets", "commit", "committed")
    assert all(calls[step] >= 9 for step in steps)
    assert outcome(broker, spec) == calm[0]
    assert totals == calm[1]


# -- stopping and going on ------------------------------------------------------------------


class Stopping:
    """Stops the run when its output has reached a size."""

    def __init__(self, broker, records: int) -> None:
        self.control = RunControl(until_end=True)
        self._broker = broker
        self._left = records
        broker.hook = self

    def __call__(self, step: str, _port: object) -> None:
        if step == "commit-reply":
            self._left -= 1
            if self._left <= 0:
                self.control.stop.set()


@pytest.mark.parametrize("commits", [1, 4, 5, 7])
def test_a_run_that_is_stopped_is_gone_on_with_by_the_next(calm, commits):
    spec = load(LOBBY, {**MEDIA, "commit_interval": "1ms", "slots": 3}, SUPPORT)
    broker = broker_for(spec, lanes=3)
    produce(broker)
    all_totals = []
    # one record a fetch: the run is in the middle of its work when it is stopped
    connector = connector_for(broker, fetch_records=20)
    for run in range(200):
        stopping = Stopping(broker, commits + run)
        totals, _ = run_local(spec, connector, stopping.control)
        all_totals.append(totals)
        if not stopping.control.stop.is_set():
            break
    broker.hook = None
    assert len(all_totals) > 1, "it was never stopped"
    assert outcome(broker, spec) == calm[0]
    assert sum(t.windows for t in all_totals) == calm[1].windows
    assert sum(t.late for t in all_totals) == calm[1].late
    assert sum(t.dead_letter for t in all_totals) == calm[1].dead_letter
    assert sum(sum(t.records.values()) for t in all_totals) == sum(calm[1].records.values())


def test_a_run_that_is_killed_is_gone_on_with_by_the_next(calm):
    """What it left open in the log is aborted when its slots are fenced by the next."""
    spec = load(LOBBY, {**MEDIA, **CRAMPED}, SUPPORT)
    broker = broker_for(spec, lanes=3)
    produce(broker)

    class Killed(BaseException):
        pass

    for step in ("begin", "produce-reply", "flush", "send_offsets-reply", "commit", "commit-reply"):
        left = [3]

        def hook(at: str, _port: object, step=step, left=left) -> None:
            if at == step:
                left[0] -= 1
                if left[0] == 0:
                    raise Killed

        broker.hook = hook
        with pytest.raises(Killed):
            run_local(spec, connector_for(broker, fetch_records=15), RunControl(until_end=True))
    broker.hook = None
    run_local(spec, connector_for(broker), RunControl(until_end=True))
    assert outcome(broker, spec) == calm[0]


def test_a_stop_closes_nothing_and_what_was_open_is_continued():
    spec = load(CHAT, {"stages.echo": ECHO}, SUPPORT)
    broker = broker_for(spec)
    for ts_us in (0, 400_000, 2_000_000):
        broker.append(sent("in.chat", b"a%d" % ts_us, ts_us))
    with ThreadPoolExecutor(1) as pool:
        control = RunControl()
        run = pool.submit(run_local, spec, connector_for(broker), control)
        with broker.changed:
            assert broker.changed.wait_for(lambda: committed(broker, "out.results"), PATIENCE_S)
        control.stop.set()
        totals, _ = run.result(PATIENCE_S)
    assert [v["window"]["start_us"] for v in values(broker, "out.results")] == [0]
    assert totals.windows == 1
    broker.append(sent("in.chat", b"and more", 2_500_000))
    run_local(spec, connector_for(broker), RunControl(until_end=True))
    assert [v["text"]["echo"] for v in values(broker, "out.results")] == [
        "A0\nA400000!",
        "A2000000\nAND MORE!",
    ]


def test_a_second_run_takes_over_and_the_first_ends():
    spec = load(CHAT, {"commit_interval": "1ms"})
    broker = broker_for(spec)
    with ThreadPoolExecutor(2) as pool:
        first, second = RunControl(), RunControl()
        runs = [pool.submit(run_local, spec, connector_for(broker), first)]
        assert first.ready.wait(PATIENCE_S)
        broker.append(sent("in.chat", b"a", 0))
        broker.append(sent("in.chat", b"b", 5 * SECOND_US))
        with broker.changed:
            assert broker.changed.wait_for(lambda: committed(broker, "out.results"), PATIENCE_S)
        runs.append(pool.submit(run_local, spec, connector_for(broker), second))
        assert second.ready.wait(PATIENCE_S)
        for ts_us in (6, 12, 18):  # the first one's next commit tells it
            broker.append(sent("in.chat", b"c", ts_us * SECOND_US))
        with pytest.raises(Fenced) as caught:
            runs[0].result(PATIENCE_S)
        assert caught.value.exit_code == 1
        with broker.changed:
            assert broker.changed.wait_for(
                lambda: len(committed(broker, "out.results")) == 4, PATIENCE_S
            )
        second.stop.set()
        runs[1].result(PATIENCE_S)
    starts = [v["window"]["start_us"] for v in values(broker, "out.results")]
    assert starts == [s * SECOND_US for s in (0, 5, 6, 12)]


# -- limits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unsound", "undecodable"])
def test_too_many_dead_letters_stop_the_run_before_the_cut_that_trips_it(kind):
    spec = load(LOBBY, {"limits.dead_letter_rate": "50%", "commit_interval": "1ms"})
    broker = broker_for(spec, lanes=1)
    bad = broken_jpeg() if kind == "undecodable" else b"no jpeg at all"
    # with a good one here and there, so that it is never all of them, wherever a run begins
    good = range(5, 36, 6)
    for second in range(36):
        sent_now = jpeg((1, 2, 3)) if second in good else bad
        broker.append(sent("in.cam", sent_now, second * SECOND_US))
    with pytest.raises(TooManyDeadLetters, match=r"inputs\.cam: 20 of \d+ records") as caught:
        # one record a fetch, so that earlier cuts are committed
        run_local(spec, connector_for(broker, fetch_records=1), RunControl(until_end=True))
    assert caught.value.exit_code == 1
    letters = [
        r for r in committed(broker, "out.dead") if header(r, "motet-reason") == "undecodable"
    ]
    assert len(letters) < 20
    cam = TopicPartition("in.cam", 0)
    entry = broker.committed("lobby", cam)
    assert entry.offset < 36
    # what was not committed is found again, whatever was
    raised = load(LOBBY, {"limits.dead_letter_rate": "100%", "commit_interval": "1ms"})
    run_local(raised, connector_for(broker), RunControl(until_end=True))
    letters = [
        header(r, "motet-offset")
        for r in committed(broker, "out.dead")
        if header(r, "motet-reason") == "undecodable"
    ]
    assert sorted(map(int, letters)) == [n for n in range(36) if n not in good]


def test_a_window_goes_on_without_a_stage_that_hangs():
    """The stage's only replica never comes back: its windows fail in time, and nothing waits."""
    hangs = {"encoder": "user_encoders:Hangs", "of": "chat", "out": "o", "timeout": "100ms"}
    spec = load(CHAT, {"stages.hangs": {**hangs, "batch_max": 1}}, SUPPORT)
    broker = broker_for(spec)
    user_encoders.gate.clear()
    for second in range(60):
        text = b"hang here" if second == 2 else b"fine"
        broker.append(sent("in.chat", text, second * SECOND_US))
    try:
        connector = connector_for(broker, fetch_records=5)
        totals, _ = run_local(spec, connector, RunControl(until_end=True))
        [hanging] = [t for t in threading.enumerate() if t.name == "hangs-0"]
        assert hanging.daemon  # the process may end all the same
    finally:
        user_encoders.gate.set()
    hanging.join(PATIENCE_S)
    assert not hanging.is_alive()
    assert totals.windows == 60
    failed = [v["failed"] for v in values(broker, "out.results")]
    assert failed[:2] == [{}, {}]
    assert failed[2:] == [{"hangs": "timeout"}] * 58
    assert {v["stage"] for v in values(broker, "out.dead")} == {"hangs"}


def test_a_stop_does_not_wait_for_an_encoder_without_end_and_the_next_run_makes_what_is_left():
    hangs = {"encoder": "user_encoders:Hangs", "of": "chat", "out": "o", "batch_max": 1}
    spec = load(CHAT, {"stages.hangs": hangs, "commit_interval": "1ms"}, SUPPORT)
    broker = broker_for(spec)
    said: list[str] = []
    control = RunControl(say=said.append, drain_s=0.5)
    user_encoders.gate.clear()
    user_encoders.at_gate.clear()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(run_local, spec, connector_for(broker), control)
        try:
            for second in range(9):
                broker.append(sent("in.chat", b"fine", second * SECOND_US))
            with broker.changed:
                assert broker.changed.wait_for(
                    lambda: len(values(broker, "out.results")) == 8, PATIENCE_S
                )
            for second in range(9, 20):
                broker.append(sent("in.chat", b"hang here", second * SECOND_US))
            assert user_encoders.at_gate.wait(PATIENCE_S)
        finally:
            control.stop.set()
        run.result(PATIENCE_S)
    user_encoders.gate.set()
    assert len(values(broker, "out.results")) in (8, 9)  # the ninth is the one that may be ready
    assert re.fullmatch(
        r"motet: windows that are not encoded yet: \d+; they are made after the next start",
        said[-1],
    )
    run_local(spec, connector_for(broker), RunControl(until_end=True))
    results = values(broker, "out.results")
    assert [v["window"]["start_us"] for v in results] == [n * SECOND_US for n in range(20)]
    assert not any(v["failed"] for v in results)


def test_an_encoder_that_ends_its_process_loses_its_window_alone():
    exits = {"encoder": "user_encoders:Exits", "of": "chat", "out": "out.exits"}
    spec = load(CHAT, {"stages.exits": exits}, SUPPORT)
    broker = broker_for(spec)
    for second, text in enumerate([b"a", b"exit", b"b", b"c"]):
        broker.append(sent("in.chat", text, second * SECOND_US))
    run_local(spec, connector_for(broker), RunControl(until_end=True))
    found = [(v["text"], v["failed"]) for v in values(broker, "out.results")]
    assert found == [
        ({"exits": "a"}, {}),
        ({}, {"exits": "SystemExit: enough"}),
        ({"exits": "b"}, {}),
        ({"exits": "c"}, {}),
    ]


def test_a_run_that_failed_ends_though_the_broker_is_away():
    """Its transactions are tried without end while it runs, and no longer."""
    spec = load(CHAT, {"limits.dead_letter_rate": "50%", "commit_interval": "1ms"})
    broker = broker_for(spec, lanes=1)
    broker.append(sent("in.chat", b"a", 0))
    with ThreadPoolExecutor(1) as pool:
        control = RunControl()
        run = pool.submit(run_local, spec, connector_for(broker), control)
        assert control.ready.wait(PATIENCE_S)
        away = threading.Event()

        def hook(step: str, _port: object) -> None:
            if step == "commit":
                away.set()
                raise Transient("the broker is away")

        broker.hook = hook
        broker.append(sent("in.chat", b"b", 10 * SECOND_US))
        assert away.wait(PATIENCE_S)
        for _ in range(40):
            broker.append(sent("in.chat", b"\xff", 10 * SECOND_US))
        with pytest.raises(TooManyDeadLetters):
            run.result(PATIENCE_S / 3)
    assert [t.name for t in threading.enumerate() if t.name.startswith("commit")] == []


def test_the_last_windows_of_a_stream_that_stops_are_closed_by_silence():
    windows = {"size": "100ms", "idle": "50ms"}
    spec = load(CHAT, {"windows": windows, "inputs.chat.out_of_orderness": "50ms"})
    broker = broker_for(spec)
    broker.append(sent("in.chat", b"a", 0))
    broker.append(sent("in.chat", b"b", 150_000))
    with ThreadPoolExecutor(1) as pool:
        control = RunControl()
        run = pool.submit(run_local, spec, connector_for(broker), control)
        with broker.changed:
            assert broker.changed.wait_for(
                lambda: len(committed(broker, "out.results")) == 2, PATIENCE_S
            )
        control.stop.set()
        run.result(PATIENCE_S)
    broker.append(sent("in.chat", b"too late now", 190_000))
    totals, _ = run_local(spec, connector_for(broker), RunControl(until_end=True))
    assert (totals.windows, totals.late) == (0, 1)


def test_letters_over_what_their_topic_takes_stop_nothing():
    spec = load(CHAT, {"limits.dead_letter_rate": "100%"})
    broker = broker_for(spec, lanes=1)
    for topic in ("out.late", "out.dead"):
        broker.delete_topic(topic)
        broker.create_topic(topic, 1, max_message_bytes=2_000)
    broker.append(sent("in.chat", b"x", 10 * SECOND_US))
    broker.append(sent("in.chat", b"late" * 1000, 0))
    broker.append(sent("in.chat", b"\xff" * 4000, 0))
    run_local(spec, connector_for(broker), RunControl(until_end=True))
    for topic in ("out.late", "out.dead"):
        [letter] = committed(broker, topic)
        assert letter.value == b""
        assert header(letter, "motet-original-bytes") == "4000"


def test_what_a_run_commits_first_is_its_claim():
    spec = load(CHAT, {"start": "latest"})
    broker = broker_for(spec)
    broker.append(sent("in.chat", b"before", 0))
    totals, _ = run_local(spec, connector_for(broker), RunControl(until_end=True))
    assert totals.windows == 0
    chat = TopicPartition("in.chat", 0)
    entry = broker.committed("chat", chat)
    assert entry.offset == 1
    assert metadata.load(chat, entry).start == 1
    broker.append(sent("in.chat", b"after", SECOND_US))
    run_local(spec, connector_for(broker), RunControl(until_end=True))
    assert [v["window"]["start_us"] for v in values(broker, "out.results")] == [SECOND_US]


def test_what_the_commit_raises_ends_the_run_as_its_own_error():
    """An output topic that vanishes while the run is on."""
    spec = load(CHAT)
    broker = broker_for(spec)
    broker.append(sent("in.chat", b"a", 0))

    def hook(step: str, _port: object) -> None:
        if step == "produce":
            broker.hook = None
            broker.delete_topic("out.results")

    broker.hook = hook
    with pytest.raises(MotetError, match=r"out\.results") as caught:
        run_local(spec, connector_for(broker), RunControl(until_end=True))
    assert caught.value.exit_code == 1
