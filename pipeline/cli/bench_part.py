"""A process of a measurement: ``python -m pipeline.cli.bench_part HOST ORDER``; no user calls it.

``HOST`` is ``module:name`` of what runs a pipeline on a cluster, or empty.
"""

from __future__ import annotations

import importlib
import sys
import threading
from typing import TYPE_CHECKING

from pipeline.cli.terminal import emit, say, stopping
from pipeline.errors import MotetError

if TYPE_CHECKING:
    from pipeline.benchmark.order import Order
    from pipeline.tasks.host import Host


def main(host: str, order: str) -> int:
    """Carries out the order; its exit code."""
    from pipeline.benchmark.order import Order

    given = Order.load(order)
    try:
        if given.role == "host":
            module, _, name = host.partition(":")
            cluster = getattr(importlib.import_module(module), name) if host else None
            _host(cluster, given)
        elif given.role == "send":
            _send(given)
        else:
            _bare(given)
    except MotetError as error:
        say(f"motet: error: {error}")
        return error.exit_code
    return 0


def _host(cluster: Host | None, order: Order) -> None:
    from pipeline.benchmark.hosting import run_hosted
    from pipeline.cli.connect import connect
    from pipeline.cli.run import local_host
    from pipeline.tasks.host import RunControl

    host = local_host() if order.local or cluster is None else cluster
    connector = None if order.bootstrap is None else connect(order.bootstrap)
    with stopping() as stop:
        control = RunControl(until_end=order.until_end, stop=stop, say=say)
        run_hosted(order, connector, host, control, emit)


def _send(order: Order) -> None:
    from pipeline.benchmark.latency import Load
    from pipeline.benchmark.order import event
    from pipeline.benchmark.schedule import Schedule
    from pipeline.benchmark.sending import send_load
    from pipeline.cli.connect import connect

    assert order.bootstrap is not None
    connector = connect(order.bootstrap)
    emit(event("ready"))
    begin = sys.stdin.readline()
    if not begin:
        return
    load = Load(order.of, order.windows, order.begin_us, Schedule(int(begin), order.rate))
    sent = send_load(connector, load, order.source, threading.Event().wait)
    emit(event("done", **sent._asdict()))


def _bare(order: Order) -> None:
    from pipeline.benchmark.bare import BareEncoders
    from pipeline.benchmark.order import event

    encoders = BareEncoders(order)
    emit(event("ready"))
    if sys.stdin.readline():
        emit(event("done", **encoders.run(order.seconds)._asdict()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
