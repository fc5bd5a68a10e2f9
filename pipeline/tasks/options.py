"""How a run is asked for, and what it answers: what the hosts and the command line share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the flags of ``motet run`` ask of a host, beside the pipeline file.

    ``start`` and ``sets`` are already applied to the spec (``sets`` as ``KEY=VALUE``); they
    are kept for what a host reports. ``wait``: wait for a broker or a cluster without end,
    where otherwise Unreachable is raised after 30 s.
    """

    until_end: bool = False
    local: bool = False
    start: str | None = None
    sets: tuple[str, ...] = ()
    wait: bool = False


# The summary line of ``motet run --until-end`` (contract section 5): records, windows, late,
# dead_letter, seconds, windows_per_second; ``Totals.summary`` makes it.
RunSummary = dict[str, int | float]
