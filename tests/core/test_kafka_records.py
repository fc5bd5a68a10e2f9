"""Records below ``ConsumerRecord`` are those that kafka-python's own reader gives."""

from __future__ import annotations

import gzip
import struct

import pytest

pytest.importorskip("kafka")

from hypothesis import given
from hypothesis import strategies as st
from kafka.consumer.fetcher import Fetcher, IsolationLevel
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder
from kafka.record.util import calc_crc32c
from kafka.structs import TopicPartition

from pipeline.connectors.kafka.compression import decompressed
from pipeline.connectors.kafka.records import PartitionLogRecords
from pipeline.slot.ports import LogRecord

PARTITION = TopicPartition("live.audio", 3)
COMMITTED, ALL = IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED
NONE, GZIP = 0, 1  # what the stock reader can do without more packages
AT_MS = 1_790_000_000_000

some_bytes = st.none() | st.binary(max_size=200)
headers = st.lists(st.tuples(st.text(max_size=70), some_bytes), max_size=4)
record = st.tuples(
    st.integers(-(1 << 40), 1 << 40),  # of its time, from the first one's
    st.integers(0, 3),  # offsets that compaction took before it
    some_bytes,
    some_bytes | st.sampled_from([63, 64, 8_191, 8_192, 70_000]),  # so many bytes
    headers,
)
batch = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["plain", "plain", "transaction", "commit", "abort"]),
        "producer": st.integers(0, 2),
        "codec": st.sampled_from([NONE, NONE, GZIP]),
        "records": st.lists(record, min_size=1, max_size=6),
        "appended": st.booleans(),  # stamped by the log
        "taken": st.integers(0, 2),  # offsets that compaction took behind its last record
        "epoch": st.integers(0, 5),
    }
)

PLAIN = {
    "kind": "plain", "producer": 0, "codec": NONE, "records": [(0, 0, None, b"value", [])],
    "appended": False, "taken": 0, "epoch": 0,
}  # fmt: skip


def built(given_batch: dict, base_offset: int) -> tuple[bytes, int]:
    """A batch as a broker would send it, and the offset behind it."""
    kind = given_batch["kind"]
    producer = given_batch["producer"] if kind != "plain" else -1
    builder = DefaultRecordBatchBuilder(
        2, given_batch["codec"], kind != "plain", producer, 0 if producer >= 0 else -1,
        0 if producer >= 0 else -1, 1 << 24,
    )  # fmt: skip
    offset = -1
    if kind in ("commit", "abort"):
        marker = b"\0\0\0\1" if kind == "commit" else b"\0\0\0\0"
        builder._compression_type = NONE
        builder.append(0, AT_MS, marker, b"\0" * 6, [])
        offset = 0
    else:
        for delta_ms, gap, key, value, named in given_batch["records"]:
            offset += 1 + gap
            value = b"v" * value if isinstance(value, int) else value
            builder.append(offset, max(0, AT_MS + delta_ms), key, value, named)
    data = bytearray(builder.build())
    last = offset + given_batch["taken"]
    fields = list(DefaultRecordBatch.HEADER_STRUCT.unpack_from(data))
    fields[0], fields[2], fields[6] = base_offset, given_batch["epoch"], last
    fields[5] |= 8 if given_batch["appended"] else 0
    fields[5] |= DefaultRecordBatch.CONTROL_MASK if kind in ("commit", "abort") else 0
    DefaultRecordBatch.HEADER_STRUCT.pack_into(data, 0, *fields)
    crc = calc_crc32c(memoryview(data)[DefaultRecordBatch.ATTRIBUTES_OFFSET :])
    data[17:21] = crc.to_bytes(4, "big")
    return bytes(data), base_offset + last + 1


def log_of(batches: list[dict]) -> tuple[bytes, int, list]:
    """The bytes, the offset behind them, and what the broker says of aborted transactions."""
    data, offset, begun, aborted = b"", 0, {}, []
    for each in batches:
        if each["kind"] == "transaction":
            begun.setdefault(each["producer"], offset)
        elif each["kind"] in ("commit", "abort") and each["producer"] in begun:
            first = begun.pop(each["producer"])
            if each["kind"] == "abort":
                aborted.append(Aborted(each["producer"], first))
        more, offset = built(each, offset)
        data += more
    return data, offset, aborted


class Aborted:
    def __init__(self, producer_id: int, first_offset: int) -> None:
        self.producer_id, self.first_offset = producer_id, first_offset


def read(kind: type, data: bytes, begin: int, aborted: list, isolation: int, steps: int):
    """What it gives in steps of so many records, how it stands after each, and why it ended."""
    given, stands, why = [], [], None
    reader = kind(
        begin, PARTITION, MemoryRecords(data), isolation_level=isolation,
        aborted_transactions=aborted,
    )  # fmt: skip
    try:
        while reader:
            given += reader.take(steps)
            stands.append((reader.next_fetch_offset, reader.leader_epoch))
    except CorruptRecordError:
        why = "corrupt"
    except struct.error:  # of a batch that is shorter than the head of its format
        assert kind is Fetcher.PartitionRecords
        why = "corrupt"
    return given, stands, why, reader.records_read


def in_frame(data: bytes) -> memoryview:
    """As ``connectors/kafka/receiving.py`` leaves it."""
    return memoryview(bytearray(data))


def as_log_record(r) -> LogRecord:
    return LogRecord(*PARTITION, r.offset, r.timestamp * 1000, r.key, r.value, r.headers)


