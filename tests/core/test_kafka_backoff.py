"""A broker that is away is come back to at leisure, whoever answers in its place meanwhile."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress

import pytest
from kafka import errors as kafka_errors

from pipeline import clock
from pipeline.connectors.kafka.first_contact import NetClient

SECONDS = 1.0
TRIES_MAX = 20  # 50 ms apart at first, then longer; without a pause there were 700 a second


@pytest.fixture
def door():
    """A port that lets every client in, and then shuts; whom it has let in."""
    came: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):  # it is closed at the end
                while True:
                    listening.accept()[0].close()
                    came.append(1)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1], came
        listening.shutdown(socket.SHUT_RDWR)


def test_a_port_that_shuts_at_once_is_not_stormed(door):
    port, came = door
    client = NetClient(
        False, bootstrap_servers=[f"127.0.0.1:{port}"], reconnect_backoff_max_ms=1000
    )
    with closing(client):
        until_us = clock.monotonic_us() + round(SECONDS * 1e6)
        while clock.monotonic_us() < until_us:
            with suppress(kafka_errors.KafkaError):
                client._manager.get_connection("bootstrap-0")
            client.poll(timeout_ms=1)
    assert 1 < len(came) <= TRIES_MAX
