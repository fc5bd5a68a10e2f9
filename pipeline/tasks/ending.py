"""What a run does before it says that it is done."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pipeline.clock import monotonic_us
from pipeline.errors import MotetError
from pipeline.slot.ports import Control, TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.tasks.starting import Layout

_PAUSE_S = 0.005
READABLE_S_MAX = 5.0  # for another pipeline's transaction in the same topics, which may hang


def await_readable(
    spec: PipelineSpec, layout: Layout, control: Control, say: Callable[[str], None]
) -> None:
    """Waits until a reader of committed records sees all that was written so far.

    A broker answers a commit before it has written the transaction's markers, and until then
    hides its records. ``say`` is told where it took too long or the broker did not answer: all
    is committed none the less.
    """
    partitions = [
        TopicPartition(topic, lane) for topic in spec.topics_out() for lane in range(layout.lanes)
    ]
    until_us = monotonic_us() + round(READABLE_S_MAX * 1e6)
    pause = threading.Event()
    why = f"a transaction in the output topics is still open after {READABLE_S_MAX:g} s"
    try:
        written = control.log_ends(partitions)
        while monotonic_us() < until_us:
            stable = control.stable_ends(partitions)
            if all(stable[partition] >= end for partition, end in written.items()):
                return
            pause.wait(_PAUSE_S)
    except MotetError as error:
        why = str(error)
    say(f"motet: warning: readers may see the last results a little later: {why}")
