"""What ``pipeline.slot.ports`` says of a log, held against every implementation of it."""

from __future__ import annotations

import itertools
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress

import pytest
from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaPartition

from pipeline import clock
from pipeline.connectors.kafka import KafkaConnector
from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.errors import Fenced, PositionLost, Refused, Transient
from pipeline.slot.ports import Committed, OutRecord, TopicPartition

HOUR_US = 3_600_000_000


class World:
    """One implementation, what only an operator could do to it, and names nobody else uses."""

    def __init__(self, connector, delete_topic, truncate) -> None:
        self.connector = connector
        self.delete_topic = delete_topic
        self.truncate = truncate
        self._names = (f"{word}-{i}" for word in [uuid.uuid4().hex[:8]] for i in itertools.count())
        self._open = ExitStack()
        self.control = self._closing(connector.control())
        self._publisher = None

    def _closing(self, port):
        self._open.callback(port.close)
        return port

    def name(self) -> str:
        return next(self._names)

    def topic(self, partitions: int = 1, **config: str) -> str:
        name = self.name()
        named = {key.replace("_", "."): value for key, value in config.items()}
        self.control.create_topic(name, partitions, None, named)
        return name

    def partition(self, **config: str) -> TopicPartition:
        return TopicPartition(self.topic(**config), 0)

    def source(self):
        return self._closing(self.connector.source())

    def sink(self, transactional_id: str | None = None, group: str = "group"):
        return self._closing(self.connector.sink(transactional_id or self.name(), group))

    def opened_sink(self, transactional_id: str | None = None, group: str = "group"):
        sink = self.sink(transactional_id, group)
        sink.open()
        return sink

    def publish(self, partition: TopicPartition, *values: bytes, times_us=()):
        if self._publisher is None:
            self._publisher = self._closing(self.connector.publisher())
        for value, time_us in itertools.zip_longest(values, times_us):
            self._publisher.send(OutRecord(*partition, b"key", value, [], time_us))
        self._publisher.flush()

    def stable_end(self, partition: TopicPartition) -> int:
        return self.control.stable_ends([partition])[partition]

    def settle(self, partition: TopicPartition, end: int) -> None:
        """Waits for the markers: a commit stands before every reader sees it."""
        until_us = clock.monotonic_us() + 20_000_000
        while self.stable_end(partition) < end:
            assert clock.monotonic_us() < until_us
        assert self.stable_end(partition) == end

    def read(self, partition: TopicPartition) -> list[bytes]:
        """What a reader finds once no transaction is open any more."""
        end = b"end " + self.name().encode()
        self.publish(partition, end)
        values: list[bytes] = []
        until_us = clock.monotonic_us() + 20_000_000
        with closing(self.connector.source()) as source:
            source.assign({partition: 0})
            while end not in values:
                assert clock.monotonic_us() < until_us, values
                values += [r.value for fetch in source.poll(0.2) for r in fetch.records]
        return [value for value in values if not value.startswith(b"end ")]

    def close(self) -> None:
        self._open.close()


def read_to(source, ends: dict[TopicPartition, int], seconds: int = 20):
    """Polls until every partition has reached its offset; all records, in the order they came."""
    records = []
    missing = {partition for partition, end in ends.items() if end > 0}
    until_us = clock.monotonic_us() + seconds * 1_000_000
    while missing:
        assert clock.monotonic_us() < until_us, f"{missing} did not reach {ends}"
        for fetch in source.poll(0.2):
            records += fetch.records
            partition = TopicPartition(fetch.topic, fetch.partition)
            if fetch.position >= ends.get(partition, 0):
                missing.discard(partition)
    return records


def outs(partition: TopicPartition, *values: bytes) -> list[OutRecord]:
    return [OutRecord(*partition, None, value, []) for value in values]


def memory_world(request) -> World:
    broker = MemoryBroker()
    connector = MemoryConnector(broker, pending_wait_s=30.0)
    return World(connector, broker.delete_topic, broker.truncate)


