"""A slot's transaction, with an error at every step of it: exactly once, and never fenced back."""

from __future__ import annotations

import pytest

from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.errors import Fenced, MotetError, Refused, Transient
from pipeline.lane.record import LaneCut
from pipeline.slot import metadata
from pipeline.slot.committer import Committer, SlotIdentity
from pipeline.slot.ports import OutRecord, TopicPartition

TOPICS = {"mic": "in.mic", "cam": "in.cam"}
LANES = (1, 3)
TRANSACTION = ("begin", "produce", "flush", "send_offsets", "commit")
CLAIM = ("begin", "send_offsets", "commit")
RESOLVING = ("open", "open-reply", "committed", "committed-reply")


def points(steps: tuple[str, ...]) -> list[str]:
    """A step, and its reply: what fails there has taken place."""
    return [name for step in steps for name in (step, f"{step}-reply")]


class Script:
    """What the broker does at its next steps: ``at(step, effect)``, each once, in order a step."""

    def __init__(self) -> None:
        self.planned: list[tuple[str, object]] = []
        self.busy = False
        self.passed: list[str] = []

    def at(self, step: str, *effects) -> None:
        self.planned += [(step, effect) for effect in effects]

    def __call__(self, step: str, _port: object) -> None:
        if self.busy:
            return
        self.passed.append(step)
        for place, (planned, effect) in enumerate(self.planned):
            if planned == step:
                del self.planned[place]
                self.busy = True
                try:
                    effect()
                finally:
                    self.busy = False
                return


def away() -> None:
    raise Transient("the broker is away")


class Owner:
    """One run's hold of the slot."""

    def __init__(self, broker: MemoryBroker, run: str, tries_max: int = 50) -> None:
        connector = MemoryConnector(broker)
        self.identity = SlotIdentity(
            "lobby", 1, 2, run, "rules", TOPICS, {t: f"id {t}" for t in TOPICS.values()}, LANES
        )
        self.sink = connector.sink(self.identity.transactional_id, "lobby")
        self.pauses: list[int] = []
        self.told: list[str | None] = []  # why it waits

        def pause(attempt: int) -> None:
            self.pauses.append(attempt)
            self.told.append(self.committer.failing)
            if len(self.pauses) > tries_max:
                raise MotetError("it goes round and round")

        self.committer = Committer(self.identity, self.sink, connector.control(), pause)

    def take(self, cuts=None, seen=None) -> Owner:
        self.sink.open()
        self.committer.claim(cuts or cuts_at(0), seen or dict.fromkeys(LANES))
        return self


def cuts_at(number: int, lanes=LANES) -> dict[int, LaneCut]:
    return {
        lane: LaneCut(
            number, {"mic": 10 * number, "cam": 7 * number}, {"mic": 9 * number, "cam": 0}, 5, 6
        )
        for lane in lanes
    }


def outs(*names: str) -> list[OutRecord]:
    return [OutRecord("results", 1, b"s", name.encode(), []) for name in names]


@pytest.fixture
def broker():
    broker = MemoryBroker(clock=lambda: 1_000_000)
    for topic in (*TOPICS.values(), "results"):
        broker.create_topic(topic, 4)
    return broker


@pytest.fixture
def script(broker):
    broker.hook = Script()
    return broker.hook


def results(broker) -> list[bytes]:
    source = MemoryConnector(broker).source()
    source.assign({TopicPartition("results", 1): 0})
    broker.hook = None
    return [r.value for fetch in source.poll(0) for r in fetch.records]


def committed(broker, lane: int = 1) -> set[tuple[str, int]]:
    """(owner, cut number) of a lane's partitions; the broker is asked without its hook."""
    partitions = [TopicPartition(topic, lane) for topic in TOPICS.values()]
    found = [(tp, broker.committed("lobby", tp)) for tp in partitions]
    return {(m.owner, m.cut) for tp, e in found if e for m in [metadata.load(tp, e)]}


