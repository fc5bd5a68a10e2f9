"""What an ingest half has handed to its fusion half, kept until it is known to be committed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.tasks.letters import ENCODE_FAILED, reason_of
from pipeline.tasks.messages import Message, Opened, Produced, Settled
from pipeline.tasks.totals import Totals

CUTS_MAX = 10_000  # of a lane; far more than come between two askings
Handed = dict[int, list[tuple[int, Totals]]]  # by lane: cut number and what it adds, rising


@dataclass(slots=True)
class _Cut:
    number: int | None = None
    window: int = 0  # the last that is in it
    totals: Totals = field(default_factory=Totals)


class HandedOver:
    """Counts of the cuts that may be committed without anyone having heard of it.

    A fusion half that dies takes with it what it counted after it was asked last. The log says
    which cuts took place, and this says what they held. Where nobody asks for long the oldest
    are let go: a count too few is better than memory without bound. Safe from any thread.
    """

    def __init__(self, dead_letter_topic: str) -> None:
        self._dead_letter_topic = dead_letter_topic
        self._cuts: dict[int, deque[_Cut]] = {}
        self._lock = threading.Lock()

    def note(self, messages: Sequence[Message]) -> None:
        """What is handed over now, in order."""
        with self._lock:
            for message in messages:
                cuts = self._cuts.get(message.lane)
                if cuts is None:
                    cuts = self._cuts[message.lane] = deque([_Cut()])
                if isinstance(message, Opened):
                    cuts[-1].window = message.window
                    cuts[-1].totals.windows += 1
                elif isinstance(message, Settled):
                    reasons = [reason_of(letter) for letter in message.dead_letters]
                    reasons += [ENCODE_FAILED] * (message.failure is not None)
                    if reasons:
                        holder = _holder(cuts, message.window)
                        for reason in reasons:
                            holder.add_letter(reason)
                elif isinstance(message, Produced):
                    if message.record.topic == self._dead_letter_topic:
                        cuts[-1].totals.add_letter(reason_of(message.record))
                else:
                    cuts[-1].number = message.cut.number
                    cuts[-1].totals.add_counts(message.counts)
                    cuts.append(_Cut(window=cuts[-1].window))
                    if len(cuts) > CUTS_MAX:
                        cuts.popleft()

    def begin(self, lanes: Iterable[int]) -> None:
        """Lanes that this half has from now on; what it had of them before is counted."""
        with self._lock:
            for lane in lanes:
                self._cuts.pop(lane, None)

    def forget(self, cuts: Mapping[int, int]) -> None:
        """By lane, the number up to which all is known to be committed and counted."""
        with self._lock:
            for lane, number in cuts.items():
                held = self._cuts.get(lane)
                while held and held[0].number is not None and held[0].number <= number:
                    held.popleft()

    def held(self) -> Handed:
        with self._lock:
            return {
                lane: [(cut.number, cut.totals.copy()) for cut in cuts if cut.number is not None]
                for lane, cuts in self._cuts.items()
            }


def _holder(cuts: Sequence[_Cut], window: int) -> Totals:
    """Of the cut that a window is in."""
    return next(cut.totals for cut in cuts if cut.number is None or cut.window >= window)