def kafka_world(request) -> World:
    bootstrap = request.getfixturevalue("kafka")
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    request.addfinalizer(admin.close)
    return World(
        KafkaConnector(bootstrap),
        lambda name: admin.delete_topics([name]),
        lambda partition, offset: admin.delete_records({KafkaPartition(*partition): offset}),
    )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(memory_world, id="memory"),
        pytest.param(kafka_world, id="kafka", marks=pytest.mark.kafka),
    ],
)
def world(request):
    """Shared by the tests of one implementation; every test takes names of its own."""
    with closing(request.param(request)) as world:
        yield world


def test_records_come_back_in_order_with_all_they_carry(world):
    partition = world.partition()
    publisher = world.connector.publisher()
    sent = [
        OutRecord(*partition, b"\x00key", b"\xff\x00", [("a", b"1"), ("a", b"")], 1_234_567),
        OutRecord(*partition, None, b"", [], 1_000_000),
        OutRecord(*partition, b"", b"third", [], None),
    ]
    before_us = clock.wall_us() // 1000 * 1000
    for record in sent:
        publisher.send(record)
    publisher.flush()
    publisher.close()
    source = world.source()
    source.assign({partition: 0})
    read = read_to(source, {partition: 3})
    assert [(r.topic, r.partition, r.offset) for r in read] == [(*partition, i) for i in range(3)]
    assert [(r.key, r.value, list(r.headers)) for r in read] == [
        (r.key, r.value, list(r.headers)) for r in sent
    ]
    assert [r.timestamp_us for r in read[:2]] == [1_234_000, 1_000_000]  # Kafka keeps milliseconds
    assert before_us <= read[2].timestamp_us <= clock.wall_us()


def test_what_has_no_value_is_written_without_one(world):
    """A tombstone, and a header of which Kafka's other clients know that it may have none."""
    partition = world.partition()
    sink = world.opened_sink()
    sink.begin()
    record = OutRecord(*partition, b"k", None, [("h", None), ("g", b""), ("h", b"1")], 1_000_000)
    sink.produce([record])
    sink.commit()
    source = world.source()
    source.assign({partition: 0})
    [read] = read_to(source, {partition: 1})
    assert (read.key, read.value) == (b"k", None)
    assert list(read.headers) == record.headers


def test_a_topic_with_append_time_stamps_records_itself(world):
    partition = world.partition(message_timestamp_type="LogAppendTime")
    before_us = clock.wall_us() // 1000 * 1000
    world.publish(partition, b"x", times_us=[1_000_000])
    assert before_us <= world.control.last_record(partition).timestamp_us <= clock.wall_us()


def test_many_records_come_in_several_polls_without_gap_or_repeat(world):
    partition = world.partition()
    world.publish(partition, *(b"%d" % i for i in range(5000)))
    source = world.source()
    source.assign({partition: 0})
    first = source.poll(10.0)
    assert first[0].position == first[0].records[-1].offset + 1 <= 2000
    rest = read_to(source, {partition: 5000})
    assert [int(r.value) for r in first[0].records + rest] == list(range(5000))


def test_partitions_are_read_side_by_side(world):
    topic = world.topic(partitions=3)
    partitions = [TopicPartition(topic, p) for p in range(3)]
    for partition in partitions:
        world.publish(partition, *(b"%d" % partition.partition for _ in range(3)))
    source = world.source()
    source.assign(dict.fromkeys(partitions, 1))
    read = read_to(source, dict.fromkeys(partitions, 3))
    assert sorted((r.partition, r.offset, r.value) for r in read) == [
        (p, offset, b"%d" % p) for p in range(3) for offset in (1, 2)
    ]
    assert source.poll(0) == []


def test_an_open_transaction_is_hidden_and_holds_the_stable_end(world):
    partition = world.partition()
    sink = world.opened_sink()
    world.publish(partition, b"before")
    sink.begin()
    sink.produce(outs(partition, b"one", b"two"))
    sink.flush()
    world.publish(partition, b"after")
    source = world.source()
    source.assign({partition: 0})
    assert [r.value for r in read_to(source, {partition: 1})] == [b"before"]
    assert source.poll(0.1) == []
    assert source.stable_ends([partition]) == {partition: 1}
    assert world.stable_end(partition) == 1
    sink.commit()
    read = read_to(source, {partition: 5})
    assert [(r.offset, r.value) for r in read] == [(1, b"one"), (2, b"two"), (3, b"after")]
    assert source.stable_ends([partition]) == {partition: 5}


