"""What the processes of a long run hold, and how fast it grows."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fault_site import Site
from ray_nodes import ROLES, resident_bytes

from pipeline.clock import monotonic_us

EVERY_S = 5.0
SETTLING_S = 60.0  # of a process: until then it loads, and its pools fill
LIFE_S_MIN = 240.0  # of one that is judged, after that
# By key: less growth within a life is no finding. Memory in MiB.
FLOORS = {"memory": 16.0, "descriptors": 16.0, "threads": 8.0}
KEYS = tuple(FLOORS)


class Slope(NamedTuple):
    """``per_h`` with its standard error, and ``mean``; the longest of the lives took ``hours``."""

    role: str
    key: str
    mean: float
    per_h: float
    error_per_h: float
    lives: int
    hours: float

    @property
    def grows(self) -> bool:
        """Surely, and within the longest life by a tenth, and by more than there is always."""
        grown = self.per_h * self.hours
        sure = self.lives > 0 and self.per_h > 3 * self.error_per_h
        return sure and grown > max(0.1 * self.mean, FLOORS[self.key])


class Meter(threading.Thread):
    """Looks at every process of the run again and again, from outside, through ``/proc``."""

    def __init__(self, site: Site) -> None:
        super().__init__(name="meter", daemon=True)
        self._site = site
        self._ended = threading.Event()
        self._born_s: dict[int, float] = {}  # process id -> when it was first seen
        # role, process id -> (when, what it holds) by the order of KEYS
        self._seen: dict[tuple[str, int], list[tuple[float, ...]]] = defaultdict(list)

    def run(self) -> None:
        while not self._ended.wait(EVERY_S):
            for role, pids in self._roles().items():
                for pid in pids:
                    with suppress(OSError):  # it is being killed
                        self._look(role, pid)

    def end(self) -> None:
        self._ended.set()
        self.join(30)

    def slopes(self) -> list[Slope]:
        roles = ["driver", *ROLES]
        return [self._slope(role, key) for role in roles for key in range(len(KEYS))]

    def _roles(self) -> dict[str, list[int]]:
        with suppress(OSError, AssertionError, KeyError):  # nodes come and go meanwhile
            found = {role: self._site.ray.actors(role) for role in ROLES}
            return found | {"driver": [self._site.run.process.pid]}
        return {}

    def _look(self, role: str, pid: int) -> None:
        now_s = monotonic_us() / 1e6
        born_s = self._born_s.setdefault(pid, now_s)
        if now_s - born_s < SETTLING_S:
            return
        held = (resident_bytes(pid) / (1 << 20), _entries(pid, "fd"), _entries(pid, "task"))
        self._seen[role, pid].append((now_s / 3600, *map(float, held)))

    def _slope(self, role: str, key: int) -> Slope:
        lives = [np.array(seen)[:, [0, key + 1]] for (of, _), seen in self._seen.items()
                 if of == role]  # fmt: skip
        return slope(role, KEYS[key], [judged for life in lives if len(judged := settled(life))])


def settled(life: np.ndarray) -> np.ndarray:
    """What of a life is judged: of a long one its later half, since pools fill ever more slowly.

    Nothing of one that is too short.
    """
    took_h = life[-1, 0] - life[0, 0]
    if took_h <= LIFE_S_MIN / 3600:
        return life[:0]
    is_long = took_h > 2 * LIFE_S_MIN / 3600
    return life[life[:, 0] >= life[0, 0] + took_h / 2] if is_long else life


def slope(role: str, key: str, lives: Iterable[np.ndarray]) -> Slope:
    """One growth for all lives of a role, each of which has a level of its own.

    ``lives``: (n, 2) arrays of hours and values. Least squares within lives.
    """
    lives = list(lives)
    if not lives:
        return Slope(role, key, 0.0, 0.0, 0.0, 0, 0.0)
    centred = np.concatenate([life - life.mean(axis=0) for life in lives])
    spread = float((centred[:, 0] ** 2).sum())
    per_h = float((centred[:, 0] * centred[:, 1]).sum()) / spread
    rest = centred[:, 1] - per_h * centred[:, 0]
    free = max(1, len(rest) - len(lives) - 1)
    hours = max(float(life[-1, 0] - life[0, 0]) for life in lives)
    mean = float(np.concatenate(lives)[:, 1].mean())
    error = float(np.sqrt((rest**2).sum() / free / spread))
    return Slope(role, key, mean, per_h, error, len(lives), hours)


def _entries(pid: int, folder: str) -> int:
    return len(os.listdir(Path("/proc") / str(pid) / folder))


def report(slopes: Iterable[Slope]) -> str:
    """As Markdown; readable as it is."""
    heads = ["role", "what", "mean", "growth an hour", "lives", "longest h", "result"]
    lines = [heads, ["---"] * len(heads)]
    for one in slopes:
        unit = " MiB" if one.key == "memory" else ""
        growth = f"{one.per_h:+.1f} ± {one.error_per_h:.1f}{unit}" if one.lives else "-"
        result = "GROWS" if one.grows else "flat" if one.lives else "no life long enough"
        lines.append(
            [one.role, one.key, f"{one.mean:.0f}{unit}", growth, str(one.lives),
             f"{one.hours:.2f}", result]
        )  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
