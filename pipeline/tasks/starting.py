"""How a pipeline takes its slots, in every host: check the topics, fence, recover, claim."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pipeline.errors import InvalidInput, MotetError, Problem, Transient, Unreachable
from pipeline.lane import LaneCut
from pipeline.slot.committer import Committer, SlotIdentity
from pipeline.slot.ports import Connector, Control, Sink, TopicInfo, TopicPartition
from pipeline.slot.recovery import committed_slots, recover
from pipeline.spec import PipelineSpec
from pipeline.tasks.retry import Retry

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Layout:
    """What the topics say: how many lanes there are, and which topics these are.

    ``message_bytes``: by output topic the largest record that it takes.
    """

    lanes: int
    topic_ids: Mapping[str, str]
    message_bytes: Mapping[str, int]

    def identity(self, spec: PipelineSpec, slot: int, owner: str) -> SlotIdentity:
        """Lanes map to slots statically: ``p % slots``."""
        return SlotIdentity(
            pipeline=spec.name,
            slot=slot,
            slots=spec.slots,
            owner=owner,
            rules=spec.decision_hash(),
            topics={name: entry.topic for name, entry in spec.inputs.items()},
            topic_ids=self.topic_ids,
            lanes=tuple(range(slot, self.lanes, spec.slots)),
        )

    def slots(self, spec: PipelineSpec) -> list[int]:
        """Slots that own a lane."""
        return [slot for slot in range(spec.slots) if slot < self.lanes]

    def partitions(
        self, spec: PipelineSpec, lanes: Iterable[int] | None = None
    ) -> list[TopicPartition]:
        """Of all inputs; of all lanes unless some are named."""
        chosen = list(range(self.lanes) if lanes is None else lanes)
        return [
            TopicPartition(entry.topic, lane) for entry in spec.inputs.values() for lane in chosen
        ]


def check_topics(
    spec: PipelineSpec, control: Control, create: str = "motet topics create FILE"
) -> Layout:
    """Every topic that the file names is there and fits; all that does not in one InvalidInput.

    ``create`` is the command that makes what is missing, for the user to copy.
    """
    inputs = {f"inputs.{name}.topic": entry.topic for name, entry in spec.inputs.items()}
    outputs = {
        "outputs.results": spec.outputs.results,
        "outputs.late": spec.outputs.late,
        "outputs.dead_letter": spec.outputs.dead_letter,
    }
    outputs |= {f"stages.{s.name}.out": s.out for s in spec.stages.values() if s.out}
    infos = control.topics([*inputs.values(), *outputs.values()])
    problems = [
        Problem(key, topic, "it is not there", f"`{create}` makes it")
        for key, topic in (inputs | outputs).items()
        if infos.get(topic) is None
    ]
    known = {topic: info for topic, info in infos.items() if info is not None}
    problems += _partition_problems(inputs, outputs, known, create)
    problems += [
        Problem(key, topic, "it is compacted, so records vanish", "set cleanup.policy=delete on it")
        for key, topic in inputs.items()
        if topic in known and known[topic].compacted
    ]
    if problems:
        raise InvalidInput(*problems)
    lanes = known[next(iter(inputs.values()))].partitions
    return Layout(
        lanes,
        {topic: known[topic].topic_id for topic in inputs.values()},
        {topic: known[topic].max_message_bytes for topic in outputs.values()},
    )


def _partition_problems(
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    known: Mapping[str, TopicInfo],
    create: str,
) -> list[Problem]:
    """Inputs with fewer partitions than the largest has, and outputs with fewer than that."""
    lanes = max((known[t].partitions for t in inputs.values() if t in known), default=0)
    anew = f"delete it, and `{create} --partitions {lanes}` makes it anew; or name another topic"
    problems = []
    for key, topic in {**inputs, **outputs}.items():
        if topic not in known or known[topic].partitions >= lanes:
            continue
        count = known[topic].partitions
        why = f"it has {count} partition{'s' * (count != 1)}, fewer than the inputs' {lanes}"
        if key in inputs:
            why += ": inputs must have equally many, since lane p is partition p of each"
        problems.append(Problem(key, topic, why, anew))
    return problems


class SlotOwner:
    """One slot in the hands of this owner: its sink, and its committer once it has recovered.

    Invariant: ``recover`` only after every id of the pipeline was fenced; nothing is produced
    before the claim is committed.

    ``again``: this run had the slot before, and this owner stands in for one that has ended. It
    takes the slot only from its own run, never back from one that took over meanwhile.
    """

    def __init__(
        self,
        identity: SlotIdentity,
        connector: Connector,
        pause: Callable[[int], None],
        again: bool = False,
    ) -> None:
        self.identity = identity
        self._again = again
        self._sink: Sink = connector.sink(identity.transactional_id, identity.pipeline)
        self._control = connector.control()
        self.committer = Committer(identity, self._sink, self._control, pause)
        self.epoch = 0

    def prepare(self) -> None:
        """Asks all that a recovery asks, so that its connections are there; nobody is fenced."""
        partitions = self.identity.partitions()
        self._sink.prepare()
        self._control.beginnings(partitions)
        self._control.stable_ends(partitions)
        self.is_ours()

    def fence(self) -> None:
        """Older owners of the slot can commit nothing from here on."""
        with self._waited_for():
            if self._again:
                with suppress(Transient):  # the transaction that our dead one left may hide it
                    self.committer.check_owner(wait=False)  # fencing another run would end both
            self.epoch = self._sink.open()

    def recover(self, spec: PipelineSpec) -> dict[int, LaneCut]:
        """The cuts that the slot's lanes go on from, claimed by this owner."""
        with self._waited_for():
            if self._again:
                self.committer.check_owner()
            recovered = recover(
                self.identity,
                self._control,
                lambda partitions: start_positions(spec, self._control, partitions),
                spec.outputs.results,
            )
            self.committer.claim(recovered.cuts, recovered.owners)
            return recovered.cuts

    def demand_handed(self, cuts: Mapping[int, LaneCut], handed: Mapping[int, LaneCut]) -> None:
        """What was recovered is what the owner before has handed over; by lane.

        Raises MotetError otherwise: the log is right then, and that owner was not.
        """
        for lane, cut in handed.items():
            if cuts[lane] != cut:
                raise MotetError(
                    f"slot {self.identity.slot}: lane {lane} stands at cut {cuts[lane].number} in "
                    f"the log, and its owner before has handed over cut {cut.number}"
                )

    def is_ours(self) -> bool:
        """Whether the log says that this run has the slot; False where it does not answer now.

        Raises Fenced where another run has claimed it.
        """
        try:
            self.committer.check_owner(wait=False)
        except (Transient, Unreachable):
            return False
        return True

    @contextmanager
    def _waited_for(self) -> Iterator[None]:
        """Of a run that goes on: its broker has answered before, and may be away for long."""
        try:
            yield
        except Unreachable as away:
            if not self._again:
                raise
            raise Transient(str(away)) from away

    def close(self) -> None:
        self._sink.close()
        self._control.close()