def test_the_end_of_the_log_is_behind_open_transactions(world):
    partition = world.partition()
    world.publish(partition, b"a")
    sink = world.sink()
    sink.open()
    sink.begin()
    sink.produce(outs(partition, b"b", b"c"))
    sink.flush()
    assert world.control.log_ends([partition]) == {partition: 3}
    assert world.control.stable_ends([partition]) == {partition: 1}
    sink.commit()
    assert world.control.log_ends([partition])[partition] >= 3
    assert world.control.log_ends([]) == {}


def test_an_aborted_transaction_is_never_seen(world):
    partition = world.partition()
    sink = world.opened_sink()
    sink.begin()
    sink.produce(outs(partition, b"aborted"))
    sink.flush()
    sink.abort()
    sink.begin()
    sink.produce(outs(partition, b"committed"))
    sink.commit()
    source = world.source()
    source.assign({partition: 0})
    read = read_to(source, {partition: 4})
    assert [(r.offset, r.value) for r in read] == [(2, b"committed")]


def test_a_position_passes_markers_though_no_record_moves_it(world):
    partition = world.partition()
    sink = world.opened_sink()
    source = world.source()
    source.assign({partition: 0})
    sink.begin()
    sink.produce(outs(partition, b"one"))
    sink.commit()
    read_to(source, {partition: 2})
    sink.begin()
    sink.produce(outs(partition, b"two"))
    sink.flush()
    sink.abort()
    [fetch] = source.poll(10.0)
    while fetch.position < 4:
        assert fetch.records == []
        [fetch] = source.poll(10.0)
    assert fetch.records == []
    assert fetch.position == world.stable_end(partition) == 4


def test_transactions_of_several_slots_interleave_in_one_log(world):
    partition = world.partition()
    kept, dropped = world.opened_sink(), world.opened_sink()
    for sink in (kept, dropped):
        sink.begin()
    for i in range(3):
        for sink, name in ((kept, b"kept"), (dropped, b"dropped")):
            sink.produce(outs(partition, b"%s %d" % (name, i)))
            sink.flush()
    dropped.abort()
    assert world.stable_end(partition) == 0
    kept.commit()
    world.settle(partition, 8)
    assert world.read(partition) == [b"kept 0", b"kept 1", b"kept 2"]


def test_results_and_offsets_appear_together(world):
    out, read = world.partition(), world.partition()
    group = world.name()
    sink = world.opened_sink(group=group)
    assert world.control.committed(group, [read]) == {read: None}
    sink.begin()
    sink.produce(outs(out, b"result"))
    sink.flush()
    sink.send_offsets({read: Committed(7, '{"v": 1}')})
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(world.control.committed, group, [read])
        with pytest.raises(TimeoutError):
            asked.result(0.3)  # it waits: a transaction with that offset is open
        assert world.stable_end(out) == 0
        sink.commit()
        assert asked.result(20) == {read: Committed(7, '{"v": 1}')}
    assert world.read(out) == [b"result"]


def test_aborted_offsets_leave_the_former_ones(world):
    topic = world.topic(partitions=2)
    one, two = TopicPartition(topic, 0), TopicPartition(topic, 1)
    group = world.name()
    sink = world.opened_sink(group=group)
    sink.begin()
    sink.send_offsets({one: Committed(1, "first"), two: Committed(2, "")})
    sink.commit()
    sink.begin()
    sink.send_offsets({one: Committed(5, "second")})
    sink.abort()
    found = world.control.committed(group, [one, two])
    assert found == {one: Committed(1, "first"), two: Committed(2, "")}


def test_a_group_that_is_deleted_has_committed_nothing(world):
    partition = world.partition()
    group = world.name()
    sink = world.opened_sink(group=group)
    sink.begin()
    sink.send_offsets({partition: Committed(1, "first")})
    sink.commit()
    assert world.control.committed(group, [partition]) == {partition: Committed(1, "first")}
    sink.close()
    world.control.delete_group(group)
    assert world.control.committed(group, [partition]) == {partition: None}


