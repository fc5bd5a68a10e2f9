"""Places, watches and restarts the actors of a pipeline: ``motet run`` on a cluster."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial

import ray

from actors.answers import ROOM_S_MAX, START_S_MAX, device_of
from actors.cluster import check_resources, connect, older_run_holds_gpus
from actors.draining import Draining
from actors.owner import OwnerPair
from actors.owners import Owners
from actors.placement import Places
from actors.remote import control
from actors.replicas import Replicas
from actors.scaling import Scaling
from actors.view import ClusterView
from pipeline import logs
from pipeline.clock import monotonic_us
from pipeline.encoders.checking import check_pipeline
from pipeline.errors import MotetError
from pipeline.slot.ports import Connector, Control, TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.tasks.change_watch import ChangeWatch
from pipeline.tasks.changing import HEAD, OWNERS, live_values
from pipeline.tasks.ending import CLOSE_S, ENCODERS_SHARE, await_readable, left_behind, unfinished
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
        self._resources = resources
        self._owner_count = owner_count(spec, resources)
        self._run_id = uuid.uuid4().hex[:12]
        self.restarts: dict[str, int] = {}  # role -> count
        self._heads = HeadWatch(spec, self._lengths)
        self._changes = ChangeWatch(spec)
        self.view = ClusterView(self._heads)
        self.view.values = live_values(spec)
        self._replicas = Replicas(
            spec, self._lengths, resources, self._places, self.view, self._count, steering.say
        )
        self._scaling = Scaling(spec, self._replicas, self._places, self.view, steering.say)
        self._fleet = Owners(
            self._pair, lambda: self._replicas.all_usable, self.view, steering, self._count
        )
        self._owners = self._fleet.pairs
        self._draining = Draining(
            self._replicas, self._places, self.view, steering.say, self._fleet.replace
        )
        self._level = logs.level()
        steering.show(self.view)

    # -- start ------------------------------------------------------------------------------

    def prepare(self, layout: Layout, ends: Mapping[TopicPartition, int] | None) -> None:
        """Starts all processes; at its end every slot is fenced from older owners and claimed.

        ``ends``: the owners will run up to there (``--until-end``).
        """
        self._fleet.ends = ends
        self._layout = layout
        self._replicas.start()
        self._fleet.spread(layout.slots(self._spec), self._owner_count)
        # An older run of this pipeline ends only when it is fenced, and what it holds is ours then.
        waits = older_run_holds_gpus(self._spec.name)
        limit_s = ROOM_S_MAX if self._spec.ray.autoscaler else START_S_MAX
        if not waits:
            self.view.await_devices(partial(device_of, limit_s=limit_s))
        self._fleet.fence()
        self._fence_stale(layout)
        self._fleet.claim(self._replicas.handles)
        if waits:
            self.view.await_devices(partial(device_of, limit_s=limit_s))

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
        self._fleet.begin()
        self._status()
        self._draining.start()
        if self._steering.swap_heads:
            self._heads.start()
            self._changes.start()

    def _pair(self, slots: list[int], name: str) -> OwnerPair:
        return OwnerPair(
            self._spec,
            self._connector,
            self._layout,
            slots,
            self._run_id,
            self._lengths,
            self._heads.head,
            self._places,
            self._steering.stop,
            name,
        )

    def move_slot(self, slot: int, taker: str) -> None:
        """From any thread: a slot is to go to the owner of that name, while all go on."""
        self._fleet.moves.ask(slot, next(o for o in self._owners if o.name == taker))

    def empty_node(self, node: str) -> None:
        """What owners on a node have goes to others: another owner starts for each elsewhere."""
        for owner in list(self._owners):
            if self._places.where(owner.name) == node:
                self._fleet.replace(owner)

    def slots(self) -> dict[str, list[int]]:
        """By owner, the slots that it has."""
        return {owner.name: sorted(owner.slots) for owner in list(self._owners)}

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
            self._fleet.look(time.monotonic())
            self._take_changes()
            self._swap_head()
            self._tell_level()
            now = time.monotonic()
            if self._steering.stop.is_set() and draining_until is None:
                draining_until = now + self._steering.drain_s
                self._fleet.drain(self._steering.drain_s * ENCODERS_SHARE)
            ending = self._steering.until_end or draining_until is not None
            if now >= status_at or (ending and self._some_drained):
                status_at = now + STATUS_EVERY_S
                done = self._status()
                if ending and done:
                    break
            if draining_until is not None and now > draining_until:
                raise unfinished(self._steering.drain_s, self.view.snapshot().not_ready)
        if left := sum(owner.left for owner in self._owners):
            self._steering.say(left_behind(left))
        return self._fleet.totals

    def _take_changes(self) -> None:
        """What ``motet scale`` or ``motet apply`` changed meanwhile."""
        keys = self._changes.changed()
        if not keys:
            return
        spec = self._spec = self._changes.spec
        self.view.values = live_values(spec)
        self._steering.say(f"motet: {', '.join(keys)} changed; in force from now on")
        stages = {key.split(".")[1] for key in keys if key not in (HEAD, OWNERS)}
        for owner in self._owners:
            owner.respec(spec, stages)
        self._replicas.respec(spec, stages)
        self._scaling.respec(spec, stages)
        self._fleet.anew()
        if OWNERS in keys:
            self._fleet.resize(owner_count(spec, self._resources))
        if HEAD in keys:
            self._heads.follow(spec)

    def _swap_head(self) -> None:
        """A head that was deployed meanwhile goes to every owner, which need not see its folder."""
        if self._heads.changed():
            self._steering.say(self._heads.line)
            for owner in self._owners:
                owner.swap(self._heads.head)
            self._fleet.anew()

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
        self._draining.close()
        stopping = [ref for owner in self._owners for ref in owner.stop()]
        if stopping:
            ray.wait(stopping, num_returns=len(stopping), timeout=CLOSE_S)
        for owner in self._owners:
            owner.kill()
        self._replicas.close()
        self._places.close()

    def _look(self, tick_s: float) -> None:
        """Sees at once what has ended, and starts it anew."""
        refs = [*self._replicas.references, *self._fleet.references]
        ready, _ = ray.wait(refs, num_returns=1, timeout=tick_s)
        for ref in ready:
            stage = self._replicas.looked_at(ref)
            if stage is not None:
                self._tell_replicas(stage)
            else:
                self._fleet.looked_at(ref)

    def _tell_replicas(self, stage: str) -> None:
        for owner in self._owners:
            owner.set_encoders(stage, self._replicas.usable(stage))

    def _status(self) -> bool:
        done = self._fleet.status()
        self._replicas.end({name for owner in self._owners for name in owner.overdue})
        warnings = [line for owner in self._owners for line in owner.warnings]
        warnings += [*self._heads.news(), *self._changes.news()]
        self.view.show(self._owners, self._replicas.handles, warnings)
        now = time.monotonic()
        changed = self._scaling.look(now, self._owners, self._draining.leaving)
        for stage in changed | self._draining.look(now, self._owners):
            self._tell_replicas(stage)
        self._telling.look(
            monotonic_us(),
            sum(owner.totals.windows for owner in self._owners),
            [line for owner in self._owners for line in owner.waiting],
            warnings,
            self.view.snapshot().troubles,
        )
        return done

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
