"""How a run ends within the time that it is given: drained, told to readers, and closed."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pipeline.clock import monotonic_us
from pipeline.errors import MotetError
from pipeline.slot.ports import Control, TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.tasks.starting import Layout

# Told to stop, a run ends within 20 s, whatever does not answer: what is in flight has DRAIN_S_MAX
# to be committed, of which encoders have a share, and what is closed then CLOSE_S.
DRAIN_S_MAX = 8.0
ENCODERS_SHARE = 5 / 8
CLOSE_S = 3.0
_PAUSE_S = 0.005
READABLE_S_MAX = 5.0  # for another pipeline's transaction in the same topics, which may hang


def unfinished(after_s: float, why: str | None) -> MotetError:
    """The error of a run that was told to stop and could not commit what was in flight."""
    because = f": {why}" if why else ""
    return MotetError(
        f"stopped after {after_s:g} s with results that are not committed{because}; "
        "they are made again after the next start"
    )


def left_behind(windows: int) -> str:
    """What is said of windows that encoders have not finished by the end of a run."""
    return f"motet: windows that are not encoded yet: {windows}; they are made after the next start"


def await_readable(
    spec: PipelineSpec, layout: Layout, control: Control, say: Callable[[str], None]
) -> None:
    """Waits until a reader of committed records sees all that was written so far.

    A broker answers a commit before it has written the transaction's markers, and until then
    hides its records. ``say`` is told where it took too long or the broker did not answer: all
    is committed none the less.
    """
    why = [f"the broker gave no answer within {READABLE_S_MAX:g} s"]
    looking = threading.Thread(
        target=lambda: why.append(_unreadable(spec, layout, control)), daemon=True
    )
    looking.start()
    looking.join(READABLE_S_MAX + 1)  # a client's own limit is a minute
    if why[-1]:
        say(f"motet: warning: readers may see the last results a little later: {why[-1]}")


def _unreadable(spec: PipelineSpec, layout: Layout, control: Control) -> str:
    """Why readers do not see all yet; empty once they do."""
    partitions = [
        TopicPartition(topic, lane) for topic in spec.topics_out() for lane in range(layout.lanes)
    ]
    until_us = monotonic_us() + round(READABLE_S_MAX * 1e6)
    pause = threading.Event()
    try:
        written = control.log_ends(partitions)
        while monotonic_us() < until_us:
            stable = control.stable_ends(partitions)
            if all(stable[partition] >= end for partition, end in written.items()):
                return ""
            pause.wait(_PAUSE_S)
    except MotetError as error:
        return str(error)
    return f"a transaction in the output topics is still open after {READABLE_S_MAX:g} s"