def test_an_empty_transaction_commits(world):
    sink = world.opened_sink()
    sink.begin()
    sink.commit()
    sink.begin()
    sink.flush()
    sink.abort()


@pytest.mark.parametrize("text", ["x" * 4096, "\N{SNOWMAN}" * 4096, "\N{FILM FRAMES}" * 2048])
def test_commit_metadata_of_the_greatest_length_comes_back_whole(world, text):
    partition = world.partition()
    group = world.name()
    sink = world.opened_sink(group=group)
    sink.begin()
    sink.send_offsets({partition: Committed(1, text)})
    sink.commit()
    assert world.control.committed(group, [partition]) == {partition: Committed(1, text)}


def test_longer_metadata_is_refused_before_it_is_sent(world):
    partition = world.partition()
    group = world.name()
    sink = world.opened_sink(group=group)
    sink.begin()
    for text in ("x" * 4097, "\N{FILM FRAMES}" * 2048 + "x"):
        with pytest.raises(Refused, match=rf"{partition.topic}-0 = 4097 characters"):
            sink.send_offsets({partition: Committed(1, text)})
    sink.send_offsets({partition: Committed(2, "short")})
    sink.commit()
    assert world.control.committed(group, [partition]) == {partition: Committed(2, "short")}


def produce_and_flush(sink, partition):
    sink.produce(outs(partition, b"zombie"))
    sink.flush()


ZOMBIE_STEPS = {
    "produce": produce_and_flush,
    "send_offsets": lambda sink, partition: sink.send_offsets({partition: Committed(9, "zombie")}),
    "commit": lambda sink, partition: sink.commit(),
    "abort": lambda sink, partition: sink.abort(),
}


@pytest.mark.parametrize("step", ZOMBIE_STEPS)
def test_opening_fences_the_former_owner_for_good(world, step):
    partition = world.partition()
    name, group = world.name(), world.name()
    zombie, owner = world.sink(name, group), world.sink(name, group)
    first = zombie.open()
    zombie.begin()
    zombie.produce(outs(partition, b"left open"))
    zombie.flush()
    assert owner.open() > first
    with pytest.raises(Fenced, match=name):
        ZOMBIE_STEPS[step](zombie, partition)
    with pytest.raises(Transient):
        zombie.begin()
    with pytest.raises(Fenced, match=name):
        zombie.open()
    owner.begin()
    owner.produce(outs(partition, b"owner"))
    owner.send_offsets({partition: Committed(1, "owner")})
    owner.commit()
    assert world.read(partition) == [b"owner"]
    assert world.control.committed(group, [partition]) == {partition: Committed(1, "owner")}


def test_a_zombie_leaves_the_owners_transaction_alone(world):
    partition = world.partition()
    name = world.name()
    zombie, owner = world.opened_sink(name), world.sink(name)
    zombie.begin()
    owner.open()
    owner.begin()
    owner.produce(outs(partition, b"owner"))
    owner.flush()
    with pytest.raises(Fenced):
        produce_and_flush(zombie, partition)
    with pytest.raises(Fenced):
        zombie.open()
    owner.commit()
    assert world.read(partition) == [b"owner"]


def test_a_zombie_in_the_midst_of_a_partition_costs_the_owner_a_retry_at_most(world):
    """Kafka's clients recover from the partition's refusal by what aborts the owner's work."""
    partition = world.partition()
    name = world.name()
    zombie, owner = world.opened_sink(name), world.sink(name)
    zombie.begin()
    produce_and_flush(zombie, partition)
    owner.open()
    owner.begin()
    owner.produce(outs(partition, b"owner"))
    owner.flush()
    with pytest.raises(Fenced):
        produce_and_flush(zombie, partition)
    try:
        owner.commit()
    except Transient:
        owner.open()
        owner.begin()
        owner.produce(outs(partition, b"owner"))
        owner.commit()
    assert world.read(partition) == [b"owner"]


