"""What a host shows of the pipeline that it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.tasks.figures import Figures
from pipeline.tasks.stage_health import StageTrouble


@dataclass(frozen=True, slots=True)
class HoldView:
    """The earliest open window of a lane, and the inputs whose clocks it waits for.

    ``newest``: those inputs, the one furthest behind first, with the greatest end of the stream's
    records there (None: nothing of it is there). ``still_us``: for how long the first of these
    has stood still. ``left_us``: how far the lane's floor, which lets it go at last, is below its
    end.
    """

    stream: str
    start_us: int
    end_us: int
    newest: Mapping[str, int | None]
    still_us: int
    left_us: int


@dataclass(frozen=True, slots=True)
class BehindView:
    """A lane waits for an input's log: ``ask``: the broker has not said where it ends."""

    input: str
    ask: bool
    for_us: int


@dataclass(frozen=True, slots=True)
class LaneView:
    """One lane: by input the position that is applied, the log's stable end (None: not known).

    ``reached``: by input the greatest event time that was applied. ``full``: its slot has
    ``limits.in_flight_bytes`` in flight, so nothing is applied. ``held_by``: nor is while this
    stage has as many windows as it does in time.
    """

    lane: int
    slot: int
    open_windows: int
    positions: Mapping[str, int]
    ends: Mapping[str, int | None]
    waiting: str | None = None  # what it waits for, in words
    overdue: bool = False  # for longer than it would if that input were neither behind nor silent
    hold: HoldView | None = None
    behind: BehindView | None = None
    floor_us: int | None = None
    reached: Mapping[str, int] = field(default_factory=dict)
    full: bool = False
    held_by: str | None = None


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One replica of a stage and the device that it runs on."""

    name: str
    stage: str
    device: str
    gpus: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class OwnerView:
    """One owner, the slots that it has now, and its node as Ray calls it (None: not known yet).

    ``leaving``: it gives them away, and ends then.
    """

    name: str
    node: str | None
    slots: Sequence[int]
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class ScalingView:
    """How many replicas a stage has, of those that it may have, and is to have.

    ``draining``: that are taken away and finish what they have. ``why``: of the last change.
    ``limit``: what keeps it from what it needs.
    """

    stage: str
    replicas_min: int
    replicas_max: int
    wanted: int
    ready: int
    starting: int
    draining: int
    why: str | None = None
    limit: str | None = None


@dataclass(frozen=True, slots=True)
class DrainingView:
    """A node that Ray drains, and what of the run stands there still.

    ``by_us``: wall clock, by when it will be gone (None: nobody said).
    """

    node: str
    by_us: int | None
    owners: int
    replicas: int


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
    owners: Sequence[OwnerView] = ()  # none where the run is one process
    warnings: Sequence[str] = field(default=())  # the newest, at most 20
    troubles: Sequence[StageTrouble] = ()
    model: str | None = None
    head: HeadView | None = None
    scaling: Sequence[ScalingView] = ()
    draining: Sequence[DrainingView] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


class View(Protocol):
    """May be asked from any thread, and answers at once with what it knew last."""

    def snapshot(self) -> Snapshot: ...
