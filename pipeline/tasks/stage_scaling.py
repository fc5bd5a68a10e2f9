"""The scaling of all stages of a run: what it counts is measured, and new numbers are decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.scaling.meter import Counted, Meter
from pipeline.scaling.policy import Decision, ScalingRule, ScalingState, Signals, decide
from pipeline.spec import PipelineSpec
from pipeline.spec.models import StageSpec
from pipeline.tasks.figures import Figures
from pipeline.tasks.view import ScalingView

LOOK_S = 1.0  # owners look at themselves as often
TOLD_S = 600.0  # what keeps a stage from what it needs is said again after so long at most


class Numbers(NamedTuple):
    """Replicas of a stage by what they do; ``failed``: that were added and ended while loading,
    since the start. ``load_s``: how long the last one that loaded took for it."""

    ready: int
    starting: int
    draining: int
    failed: int
    load_s: float


NONE = Numbers(0, 0, 0, 0, 0.0)


class Change(NamedTuple):
    """Another number of replicas for a stage."""

    stage: str
    before: int
    after: int
    why: str

    def __str__(self) -> str:
        return f"stages.{self.stage}: {self.before} -> {self.after} replicas: {self.why}"


@dataclass(slots=True)
class _Stage:
    rule: ScalingRule
    meter: Meter
    state: ScalingState = field(default_factory=ScalingState)
    last: Decision | None = None
    why: str | None = None  # of the last change
    numbers: Numbers = NONE
    told_s: float | None = None

    @property
    def grows(self) -> bool:
        """Whether it is what holds the run up, and gets more."""
        most = self.numbers.ready >= self.rule.replicas_max
        return self.numbers.starting > 0 or (self.state.pressed_s is not None and not most)


class StageScaling:
    """Told the run's figures; decides by ``pipeline.scaling.policy``.

    Invariant: what it decides depends on what it was told alone. One thread uses it.
    """

    def __init__(self, spec: PipelineSpec) -> None:
        self._spec = spec
        self._looked_s: float | None = None
        self._stages = {
            name: _Stage(_rule(stage), Meter(stage.batch_max, _s(stage.latency_target_us)))
            for name, stage in spec.stages.items()
        }

    def set_stage(self, name: str, spec: StageSpec) -> None:
        """Other bounds or limits of a stage while it runs; what was measured stays."""
        stage = self._stages[name]
        stage.rule = _rule(spec)
        stage.meter.limits(spec.batch_max, _s(spec.latency_target_us))

    def due(self, now_s: float) -> bool:
        return self._looked_s is None or now_s - self._looked_s >= LOOK_S

    def look(
        self,
        now_s: float,
        figures: Figures,
        numbers: Mapping[str, Numbers],
        room: Callable[[str], int | None],
    ) -> list[Change]:
        """What is to be changed now. ``room``: for how many more of a stage there is a place.

        ``figures``: of all owners together; ``numbers`` by stage.
        """
        self._looked_s = now_s
        for name, stage in self._stages.items():
            stage.numbers = numbers[name]
        growing = {name for name, stage in self._stages.items() if stage.grows}
        changes = []
        for name, stage in self._stages.items():
            measured = stage.meter.look(self._counted(name, now_s, figures))
            told = stage.numbers
            pressed = stage.state.pressed_s is not None
            signals = Signals(
                now_s,
                measured,
                told.ready,
                told.starting,
                room(name) if pressed else None,
                told.failed,
                held=bool(growing - {name}),
                load_s=told.load_s,
            )
            decision, stage.state = decide(stage.rule, signals, stage.state)
            stage.last = decision
            before = told.ready + told.starting
            if decision.target != before:
                change = Change(name, before, decision.target, decision.why)
                stage.why = str(change)
                changes.append(change)
        return changes

    def limits(self, now_s: float) -> list[str]:
        """What keeps stages from what they need and was not told lately."""
        lines = []
        for name, stage in self._stages.items():
            limit = None if stage.last is None else stage.last.limit
            if limit is None or (stage.told_s is not None and now_s - stage.told_s < TOLD_S):
                continue
            stage.told_s = now_s
            lines.append(f"stages.{name}: {limit}")
        return lines

    def views(self) -> list[ScalingView]:
        return [
            ScalingView(
                stage=name,
                replicas_min=stage.rule.replicas_min,
                replicas_max=stage.rule.replicas_max,
                wanted=stage.last.target if stage.last else stage.rule.replicas_min,
                ready=stage.numbers.ready,
                starting=stage.numbers.starting,
                draining=stage.numbers.draining,
                why=stage.why,
                limit=stage.last.limit if stage.last else None,
            )
            for name, stage in self._stages.items()
        ]

    # -- how ------------------------------------------------------------------------------

    def _counted(self, name: str, now_s: float, figures: Figures) -> Counted:
        batches = figures.histograms.get(("motet_stage_batch_size", (name,)))
        computed = figures.histograms.get(("motet_stage_compute_seconds", (name,)))
        done = round(batches.total) if batches else 0
        return Counted(
            now_s,
            done,
            batches.count if batches else 0,
            computed.total if computed else 0.0,
            round(figures.value("motet_stage_queue_windows", name)),
            self._behind(name, done, figures),
            figures.value("motet_stage_busy_ratio", name),
            self._stages[name].numbers.ready,
        )

    def _behind(self, name: str, done: int, figures: Figures) -> int:
        """Windows that the logs still hold for a stage, if records go on to make as many."""
        most = 0.0
        for source in self._spec.inputs_of(name):
            topic = self._spec.inputs[source].topic
            lag = sum(
                sum(values)
                for (of, labels), values in figures.gauges.items()
                if of == "motet_consumer_lag_records" and labels[0] == topic
            )
            records = figures.value("motet_records_total", source)
            if records > 0:
                most = max(most, lag * done / records)
        return round(most)


def _rule(stage: StageSpec) -> ScalingRule:
    return ScalingRule(stage.replicas_min, stage.replicas_max, _s(stage.latency_target_us))


def _s(time_us: int | None) -> float | None:
    return None if time_us is None else time_us / 1e6
