"""Which records of a topic ``motet init`` looks at."""

from __future__ import annotations

from contextlib import closing

import pytest

from pipeline.connectors import sampling
from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.connectors.sampling import BYTES_MAX, RECORDS_MAX, sample_topic
from pipeline.slot.ports import OutRecord


@pytest.fixture
def topic():
    """Sends values to partitions of a topic, and samples it."""
    connector = MemoryConnector(MemoryBroker())

    def sampled(partitions: int, values: dict[int, list[bytes]]):
        with (
            closing(connector.control()) as control,
            closing(connector.source()) as source,
            closing(connector.publisher()) as publisher,
        ):
            control.create_topic("t", partitions, None, {})
            for number, own in values.items():
                for value in own:
                    publisher.send(OutRecord("t", number, b"k", value, []))
            publisher.flush()
            return sample_topic(control, source, "t", control.topics(["t"])["t"])

    return sampled


def test_a_short_topic_is_read_whole_and_each_partition_is_one_run(topic):
    sample = topic(4, {1: [b"a", b"b"], 3: [b"c"]})
    assert [[record.value for record in run] for run in sample.runs] == [[b"a", b"b"], [b"c"]]
    assert (sample.topic, sample.partitions) == ("t", 4)


def test_an_empty_topic_has_no_records(topic):
    sample = topic(2, {})
    assert (sample.runs, sample.records) == ((), [])


def test_of_a_long_one_the_oldest_and_the_newest_are_two_runs(topic):
    sample = topic(1, {0: [b"%d" % number for number in range(2000)]})
    old, new = sample.runs
    half = RECORDS_MAX // 2
    assert [record.offset for record in old] == list(range(half))
    assert [record.offset for record in new] == list(range(2000 - half, 2000))


def test_where_both_ends_meet_it_is_one_run(topic):
    sample = topic(1, {0: [b"x"] * (RECORDS_MAX - 10)})
    assert [len(run) for run in sample.runs] == [RECORDS_MAX - 10]


def test_large_records_are_bounded_by_their_bytes_and_one_is_always_there(topic, monkeypatch):
    monkeypatch.setattr(sampling, "BYTES_MAX", 8_000)
    sample = topic(2, {0: [bytes(1_000)] * 100, 1: [bytes(9_000)] * 3})
    sizes = [[len(record.value) for record in run] for run in sample.runs]
    assert sizes == [[1000, 1000], [9000]]
    assert BYTES_MAX > 32 << 20  # one record of the largest default size


def test_of_many_partitions_those_that_hold_most_are_read(topic, monkeypatch):
    monkeypatch.setattr(sampling, "PARTITIONS_MAX", 2)
    sample = topic(5, {0: [b"a"], 1: [b"b"] * 3, 4: [b"c"] * 5})
    assert [run[0].partition for run in sample.runs] == [1, 4]
    assert [len(run) for run in sample.runs] == [3, 5]
