"""Each safeguard is taken away in turn, and the simulation must find it among a few seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

import pytest
from simulation import simulate

from actors.fusion import FusionActor
from actors.packing import PackedMessages, unpack_messages
from pipeline.connectors.memory_broker import MemoryBroker, _Producer
from pipeline.connectors.memory_sink import MemorySink
from pipeline.errors import Transient
from pipeline.lane import Lane, LaneCut, Merge
from pipeline.slot.budget import Budget
from pipeline.slot.committer import Committer
from pipeline.slot.ledger import Batch, Ledger
from pipeline.slot.ports import Committed, OutRecord, TopicPartition
from pipeline.tasks.fusion import FusionTask
from pipeline.tasks.ingest import IngestTask
from pipeline.tasks.lane_feed import LaneFeed
from pipeline.tasks.starting import SlotOwner

# The first two are where what is rare was found the last time: it saves the lives before.
SEEDS = (324, 47, *range(400))

Patch = pytest.MonkeyPatch


def opening_fences_nobody(patch: Patch) -> None:
    def open_(
        self: MemoryBroker, transactional_id: str, timeout_us: int, expected_epoch: int | None
    ) -> int:
        with self.changed:
            producer = self._producers.setdefault(transactional_id, _Producer())
            self._end(transactional_id, producer, commit=False)
            producer.epoch, producer.timeout_us = 0, timeout_us
            return 0

    patch.setattr(MemoryBroker, "open", open_)


def stale_ids_are_not_fenced(patch: Patch) -> None:
    patch.setattr("sim_host.stale_ids", lambda spec, layout, control: [])


def offsets_outside_the_transaction(patch: Patch) -> None:
    def send_offsets(self: MemorySink, offsets: Mapping[TopicPartition, Committed]) -> None:
        self._run("send_offsets", lambda epoch: self._broker.set_committed(self.group, offsets))

    patch.setattr(MemorySink, "send_offsets", send_offsets)


def output_behind_the_cut_is_sent_with_it(patch: Patch) -> None:
    real = Ledger._take_lane

    def take_lane(lane: int, queue, batch: Batch) -> None:
        real(lane, queue, batch)
        if lane in batch.cuts:
            while queue and not isinstance(queue[0], LaneCut) and queue[0].done:
                batch.records += queue.popleft().records

    patch.setattr(Ledger, "_take_lane", staticmethod(take_lane))


def the_newest_cut_instead_of_a_contiguous_prefix(patch: Patch) -> None:
    def take_lane(lane: int, queue, batch: Batch) -> None:
        places = [place for place, item in enumerate(queue) if isinstance(item, LaneCut)]
        if places:
            upto = list(queue)[: places[-1] + 1]
            batch.cuts[lane] = upto[-1]
            for item in upto:
                if isinstance(item, LaneCut) or item.done:
                    queue.remove(item)
                    batch.records += [] if isinstance(item, LaneCut) else item.records

    patch.setattr(Ledger, "_take_lane", staticmethod(take_lane))


def _reopened(committer: Committer) -> None:
    while True:
        try:
            committer._sink.open()
            return
        except Transient:
            committer._pause(1)


def an_unknown_outcome_is_taken_for_not_committed(patch: Patch) -> None:
    def resolve(self: Committer, cuts: object, before: object) -> bool:
        _reopened(self)
        return False

    patch.setattr(Committer, "_resolve", resolve)


def an_unknown_outcome_is_taken_for_committed(patch: Patch) -> None:
    def resolve(self: Committer, cuts: object, before: object) -> bool:
        _reopened(self)
        return True

    patch.setattr(Committer, "_resolve", resolve)


def an_owner_after_an_error_fences_back(patch: Patch) -> None:
    """Neither the log is asked for another owner, nor the sink's own epoch continued."""
    real = MemoryBroker.open

    def resolve(self: Committer, cuts: Mapping[int, LaneCut], before: object) -> bool:
        while True:
            _reopened(self)
            with suppress(Transient):
                found = self._read(tuple(cuts))
                return all(found[n] == (self._identity.owner, cuts[n].number) for n in cuts)

    patch.setattr(Committer, "_resolve", resolve)
    patch.setattr(
        MemoryBroker, "open", lambda self, name, timeout, _: real(self, name, timeout, None)
    )


def a_restarted_owner_does_not_ask_who_owns(patch: Patch) -> None:
    real = SlotOwner.__init__

    def init(self: SlotOwner, identity, connector, pause, again: bool = False) -> None:
        real(self, identity, connector, pause)

    patch.setattr(SlotOwner, "__init__", init)


def a_replay_is_not_silent(patch: Patch) -> None:
    real = LaneFeed.__init__

    def init(self: LaneFeed, spec, start: LaneCut, ends: dict[str, int] | None) -> None:
        real(self, spec, replace(start, positions=dict(start.froms)), ends)

    patch.setattr(LaneFeed, "__init__", init)


def _cut_without(patch: Patch, change: Callable[[LaneCut], LaneCut]) -> None:
    real = Lane.cut
    patch.setattr(Lane, "cut", lambda self: change(real(self)))


def kept_records_are_not_read_again(patch: Patch) -> None:
    _cut_without(patch, lambda cut: replace(cut, froms=dict(cut.positions)))


