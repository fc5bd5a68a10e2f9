"""Where logs end, as a client of ours asks: it follows a leader that has moved."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.consumer.fetcher import Fetcher

from pipeline.connectors.kafka.offsets import _follow_leaders

MOVED, KNOWN = TopicPartition("t", 0), TopicPartition("t", 1)


@pytest.fixture
def read():
    """The reader of answers that the client has then; the stock one is given what it found."""
    fetcher = SimpleNamespace(_handle_list_offsets_response=lambda told: told)
    _follow_leaders(SimpleNamespace(_fetcher=fetcher))
    return fetcher._handle_list_offsets_response


def test_answers_of_leaders_are_as_they_were(read):
    assert read(({KNOWN: 7}, set())) == ({KNOWN: 7}, set())


def test_a_partition_that_has_moved_makes_the_client_look_for_its_leader(read):
    with pytest.raises(kafka_errors.InvalidMetadataError, match="t"):
        read(({KNOWN: 7}, {MOVED}))


def test_the_client_still_asks_for_metadata_where_they_are_told_to_be_wrong():
    asking = inspect.getsource(Fetcher._fetch_offsets_by_times_async)
    wrong = asking[asking.index("except Errors.InvalidMetadataError") :]
    assert "request_update()" in wrong.splitlines()[1]
    assert "self._handle_list_offsets_response(response)" in inspect.getsource(
        Fetcher._send_list_offsets_request
    )