def test_a_claim_writes_every_partition_and_a_commit_its_lanes(broker):
    owner = Owner(broker, "run-1").take()
    assert committed(broker, 1) == committed(broker, 3) == {("run-1", 0)}
    owner.committer.commit(cuts_at(4, [3]), outs("a", "b"))
    assert committed(broker, 1) == {("run-1", 0)}
    entry = broker.committed("lobby", TopicPartition("in.mic", 3))
    assert entry is not None
    assert entry.offset == 40
    assert metadata.load(TopicPartition("in.mic", 3), entry) == metadata.CutMetadata(
        4, "run-1", 36, 5, 6, 2, "rules", "id in.mic"
    )
    assert broker.committed("lobby", TopicPartition("in.cam", 3)).offset == 28
    assert results(broker) == [b"a", b"b"]


@pytest.mark.parametrize("then", [None, *RESOLVING])
@pytest.mark.parametrize("point", points(TRANSACTION))
def test_an_error_at_any_step_commits_once(broker, script, point, then):
    owner = Owner(broker, "run-1").take()
    script.at(point, away)
    if then is not None:
        script.at(then, away)
    owner.committer.commit(cuts_at(1), outs("a"))
    assert not script.planned
    assert committed(broker, 1) == committed(broker, 3) == {("run-1", 1)}
    assert owner.committer.retries_total == 1
    assert set(owner.told) == {"the broker is away"}
    assert owner.committer.failing is None
    owner.committer.commit(cuts_at(2), outs("b"))  # and the producer is of use again
    assert committed(broker) == {("run-1", 2)}
    assert results(broker) == [b"a", b"b"]


@pytest.mark.parametrize("point", points(TRANSACTION))
def test_errors_in_a_row_are_resolved_one_after_another(broker, script, point):
    owner = Owner(broker, "run-1").take()
    script.at(point, away, away, away)
    script.at("open", away)
    script.at("committed-reply", away, away)
    owner.committer.commit(cuts_at(1), outs("a", "b"))
    owner.committer.commit(cuts_at(2), outs("c"))
    owner.committer.commit(cuts_at(3), outs("d"))
    owner.committer.commit(cuts_at(4), outs("e"))
    assert not script.planned
    assert committed(broker) == {("run-1", 4)}
    assert results(broker) == [b"a", b"b", b"c", b"d", b"e"]


@pytest.mark.parametrize("seen", [None, "run-0"])
@pytest.mark.parametrize("point", points(CLAIM))
def test_an_error_at_any_step_of_a_claim_claims_once(broker, script, point, seen):
    cuts = cuts_at(0)
    if seen is not None:
        old = Owner(broker, seen).take()
        old.committer.commit(cuts_at(5), [])
        cuts = cuts_at(5)
    script.at(point, away)
    owner = Owner(broker, "run-1").take(cuts, dict.fromkeys(LANES, seen))
    assert not script.planned
    assert committed(broker, 1) == committed(broker, 3) == {("run-1", cuts[1].number)}
    owner.committer.commit(cuts_at(6), outs("a"))
    assert committed(broker) == {("run-1", 6)}


def test_a_run_may_claim_again_what_it_has(broker, script):
    """An owner that stands in for one that died, of the same run."""
    Owner(broker, "run-1").take().committer.commit(cuts_at(2), [])
    script.at("commit-reply", away)
    again = Owner(broker, "run-1").take(cuts_at(2), dict.fromkeys(LANES, "run-1"))
    again.committer.commit(cuts_at(3), outs("a"))
    assert committed(broker) == {("run-1", 3)}
    assert results(broker) == [b"a"]


