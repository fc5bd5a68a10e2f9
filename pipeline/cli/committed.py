"""All committed records of topics, from what they hold first up to what they hold now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from pipeline.slot.ports import TopicPartition

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector, LogRecord

POLL_S = 0.2


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

    with closing(connector.control()) as control:
        partitions = partitions_of(control, topics, remedy)
        positions = dict(control.beginnings(partitions))
        ends = control.stable_ends(partitions)
    left = {at: end for at, end in ends.items() if positions[at] < end}
    whole = sum(end - positions[at] for at, end in left.items())
    if not left:
        return
    with closing(connector.source()) as source:
        source.assign({at: positions[at] for at in left})
        while left and not stop.is_set():
            for fetch in source.poll(POLL_S):
                at = TopicPartition(fetch.topic, fetch.partition)
                yield from (record for record in fetch.records if record.offset < ends[at])
                positions[at] = fetch.position
                if at in left and fetch.position >= left[at]:
                    del left[at]
                    source.pause([at])
            done(1 - sum(end - positions[at] for at, end in left.items()) / whole)
