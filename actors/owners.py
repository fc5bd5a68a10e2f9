"""The owners of a run: started, watched, started anew, and others beside or in place of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError

from actors.answers import cause_of
from actors.balancing import Balancing
from actors.moving import Moves
from actors.owner import Hung, OwnerPair
from actors.restarting import Count, Loss, Restarting, side_by_side
from actors.view import ClusterView
from pipeline.errors import Unreachable
from pipeline.slot.ports import TopicPartition
from pipeline.tasks.host import RunControl
from pipeline.tasks.totals import Totals

START_S_MAX = 300.0  # of an owner that comes while the run goes on: it may wait for a node

Make = Callable[[list[int], str], OwnerPair]


class Owners:
    """All owners of one run, those that come and go while it runs among them.

    Invariants: each slot is in ``slots`` of one owner; an owner that ended is killed as a whole
    before its slots are fenced anew, and Kafka fences those that only seem dead. One that is to go
    gives its slots away, and ends when it has none.
    """

    def __init__(
        self,
        make: Make,
        usable: Callable[[], Mapping[str, Mapping[str, Any]]],
        view: ClusterView,
        steering: RunControl,
        count: Count,
    ) -> None:
        """``make``: of slots, by a name; ``usable``: by stage, the replicas that take batches."""
        self._make = make
        self._usable = usable
        self._view = view
        self._steering = steering
        self._serial = 0
        self._rising: dict[OwnerPair, float] = {}  # that start beside the others: since when
        self.ends: Mapping[TopicPartition, int] | None = None
        self.pairs: list[OwnerPair] = []
        self._restarting = Restarting(
            self.pairs, self._introduce, lambda pair: self.moves.ended(pair), count
        )
        self.moves = Moves(view, steering.say, self._restarting.cannot)
        self._balancing = Balancing(self.moves, view, steering.say)

    # -- start ------------------------------------------------------------------------------

    def spread(self, slots: list[int], count: int) -> None:
        """Starts the processes of the first owners."""
        for place in range(count):
            owned = slots[place::count]
            if owned:
                self.pairs.append(self._make(owned, self._name()))
        for pair in self.pairs:
            pair.spawn()

    def fence(self) -> None:
        """From older owners, every slot. The first has slot 0: ``stale_ids`` says why it is so."""
        self._first_alone(OwnerPair.fence)

    def claim(self, encoders: Mapping[str, Mapping[str, Any]]) -> None:
        """Every slot; all ids of the pipeline must have been fenced before."""

        def claimed(pair: OwnerPair) -> None:
            pair.recover()
            pair.introduce(self.ends, encoders)

        self._first_alone(claimed)

    def begin(self) -> None:
        side_by_side(OwnerPair.begin, self.pairs)

    # -- watched ----------------------------------------------------------------------------

    @property
    def references(self) -> list[Any]:
        """What becomes ready where one has ended, or a move goes on."""
        refs = [ref for pair in self.pairs for ref in pair.watches]
        refs += [pair.drained for pair in self.pairs if pair.drained]
        return [*refs, *self.moves.references]

    def looked_at(self, ref: Any) -> None:
        """One of them is ready: what has ended is started anew."""
        if self.moves.looked_at(ref):
            return
        for pair in list(self.pairs):
            if ref == pair.drained:
                pair.drained = None
            elif ref in pair.watches:
                self._restarting.ended(pair, ref)
                return

    def status(self) -> bool:
        """Whether all are drained and all is committed; refreshes what they tell."""
        done = True
        for pair in self.pairs:
            pair.ask()  # all at once: in turn, some hundred owners take longer than a round
        for pair in self.pairs:
            pair.warnings.clear()
            try:
                drained = pair.status()
                if pair.leaving and drained and not self._steering.stop.is_set():
                    self._restarting.elsewhere(pair)
                    drained = False
                done &= drained
            except GetTimeoutError:
                self._restarting.restart({pair: Loss("owner", "unanswered", "did not answer")})
                done = False
            except Hung as error:
                self._restarting.restart({pair: Loss("owner", "hung", str(error))})
                done = False
            except RayActorError:
                done = False  # its watch tells, and then it is restarted
        return done

    def drain(self, patience_s: float) -> None:
        """The run is told to stop; ``patience_s``: for encoders."""
        self.moves.close()
        for pair in self._rising:
            pair.kill()
        self._rising.clear()
        for pair in self.pairs:
            pair.drain(patience_s)

    @property
    def totals(self) -> Totals:
        totals = self._view.gone.totals
        for pair in self.pairs:
            totals.add(pair.totals)
        return totals

    # -- come and go ------------------------------------------------------------------------

    def resize(self, count: int) -> None:
        """So many are to be there: others start, or some give their slots away and end."""
        staying = [pair for pair in self.pairs if not pair.retiring]
        for _ in range(count - len(staying) - len(self._rising)):
            self._rise()
        staying.sort(key=lambda pair: len(pair.slots), reverse=True)
        for pair in staying[max(1, count) :]:
            pair.retiring = True

    def replace(self, pair: OwnerPair) -> bool:
        """One whose node will go: another starts elsewhere and takes its slots; False where that
        is under way already."""
        if pair.retiring or pair.leaving:
            return False
        if self.ends is not None:  # with an end slots do not move: it is drained, and starts anew
            pair.leaving = True
            pair.drain()
            return True
        self._rise()
        pair.retiring = True
        return True

    def look(self, now_s: float) -> None:
        """After each look: those that have come take part, those that are empty end, slots move."""
        if self._steering.stop.is_set() or self.ends is not None:
            return
        for pair in list(self._rising):
            self._look_rising(pair, now_s)
        if not any(not pair.retiring for pair in self.pairs) and not self._rising:
            for pair in self.pairs:
                pair.retiring = False  # what should have come has not: there is nowhere to go
        if self.moves.idle:
            for pair in [each for each in self.pairs if each.retiring and not each.slots]:
                self._end(pair)
        if not self._rising:
            self._balancing.look(now_s, self.pairs)
        self.moves.begin(self.pairs)

    def anew(self) -> None:
        """What those know that are about to come is out of date: they start again."""
        for pair in list(self._rising):
            pair.kill()
            del self._rising[pair]
            self._rise()

    # -- how --------------------------------------------------------------------------------

    def _name(self) -> str:
        self._serial += 1
        return f"owner-{self._serial - 1}"

    def _rise(self) -> None:
        pair = self._make([], self._name())
        pair.spawn(again=True)
        pair.ask_up()
        self._rising[pair] = time.monotonic()

    def _look_rising(self, pair: OwnerPair, now_s: float) -> None:
        if not pair.is_up():
            if now_s - self._rising[pair] < START_S_MAX:
                return
            cause = f"did not start within {START_S_MAX:g} s"
        else:
            try:
                self._introduce(pair)
            except (RayActorError, Unreachable) as error:
                cause = cause_of(error)
            else:
                del self._rising[pair]
                pair.since_s = now_s
                self.pairs.append(pair)
                self._steering.say(f"motet: {pair.name} has come")
                return
        self._steering.say(f"motet: warning: {pair.name} {cause}; the others go on")
        pair.kill()
        del self._rising[pair]

    def _end(self, pair: OwnerPair) -> None:
        """It has no slot any more."""
        stopping = pair.stop()
        if stopping:
            ray.wait(stopping, timeout=1.0)
        pair.kill()
        self._view.gone.absorb(pair.counted)
        self.pairs.remove(pair)
        self._steering.say(f"motet: {pair.name} has gone: it had no slot any more")

    def _introduce(self, pair: OwnerPair) -> None:
        pair.fence()
        pair.recover()
        pair.introduce(self.ends, self._usable())
        pair.begin()

    def _first_alone(self, work: Callable[[OwnerPair], None]) -> None:
        first, *others = self.pairs
        work(first)
        side_by_side(work, others)