@given(
    st.lists(batch, max_size=6),
    st.integers(0, 12),
    st.sampled_from([COMMITTED, ALL]),
    st.integers(1, 9),
    st.sampled_from([bytes, in_frame]),
)
def test_both_readers_give_the_same(batches, begin, isolation, steps, lies):
    data, end, aborted = log_of(batches)
    begin = min(begin, end)
    stock = read(Fetcher.PartitionRecords, data, begin, aborted, isolation, steps)
    ours = read(PartitionLogRecords, lies(data), begin, aborted, isolation, steps)
    assert ours[0] == [as_log_record(r) for r in stock[0]]
    assert ours[1:] == stock[1:]
    assert all(type(r) is LogRecord for r in ours[0])
    held = [(r.key, r.value, *(value for _, value in r.headers)) for r in ours[0]]
    assert all(type(each) in (bytes, type(None)) for fields in held for each in fields)


@given(
    st.lists(batch, min_size=1, max_size=3), st.integers(0, 1 << 20), st.integers(1, 255),
    st.booleans(), st.sampled_from([bytes, in_frame]),
)  # fmt: skip
def test_neither_takes_damaged_bytes_for_records(batches, place, change, resealed, lies):
    """One byte is another, and the checksum was made anew or was not."""
    whole, _, aborted = log_of([{**each, "codec": NONE} for each in batches])
    damaged = bytearray(whole)
    damaged[61 + place % (len(whole) - 61)] ^= change
    if resealed:
        for begin, end in spans(whole):
            crc = calc_crc32c(memoryview(damaged)[begin + 21 : end])
            damaged[begin + 17 : begin + 21] = crc.to_bytes(4, "big")
    damaged = bytes(damaged)
    stock, _, stock_why, _ = read(Fetcher.PartitionRecords, damaged, 0, aborted, ALL, 1000)
    ours, _, ours_why, _ = read(PartitionLogRecords, lies(damaged), 0, aborted, ALL, 1000)
    if any("\\x" in name for record in ours for name, _ in record.headers):
        return  # a name that is not UTF-8, which the stock reader does not take
    assert ours_why == stock_why
    if stock_why is None:
        assert ours == [as_log_record(r) for r in stock]


def test_a_batch_that_is_shorter_than_its_head_is_a_damaged_one():
    data = log_of([PLAIN])[0] + bytes(8) + (40).to_bytes(4, "big") + bytes(4) + b"\x02" + bytes(35)
    for kind in (Fetcher.PartitionRecords, PartitionLogRecords):
        given, _, why, _ = read(kind, data, 0, [], ALL, 1000)
        assert (len(given), why) == (len(PLAIN["records"]), "corrupt")


@pytest.mark.parametrize("codec", [1, 2, 3, 4, 5])
@given(st.binary(max_size=300))
def test_what_cannot_be_decompressed_is_a_damaged_batch(codec, body):
    data = bytearray(log_of([PLAIN])[0][:61] + body)
    data[8:12] = (len(data) - 12).to_bytes(4, "big")
    data[22] = codec
    data[17:21] = calc_crc32c(memoryview(data)[21:]).to_bytes(4, "big")
    assert read(PartitionLogRecords, bytes(data), 0, [], ALL, 1000)[2] == "corrupt"


def test_a_headers_name_that_is_not_utf8_is_read_as_it_can_be():
    """By the protocol it is text, and no broker looks: it must not stop who reads it."""
    builder = MemoryRecordsBuilder(2, 0, 1 << 20)
    builder.append(1, b"k", b"v", [("zz", b"1")])
    builder.close()
    data = bytearray(builder.buffer())
    at = data.index(b"zz")
    data[at : at + 2] = b"\xff\xfe"
    data[17:21] = calc_crc32c(memoryview(data)[21:]).to_bytes(4, "big")
    [record], *_ = read(PartitionLogRecords, bytes(data), 0, [], ALL, 1000)
    assert record.headers == [("\\xff\\xfe", b"1")]


def test_a_batch_that_grows_without_bounds_is_refused(monkeypatch):
    monkeypatch.setattr("pipeline.connectors.kafka.compression.BATCH_BYTES_MAX", 100_000)
    body = gzip.compress(bytes(1 << 20))
    with pytest.raises(ValueError, match="larger than 100000 bytes"):
        decompressed(GZIP, memoryview(body))
    block = b"\xff\xff\xff\xff\x0f" + bytes(10)
    with pytest.raises(ValueError, match="a snappy block of 15 bytes that says it is 4294967295"):
        decompressed(2, memoryview(block))


def spans(data: bytes) -> list[tuple[int, int]]:
    """Where the batches lie."""
    found, at = [], 0
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at + 8 : at + 12], "big")
        found.append((at, end))
        at = end
    return found


@pytest.mark.parametrize("magic", [0, 1])
def test_formats_before_kafka_0_11_are_read_by_the_stock_reader(magic):
    builder = MemoryRecordsBuilder(magic, NONE, 1 << 20)
    for number in range(5):
        builder.append(AT_MS + number, b"key", b"value %d" % number, [])
    builder.close()
    ours = read(PartitionLogRecords, in_frame(builder.buffer()), 2, [], COMMITTED, 2)
    stock = read(Fetcher.PartitionRecords, bytes(builder.buffer()), 2, [], COMMITTED, 2)
    assert [r.value for r in ours[0]] == [b"value 2", b"value 3", b"value 4"]
    assert [r[:3] + r[4:] for r in ours[0]] == [r[:3] + r[4:] for r in map(as_old_record, stock[0])]
    assert ours[3] == stock[3]


def as_old_record(r) -> LogRecord:
    at_us = r.timestamp * 1000 if r.timestamp is not None else -1000
    return LogRecord(*PARTITION, r.offset, at_us, r.key, r.value, r.headers)
