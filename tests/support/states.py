"""States of a run for those who look at it: a healthy one, and what may be wrong with it."""

from __future__ import annotations

import copy
import functools
from typing import Any

from pipelines import LOBBY, load
from shown import STARTED_US

from pipeline.monitor.sampler import Recent, Sample
from pipeline.monitor.state import StateWriter
from pipeline.tasks.figures import Figures
from pipeline.tasks.view import HoldView, LaneView, ReplicaView, Snapshot

MINUTE_US = 60_000_000


def figures(minutes: int = 1) -> Figures:
    """Ten records a second of each input, two results a second; stages with time to spare."""
    made = Figures()
    for name in ("mic", "cam", "chat"):
        made.count("motet_records_total", 600 * minutes, name)
        made.count("motet_record_fates_total", 600 * minutes, name, "fused")
    made.count("motet_windows_total", 120 * minutes)
    made.count("motet_commits_total", 240 * minutes, "committed")
    made.observe("motet_end_to_end_seconds", 0.4, times=120 * minutes)
    made.observe("motet_commit_seconds", 0.02, times=240 * minutes)
    for stage in ("sound", "colour", "words"):
        made.observe("motet_stage_batch_size", 2, stage, times=60 * minutes)
        made.observe("motet_stage_queue_seconds", 0.01, stage, times=120 * minutes)
        made.observe("motet_stage_compute_seconds", 0.08, stage, times=60 * minutes)
        made.count("motet_stage_prepare_seconds_total", 0.2 * minutes, stage)
        made.count("motet_stage_transfer_seconds_total", 0.2 * minutes, stage)
        made.gauge("motet_stage_busy_ratio", 0.1, stage)
        made.gauge("motet_stage_queue_windows", 1, stage)
    return made


def lane(number: int = 0, **changes: Any) -> LaneView:
    """One that is caught up, with a window that mic will close in time."""
    at = 600 * (number + 1)
    positions = dict.fromkeys(("mic", "cam", "chat"), at)
    hold = HoldView("s", STARTED_US, STARTED_US + 1_000_000, {"mic": STARTED_US + 900_000},
                    100_000, 4_000_000)  # fmt: skip
    given = {"hold": hold, "floor_us": STARTED_US - 4_000_000, **changes}
    return LaneView(number, number % 2, 1, positions, dict(positions), **given)


def recent(now: Snapshot | None = None, before: Snapshot | None = None) -> Recent:
    """A minute of that run, or of another."""
    replicas = [ReplicaView(f"{s}-0", s, "cpu") for s in ("sound", "colour", "words")]
    lanes = (lane(0), lane(1))
    then = before or Snapshot("local", STARTED_US, STARTED_US, figures(1), None, lanes, replicas)
    now = now or Snapshot("local", STARTED_US + MINUTE_US, STARTED_US, figures(2), None, lanes,
                          replicas)  # fmt: skip
    return Recent(Sample(MINUTE_US, now), Sample(0, then), Sample(0, then))


@functools.cache
def _healthy() -> dict[str, Any]:
    return StateWriter(load(LOBBY)).state(recent(), ["s"])


def healthy() -> dict[str, Any]:
    """Without its answers."""
    return copy.deepcopy({key: part for key, part in _healthy().items() if key != "answers"})
