"""Batches written in one pass, beside kafka-python's own: the same bytes, the same fates."""

from __future__ import annotations

import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaTCPTransport
from kafka.producer.future import FutureProduceResult
from kafka.producer.record_accumulator import RecordAccumulator
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder
from kafka.record.util import encode_varint

from pipeline.connectors.kafka import sending
from pipeline.connectors.kafka.sending import (
    AROUND_BYTES,
    Ack,
    TailBatch,
    all_succeeded,
    append,
    send_at_once,
    tail,
    varint,
)
from pipeline.slot.ports import OutRecord

WHERE = TopicPartition("t", 0)
NO_CODEC, GZIP = 0, 1
headers = st.lists(st.tuples(st.text(max_size=40), st.binary(max_size=200)), max_size=7)
records = st.builds(
    OutRecord,
    st.just("t"),
    st.just(0),
    st.none() | st.binary(max_size=300),
    st.binary(max_size=20_000),
    headers.map(tuple),
    st.integers(0, 1 << 50),  # us
)


def stock(told: list[OutRecord], batch_size: int, codec: int = NO_CODEC) -> MemoryRecordsBuilder:
    """As many of them as the client's own batch takes."""
    builder = MemoryRecordsBuilder(2, codec, batch_size)
    for record in told:
        at_ms = record.timestamp_us // 1000
        if builder.append(at_ms, record.key, record.value, list(record.headers)) is None:
            break
    return builder


