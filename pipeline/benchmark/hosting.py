"""The pipeline of a measurement in a process of its own, hosted as ``motet run`` hosts it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pipeline import clock
from pipeline.benchmark.checking import ResultCheck
from pipeline.benchmark.order import Order, event
from pipeline.benchmark.payloads import make_payloads
from pipeline.benchmark.topics import (
    fill,
    input_topics,
    make_topics,
    output_topics,
    read_committed,
)
from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.slot.ports import Connector
from pipeline.spec import PipelineSpec
from pipeline.tasks.host import Host, RunControl, summary

Tell = Callable[[str], None]


def run_hosted(
    order: Order, connector: Connector | None, host: Host, control: RunControl, tell: Tell
) -> None:
    """Runs it; tells ``ready`` once all of it runs and ``done`` with the summary.

    ``connector`` None: on a broker in memory, which is filled first, and whose results are checked
    before ``done`` is told. Moments are microseconds of the machine's monotonic clock.
    """
    spec = order.spec
    memory = None
    if connector is None:
        memory = connector = _filled(order, spec)
    told = threading.Thread(target=_tell_ready, args=(control, tell), daemon=True)
    told.start()
    totals, seconds = host(spec, connector, control)
    found: dict[str, Any] = {**summary(totals, seconds), "seconds": seconds}
    if memory is not None and order.until_end:
        check = ResultCheck(order.of, order.begin_us, order.windows)
        for record in read_committed(memory, spec.outputs.results, order.windows):
            check.take(record.value or b"{}")
        found["problems"] = check.problems()
    tell(event("done", **found))


def _tell_ready(control: RunControl, tell: Tell) -> None:
    control.ready.wait()
    tell(event("ready", at_us=clock.monotonic_us()))


def _filled(order: Order, spec: PipelineSpec) -> MemoryConnector:
    connector = MemoryConnector(MemoryBroker(), pending_wait_s=5.0)
    make_topics(connector, [*input_topics(order.of, order.source), *output_topics(spec.name)])
    fill(connector, order.of, order.source, order.begin_us, order.windows, make_payloads())
    return connector
