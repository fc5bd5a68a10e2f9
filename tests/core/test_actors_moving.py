"""A slot on its way between two owners: whose it is at each step, and who is started anew."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError, RayTaskError

from actors import moving
from actors.moving import Moves
from actors.watch import Ending
from pipeline.errors import PositionLost, TakenOver
from pipeline.lane import LaneCut
from pipeline.tasks.figures import Figures
from pipeline.tasks.fusion_runner import FusionState
from pipeline.tasks.owner_figures import OwnerFigures
from pipeline.tasks.totals import Totals

CUT = LaneCut(7, {"mic": 5}, {"mic": 3})
STATE = FusionState(3, True, Totals({"mic": 5}, {}, windows=4), {0: 7}, Figures())


class Call:
    """A method of an actor: what it was asked, and the reference that it gave."""

    def __init__(self, name: str, asked: list) -> None:
        self._name, self._asked = name, asked

    def remote(self, *arguments: Any) -> tuple[str, int]:
        self._asked.append((self._name, *arguments))
        return self._name, len(self._asked)


class Half:
    def __init__(self, name: str, asked: list) -> None:
        for method in ("prepare", "take", "leave", "forget"):
            setattr(self, method, Call(f"{name}.{method}", asked))


class World:
    """Two owners, of which nothing is real but their slots and what they have counted."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []
        self.told: list[str] = []
        self.outcomes: list[str] = []
        self.anew: list[str] = []
        self.answers: list[Any] = []
        view = SimpleNamespace(slot_moved=lambda outcome, _pause: self.outcomes.append(outcome))
        self.moves = Moves(view, self.told.append, self._failed)  # type: ignore[arg-type]
        self.giver, self.taker = self._owner("old", [0, 1]), self._owner("new", [2])

    def _owner(self, name: str, slots: list[int]) -> Any:
        return SimpleNamespace(
            name=name, slots=slots, watches={"w": "fusion"}, counted=OwnerFigures(),
            fusion=Half(f"{name}.fusion", self.asked), ingest=Half(f"{name}.ingest", self.asked),
        )  # fmt: skip

    def _failed(self, owner: Any, _error: Exception) -> None:
        self.anew.append(owner.name)
        self.moves.ended(owner)

    def begin(self) -> None:
        self.moves.ask(1, self.taker)
        self.moves.begin([self.giver, self.taker])

    def answer(self, *answers: Any) -> None:
        for answer in answers:
            [ref] = self.moves.references
            self.answers.append(answer)
            assert self.moves.looked_at(ref)

    def get(self, _ref: object) -> Any:
        answer = self.answers.pop()
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def world(monkeypatch) -> World:
    made = World()
    monkeypatch.setattr(moving, "ray", SimpleNamespace(get=made.get))
    monkeypatch.setattr(moving, "on_move", lambda method: method)
    made.begin()
    return made


GIVEN = (None, {0: 7}, (STATE, {0: CUT}))  # prepared, ingest has left, fusion has committed


def test_a_slot_is_the_giver_s_until_its_last_cut_is_committed_and_the_taker_s_then(world):
    world.answer(None, {0: 7})
    assert (world.giver.slots, world.taker.slots) == ([0, 1], [2])
    world.answer((STATE, {0: CUT}))
    assert (world.giver.slots, world.taker.slots) == ([0], [2, 1])
    assert world.giver.counted.totals.windows == 4, "what it counted is known before it may end"
    world.answer((9, {0: CUT}))
    assert world.taker.counted.seen == {0: 7}
    assert not world.moves.idle
    world.answer(None)
    assert world.moves.idle
    assert world.outcomes == ["moved"]
    assert world.asked == [
        ("new.fusion.prepare", 1),
        ("old.ingest.leave", 1),
        ("old.fusion.leave", 1, {0: 7}),
        ("new.fusion.take", 1, {0: CUT}),
        ("new.ingest.take", 1, {0: CUT}, 9),
    ]
    assert "slot 1: old -> new in" in world.told[0]


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_giver_that_ends_before_it_has_given_keeps_the_slot(world, steps):
    world.answer(*GIVEN[:steps])
    world.answer(RayActorError())
    assert world.outcomes == [], "its watch tells first"
    world.moves.ended(world.giver)
    assert world.outcomes == ["cancelled"]
    assert world.moves.idle
    assert (world.giver.slots, world.taker.slots) == ([0, 1], [2])
    assert world.asked[-1] == ("new.fusion.forget", 1)


