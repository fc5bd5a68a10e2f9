"""What a host of a pipeline is, and what a run answers: shared by hosts and command line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypedDict

from pipeline.slot.ports import Connector
from pipeline.spec import PipelineSpec
from pipeline.tasks.ending import DRAIN_S_MAX
from pipeline.tasks.totals import Totals
from pipeline.tasks.view import View


class RunSummary(TypedDict):
    """The summary line of ``motet run --until-end`` (contract section 5)."""

    records: int  # all that were read
    windows: int  # results that were emitted
    late: int  # records with at least one late window
    dead_letter: int  # entries that were written
    seconds: float
    windows_per_second: float


@dataclass(slots=True)
class RunControl:
    """How a run is steered: ``stop`` asks for a clean drain, ``say`` takes lines for the user.

    ``ready`` is set by the host once every slot is owned and all that runs has begun.
    ``until_end``: up to the stable ends at the start, then every window is closed. ``show`` is
    given the host's view of the run as soon as there is one, before ``ready``. ``swap_heads``:
    whether a head that is deployed meanwhile takes over. ``drain_s``: how long a drain may take.
    """

    until_end: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    ready: threading.Event = field(default_factory=threading.Event)
    say: Callable[[str], None] = lambda _line: None
    show: Callable[[View], None] = lambda _view: None
    swap_heads: bool = True
    drain_s: float = DRAIN_S_MAX


class Host(Protocol):
    """Runs a pipeline: ``pipeline.local.run_local`` in one process, ``actors`` on a cluster."""

    def __call__(
        self, spec: PipelineSpec, connector: Connector, control: RunControl
    ) -> tuple[Totals, float]:
        """What was committed, and the seconds that it took, start-up left out."""


def summary(totals: Totals, seconds: float) -> RunSummary:
    return {
        "records": sum(totals.records.values()),
        "windows": totals.windows,
        "late": totals.late,
        "dead_letter": totals.dead_letter,
        "seconds": round(seconds, 3),
        "windows_per_second": round(totals.windows / seconds, 1) if seconds > 0 else 0.0,
    }
