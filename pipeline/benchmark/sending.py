"""The load of a measurement, sent by a process or a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from pipeline import clock
from pipeline.benchmark.latency import Load
from pipeline.benchmark.payloads import make_payloads
from pipeline.benchmark.schedule import Sent, send_on_schedule
from pipeline.slot.ports import Connector


def send_load(connector: Connector, load: Load, source: str, wait: Callable[[float], bool]) -> Sent:
    """Sends all records of a load when they are due; ``wait`` as in ``send_on_schedule``."""
    payloads = make_payloads()
    with closing(connector.publisher()) as publisher:

        def send(number: int) -> None:
            publisher.send(load.job.record(number, source, load.begin_us, payloads))

        sent = send_on_schedule(load.schedule, load.records, send, clock.monotonic_us, wait)
        publisher.flush()
    return sent