def the_floor_is_not_in_the_cut(patch: Patch) -> None:
    _cut_without(patch, lambda cut: replace(cut, floor_us=None))


def what_is_fetched_counts_as_applied(patch: Patch) -> None:
    real_init, real_cut, merges = LaneFeed.__init__, Lane.cut, {}

    def init(self: LaneFeed, spec, start: LaneCut, ends: dict[str, int] | None) -> None:
        real_init(self, spec, start, ends)
        merges[self.lane] = self.merge

    def cut(self: Lane) -> LaneCut:
        heads = merges[self]._heads
        return replace(real_cut(self), positions={n: heads[n].position for n in heads})

    patch.setattr(LaneFeed, "__init__", init)
    patch.setattr(Lane, "cut", cut)


def silence_though_an_input_is_behind(patch: Patch) -> None:
    patch.setattr(Merge, "caught_up", lambda self, now_us: True)


def an_input_that_is_behind_is_not_waited_for(patch: Patch) -> None:
    patch.setattr(Merge, "_wait", lambda self, head, now_us: None)


def what_is_committed_is_not_released(patch: Patch) -> None:
    patch.setattr(Budget, "committed", lambda self, lane, number: None)


def results_leave_in_a_transaction_of_their_own(patch: Patch) -> None:
    def transaction(self: Committer, records: Iterable[OutRecord], offsets) -> None:
        self._sink.begin()
        self._sink.produce(list(records))
        self._sink.commit()
        self._sink.begin()
        self._sink.send_offsets(offsets)
        self._sink.commit()

    patch.setattr(Committer, "_transaction", transaction)


def messages_of_another_epoch_are_taken(patch: Patch) -> None:
    """An owner that was started anew takes what the one before it has sent."""

    def deliver(self: FusionActor, packed: Mapping[tuple[int, int], PackedMessages]) -> None:
        assert self._runner is not None
        self._runner.deliver({slot: unpack_messages(packed[slot, e]) for slot, e in packed})

    patch.setattr(FusionActor, "deliver", deliver)


def a_slot_that_moved_forgets_its_open_windows(patch: Patch) -> None:
    """An owner that was there before does not read again what they hold."""
    real_init, real_take = IngestTask.__init__, IngestTask.take_slot
    there = set()

    def init(self: IngestTask, *args, **kwargs) -> None:
        real_init(self, *args, **kwargs)
        there.add(self)

    def take(self: IngestTask, slot: int, cuts: Mapping[int, LaneCut]):
        if self in there:
            cuts = {lane: replace(cut, froms=dict(cut.positions)) for lane, cut in cuts.items()}
        return real_take(self, slot, cuts)

    patch.setattr(IngestTask, "__init__", init)
    patch.setattr(IngestTask, "take_slot", take)


def a_slot_leaves_while_its_windows_are_with_encoders(patch: Patch) -> None:
    real = IngestTask.take_left

    def take_left(self: IngestTask) -> dict[int, dict[int, int]]:
        unsettled, self._flow.unsettled = self._flow.unsettled, {}
        try:
            return real(self)
        finally:
            self._flow.unsettled = unsettled

    patch.setattr(IngestTask, "take_left", take_left)


def a_slot_is_given_with_its_transaction_under_way(patch: Patch) -> None:
    """Its new owner finds another cut than it was told of, or none."""
    patch.setattr(FusionTask, "has_left", lambda self, slot, numbers: True)
    patch.setattr(FusionTask, "let_go", lambda self, slot: self._slots.pop(slot).cuts)
    patch.setattr("sim_host.Host.may_give", lambda self, slot: slot in self.left)


MUTANTS = (
    opening_fences_nobody,
    stale_ids_are_not_fenced,
    offsets_outside_the_transaction,
    results_leave_in_a_transaction_of_their_own,
    output_behind_the_cut_is_sent_with_it,
    the_newest_cut_instead_of_a_contiguous_prefix,
    an_unknown_outcome_is_taken_for_not_committed,
    an_unknown_outcome_is_taken_for_committed,
    an_owner_after_an_error_fences_back,
    a_restarted_owner_does_not_ask_who_owns,
    a_replay_is_not_silent,
    kept_records_are_not_read_again,
    the_floor_is_not_in_the_cut,
    what_is_fetched_counts_as_applied,
    silence_though_an_input_is_behind,
    an_input_that_is_behind_is_not_waited_for,
    what_is_committed_is_not_released,
    messages_of_another_epoch_are_taken,
    a_slot_that_moved_forgets_its_open_windows,
    a_slot_leaves_while_its_windows_are_with_encoders,
    a_slot_is_given_with_its_transaction_under_way,
)


@pytest.mark.timeout(300)  # some hundred lives, where others want the processor too
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_missing_safeguard_is_found(
    mutant: Callable[[Patch], None],
    monkeypatch: Patch,
    record_property: Callable[[str, object], None],
) -> None:
    mutant(monkeypatch)
    for seed in SEEDS:
        try:
            simulate(seed)
        except AssertionError as error:
            record_property("mutant", mutant.__name__.replace("_", " "))
            record_property("found", f"seed {seed}: {error}")
            return
    pytest.fail(f"{len(SEEDS)} seeds did not find it")
