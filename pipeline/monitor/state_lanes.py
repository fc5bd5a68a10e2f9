"""The parts ``lanes`` and ``slots`` of ``/api/state``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.spec.units import format_rfc3339
from pipeline.tasks.figures import Figures
from pipeline.tasks.view import HoldView, LaneView, OwnerView

_Json = dict[str, Any]


def lane_state(lane: LaneView, bounds: Mapping[str, int]) -> _Json:
    """``bounds``: by input, how far past a window's end its clock has to be told (B), in us."""
    behind = lane.behind
    return {
        "lane": lane.lane,
        "slot": lane.slot,
        "open_windows": lane.open_windows,
        "positions": dict(lane.positions),
        "ends": dict(lane.ends),
        "lag_records": sum_known(behind_records(lane, name) for name in lane.positions),
        "waiting": lane.waiting if lane.overdue else None,  # on a healthy lane it would be noise
        "overdue": lane.overdue,
        "clocks": {name: _clock(lane, name, bound) for name, bound in bounds.items()},
        "hold": _hold(lane.hold, bounds),
        "behind": behind
        and {
            "input": behind.input,
            "unknown_end": behind.ask,
            "seconds": behind.for_us / 1e6,
        },
        "full": lane.full,
    }


def _clock(lane: LaneView, name: str, bound_us: int) -> float | None:
    """Event time that the input has reached in the lane: its newest record less B, or the floor."""
    reached = lane.reached.get(name)
    known = [] if reached is None else [reached - bound_us]
    known += [] if lane.floor_us is None else [lane.floor_us]
    return max(known) / 1e6 if known else None


def _hold(hold: HoldView | None, bounds: Mapping[str, int]) -> _Json | None:
    if hold is None:
        return None
    return {
        "stream": hold.stream,
        "start": _time(hold.start_us),
        "end": _time(hold.end_us),
        "inputs": [
            {
                "input": name,
                "newest": None if newest is None else _time(newest),
                "needed": _time(hold.end_us + bounds.get(name, 0)),
            }
            for name, newest in hold.newest.items()
        ],
        "still_seconds": hold.still_us / 1e6,
        "left_seconds": hold.left_us / 1e6,
    }


def owner_states(owners: Iterable[OwnerView]) -> list[_Json]:
    """Who owns which slots; none where the run is one process."""
    return [
        {"name": o.name, "node": o.node, "slots": list(o.slots), "leaving": o.leaving}
        for o in owners
    ]


def slot_states(
    figures: Figures,
    lanes: Sequence[LaneView],
    inputs: Iterable[str],
    owners: Iterable[OwnerView] = (),
) -> list[_Json]:
    names = list(inputs)
    owner = {slot: each.name for each in owners for slot in each.slots}
    by_slot: dict[int, list[int]] = {}
    for lane in lanes:
        by_slot.setdefault(lane.slot, []).append(lane.lane)
    return [
        {
            "slot": slot,
            "owner": owner.get(slot),
            "lanes": by_slot[slot],
            "in_flight_bytes": round(figures.value("motet_in_flight_bytes", str(slot))),
            "open_bytes": round(figures.value("motet_open_bytes", str(slot))),
            "clocks": {name: _slot_clock(figures, name, slot) for name in names},
        }
        for slot in sorted(by_slot)
    ]


def input_clock(figures: Figures, name: str) -> float | None:
    """Where an input's event time stands: that of the slot that is furthest behind."""
    found = [
        max(values)
        for (of, labels), values in figures.gauges.items()
        if of == "motet_clock_seconds" and labels[0] == name
    ]
    return min(found, default=None)


def _slot_clock(figures: Figures, name: str, slot: int) -> float | None:
    return max(figures.gauges.get(("motet_clock_seconds", (name, str(slot))), ()), default=None)


def behind_records(lane: LaneView, name: str) -> int | None:
    """Records of the input in the lane that are not applied; None where its end is not known."""
    end, position = lane.ends.get(name), lane.positions.get(name)
    return None if end is None or position is None else max(0, end - position)


def sum_known(values: Iterable[int | None]) -> int | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _time(time_us: int) -> str:
    return format_rfc3339(time_us, "milliseconds")