@pytest.mark.parametrize("steps", [3, 4])
def test_a_giver_that_ends_afterwards_is_no_matter(world, steps):
    world.answer(*(*GIVEN, (9, {0: CUT}))[:steps])
    world.moves.ended(world.giver)
    world.answer(*((9, {0: CUT}), None)[steps - 3 :])
    assert world.outcomes == ["moved"]
    assert world.giver.slots == [0]


@pytest.mark.parametrize("steps", [3, 4])
def test_a_taker_that_ends_amid_it_is_started_anew_with_the_slot(world, steps):
    world.answer(*(*GIVEN, (9, {0: CUT}))[:steps])
    world.answer(RayActorError())
    world.moves.ended(world.taker)
    assert world.outcomes == ["recovered"]
    assert (world.giver.slots, world.taker.slots) == ([0], [2, 1])


def test_a_taker_that_ends_while_the_giver_finishes_is_given_the_slot_all_the_same(world):
    world.answer(None)
    world.moves.ended(world.taker)  # and is another process from here on
    world.answer({0: 7}, (STATE, {0: CUT}), (9, {0: CUT}), None)
    assert world.outcomes == ["moved"]
    assert world.asked[-2] == ("new.fusion.take", 1, {0: CUT})


def test_a_taker_that_ends_before_anything_happened_is_not_waited_for(world):
    world.moves.ended(world.taker)
    assert world.outcomes == ["cancelled"]
    assert world.giver.slots == [0, 1]


def test_one_that_cannot_prepare_is_given_nothing(world):
    world.answer(Ending("failed", "no broker"))
    assert world.outcomes == ["cancelled"]
    assert world.anew == []
    assert "stays where it is (no broker)" in world.told[0]


def test_one_that_finds_another_cut_is_started_anew_and_recovers_what_kafka_has(world):
    world.answer(*GIVEN, Ending("failed", "has handed over cut 7"))
    assert world.anew == ["new"]
    assert world.outcomes == ["recovered"]
    assert world.taker.slots == [2, 1]


@pytest.mark.parametrize(("kind", "error"), [("taken", TakenOver), ("refused", PositionLost)])
def test_another_run_or_a_lost_position_is_the_end_as_ever(world, kind, error):
    world.answer(*GIVEN)
    with pytest.raises(error):
        world.answer(Ending(kind, "why"))


def test_a_method_that_fails_in_a_living_actor_has_its_owner_started_anew(world):
    world.answer(None)
    world.answer(RayTaskError("leave", "a traceback", ValueError("odd")))
    assert world.anew == ["old"]
    assert world.outcomes == ["cancelled"]


def test_moves_of_slots_that_nobody_has_or_to_one_that_has_it_or_has_gone_are_none(world):
    world.answer(*GIVEN, (9, {0: CUT}), None)
    gone = world._owner("gone", [])
    for slot, to in ((77, world.taker), (2, world.taker), (0, gone)):
        world.moves.ask(slot, to)
    world.moves.begin([world.giver, world.taker])
    assert world.moves.idle


def test_a_run_that_stops_moves_nothing_more(world):
    world.moves.ask(0, world.taker)
    world.moves.close()
    assert world.moves.idle
    assert world.moves.references == []
    assert not world.moves.looked_at("anything")
    world.moves.ended(world.giver)
    assert world.outcomes == []
