"""How unlike training the vectors are that the head in force reads, as gauges."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.fusion.drift import Drift
from pipeline.fusion.rules import Fuser, Vectors
from pipeline.tasks.figures import Figures

METRIC = "motet_feature_drift"
TOLD_EVERY = 32  # windows, taken in one call: one by one they would cost several times as much
OF_A_CALL = 4  # where many windows are fused at once, as many stand for all of them


class DriftWatch:
    """Follows one fuser; what another one reads is not its business, and a swap begins anew.

    Invariant: vectors of fewer than TOLD_EVERY windows are kept between calls.
    """

    def __init__(self, figures: Figures, fuser: Fuser, normalize: str) -> None:
        self._figures = figures
        self._normalize = normalize
        self.follow(fuser)

    def follow(self, fuser: Fuser) -> None:
        self._fuser = fuser
        self._drift = Drift(fuser.references, self._normalize)
        self._waiting: list[Vectors] = []
        gauges = self._figures.gauges
        for key in [key for key in gauges if key[0] == METRIC]:
            del gauges[key]

    def take(self, fuser: Fuser, windows: Sequence[Vectors]) -> None:
        """``windows``: what was fused by ``fuser``, one at least."""
        if fuser is not self._fuser or not fuser.references:
            return
        self._waiting += windows[:: -(-len(windows) // OF_A_CALL)]
        if len(self._waiting) < TOLD_EVERY:
            return
        self._drift.take(self._waiting)
        self._waiting = []
        for stage, score in self._drift.scores().items():
            self._figures.gauge(METRIC, score, stage)
