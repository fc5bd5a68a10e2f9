"""Places, watches and restarts the actors of a pipeline: ``motet run`` on a cluster."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError

from actors.cluster import check_resources, connect
from actors.owner import Hung, OwnerPair, error_of
from actors.placement import Places
from actors.remote import control
from actors.replicas import Replicas, cause_of, device_of
from actors.scaling import Scaling
from actors.view import ClusterView
from pipeline import logs
from pipeline.clock import monotonic_us
from pipeline.encoders.checking import check_pipeline
from pipeline.errors import Fenced, MotetError, TakenOver, Unreachable
from pipeline.slot.ports import Connector, Control, TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.tasks.change_watch import ChangeWatch
from pipeline.tasks.changing import HEAD, live_values
from pipeline.tasks.ending import CLOSE_S, DRAIN_S_MAX, await_readable, unfinished
from pipeline.tasks.head_watch import HeadWatch
from pipeline.tasks.host import RunControl
from pipeline.tasks.planning import Resources, owner_count
from pipeline.tasks.retry import Retry
from pipeline.tasks.starting import Layout, check_topics, fence_ids, stale_ids
from pipeline.tasks.telling import Telling
from pipeline.tasks.totals import Totals

TICK_S = 0.1
LAST_TICK_S = 0.01  # once an owner is drained: what is left is its last transaction
STATUS_EVERY_S = 0.5
RESTARTS_MAX = 100  # of one role in a run: what ends that often will not be mended by starting it


class Supervisor:
    """Keeps every owner and replica of one run alive, until it is done, stopped or fenced.

    Invariant: an owner that ended is killed as a whole before its slots are fenced anew; so
    each slot has one living owner, and Kafka fences those that only seem dead.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        connector: Connector,
        resources: Resources,
        steering: RunControl,
    ) -> None:
        self._spec = spec
        self._steering = steering
        self._telling = Telling(steering.say, spec.windows.size_us)
        self._connector = connector
        self._lengths = check_pipeline(spec)
        self._places = Places(spec, resources)
        self._owner_count = owner_count(spec, resources)
        self._owners: list[OwnerPair] = []
        self._ends: Mapping[TopicPartition, int] | None = None
        self.restarts: dict[str, int] = {}  # role -> count
        self._heads = HeadWatch(spec, self._lengths)
        self._changes = ChangeWatch(spec)
        self.view = ClusterView(self._heads)
        self.view.values = live_values(spec)
        self._replicas = Replicas(
            spec, self._lengths, resources, self._places, self.view, self._count, steering.say
        )
        self._scaling = Scaling(spec, self._replicas, self._places, self.view, steering.say)
        self._level = logs.level()
        steering.show(self.view)

    # -- start ------------------------------------------------------------------------------

    def prepare(self, layout: Layout, ends: Mapping[TopicPartition, int] | None) -> None:
        """Starts all processes; at its end every slot is fenced from older owners and claimed.

        ``ends``: the owners will run up to there (``--until-end``).
        """
        self._ends = ends
        self._replicas.start()
        run_id = uuid.uuid4().hex[:12]
        slots = layout.slots(self._spec)
        for place in range(self._owner_count):
            owned = slots[place :: self._owner_count]
            if owned:
                self._owners.append(self._pair(layout, owned, run_id))
        for owner in self._owners:
            owner.spawn()
        self.view.await_devices(device_of)
        # The first owner has slot 0: stale_ids says why the order is this one.
        for owner in self._owners:
            owner.fence()
        self._fence_stale(layout)
        for owner in self._owners:
            owner.recover()
            owner.introduce(ends, self._replicas.handles)

    def _fence_stale(self, layout: Layout) -> None:
        retry = Retry(self._steering.stop)
        log = self._connector.control()
        try:
            stale = retry.call(partial(stale_ids, self._spec, layout, log))
            retry.call(partial(fence_ids, self._spec, self._connector, stale))
        finally:
            log.close()

    def begin(self) -> None:
        """Lets the owners run."""
        for owner in self._owners:
            owner.begin()
        self._status()
        if self._steering.swap_heads:
            self._heads.start()
            self._changes.start()

    def _pair(self, layout: Layout, slots: list[int], run_id: str) -> OwnerPair:
        return OwnerPair(
            self._spec,
            self._connector,
            layout,
            slots,
            run_id,
            self._lengths,
            self._heads.head,
            self._places,
            self._steering.stop,
        )

    def pids(self) -> dict[str, list[int]]:
        """Process ids by role: ``ingest``, ``fusion``, ``encoder``."""
        return {
            "ingest": ray.get([control(o.ingest.pid).remote() for o in self._owners]),
            "fusion": ray.get([control(o.fusion.pid).remote() for o in self._owners]),
            "encoder": self._replicas.pids(),
        }

    # -- watch ------------------------------------------------------------------------------

    def run(self) -> Totals:
        """Until all is done, or it is told to stop and what is in flight is finished."""
        draining_until: float | None = None
        status_at = time.monotonic()
        while True:
            self._look(LAST_TICK_S if self._some_drained else TICK_S)
            self._take_changes()
            self._swap_head()
            self._tell_level()
            now = time.monotonic()
            if self._steering.stop.is_set() and draining_until is None:
                draining_until = now + DRAIN_S_MAX
                for owner in self._owners:
                    owner.drain()
            ending = self._steering.until_end or draining_until is not None
            if now >= status_at or (ending and self._some_drained):
                status_at = now + STATUS_EVERY_S
                done = self._status()
                if ending and done:
                    break
            if draining_until is not None and now > draining_until:
                raise unfinished(self.view.snapshot().not_ready)
        totals = Totals()
        for owner in self._owners:
            totals.add(owner.totals)
        return totals

    def _take_changes(self) -> None:
        """What ``motet scale`` or ``motet apply`` changed meanwhile."""
        keys = self._changes.changed()
        if not keys:
            return
        spec = self._spec = self._changes.spec
        self.view.values = live_values(spec)
        self._steering.say(f"motet: {', '.join(keys)} changed; in force from now on")
        stages = {key.split(".")[1] for key in keys if key != HEAD}
        for owner in self._owners:
            owner.respec(spec, stages)
        self._replicas.respec(spec, stages)
        self._scaling.respec(spec, stages)
        if HEAD in keys:
            self._heads.follow(spec)

    def _swap_head(self) -> None:
        """A head that was deployed meanwhile goes to every owner, which need not see its folder."""
        if self._heads.changed():
            self._steering.say(self._heads.line)
            for owner in self._owners:
                owner.swap(self._heads.head)

    def _tell_level(self) -> None:
        """A level of the logs that was changed meanwhile goes to every actor."""
        level = logs.level()
        if level != self._level:
            self._level = level
            halves = [half for owner in self._owners for half in (owner.ingest, owner.fusion)]
            encoders = [each for of in self._replicas.handles.values() for each in of.values()]
            for handle in (*halves, *encoders):
                control(handle.log_level).remote(level)

    @property
    def _some_drained(self) -> bool:
        return any(owner.drained is None for owner in self._owners)

    def close(self) -> None:
        """Closes the producers properly, as far as they still answer, and frees all actors."""
        self._heads.close()
        self._changes.close()
        stopping = [ref for owner in self._owners for ref in owner.stop()]
        if stopping:
            ray.wait(stopping, num_returns=len(stopping), timeout=CLOSE_S)
        for owner in self._owners:
            owner.kill()
        self._replicas.close()
        self._places.close()

    def _look(self, tick_s: float) -> None:
        """Sees at once what has ended, and starts it anew."""
        refs = [ref for owner in self._owners for ref in owner.watches]
        refs += [owner.drained for owner in self._owners if owner.drained]
        refs += self._replicas.references
        ready, _ = ray.wait(refs, num_returns=1, timeout=tick_s)
        for ref in ready:
            stage = self._replicas.looked_at(ref)
            if stage is not None:
                self._tell_replicas(stage)
                continue
            for owner in self._owners:
                if ref == owner.drained:
                    owner.drained = None
                elif ref in owner.watches:
                    self._ended(owner, ref)
                    break

    def _tell_replicas(self, stage: str) -> None:
        for owner in self._owners:
            owner.set_encoders(stage, self._replicas.usable(stage))

    def _ended(self, owner: OwnerPair, ref: Any) -> None:
        role = owner.watches[ref]
        try:
            ending = ray.get(ref)
        except RayActorError as error:
            self._restart(owner, role, "died", cause_of(error))
        else:
            ended = error_of(ending)
            if not isinstance(ended, Fenced) or isinstance(ended, TakenOver):
                raise ended
            owner.demand_ours()
            self._restart(owner, role, "fenced", "fenced, though no other run has its slots")

    def _status(self) -> bool:
        done = True
        for owner in self._owners:
            owner.warnings.clear()
            try:
                done &= owner.status()
            except GetTimeoutError:
                self._restart(owner, "owner", "unanswered", "did not answer")
                done = False
            except Hung as error:
                self._restart(owner, "owner", "hung", str(error))
                done = False
            except RayActorError:
                done = False  # its watch tells, and then it is restarted
        self._replicas.end({name for owner in self._owners for name in owner.overdue})
        warnings = [line for owner in self._owners for line in owner.warnings]
        warnings += [*self._heads.news(), *self._changes.news()]
        self.view.show(self._owners, self._replicas.handles, warnings)
        for stage in self._scaling.look(time.monotonic(), self._owners):
            self._tell_replicas(stage)
        self._telling.look(
            monotonic_us(),
            sum(owner.totals.windows for owner in self._owners),
            [line for owner in self._owners for line in owner.waiting],
            warnings,
            self.view.snapshot().troubles,
        )
        return done

    def _restart(self, owner: OwnerPair, role: str, word: str, cause: str) -> None:
        """Both halves anew; one that dies while it starts is started again.

        ``word`` is the cause as the metric has it, ``cause`` as a person is told.
        """
        owner.last_words(role)
        while True:
            owner.kill()
            self._count(role, word, f"slots {owner.slots}", cause)
            try:
                owner.spawn(again=True)
                owner.fence()
                owner.recover()
                owner.introduce(self._ends, self._replicas.all_usable)
                owner.begin()
                return
            except RayActorError as error:
                word, cause = "died", cause_of(error)
            except Unreachable as error:  # its source: the broker has gone since it was fenced
                word, cause = "unreachable", cause_of(error)

    def _count(self, role: str, word: str, what: str, cause: str) -> None:
        self.restarts[role] = self.restarts.get(role, 0) + 1
        self.view.restarted(role, word)
        self.view.show(self._owners, self._replicas.handles)
        self._steering.say(f"motet: {role} of {what} ended ({cause}); starting it anew")
        if self.restarts[role] > RESTARTS_MAX:
            raise MotetError(f"{role} of {what} ended {RESTARTS_MAX} times; last: {cause}")


def run_on_ray(
    spec: PipelineSpec,
    connector: Connector,
    steering: RunControl,
    on_start: Callable[[Supervisor], None] = lambda _supervisor: None,
) -> tuple[Totals, float]:
    """Runs a pipeline on the cluster; ``on_start`` is given the supervisor once all runs."""
    log = connector.control()
    try:
        return _run(spec, connector, steering, log, on_start)
    finally:
        log.close()


def _run(
    spec: PipelineSpec,
    connector: Connector,
    steering: RunControl,
    log: Control,
    on_start: Callable[[Supervisor], None],
) -> tuple[Totals, float]:
    layout = check_topics(spec, log)
    ends = log.stable_ends(layout.partitions(spec)) if steering.until_end else None
    resources = connect(spec, steering)
    check_resources(spec, resources)
    supervisor = Supervisor(spec, connector, resources, steering)
    try:
        supervisor.prepare(layout, ends)
        began = time.monotonic()
        supervisor.begin()
        steering.ready.set()
        on_start(supervisor)
        totals = supervisor.run()
        seconds = time.monotonic() - began
        await_readable(spec, layout, log, steering.say)
        return totals, seconds
    finally:
        supervisor.close()
