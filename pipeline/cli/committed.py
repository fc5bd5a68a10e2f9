"""What is committed: records of whole topics, and a pipeline's own results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from pipeline.cli.terminal import progress, stopping

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector, LogRecord
    from pipeline.spec import PipelineSpec, Span


def committed_records(
    connector: Connector,
    topics: Mapping[str, str],
    remedy: Callable[[str], str],
    stop: threading.Event,
    done: Callable[[float], None],
) -> Iterator[LogRecord]:
    """Each partition in log order; ends early once ``stop`` is set.

    ``done`` is told which share was read. Raises InvalidInput where a topic is not there
    (``topics`` and ``remedy``: as ``partitions_of`` takes them).
    """
    from pipeline.cli.connect import partitions_of
    from pipeline.connectors.spans import read_spans

    with closing(connector.control()) as control:
        partitions = partitions_of(control, topics, remedy)
        firsts = control.beginnings(partitions)
        ends = control.stable_ends(partitions)
    with closing(connector.source()) as source:
        spans = {at: (firsts[at], ends[at]) for at in partitions}
        yield from read_spans(source, spans, stop.is_set, done)


def committed_results(
    connector: Connector, spec: PipelineSpec, span: Span
) -> Iterator[dict[str, Any]]:
    """Values of the pipeline's own results about windows of the span, each lane in log order.

    Ctrl-C ends the reading and the command.
    """
    from pipeline.tasks.window_media import results_of

    with stopping() as stop, progress(f"reading {spec.outputs.results}", 1.0) as done:
        yield from results_of(connector, spec, span, stop.is_set, done)
        if stop.is_set():
            raise KeyboardInterrupt
