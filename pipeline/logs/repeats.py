"""How often the same line may be logged; told the time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

LINES_MAX = 10  # of the same in a period
PERIOD_US = 60_000_000
KEPT_MAX = 1_000  # different lines that are counted at a time


class Missed(NamedTuple):
    """So many ``lines`` like ``sample`` were not logged."""

    sample: Any
    lines: int


@dataclass(slots=True)
class _Counted:
    began_us: int
    sample: Any
    lines: int = 0


class Repeats:
    """Lets LINES_MAX lines of a key through in a period that begins with its first.

    Invariant: every line is either let through or counted in one ``Missed``; at most
    KEPT_MAX keys are held.
    """

    def __init__(self) -> None:
        self._counted: OrderedDict[Hashable, _Counted] = OrderedDict()  # by when they began

    def lets(self, key: Hashable, sample: Any, now_us: int) -> bool:
        """Whether a line of this key may be logged now; ``sample`` is what ``over`` gives back."""
        found = self._counted.setdefault(key, _Counted(now_us, sample))
        found.lines += 1
        return found.lines <= LINES_MAX

    def over(self, now_us: int) -> list[Missed]:
        """Of keys whose period is over (or that there is no room for), what was not logged."""
        missed = []
        while self._counted:
            found = next(iter(self._counted.values()))
            if now_us - found.began_us < PERIOD_US and len(self._counted) < KEPT_MAX:
                break
            missed.append(self._forgotten())
        return [each for each in missed if each.lines]

    def rest(self) -> list[Missed]:
        """All of it, at the end."""
        missed = [self._forgotten() for _ in range(len(self._counted))]
        return [each for each in missed if each.lines]

    def _forgotten(self) -> Missed:
        _key, found = self._counted.popitem(last=False)
        return Missed(found.sample, max(0, found.lines - LINES_MAX))