@pytest.mark.parametrize("claims", [True, False])
@pytest.mark.parametrize("point", points(TRANSACTION))
def test_one_that_was_taken_over_stops_and_never_fences_back(broker, script, point, claims):
    first = Owner(broker, "run-1").take()
    second = Owner(broker, "run-2")
    stood: list[int] = []

    def takeover() -> None:
        second.sink.open()
        [(_, number)] = committed(broker)
        stood.append(number)
        if claims:
            second.committer.claim(cuts_at(number), dict.fromkeys(LANES, "run-1"))
        away()

    script.at(point, takeover)
    script.passed.clear()
    with pytest.raises(Fenced) as caught:
        first.committer.commit(cuts_at(1), outs("of the first"))
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    if claims:  # the log says so: nobody is asked to open the id again
        assert "is owned by run run-2" in str(caught.value)
        assert "open" not in script.passed
    [number] = stood
    assert number == (1 if point == "commit-reply" else 0)
    if not claims:
        second.committer.claim(cuts_at(number), dict.fromkeys(LANES, "run-1"))
    # The second's producer was not fenced back: it commits without one retry.
    second.committer.commit(cuts_at(2), outs("of the second"))
    assert second.committer.retries_total == 0
    assert committed(broker, 1) == committed(broker, 3) == {("run-2", 2)}
    gone = [] if number == 0 else [b"of the first"]
    assert results(broker) == [*gone, b"of the second"]


def test_a_takeover_without_any_error_of_the_first_is_told_by_the_broker(broker):
    first = Owner(broker, "run-1").take()
    second = Owner(broker, "run-2").take(cuts_at(0), dict.fromkeys(LANES, "run-1"))
    with pytest.raises(Fenced):
        first.committer.commit(cuts_at(1), outs("x"))
    second.committer.commit(cuts_at(1), outs("y"))
    assert results(broker) == [b"y"]


def test_an_owner_of_one_lane_only_is_no_doubt_that_is_guessed_away(broker, script):
    owner = Owner(broker, "run-1").take()
    other = owner.identity.offsets(3, cuts_at(1)[3])
    script.at("begin", lambda: (broker.set_committed("lobby", other), away()))
    with pytest.raises(Fenced, match="two owners"):
        owner.committer.commit(cuts_at(1), [])


def test_what_the_broker_refuses_is_not_tried_again(broker):
    owner = Owner(broker, "run-1").take()
    with pytest.raises(Refused, match="nowhere"):
        owner.committer.commit(cuts_at(1), [OutRecord("nowhere", 0, None, b"", [])])
    owner.sink.close()
    assert committed(broker) == {("run-1", 0)}
    assert owner.pauses == []


def test_a_host_that_gives_up_ends_the_tries(broker, script):
    owner = Owner(broker, "run-1", tries_max=3).take()
    script.at("begin", *[away] * 10)
    script.at("open", *[away] * 10)
    with pytest.raises(MotetError, match="round and round"):
        owner.committer.commit(cuts_at(1), outs("x"))
    assert results(broker) == []


def test_an_idle_owner_asks_who_owns_the_slot(broker, script):
    first = Owner(broker, "run-1").take()
    first.committer.check_owner()
    script.at("committed", away)
    with pytest.raises(Transient):
        first.committer.check_owner()
    Owner(broker, "run-2").take(cuts_at(0), dict.fromkeys(LANES, "run-1"))
    with pytest.raises(Fenced, match="lane 1 is owned by run run-2 at cut 0 now"):
        first.committer.check_owner()


def test_an_owner_whose_offsets_are_gone_stops(broker):
    first = Owner(broker, "run-1").take()
    gone = {TopicPartition(topic, 1): None for topic in TOPICS.values()}
    broker.set_committed("lobby", gone)
    with pytest.raises(Fenced, match="lane 1 is owned by nobody now"):
        first.committer.check_owner()


def test_without_records_a_transaction_holds_offsets_alone(broker, script):
    owner = Owner(broker, "run-1").take()
    script.passed.clear()
    owner.committer.commit(cuts_at(1), [])
    assert script.passed == points(("begin", "send_offsets", "commit"))
