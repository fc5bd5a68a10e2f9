"""Owners that ended are started anew: together, and again where one dies while it starts."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from ray.exceptions import RayActorError

from actors.restarting import Loss, Restarting, side_by_side
from pipeline.errors import Unreachable

DIED = Loss("ingest", "died", "its process ended")


class Owner:
    """What an ``OwnerPair`` is to the part that restarts it."""

    def __init__(self, name: str, told: list[tuple[str, str]]) -> None:
        self.slots = [name]
        self.watches: dict[Any, str] = {}
        self._told = told

    def last_words(self, role: str) -> None:
        self._told.append((f"last words of {role}", self.slots[0]))

    def kill(self) -> None:
        self._told.append(("kill", self.slots[0]))

    def spawn(self, again: bool) -> None:
        assert again
        self._told.append(("spawn", self.slots[0]))


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


def restarting(told: list[tuple[str, str]], introduce) -> Restarting:
    def count(role: str, word: str, what: str, cause: str) -> None:
        told.append((f"{role} {word}", what))

    return Restarting([], introduce, lambda pair: told.append(("before", pair.slots[0])), count)


@pytest.mark.timeout(30)
def test_owners_that_ended_together_take_their_slots_side_by_side(told):
    both = threading.Barrier(2, timeout=10)  # broken where one waits for the other to be done
    owners = [Owner("a", told), Owner("b", told)]
    restarting(told, lambda pair: both.wait()).restart(dict.fromkeys(owners, DIED))
    each = ["last words of ingest", "before", "kill", "ingest died", "spawn"]
    assert [what for what, _ in told] == each * 2
    assert [who for _, who in told if len(who) == 1] == ["a"] * 4 + ["b"] * 4


@pytest.mark.parametrize(
    ("error", "word"), [(RayActorError(), "died"), (Unreachable("no broker"), "unreachable")]
)
def test_one_that_ends_while_it_starts_is_started_again_alone(told, error, word):
    owners = [Owner("a", told), Owner("b", told)]
    left = {"a": 2, "b": 0}

    def introduce(pair: Owner) -> None:
        if left[pair.slots[0]]:
            left[pair.slots[0]] -= 1
            raise error

    restarting(told, introduce).restart(dict.fromkeys(owners, DIED))
    assert [who for what, who in told if what == "spawn"] == ["a", "b", "a", "a"]
    assert [what for what, who in told if "'a'" in who][1:] == [f"owner {word}"] * 2
    assert [who for what, who in told if what.startswith("last words")] == ["a", "b"]


def test_an_error_of_one_ends_the_run_once_the_others_have_started(told):
    begun: list[str] = []

    def introduce(pair: Owner) -> None:
        if pair.slots == ["a"]:
            raise ValueError("a defect")
        begun.append(pair.slots[0])

    with pytest.raises(ValueError, match="a defect"):
        side_by_side(introduce, [Owner(name, told) for name in "abc"])
    assert begun == ["b", "c"]
