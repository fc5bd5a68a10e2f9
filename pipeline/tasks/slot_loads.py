"""How many records come for each slot: measured from where its logs end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.tasks.view import LaneView

SMOOTH_S = 30.0  # a rate is about so long
WORK_OFF_S = 60.0  # in which what waits is to be read, beside what comes


class SlotLoads:
    """By slot: what comes a second, and a share of what waits. Told the time; one thread.

    It looks at the ends of logs and not at what is read: an owner that is behind reads as much as
    it can, whatever there is to do.
    """

    def __init__(self) -> None:
        self.rates: dict[int, float] = {}
        self._arriving: dict[int, float] = {}
        self._ends: dict[int, tuple[float, int]] = {}

    def told(self, now_s: float, slots: Mapping[int, tuple[int, int]]) -> None:
        """By slot, the sum of its logs' ends and how many records of them are not read yet."""
        for slot, (end, behind) in slots.items():
            before = self._ends.get(slot)
            if before is None or end < before[1]:
                self._ends[slot] = now_s, end
                continue
            passed_s = now_s - before[0]
            if passed_s <= 0:
                continue
            self._ends[slot] = now_s, end
            rate = (end - before[1]) / passed_s
            weight = min(1.0, passed_s / SMOOTH_S) if slot in self._arriving else 1.0
            self._arriving[slot] = self._arriving.get(slot, 0.0) * (1 - weight) + rate * weight
            self.rates[slot] = self._arriving[slot] + behind / WORK_OFF_S


def by_slot(lanes: Iterable[LaneView]) -> dict[int, tuple[int, int]]:
    """What ``told`` takes; slots of which an end is not known are left out."""
    found: dict[int, tuple[int, int]] = {}
    unknown = set()
    for lane in lanes:
        end, behind = found.get(lane.slot, (0, 0))
        for name, at in lane.ends.items():
            if at is None:
                unknown.add(lane.slot)
            else:
                end, behind = end + at, behind + max(0, at - lane.positions[name])
        found[lane.slot] = end, behind
    return {slot: each for slot, each in found.items() if slot not in unknown}
