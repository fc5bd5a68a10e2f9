"""Owners that have ended are started anew, all that have ended together side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import ray
from ray.exceptions import RayActorError

from actors.answers import cause_of
from actors.owner import OwnerPair, error_of
from pipeline.errors import Fenced, TakenOver, Unreachable

AT_ONCE_MAX = 32  # owners that are started side by side

_T = TypeVar("_T")
Count = Callable[[str, str, str, str], None]  # role, word, what ended, cause


class Loss(NamedTuple):
    """Why an owner is started anew: ``word`` as the metric has it, ``cause`` as a person is told.

    ``role``: what of it ended, ``owner`` where both halves are to end.
    """

    role: str
    word: str
    cause: str


class Restarting:
    """Takes owners that have ended until they run again.

    Invariants: an owner is killed as a whole before it begins anew, and then fences its slots
    before it takes them; one that dies while it starts is started again.
    """

    def __init__(
        self,
        pairs: Sequence[OwnerPair],
        introduce: Callable[[OwnerPair], None],
        before: Callable[[OwnerPair], None],
        count: Count,
    ) -> None:
        """``pairs``: all owners, as they come and go. ``introduce``: one whose processes start
        takes its slots and runs; ``before``: is told of one that will be started anew."""
        self._pairs = pairs
        self._introduce = introduce
        self._before = before
        self._count = count

    def ended(self, pair: OwnerPair, ref: Any) -> None:
        """A half of it has, says its watch. Raises where the whole run is to end with it."""
        self.restart({pair: self._loss(pair, ref)})

    def cannot(self, pair: OwnerPair, error: Exception) -> None:
        """It can neither give nor take a slot of its own."""
        if isinstance(error, Fenced):
            pair.demand_ours()
        self.restart({pair: Loss("owner", "move", cause_of(error))})

    def elsewhere(self, pair: OwnerPair) -> None:
        """One that is drained, since its node will go."""
        pair.kill()
        pair.spawn(again=True)
        loss = self._introduced(pair)
        if loss is not None:
            self.restart({pair: loss})

    def restart(self, losses: dict[OwnerPair, Loss]) -> None:
        """These, and all that are found to have ended by the time that these are spawned."""
        starting: list[OwnerPair] = []
        while losses:
            for pair, loss in losses.items():
                pair.last_words(loss.role)
                self._before(pair)
                self._spawn(pair, loss)
            starting += losses
            losses = self._ended_now()
        while starting:
            lost = side_by_side(self._introduced, starting)
            again = {pair: loss for pair, loss in zip(starting, lost, strict=True) if loss}
            for pair, loss in again.items():
                self._spawn(pair, loss)
            starting = list(again)

    def _loss(self, pair: OwnerPair, ref: Any) -> Loss:
        role = pair.watches[ref]
        try:
            ending = ray.get(ref)
        except RayActorError as error:
            return Loss(role, "died", cause_of(error))
        ended = error_of(ending)
        if not isinstance(ended, Fenced) or isinstance(ended, TakenOver):
            raise ended
        pair.demand_ours()
        return Loss(role, "fenced", "fenced, though no other run has its slots")

    def _ended_now(self) -> dict[OwnerPair, Loss]:
        """A node that is lost takes several with it."""
        watched = {ref: pair for pair in self._pairs for ref in pair.watches}
        if not watched:
            return {}
        ready, _ = ray.wait(list(watched), num_returns=len(watched), timeout=0)
        return {watched[ref]: self._loss(watched[ref], ref) for ref in ready}

    def _spawn(self, pair: OwnerPair, loss: Loss) -> None:
        pair.kill()
        self._count(loss.role, loss.word, f"slots {pair.slots}", loss.cause)
        pair.spawn(again=True)

    def _introduced(self, pair: OwnerPair) -> Loss | None:
        """None: it runs."""
        try:
            self._introduce(pair)
        except RayActorError as error:
            return Loss("owner", "died", cause_of(error))
        except Unreachable as error:  # its source: the broker has gone since it was fenced
            return Loss("owner", "unreachable", cause_of(error))
        return None


def side_by_side(work: Callable[[OwnerPair], _T], pairs: Iterable[OwnerPair]) -> list[_T]:
    """What came of each, in order: most of the work is waiting for actors and brokers."""
    found = list(pairs)
    with ThreadPoolExecutor(max(1, min(len(found), AT_ONCE_MAX)), "owners") as pool:
        return list(pool.map(work, found))
