"""What a slot of a fusion task holds: windows that wait for stages, and what is to be committed."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from pipeline.fusion.rules import Fuser
from pipeline.lane import LaneCut
from pipeline.slot.ledger import Batch, Entry, Ledger
from pipeline.slot.ports import OutRecord
from pipeline.tasks.messages import Counts, Opened
from pipeline.tasks.results import ResultWriter
from pipeline.tasks.stage_output import VectorRow


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """What fuses windows, and what writes its name into their results."""

    fuser: Fuser
    writer: ResultWriter


@dataclass(slots=True)
class Pending:
    """A window that waits for its stages; ``model``: the one in force when it was opened.

    ``beside``: records that go with its result, such as dead letters.
    """

    opened: Opened
    entry: Entry
    ledger: Ledger
    model: Model
    outputs: dict[str, Any]
    failed: dict[str, str]
    beside: tuple[OutRecord | VectorRow, ...] = ()


_GOLDEN = 0.6180339887  # multiples of it lie apart, modulo 1, whichever slots an owner has
_SMALL = 150  # records of a transaction that is a backlog's no more


@dataclass(slots=True)
class Slot:
    """Of one slot: what was delivered and is not committed yet.

    Invariant: transactions that follow each other begin an interval apart, small ones at moments
    of the slot's own: those of an owner's slots lie between each other, and none waits for the
    others. In a backlog they begin together, which takes less of the processor.
    """

    number: int
    ledger: Ledger = field(default_factory=Ledger)
    pending: dict[tuple[int, int], Pending] = field(default_factory=dict)
    counts: dict[tuple[int, int], Counts] = field(default_factory=dict)  # by lane and cut number
    # By lane and cut number, when the records were appended that closed its windows: how many.
    appends: dict[tuple[int, int], Counter[int]] = field(default_factory=dict)
    # The same since the last cut, one by one.
    appends_now: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    committing: Batch | None = None
    cuts: dict[int, LaneCut] = field(default_factory=dict)  # by lane, the newest that is committed
    last_commit_us: int = 0  # when the last transaction began, or its moment before
    last_output_us: int = 0  # the same of the last one that held more than offsets
    output: bool = False  # something to be produced came since the last transaction
    ended: bool = False  # a lane's last cut is there, and in no transaction yet

    def due_us(self, interval_us: int) -> int:
        """When the next transaction may begin: what is the last of a lane need not wait.

        Output does not wait for an interval that a transaction of mere offsets has begun.
        """
        if self.ended and not self.pending:
            return 0
        return (self.last_output_us if self.output else self.last_commit_us) + interval_us

    def begun(self, now_us: int, interval_us: int, records: int) -> None:
        """A transaction of so many begins; when the next one is due follows from it."""
        if records <= _SMALL:
            moment_us = round(self.number * _GOLDEN % 1 * interval_us)
            now_us -= (now_us - moment_us) % interval_us
        self.last_commit_us = now_us
        if records:
            self.last_output_us = now_us
        self.output = False
        self.ended &= bool(self.pending)  # with nothing pending all cuts are in it