def test_a_sink_that_opens_again_goes_on(world):
    partition = world.partition()
    sink = world.sink()
    epochs = [sink.open()]
    sink.begin()
    sink.produce(outs(partition, b"left open"))
    sink.flush()
    epochs += [sink.open(), sink.open()]
    assert epochs == sorted(set(epochs))
    sink.begin()
    sink.produce(outs(partition, b"again"))
    sink.commit()
    assert world.read(partition) == [b"again"]


def test_a_closed_sink_holds_no_reader_up(world):
    partition = world.partition()
    sink = world.opened_sink()
    sink.begin()
    sink.produce(outs(partition, b"left open"))
    sink.flush()
    world.publish(partition, b"after")
    sink.close()
    assert world.read(partition) == [b"after"]


def test_steps_out_of_order_are_a_bug_of_the_caller(world):
    sink = world.sink()
    with pytest.raises(Transient, match="open it"):
        sink.begin()
    sink.open()
    for step in (sink.flush, sink.commit, sink.abort, lambda: sink.produce([])):
        with pytest.raises(RuntimeError, match="no transaction"):
            step()
    sink.begin()
    with pytest.raises(RuntimeError, match="begun already"):
        sink.begin()


@pytest.mark.parametrize("missing", ["topic", "partition"])
def test_what_does_not_exist_is_named(world, missing):
    partition = TopicPartition(world.name(), 0)
    if missing == "partition":
        partition = TopicPartition(world.topic(), 1)
    sink = world.opened_sink()
    sink.begin()
    with pytest.raises(Refused, match=f"{partition.topic}.*motet topics create"):
        sink.produce(outs(partition, b"x"))
    with pytest.raises(Refused, match=partition.topic):
        world.publish(partition, b"x")
    with pytest.raises(Refused, match=partition.topic):
        world.stable_end(partition)


def test_one_question_answers_for_all_partitions(world):
    partitions = [TopicPartition(world.topic(partitions=2), p) for p in range(2)]
    partitions += [world.partition() for _ in range(2)]
    world.publish(partitions[1], b"x", b"y")
    with closing(world.connector.control()) as fresh:
        assert fresh.beginnings(partitions[:1]) == {partitions[0]: 0}
        assert list(fresh.stable_ends(partitions).values()) == [0, 2, 0, 0]
        assert list(fresh.offsets_at(partitions, 0).values()) == [0, 0, 0, 0]
    assert world.control.stable_ends([]) == {}


def test_a_paused_partition_stands_still_and_loses_nothing(world):
    topic = world.topic(partitions=2)
    still, moving = TopicPartition(topic, 0), TopicPartition(topic, 1)
    source = world.source()
    source.assign({still: 0, moving: 0})
    source.pause([still])
    world.publish(still, b"a", b"b")
    world.publish(moving, b"c")
    assert [r.value for r in read_to(source, {moving: 1})] == [b"c"]
    assert source.poll(0.1) == []
    source.resume([still])
    assert [r.value for r in read_to(source, {still: 2})] == [b"a", b"b"]


def test_what_was_fetched_before_a_pause_comes_after_it(world):
    """More records than one poll gives, so that the client holds some when it is paused."""
    topic = world.topic(partitions=2)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    values = [str(number).encode() for number in range(1000)]
    for partition in (first, second):
        world.publish(partition, *values)
    source = world.source()
    source.assign({first: 0, second: 0})
    found: dict[TopicPartition, list[bytes]] = {first: [], second: []}
    paused: list[TopicPartition] = []
    until = time.monotonic() + 20
    while any(len(got) < len(values) for got in found.values()):
        assert time.monotonic() < until, {tp: len(got) for tp, got in found.items()}
        fetches = source.poll(0.5)
        source.resume(paused)
        paused = [TopicPartition(fetch.topic, fetch.partition) for fetch in fetches]
        source.pause(paused)
        for partition, fetch in zip(paused, fetches, strict=True):
            found[partition] += [record.value for record in fetch.records]
    assert found == {first: values, second: values}


