"""What a host shows of the pipeline that it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.tasks.figures import Figures
from pipeline.tasks.stage_health import StageTrouble


@dataclass(frozen=True, slots=True)
class LaneView:
    """One lane: by input the position that is applied, the log's stable end (None: not known)."""

    lane: int
    slot: int
    open_windows: int
    positions: Mapping[str, int]
    ends: Mapping[str, int | None]
    waiting: str | None = None  # what it waits for, in words
    overdue: bool = False  # for longer than it would if that input were neither behind nor silent


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One replica of a stage and the device that it runs on."""

    name: str
    stage: str
    device: str
    gpus: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class HeadView:
    """The trained head of a run; ``sha256`` None: results give the vector until one is deployed.

    ``since_us``: wall clock, when the run took it. ``everywhere``: whether every slot has it.
    ``trouble``: why what was deployed since is not taken.
    """

    sha256: str | None
    kind: str | None
    since_us: int
    everywhere: bool
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one moment. ``not_ready``: why ``/readyz`` says no; None once every slot is owned
    and its recovery is done, and the broker answers. ``model``: as results name it, ``head``: None
    where the file names none.
    """

    host: str  # "local" or "ray"
    taken_us: int  # wall clock
    started_us: int
    figures: Figures
    not_ready: str | None = "starting"
    lanes: Sequence[LaneView] = ()
    replicas: Sequence[ReplicaView] = ()
    warnings: Sequence[str] = field(default=())  # the newest, at most 20
    troubles: Sequence[StageTrouble] = ()
    model: str | None = None
    head: HeadView | None = None


class View(Protocol):
    """May be asked from any thread, and answers at once with what it knew last."""

    def snapshot(self) -> Snapshot: ...