def fence_all(owners: Mapping[int, SlotOwner], retry: Retry) -> None:
    """Fences the slots: slot 0 before all others (``stale_ids`` says why)."""
    _slot_0_first(owners, lambda owner: retry.call(owner.fence))


def recover_all(
    owners: Mapping[int, SlotOwner], spec: PipelineSpec, retry: Retry
) -> dict[int, dict[int, LaneCut]]:
    """By slot, the claimed cuts of its lanes; slot 0 before all others as well."""
    return _slot_0_first(owners, lambda owner: retry.call(partial(owner.recover, spec)))


def _slot_0_first(
    owners: Mapping[int, SlotOwner], work: Callable[[SlotOwner], _T]
) -> dict[int, _T]:
    """Slot 0 alone, then the others side by side: each is some round trips to the broker."""
    done = {0: work(owners[0])} if 0 in owners else {}
    others = [slot for slot in owners if slot != 0]
    with ThreadPoolExecutor(max(1, len(others)), "start") as pool:
        results = pool.map(lambda slot: work(owners[slot]), others)
        return done | dict(zip(others, results, strict=True))


def close_all(owners: Mapping[int, SlotOwner]) -> None:
    """Side by side: one whose broker is away takes some seconds."""
    with ThreadPoolExecutor(max(1, len(owners)), "close") as pool:
        list(pool.map(SlotOwner.close, owners.values()))


def start_positions(
    spec: PipelineSpec, control: Control, partitions: Iterable[TopicPartition]
) -> Mapping[TopicPartition, int]:
    """Where a pipeline that never ran begins (``start``)."""
    wanted = list(partitions)
    if spec.start == "earliest":
        return control.beginnings(wanted)
    if spec.start == "latest":
        return control.stable_ends(wanted)
    return control.offsets_at(wanted, int(spec.start))


def stale_ids(spec: PipelineSpec, layout: Layout, control: Control) -> list[str]:
    """Transactional ids of an older, larger ``slots`` or without a lane: fenced, then let go.

    A zombie of the old count would else commit past the new owner of its lanes; its number is read
    from lane 0, which is slot 0's under every count. So a start keeps an order: fence slot 0; fence
    the other slots and then these; claim slot 0; claim the others. Of two runs that start side by
    side with different counts, the one that fences slot 0 later either reads the other's count
    here, and fences all of it, or has ended it before its first claim.
    """
    before = committed_slots(control, spec.name, layout.partitions(spec, [0]))
    owned = set(layout.slots(spec))
    return [f"{spec.name}.{slot}" for slot in range(max(before, spec.slots)) if slot not in owned]


def fence_ids(spec: PipelineSpec, connector: Connector, ids: Iterable[str]) -> None:
    for transactional_id in ids:
        sink = connector.sink(transactional_id, spec.name)
        sink.open()
        sink.close()