def test_a_new_assignment_replaces_the_old_one(world):
    partition, other = world.partition(), world.partition()
    world.publish(partition, b"0", b"1", b"2")
    world.publish(other, b"other")
    source = world.source()
    source.assign({partition: 0})
    assert len(read_to(source, {partition: 3})) == 3
    source.pause([partition])
    source.assign({partition: 1, other: 0})  # back, and no longer paused
    assert sorted(r.value for r in read_to(source, {partition: 3, other: 1})) == [
        b"1",
        b"2",
        b"other",
    ]
    source.assign({other: 0})
    assert [r.value for r in read_to(source, {other: 1})] == [b"other"]
    with pytest.raises(KeyError):
        source.pause([partition])
    source.assign({})
    assert source.poll(0) == []


def test_partitions_come_and_go_and_the_others_go_on_where_they_are(world):
    topic = world.topic(partitions=3)
    first, second, third = (TopicPartition(topic, number) for number in range(3))
    for partition in (first, second, third):
        world.publish(partition, b"0", b"1", b"2")
    source = world.source()
    source.assign({first: 0, second: 1})
    assert len(read_to(source, {first: 3, second: 3})) == 5
    source.pause([second])
    source.add({third: 2})
    world.publish(first, b"3")
    world.publish(second, b"unseen")
    found = read_to(source, {first: 4, third: 3})
    assert sorted((r.partition, r.value) for r in found) == [(0, b"3"), (2, b"2")]
    source.remove([second])
    with pytest.raises(KeyError):
        source.resume([second])
    world.publish(first, b"4")
    assert [r.value for r in read_to(source, {first: 5})] == [b"4"]
    source.add({second: 3})  # back, and no longer paused
    assert [r.value for r in read_to(source, {second: 4})] == [b"unseen"]
    source.remove([first, second, third])
    assert source.poll(0.05) == []
    source.add({first: 4})
    assert [r.value for r in read_to(source, {first: 5})] == [b"4"]


@pytest.mark.parametrize("position", [1, 9])
def test_a_position_that_the_log_does_not_hold_is_lost_and_never_reset(world, position):
    partition = world.partition()
    world.publish(partition, b"0", b"1", b"2")
    world.truncate(partition, 2)
    assert world.control.beginnings([partition]) == {partition: 2}
    source = world.source()
    source.assign({partition: position})
    with pytest.raises(PositionLost) as caught:
        read_to(source, {partition: 3})
    text = str(caught.value)
    for part in (f"{partition.topic}-0", f"offset {position} ", "2 to 3", "motet reset"):
        assert part in text
    source.assign({partition: 2})
    assert [r.value for r in read_to(source, {partition: 3})] == [b"2"]


def test_offsets_by_time(world):
    partition = world.partition()
    world.publish(partition, b"0", b"1", b"2", times_us=[1_000_000, 3_000_000, 2_000_000])
    sink = world.opened_sink()
    sink.begin()
    sink.produce([OutRecord(*partition, None, b"open", [], HOUR_US)])
    sink.flush()
    expected = {0: 0, 1_000_000: 0, 1_000_001: 1, 3_000_000: 1, 3_000_001: 3, -1: 0}
    for time_us, offset in expected.items():
        assert world.control.offsets_at([partition], time_us) == {partition: offset}, time_us
    sink.commit()
    world.settle(partition, 5)
    assert world.control.offsets_at([partition], 3_000_001) == {partition: 3}
    [after_all] = world.control.offsets_at([partition], 2 * HOUR_US).values()
    assert after_all in (4, 5)  # Kafka may name a marker, which has a time as well


def test_the_newest_record_is_found_behind_what_readers_do_not_see(world):
    partition = world.partition()
    assert world.control.last_record(partition) is None
    sink = world.opened_sink()
    sink.begin()
    sink.produce(outs(partition, b"first", b"newest"))
    sink.commit()
    world.settle(partition, 3)
    assert world.control.last_record(partition).value == b"newest"
    sink.begin()
    sink.produce(outs(partition, *([b"aborted"] * 40)))
    sink.flush()
    sink.abort()
    world.settle(partition, 44)
    sink.begin()
    sink.produce(outs(partition, b"open"))
    sink.flush()
    newest = world.control.last_record(partition)
    assert (newest.offset, newest.value) == (1, b"newest")


