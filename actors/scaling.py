"""Gives stages more replicas and takes some away while a run goes on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from actors.owner import OwnerPair
from actors.placement import Places
from actors.replicas import Replicas
from actors.view import ClusterView
from pipeline.spec import PipelineSpec
from pipeline.tasks.stage_scaling import Change, StageScaling


class Scaling:
    """Applies what ``StageScaling`` decides to the replicas of a run, and tells of it.

    Invariant: a replica that is taken away is killed only when every owner has told, after it was
    taken away, that it sends it nothing more and waits for nothing from it.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        replicas: Replicas,
        places: Places,
        view: ClusterView,
        say: Callable[[str], None],
    ) -> None:
        self._stages = list(spec.stages)
        self._replicas = replicas
        self._places = places
        self._view = view
        self._say = say
        self._scaling = StageScaling(spec)

    def respec(self, spec: PipelineSpec, stages: Iterable[str]) -> None:
        """The file with other bounds or limits of these stages."""
        for stage in stages:
            self._scaling.set_stage(stage, spec.stages[stage])

    def look(
        self, now_s: float, owners: Iterable[OwnerPair], leaving: Collection[str] = ()
    ) -> set[str]:
        """After each round of answers; the stages whose usable replicas are others now.

        ``leaving``: replicas whose nodes will go.
        """
        for name, told in self._view.devices.items():
            self._places.stands(name, str(told["node"]))
        self._let_go(owners)
        if not self._scaling.due(now_s):
            return set()
        numbers = {stage: self._replicas.numbers(stage) for stage in self._stages}
        figures = self._view.snapshot().figures
        changes = self._scaling.look(now_s, figures, numbers, self._places.room)
        for change in changes:
            self._say(f"motet: {change}")
            self._say_asked(change)
            self._replicas.scale(change.stage, change.after, leaving)
        self._replicas.give_up_waiting()
        for line in self._scaling.limits(now_s):
            self._say(f"motet: {line}")
        self._view.scaled(self._scaling.views())
        return {change.stage for change in changes}

    def _say_asked(self, change: Change) -> None:
        """What has no place waits for one, and Ray tells its autoscaler by itself."""
        more, room = change.after - change.before, self._places.room_now(change.stage)
        if more > room:
            self._say(
                f"motet: stages.{change.stage}: the cluster has a place for {room} of {more} "
                "more; Ray's autoscaler is asked for the rest"
            )

    def _let_go(self, owners: Iterable[OwnerPair]) -> None:
        holding: set[str] = set()
        for owner in owners:
            if owner.holding is None:
                return
            holding |= owner.holding
        self._replicas.let_go(holding)
