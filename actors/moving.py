"""Slots on their way from one owner to another while both go on with their others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from actors.owner import OwnerPair, error_of
from actors.remote import moves as on_move
from actors.view import ClusterView
from actors.watch import Ending
from pipeline.clock import monotonic_us
from pipeline.errors import MotetError, PositionLost, TakenOver

PREPARES, READS_LEFT, COMMITS_LEFT, TAKES, READS = "prepare", "finish", "commit", "claim", "read"


class _Move:
    """One slot. ``slots`` of both owners say whose it is: the giver's until it has committed the
    last cut and said so, from then on the taker's, whatever becomes of either.
    """

    def __init__(self, slot: int, giver: OwnerPair, taker: OwnerPair) -> None:
        self.slot, self.giver, self.taker = slot, giver, taker
        self.step = PREPARES
        self.began_us = monotonic_us()
        self.still_us = self.began_us  # since when nothing of the slot is in flight
        self.cuts: dict[int, Any] = {}
        self.ref: Any = on_move(taker.fusion.prepare).remote(slot)

    def answered(self, answer: Any) -> bool:
        """Goes on with the next step; whether it was the last."""
        slot, giver, taker = self.slot, self.giver, self.taker
        if isinstance(answer, Ending):
            raise error_of(answer)
        if self.step == PREPARES:
            self.step, self.ref = READS_LEFT, on_move(giver.ingest.leave).remote(slot)
        elif self.step == READS_LEFT:
            self.still_us = monotonic_us()
            self.step, self.ref = COMMITS_LEFT, on_move(giver.fusion.leave).remote(slot, answer)
        elif self.step == COMMITS_LEFT:
            state, self.cuts = answer
            giver.counted.told(None, state)
            giver.slots.remove(slot)
            taker.slots.append(slot)
            self.step, self.ref = TAKES, on_move(taker.fusion.take).remote(slot, self.cuts)
        elif self.step == TAKES:
            epoch, cuts = answer
            taker.counted.took({lane: cut.number for lane, cut in cuts.items()})
            self.step, self.ref = READS, on_move(taker.ingest.take).remote(slot, cuts, epoch)
        else:
            return True
        return False

    @property
    def given(self) -> bool:
        return self.step in (TAKES, READS)


class Moves:
    """One move after the other, as they were asked for.

    Invariant: a slot is in ``slots`` of one owner. An owner that ends amid a move is started anew
    with the slots that it has then, from Kafka: then the move is over, or goes on with the new one.
    """

    def __init__(
        self,
        view: ClusterView,
        say: Callable[[str], None],
        failed: Callable[[OwnerPair, Exception], None],
    ) -> None:
        """``failed``: starts an owner anew that can neither give nor take a slot of its own."""
        self._view = view
        self._say = say
        self._failed = failed
        self._asked: deque[tuple[int, OwnerPair]] = deque()
        self._now: _Move | None = None

    @property
    def idle(self) -> bool:
        return self._now is None and not self._asked

    @property
    def references(self) -> list[Any]:
        """What is waited for."""
        return [] if self._now is None or self._now.ref is None else [self._now.ref]

    def ask(self, slot: int, taker: OwnerPair) -> None:
        self._asked.append((slot, taker))

    def begin(self, owners: list[OwnerPair]) -> None:
        """The next one, where none is under way; ``owners``: those that there are."""
        while self._now is None and self._asked:
            slot, taker = self._asked.popleft()
            giver = next((owner for owner in owners if slot in owner.slots), None)
            if giver is not None and giver is not taker and taker in owners:
                self._now = _Move(slot, giver, taker)

    def looked_at(self, ref: Any) -> bool:
        """Whether it is what was waited for: then the move goes on."""
        move = self._now
        if move is None or ref != move.ref:
            return False
        move.ref = None
        try:
            done = move.answered(ray.get(ref))
        except RayActorError:
            pass  # the watch of its owner tells
        except RayTaskError as error:
            if not isinstance(error.cause, CancelledError):  # else its loop has ended: its watch
                self._failed(move.taker if move.given else move.giver, error)
        except (TakenOver, PositionLost):
            raise
        except MotetError as error:
            if move.given:
                self._failed(move.taker, error)
            else:  # it was only prepared for
                self._over("cancelled", str(error))
        else:
            if done:
                self._over("moved")
        return True

    def ended(self, owner: OwnerPair) -> None:
        """It ended, and is about to be started anew with its slots."""
        move = self._now
        if move is None:
            return
        if owner is move.giver and not move.given:
            self._over("cancelled", "its owner ended")
        elif owner is move.taker and move.given:
            self._over("recovered", "its new owner ended, and is started anew")
        elif owner is move.taker and move.step == PREPARES:
            self._over("cancelled", "the owner that was to take it ended")

    def close(self) -> None:
        """The run is told to stop: what is under way may end as it likes."""
        self._asked.clear()
        self._now = None

    # -- how --------------------------------------------------------------------------------

    def _over(self, outcome: str, why: str = "") -> None:
        move, self._now = self._now, None
        assert move is not None
        giver, taker = move.giver.name, move.taker.name
        pause_s = None
        if outcome == "moved":
            pause_s = (monotonic_us() - move.still_us) / 1e6
            took_s = (monotonic_us() - move.began_us) / 1e6
            self._say(
                f"motet: slot {move.slot}: {giver} -> {taker} in {took_s:.2f} s; "
                f"nobody had it for {pause_s:.2f} s"
            )
        else:
            what = "is recovered" if outcome == "recovered" else "stays where it is"
            self._say(f"motet: slot {move.slot}: {giver} -> {taker}: it {what} ({why})")
            if outcome == "cancelled" and move.taker.watches:
                on_move(move.taker.fusion.forget).remote(move.slot)
        self._view.slot_moved(outcome, pause_s)