def test_topics_say_what_they_are(world):
    settings = {"cleanup_policy": "compact", "max_message_bytes": "5000"}
    plain, special = world.topic(partitions=3), world.topic(**settings)
    stamped = world.topic(message_timestamp_type="LogAppendTime")
    absent = world.name()
    found = world.control.topics([plain, special, stamped, absent])
    assert found[absent] is None
    assert [found[n].partitions for n in (plain, special, stamped)] == [3, 1, 1]
    assert [found[n].compacted for n in (plain, special, stamped)] == [False, True, False]
    assert [found[n].append_time for n in (plain, special, stamped)] == [False, False, True]
    assert found[special].max_message_bytes == 5000
    assert world.control.topics([]) == {}
    with pytest.raises(Refused, match=f"{plain}: it exists already"):
        world.control.create_topic(plain, 1, None, {})


def test_a_topic_that_was_made_anew_has_another_id(world):
    name = world.topic()
    before = world.control.topics([name])[name].topic_id
    assert world.control.topics([name])[name].topic_id == before
    world.delete_topic(name)
    until_us = clock.monotonic_us() + 20_000_000
    while clock.monotonic_us() < until_us:
        with suppress(Refused):  # Kafka deletes in the background
            world.control.create_topic(name, 1, None, {})
            break
    assert before != world.control.topics([name])[name].topic_id


def test_topics_that_are_deleted_are_gone(world):
    kept, *gone = world.topic(), world.topic(), world.topic(partitions=2)
    world.control.delete_topics(gone)
    until_us = clock.monotonic_us() + 20_000_000
    while any((found := world.control.topics([kept, *gone]))[name] for name in gone):
        assert clock.monotonic_us() < until_us, found
    assert found[kept] is not None
    with pytest.raises(Refused, match=gone[0]):
        world.control.delete_topics(gone[:1])


def test_a_record_over_the_limit_of_its_topic_is_refused(world):
    partition = world.partition(max_message_bytes="2000")
    world.publish(partition, bytes(1900))
    with pytest.raises(Refused, match=rf"{partition.topic}-0: a record of 2\d\d\d bytes"):
        world.publish(partition, bytes(2001))
    sink = world.opened_sink()
    sink.begin()
    with pytest.raises(Refused, match=r"max\.message\.bytes"):
        produce_too_large(sink, partition)
    sink.open()
    sink.begin()
    sink.produce(outs(partition, b"small"))
    sink.commit()
    assert world.read(partition) == [bytes(1900), b"small"]


def test_many_small_records_pass_a_small_limit(world):
    """Together they are over it: Kafka's clients split the batch."""
    partition = world.partition(max_message_bytes="2000")
    values = [b"%04d" % i * 40 for i in range(100)]
    sink = world.opened_sink()
    sink.begin()
    sink.produce(outs(partition, *values))
    sink.commit()
    assert world.read(partition) == values
    world.publish(partition, *values)
    assert world.read(partition) == values * 2


def produce_too_large(sink, partition):
    sink.produce(outs(partition, bytes(2001)))
    sink.flush()


def test_slots_commit_side_by_side(world):
    topic = world.topic(partitions=4)
    partitions = [TopicPartition(topic, p) for p in range(4)]
    group = world.name()
    sinks = [world.sink(group=group) for _ in partitions]

    def commits(slot: int) -> None:
        sink, partition = sinks[slot], partitions[slot]
        sink.open()
        for cut in range(5):
            sink.begin()
            sink.produce(outs(partition, b"%d" % cut) + outs(partitions[0], b"shared"))
            sink.send_offsets({partition: Committed(cut, f"cut {cut}")})
            sink.commit()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(commits, range(4)))
    committed = world.control.committed(group, partitions)
    assert committed == dict.fromkeys(partitions, Committed(4, "cut 4"))
    for partition in partitions[1:]:
        assert world.read(partition) == [b"0", b"1", b"2", b"3", b"4"]
    shared = world.read(partitions[0])
    assert shared.count(b"shared") == 20
    assert [v for v in shared if v != b"shared"] == [b"0", b"1", b"2", b"3", b"4"]
