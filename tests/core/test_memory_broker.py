"""What the in-memory broker has beyond the conformance suite: a told clock and scripted faults."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.connectors.limits import batch_bytes
from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.connectors.partitioner import murmur2, partition_for
from pipeline.errors import Fenced, PositionLost, Transient
from pipeline.slot.ports import Committed, OutRecord, TopicPartition

ONE = TopicPartition("one", 0)
IN = TopicPartition("in", 0)


class Clock:
    now_us = 1_000_000

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def broker():
    broker = MemoryBroker(Clock())
    broker.create_topic("one", 1)
    broker.create_topic("in", 1)
    return broker


def outs(*values: bytes) -> list[OutRecord]:
    return [OutRecord(*ONE, None, value, []) for value in values]


def read(connector, position=0):
    source = connector.source()
    source.assign({ONE: position})
    fetches = iter(lambda: source.poll(0), [])
    return [record.value for [fetch] in fetches for record in fetch.records]


def test_records_take_the_time_that_the_broker_is_told(broker):
    broker.clock.now_us = 7_654_321
    broker.append(outs(b"x")[0])
    assert broker.last(ONE).timestamp_us == 7_654_000


def test_a_transaction_over_its_timeout_is_aborted_and_its_owner_may_go_on(broker):
    connector = MemoryConnector(broker, transaction_timeout_us=1000)
    sink = connector.sink("id", "group")
    sink.open()
    sink.begin()
    sink.produce(outs(b"late"))
    broker.clock.now_us += 1000
    assert connector.source().stable_ends([ONE]) == {ONE: 0}
    broker.clock.now_us += 1
    assert connector.source().stable_ends([ONE]) == {ONE: 2}
    with pytest.raises(Transient, match="longer than its timeout"):
        sink.commit()
    sink.open()
    sink.begin()
    sink.produce(outs(b"in time"))
    sink.commit()
    assert read(connector) == [b"in time"]


def test_a_timed_out_owner_is_fenced_where_another_has_opened(broker):
    connector = MemoryConnector(broker, transaction_timeout_us=1000)
    sink, other = connector.sink("id", "group"), connector.sink("id", "group")
    sink.open()
    sink.begin()
    sink.produce(outs(b"late"))
    broker.clock.now_us += 2000
    other.open()
    with pytest.raises(Fenced):
        sink.commit()
    with pytest.raises(Fenced):
        sink.open()


def test_pending_offsets_are_told_at_once_where_nothing_may_wait(broker):
    connector = MemoryConnector(broker)
    sink = connector.sink("id", "group")
    sink.open()
    sink.begin()
    sink.send_offsets({IN: Committed(3, "cut")})
    with pytest.raises(Transient, match="pending in a transaction of id"):
        connector.control().committed("group", [IN])
    assert connector.control().committed("other", [IN]) == {IN: None}


STEPS = ["begin", "produce", "flush", "send_offsets", "commit"]


def transaction(sink) -> None:
    sink.begin()
    sink.produce(outs(b"result"))
    sink.flush()
    sink.send_offsets({IN: Committed(7, "cut 7")})
    sink.commit()


@pytest.mark.parametrize("step", [s + reply for s in STEPS for reply in ("", "-reply")])
def test_a_fault_at_any_step_leaves_all_or_nothing(broker, step):
    connector = MemoryConnector(broker)
    sink = connector.sink("id", "group")
    sink.open()
    faults = [step]

    def hook(at, port):
        assert port is sink
        if at in faults:
            faults.remove(at)
            raise Transient(at)

    broker.hook = hook
    with pytest.raises(Transient, match=step):
        transaction(sink)
    with pytest.raises(Transient, match="open it again"):
        sink.begin()
    sink.open()
    broker.hook = None
    stands = step == "commit-reply"
    expected = Committed(7, "cut 7") if stands else None
    assert connector.control().committed("group", [IN]) == {IN: expected}
    assert read(connector) == [b"result"] * stands
    if not stands:
        transaction(sink)
    assert read(connector) == [b"result"]


def test_a_fault_while_opening_leaves_the_id_to_be_opened_again(broker):
    connector = MemoryConnector(broker)
    sink = connector.sink("id", "group")
    broker.hook = fail_once("open-reply")
    with pytest.raises(Transient):
        sink.open()
    assert sink.open() == 1


def fail_once(step):
    steps = [step]

    def hook(at, _port):
        if at in steps:
            steps.remove(at)
            raise Transient(at)

    return hook


def test_a_poll_and_a_question_can_fail_too(broker):
    connector = MemoryConnector(broker)
    source, control = connector.source(), connector.control()
    broker.hook = fail_once("poll")
    with pytest.raises(Transient, match="poll"):
        source.poll(0)
    assert source.poll(0) == []
    broker.hook = fail_once("committed")
    with pytest.raises(Transient, match="committed"):
        control.committed("group", [IN])
    assert control.committed("group", [IN]) == {IN: None}


def test_gaps_of_compaction_are_passed(broker):
    connector = MemoryConnector(broker)
    broker.append(outs(b"a")[0])
    broker.skip(ONE, 5)
    broker.append(outs(b"b")[0])
    broker.skip(ONE, 2)
    source = connector.source()
    source.assign({ONE: 0})
    [fetch] = source.poll(0)
    assert [(r.offset, r.value) for r in fetch.records] == [(0, b"a"), (6, b"b")]
    assert fetch.position == connector.control().stable_ends([ONE])[ONE] == 9
    source.assign({ONE: 3})
    assert [r.offset for r in source.poll(0)[0].records] == [6]


def test_fetches_are_bounded_by_records_and_bytes(broker):
    for value in (b"x" * 60, b"y" * 60, b"z"):
        broker.append(outs(value)[0])
    for limits in ({"fetch_records": 1}, {"fetch_bytes": 100}, {"fetch_bytes": 1}):
        source = MemoryConnector(broker, **limits).source()
        source.assign({ONE: 0})
        [fetch] = source.poll(0)
        assert [r.offset for r in fetch.records] == [0]
        assert fetch.position == 1


def test_a_busy_partition_starves_no_other(broker):
    for topic in ("one", "in"):
        for _ in range(3):
            broker.append(OutRecord(topic, 0, None, b"", []))
    source = MemoryConnector(broker, fetch_records=1).source()
    source.assign({ONE: 0, IN: 0})
    polled = [source.poll(0)[0].topic for _ in range(6)]
    assert polled == ["one", "in"] * 3


def test_retention_raises_the_log_start_and_never_drops_what_is_open(broker):
    broker.create_topic("short", 1, retention_bytes=1000)
    short = TopicPartition("short", 0)
    connector = MemoryConnector(broker)
    for _ in range(40):
        broker.append(OutRecord(*short, None, bytes(100), []))
    control = connector.control()
    start = control.beginnings([short])[short]
    assert 40 - 13 <= start <= 40 - 10
    source = connector.source()
    source.assign({short: start - 1})
    with pytest.raises(PositionLost):
        source.poll(0)
    sink = connector.sink("id", "group")
    sink.open()
    sink.begin()
    sink.produce([OutRecord(*short, None, bytes(100), [])] * 40)
    assert control.beginnings([short])[short] <= 40
    sink.commit()
    source.assign({short: 40})
    assert len(source.poll(0)[0].records) == 40


def test_deleting_a_topic_keeps_what_groups_have_committed(broker):
    broker.set_committed("group", {ONE: Committed(5, "cut")})
    broker.delete_topic("one")
    control = MemoryConnector(broker).control()
    assert control.topics(["one"]) == {"one": None}
    assert control.committed("group", [ONE]) == {ONE: Committed(5, "cut")}
    broker.set_committed("group", {ONE: None})
    assert control.committed("group", [ONE]) == {ONE: None}


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["begin", "produce", "commit", "abort", "open", "plain"]), max_size=30)
)
def test_readers_see_exactly_what_was_committed_in_order(steps):
    """Against a model: a list of committed values; any reader position gives a suffix of it."""
    broker = MemoryBroker(Clock())
    broker.create_topic("one", 1)
    connector = MemoryConnector(broker)
    sink = connector.sink("id", "group")
    sink.open()
    begun, pending, log, number = False, [], [], itertools.count()
    for step in steps:
        value = b"%d" % next(number)
        if step == "plain":
            broker.append(outs(value)[0])
            log.append((value, None))
        elif step == "open":
            sink.open()
            log = [entry for entry in log if entry[1] is not pending]
            begun, pending = False, []
        elif step == "begin" and not begun:
            sink.begin()
            begun, pending = True, []
        elif begun and step == "produce":
            sink.produce(outs(value))
            log.append((value, pending))
        elif begun and step == "commit":
            sink.commit()
            log = [(v, None if owner is pending else owner) for v, owner in log]
            begun = False
        elif begun and step == "abort":
            sink.abort()
            log = [entry for entry in log if entry[1] is not pending]
            begun = False
    visible = list(itertools.takewhile(lambda entry: entry[1] is None, log))
    seen = read(connector)
    assert seen == [value for value, _ in visible]
    end = connector.control().stable_ends([ONE])[ONE]
    for position in range(end + 1):
        assert seen[len(seen) - len(read(connector, position)) :] == read(connector, position)


@pytest.mark.parametrize(
    ("key", "expected"),  # org.apache.kafka.common.utils.UtilsTest.testMurmur2, unsigned
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_that_of_the_java_client(key, expected):
    assert murmur2(key) == expected % 2**32
    assert partition_for(key, 7) == (expected & 0x7FFFFFFF) % 7


@settings(deadline=None)
@given(
    st.none() | st.binary(max_size=300),
    st.binary(max_size=9000),
    st.lists(st.tuples(st.text(max_size=70), st.binary(max_size=70)), max_size=4),
)
def test_the_size_of_a_record_is_that_of_the_client(key, value, headers):
    from kafka.record.default_records import DefaultRecordBatchBuilder

    builder = DefaultRecordBatchBuilder(2, 0, True, -1, -1, -1, 1 << 20)
    builder.append(0, 1000, key, value, headers)
    assert batch_bytes(OutRecord(*ONE, key, value, headers)) == len(builder.build())