def ours(told: list[OutRecord], batch_size: int, codec: int = NO_CODEC) -> sending._Records:
    builder = sending._Records(codec, batch_size)
    builder.append_tails([(record.timestamp_us // 1000, tail(record)) for record in told])
    return builder


@given(st.integers(-(1 << 62), 1 << 62))
def test_numbers_are_written_as_the_client_writes_them(number):
    expected = bytearray()
    encode_varint(number, expected.append)
    assert varint(number) == expected


@given(st.lists(records, min_size=1, max_size=9), st.sampled_from([100, 5_000, 1 << 20]))
def test_a_batch_has_the_clients_bytes_and_is_full_where_the_clients_is(told, batch_size):
    expected, found = stock(told, batch_size), ours(told, batch_size)
    assert found.next_offset() == expected.next_offset()
    assert found.is_full() == expected.is_full()
    for builder in (expected, found):
        builder.set_producer_state(7, 2, 40, True)
        builder.close()
    assert found.buffer() == expected.buffer()


@given(records)
def test_a_record_is_measured_as_the_client_measures_it(record):
    measured = DefaultRecordBatchBuilder.estimate_size_in_bytes(
        record.key, record.value, list(record.headers)
    )
    assert AROUND_BYTES + len(tail(record)) == measured


@given(st.lists(records, min_size=1, max_size=5))
def test_a_compressed_batch_is_read_back(told):
    builder = ours(told, 1 << 20, GZIP)
    builder.close()
    [batch] = list(MemoryRecords(builder.buffer()))
    assert [(r.key, r.value, tuple(r.headers)) for r in batch] == [
        (r.key, r.value, r.headers) for r in told
    ]


# -- what becomes of a record -----------------------------------------------------------------


def record(value: bytes) -> OutRecord:
    return OutRecord("t", 0, b"k", value, (("a", b"b"),), 5_000)


def put(accumulator: RecordAccumulator, *values: bytes) -> list[Ack]:
    acks, _ = append(accumulator, WHERE, [(5, tail(record(value))) for value in values])
    return acks


def waiting(accumulator: RecordAccumulator) -> list:
    return list(accumulator._batches[WHERE])


def test_records_of_a_partition_go_into_one_batch_until_it_is_full():
    accumulator = RecordAccumulator(batch_size=1_000)
    acks = put(accumulator, b"x" * 400, b"y" * 400, b"z" * 400)
    first, second = waiting(accumulator)
    assert (first.record_count, second.record_count) == (2, 1)
    first.complete(0, -1)
    assert [(ack.is_done, ack.succeeded(), ack.exception) for ack in acks] == [
        (True, True, None), (True, True, None), (False, False, None),
    ]  # fmt: skip
    assert first.max_record_size == len(tail(record(b"x" * 400))) + 5


def test_each_record_has_the_error_that_its_batch_tells_of_it():
    accumulator = RecordAccumulator()
    acks = put(accumulator, b"x", b"y")
    [batch] = waiting(accumulator)
    errors = [ValueError("x"), ValueError("y")]
    batch.complete_exceptionally(ValueError("all"), errors.__getitem__)
    assert [ack.exception for ack in acks] == errors
    assert not all_succeeded(acks)
    assert not any(ack.succeeded() for ack in acks)
    with pytest.raises(ValueError, match="y"):
        acks[1].get(0)


def test_a_batch_whose_producer_was_thrown_away_has_failed():
    accumulator = RecordAccumulator()
    [ack] = put(accumulator, b"x")
    [batch] = waiting(accumulator)
    batch.abort(kafka_errors.KafkaConnectionError("closed"))
    assert ack.is_done
    assert isinstance(ack.exception, kafka_errors.KafkaConnectionError)


def test_a_batch_that_is_split_takes_its_records_along():
    accumulator = RecordAccumulator()
    acks = put(accumulator, b"x", b"y", b"z")
    [batch] = waiting(accumulator)
    accumulator._batches[WHERE].clear()
    batch.records.close()
    waited = threading.Thread(target=lambda: acks[0].get(20))
    waited.start()
    assert accumulator.split_and_reenqueue(batch) == 2
    halves = waiting(accumulator)
    assert [half.record_count for half in halves] == [2, 1]
    halves[1].complete(9, -1)
    assert [ack.is_done for ack in acks] == [False, False, True]
    assert all_succeeded(acks[2:])
    assert not all_succeeded(acks)
    halves[0].complete(7, -1)
    assert all(ack.succeeded() for ack in acks)
    assert all_succeeded(acks)
    waited.join(20)
    assert not waited.is_alive()


def test_who_waits_is_told_when_the_time_is_up():
    with pytest.raises(kafka_errors.KafkaTimeoutError, match="not acknowledged within 0 s"):
        Ack(FutureProduceResult(WHERE), 0).get(0)


def test_the_sender_is_woken_where_a_batch_is_new_or_full():
    accumulator = RecordAccumulator(batch_size=1_000)
    one = [(5, tail(record(b"x" * 400)))]
    woken = [append(accumulator, WHERE, one)[1] for _ in range(4)]
    assert woken == [True, False, True, True]  # two fit; then more than one is waiting


def test_a_client_that_is_closed_takes_nothing():
    accumulator = RecordAccumulator()
    accumulator.close()
    with pytest.raises(kafka_errors.IllegalStateError):
        append(accumulator, WHERE, [(5, b"")])


@given(st.lists(st.sampled_from(["waiting", "there", "lost", "one of two"]), max_size=4))
def test_all_have_succeeded_only_where_each_has(fates):
    """Batches of two records; of one some are told to be wrong, and of the others nothing is."""
    acks = []
    for fate in fates:
        both = TailBatch(WHERE, sending._Records(NO_CODEC, 1 << 20))
        acks += both.append_tails([(5, tail(record(b"x"))), (5, tail(record(b"y")))], 0.0)
        if fate == "there":
            both.complete(0, -1)
        elif fate == "lost":
            both.abort(kafka_errors.KafkaTimeoutError("late"))
        elif fate == "one of two":
            both.complete_exceptionally(ValueError("all"), [None, ValueError("y")].__getitem__)
    assert all_succeeded(acks) == all(ack.succeeded() for ack in acks)
    assert all_succeeded(acks) == (set(fates) <= {"there"})


def test_records_fill_what_is_left_of_a_batch_and_go_on_in_the_next():
    """As one call for each of them would: batches are the same, whoever hands over how many."""
    values = [bytes([n]) * 300 for n in range(9)]
    found = []
    for parts in ([9], [1] * 9, [2, 5, 2]):
        accumulator, rest = RecordAccumulator(batch_size=1_000), list(values)
        acks = []
        for count in parts:
            acks += put(accumulator, *rest[:count])
            del rest[:count]
        batches = waiting(accumulator)
        assert [ack._place for ack in acks] == [0, 1, 0, 1, 0, 1, 0, 1, 0]
        for batch in batches:
            batch.records.close()
        found.append([bytes(batch.records.buffer()) for batch in batches])
    assert len(found[0]) == 5
    assert found[1:] == found[:1] * 2


# -- on the way out ---------------------------------------------------------------------------


class Protocol:
    """As much of the client's connection as a transport asks for."""

    _sensors = None
    lost: BaseException | None = None

    def connection_lost(self, error: BaseException | None) -> None:
        self.lost = error


@pytest.fixture
def line():
    """A transport and the far end of its socket."""
    send_at_once()
    net = NetworkSelector()
    near, far = socket.socketpair()
    near.setblocking(False)
    far.settimeout(20)
    transport = KafkaTCPTransport(net, near)
    transport._protocol = Protocol()
    with far:
        yield net, transport, far
        transport.abort()
        net.close()


def test_what_the_socket_takes_is_sent_in_one_round(line):
    net, transport, far = line
    transport.write(b"one")
    transport.write(b"two")
    net.poll(timeout_ms=0)
    assert far.recv(100) == b"onetwo"
    assert not transport._writing
    transport.write(b"three")
    net.poll(timeout_ms=0)
    assert far.recv(100) == b"three"


def test_what_it_does_not_take_is_sent_when_it_does_and_in_order(line):
    net, transport, far = line
    sent = bytes(range(256)) * (16 << 10)
    transport.write(sent)
    net.poll(timeout_ms=0)
    transport.write(b"behind")
    got = bytearray()
    while len(got) < len(sent) + len(b"behind"):
        got += far.recv(1 << 20)
        net.poll(timeout_ms=0)
    assert got == sent + b"behind"
    assert not transport._writing


def test_a_connection_that_has_ended_is_told(line):
    net, transport, far = line
    protocol = transport._protocol
    far.close()
    transport.write(b"into the void")
    net.poll(timeout_ms=0)
    assert isinstance(protocol.lost, kafka_errors.KafkaConnectionError)
    assert not transport._writing
