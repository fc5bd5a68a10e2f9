"""A large frame is taken from the socket in few calls, and nothing of it is lost or waited for."""

from __future__ import annotations

import gc
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress

import pytest
from kafka import errors as kafka_errors
from kafka.net.selector import NetworkSelector
from kafka.protocol.consumer import FetchResponse
from kafka.protocol.frame import KafkaBytes

from pipeline.connectors.kafka import receiving

FRAME_BYTES = 3 << 20
SENT = bytes(range(256)) * (FRAME_BYTES // 256)


class Parser:
    def __init__(self, frame: KafkaBytes) -> None:
        self._receiving, self._rbuffer = True, frame


class Transport:
    """As much of the client's as is read here."""

    def __init__(self, sock: socket.socket, frame: KafkaBytes) -> None:
        self._sock = sock
        self._protocol = type("Protocol", (), {"parser": Parser(frame)})()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near, far


@pytest.fixture
def transport(ends) -> Transport:
    return Transport(ends[0], KafkaBytes(FRAME_BYTES))


def frame_of(transport: Transport) -> KafkaBytes:
    return transport._protocol.parser._rbuffer


def test_a_large_frame_comes_whole(ends, transport):
    """The socket holds a fraction of it at a time; the last byte ends it in the client."""
    sender = threading.Thread(target=ends[1].sendall, args=(SENT,))
    sender.start()
    frame = frame_of(transport)
    while len(frame) - frame._idx > receiving.RECEIVE_BYTES:
        assert receiving._receive(transport) == (b"", None)
    rest = b""
    while len(rest) < FRAME_BYTES - frame._idx:
        rest += receiving._receive(transport)[0]
    sender.join()
    assert bytes(frame[: frame._idx]) + rest == SENT


def test_what_does_not_come_within_a_moment_is_left_to_the_next_round(ends, transport):
    ends[1].sendall(SENT[:1000])
    assert receiving._receive(transport) == (b"", None)
    assert frame_of(transport)._idx == 1000
    assert receiving._receive(transport) == (b"", None), "nothing is there"
    assert frame_of(transport)._idx == 1000


@pytest.mark.parametrize("before", [0, 1000])
def test_a_connection_that_ends_is_told_of(ends, transport, before):
    ends[1].sendall(SENT[:before])
    ends[1].close()
    data, error = receiving._receive(transport)
    assert (data, frame_of(transport)._idx) == (b"", before)
    assert isinstance(error, kafka_errors.KafkaConnectionError)


@pytest.mark.parametrize("version", [4, 11, 12, 13, FetchResponse.max_version])
def test_a_fetch_lies_in_its_frame_where_it_is_most_of_it(version):
    """And is copied where it would hold a frame that is mostly others'."""
    receiving.receive_fast()
    sizes = [1, 5_000, 40_000, 90_000, 0]
    frame = KafkaBytes(0)
    frame += fetch_of([bytes([7]) * size for size in sizes], version)
    [topic] = FetchResponse[version].decode(frame).responses
    parts = [partition.records for partition in topic.partitions]
    assert [len(part) for part in parts] == sizes
    assert [bytes(part) for part in parts] == [bytes([7]) * size for size in sizes]
    assert [type(part) for part in parts] == [bytes, bytes, memoryview, memoryview, bytes]
    assert parts[2].obj is frame


def fetch_of(records: list[bytes], version: int) -> bytes:
    partition = FetchResponse.FetchableTopicResponse.PartitionData
    topic = FetchResponse.FetchableTopicResponse(
        topic="live",
        topic_id=uuid.UUID(int=9),
        partitions=[
            partition(
                partition_index=number, error_code=0, high_watermark=9, last_stable_offset=9,
                log_start_offset=0, aborted_transactions=[], preferred_read_replica=-1,
                records=each,
            )
            for number, each in enumerate(records)
        ],
    )  # fmt: skip
    response = FetchResponse[version](
        throttle_time_ms=0, error_code=0, session_id=0, responses=[topic]
    )
    return response.encode(version=version)


def test_a_call_that_raises_leaves_nothing_for_the_garbage():
    """Fetches hang on the frames of a poll that has run out of time."""
    receiving.receive_fast()
    net = NetworkSelector()
    net.start()
    gc.collect()
    gc.disable()
    try:
        with suppress(kafka_errors.KafkaTimeoutError):  # pytest.raises would hold it
            net.run(raises)
        assert gc.collect() == 0
    finally:
        gc.enable()
        net.close()


async def raises() -> None:
    raise kafka_errors.KafkaTimeoutError("in vain")
