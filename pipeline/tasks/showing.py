"""How a host comes to its view: what stays the same in every snapshot, and that of one process."""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Sequence

from pipeline import __version__
from pipeline.clock import wall_us
from pipeline.tasks.figures import Figures
from pipeline.tasks.fusion_runner import FusionRunner
from pipeline.tasks.head_watch import HeadWatch
from pipeline.tasks.ingest_runner import IngestRunner
from pipeline.tasks.stage_health import StageTrouble
from pipeline.tasks.view import LaneView, ReplicaView, Snapshot

WARNINGS_MAX = 20


class Showing:
    """What a host shows from its start on. One thread tells; any thread may ask."""

    def __init__(self, host: str, heads: HeadWatch) -> None:
        self._host = host
        self._heads = heads
        self._started_us = wall_us()
        self._warnings: tuple[str, ...] = ()

    def warn(self, lines: Iterable[str]) -> None:
        self._warnings = (*self._warnings, *lines)[-WARNINGS_MAX:]

    def snapshot(
        self,
        figures: Figures,
        not_ready: str | None,
        lanes: Sequence[LaneView] = (),
        replicas: Sequence[ReplicaView] = (),
        troubles: Sequence[StageTrouble] = (),
        told: Collection[str | None] = (),
    ) -> Snapshot:
        """``figures`` become the snapshot's own; ``told``: heads of fusion halves."""
        model = self._heads.model
        figures.gauge("motet_build_info", 1, __version__, platform.python_version(), model)
        return Snapshot(
            host=self._host,
            taken_us=wall_us(),
            started_us=self._started_us,
            figures=figures,
            not_ready=not_ready,
            lanes=lanes,
            replicas=replicas,
            warnings=self._warnings,
            troubles=troubles,
            model=model,
            head=self._heads.view(told),
        )


class LocalView:
    """The view of a run in one process: both loops are in reach, so it is always of now."""

    def __init__(self, heads: HeadWatch) -> None:
        self.showing = Showing("local", heads)
        self._runners: tuple[IngestRunner, FusionRunner] | None = None
        self._replicas: Sequence[ReplicaView] = ()

    def started(
        self, ingest: IngestRunner, fusion: FusionRunner, replicas: Sequence[ReplicaView]
    ) -> None:
        self._replicas = replicas
        self._runners = ingest, fusion

    def snapshot(self) -> Snapshot:
        if self._runners is None:
            return self.showing.snapshot(Figures(), "starting")
        ingest, fusion = self._runners
        view, state = ingest.view, fusion.state
        figures = view.figures.copy()
        figures.add(state.figures)
        figures.add(state.totals.figures())
        not_ready = ingest.not_ready or state.not_ready
        return self.showing.snapshot(
            figures, not_ready, view.lanes, self._replicas, view.troubles, {state.head}
        )
