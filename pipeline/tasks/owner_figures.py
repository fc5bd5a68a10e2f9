"""The figures of one owner of slots over all the actors that it had."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.tasks.figures import Figures
from pipeline.tasks.fusion_runner import FusionState
from pipeline.tasks.handed_over import Handed
from pipeline.tasks.ingest_view import IngestView
from pipeline.tasks.totals import Totals


class OwnerFigures:
    """Adds up what an owner's actors tell, those that ended included.

    Invariant: what was committed is counted once, whichever half has ended and when it was heard
    of last. Told by one thread.
    """

    def __init__(self) -> None:
        self.ingest: IngestView | None = None
        self._fusion: FusionState | None = None
        self._totals = Totals()  # of actors that have ended
        self._figures = Figures()  # of these as well
        self._seen: dict[int, int] = {}  # by lane, the newest cut that was told to be committed
        self._handed: Handed = {}

    @property
    def seen(self) -> dict[int, int]:
        """By lane, the number of the newest cut that is in the totals."""
        return dict(self._seen)

    @property
    def head(self) -> str | None:
        """The hash of the head that its fusion half has; "" while there is none."""
        return "" if self._fusion is None else self._fusion.head

    def told(self, ingest: IngestView | None, fusion: FusionState) -> None:
        """What both halves tell now; None of a half that does not live any more."""
        if ingest is not None:
            self.ingest = ingest
        self._fusion = fusion
        self._seen |= fusion.cuts

    def took(self, cuts: Mapping[int, int]) -> None:
        """A slot came while it runs: by lane, the cut that it goes on from."""
        self._seen |= cuts

    def absorb(self, other: OwnerFigures) -> None:
        """What another one has counted, whose actors have ended and are not started again."""
        self._totals.add(other._totals)
        self._figures.add(other._figures)

    def ended(self, handed: Handed | None = None) -> None:
        """Both halves are no more; ``handed``: what the ingest half still knew (``HandedOver``)."""
        if self.ingest is not None:
            self._figures.add(self.ingest.figures, ended=True)
        if self._fusion is not None:
            self._figures.add(self._fusion.figures, ended=True)
            self._totals.add(self._fusion.totals)
        self.ingest = self._fusion = None
        self._handed = handed or self._handed

    def recovered(self, cuts: Mapping[int, int]) -> None:
        """By lane, the number of the cut that the log holds: of what was handed over, all up to
        it has taken place, and what was not told of before is counted now.
        """
        for lane, handed in self._handed.items():
            for number, totals in handed:
                if self._seen.get(lane, -1) < number <= cuts.get(lane, -1):
                    self._totals.add(totals)
        self._handed = {}
        self._seen |= cuts

    @property
    def totals(self) -> Totals:
        totals = self._totals.copy()
        if self._fusion is not None:
            totals.add(self._fusion.totals)
        return totals

    @property
    def figures(self) -> Figures:
        """With the gauges of the actors that live."""
        figures = self._figures.copy()
        figures.add(self.totals.figures())
        if self.ingest is not None:
            figures.add(self.ingest.figures)
        if self._fusion is not None:
            figures.add(self._fusion.figures)
        return figures
