"""Where a stopped pipeline goes on when it is told to: the new cut of a lane (``motet reset``).

Recovery refuses what it doubts (``pipeline.slot.recovery``). Here the same doubts are named, and
answered by a cut that leaves nothing of what may still be emitted out, and emits nothing again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.errors import PositionLost
from pipeline.lane.record import LaneCut
from pipeline.lane.spec import LaneSpec
from pipeline.slot import metadata
from pipeline.slot.metadata import CutMetadata
from pipeline.slot.ports import Committed, TopicPartition


@dataclass(frozen=True, slots=True)
class Place:
    """One input of a lane: what was committed for it, and what its log holds now.

    ``found`` is None where nothing was committed, or nothing that motet can read.
    """

    partition: TopicPartition
    topic_id: str
    entry: Committed | None
    found: CutMetadata | None
    begin: int
    end: int

    @property
    def same_topic(self) -> bool:
        return self.found is None or self.found.topic_id == self.topic_id

    def held(self, offset: int) -> int:
        """The offset nearest to it that the log holds, or will hold next."""
        return min(max(offset, self.begin), self.end)


def place(
    partition: TopicPartition, topic_id: str, entry: Committed | None, begin: int, end: int
) -> Place:
    found = None
    if entry is not None:
        try:
            found = metadata.load(partition, entry)
        except PositionLost:
            found = None  # `doubts` names it
    return Place(partition, topic_id, entry, found, begin, end)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one lane stands; ``places`` by input.

    ``emitted_us``: the largest end of a window of it that the results topic holds, where no
    committed cut tells (None: not asked, or there is none); ``emitted_at_us``: when the newest
    of them was written.
    """

    lane: int
    places: Mapping[str, Place]
    emitted_us: int | None = None
    emitted_at_us: int | None = None

    @property
    def _found(self) -> list[CutMetadata]:
        return [at.found for at in self.places.values() if at.found is not None]

    @property
    def known(self) -> bool:
        """Whether a cut of motet's is committed for any of its inputs."""
        return bool(self._found)

    @property
    def untouched(self) -> bool:
        """Whether nobody has ever run it, as far as can be seen."""
        return self.emitted_us is None and self.unclaimed

    @property
    def unclaimed(self) -> bool:
        """Whether nothing at all is committed for it."""
        return all(at.entry is None for at in self.places.values())

    @property
    def number(self) -> int:
        """Of the newest cut."""
        return max((found.cut for found in self._found), default=0)

    @property
    def slots(self) -> int:
        """The largest number of slots that it was committed under (0: none)."""
        return max((found.slots for found in self._found), default=0)

    @property
    def owner(self) -> str | None:
        newest = max(self._found, key=lambda found: found.cut, default=None)
        return None if newest is None else newest.owner

    @property
    def floor_us(self) -> int | None:
        return _largest(found.floor_us for found in self._found)

    @property
    def top_us(self) -> int | None:
        """The largest end of an emitted window."""
        return _largest([self.emitted_us, *(found.top_us for found in self._found)])

    @property
    def closed_us(self) -> int | None:
        """No window that ends at or before it may be emitted (again)."""
        return _largest([self.floor_us, self.top_us])


def doubts(standing: Standing, rules: str) -> list[str]:
    """Why a run would not go on with this lane, in words; empty where it would."""
    if standing.untouched:
        return []
    found = [_doubt(at, rules) for at in standing.places.values()]
    if standing.unclaimed:
        found = ["its offsets are gone, though the results topic holds its windows"]
    owners = {(at.found.cut, at.found.owner) for at in standing.places.values() if at.found}
    if len(owners) > 1:
        found.append("its inputs were committed at different cuts")
    return list(dict.fromkeys(text for text in found if text))


def _doubt(at: Place, rules: str) -> str:
    topic = at.partition.topic
    if at.entry is None:
        return f"no offset of {topic} is committed"
    if at.found is None:
        return f"the offset of {topic} was committed by another tool or version"
    if at.found.topic_id != at.topic_id:
        return f"{topic} was recreated"
    if at.found.start < at.begin:
        return f"retention passed what open windows need of {topic}"
    if at.entry.offset > at.end:
        return f"the log of {topic} ends before the committed position"
    if at.found.rules != rules:
        return "the file decides otherwise about records than the last run"
    return ""


def go_on(standing: Standing, fallback: Mapping[str, int]) -> LaneCut:
    """The cut from which the records of the windows that were open are read anew.

    No window that ends at or before the last one emitted comes again: the floor stands there
    from the start. ``fallback``: by input, where to read one of which nothing is committed.
    """
    positions = {}
    for name, at in standing.places.items():
        if at.entry is None:
            positions[name] = fallback[name]
        elif not at.same_topic:
            positions[name] = at.begin
        else:
            positions[name] = at.held(at.entry.offset if at.found is None else at.found.start)
    return LaneCut(
        standing.number + 1, positions, dict(positions), standing.closed_us, standing.top_us
    )


def go_to(standing: Standing, positions: Mapping[str, int]) -> LaneCut:
    """The cut that begins there as a pipeline that never ran: windows are emitted again."""
    return LaneCut(standing.number + 1, dict(positions), dict(positions))


class Read(NamedTuple):
    """Offsets that the last run has read: ``[start, stop)``, of records up to ``append_us``."""

    start: int
    stop: int
    append_us: int | None


def read_before(standing: Standing, cut: LaneCut) -> dict[str, Read]:
    """By input, what of the new cut's span was read before, as far as that is known.

    Such a record need not be read again where all its windows are closed. What may never have
    been read is: it is late then, and must not vanish without an entry.
    """
    found = {}
    for name, at in standing.places.items():
        start = cut.positions[name]
        if at.found is not None and at.entry is not None and at.same_topic:
            found[name] = Read(start, at.held(at.entry.offset), None)
        elif standing.unclaimed and standing.emitted_at_us is not None:
            found[name] = Read(start, at.end, standing.emitted_at_us)
    return found


def needed_from_us(standing: Standing, spec: LaneSpec) -> int | None:
    """A record that ends at or before it belongs to no window that is still to be emitted.

    None where none was emitted. Its clock says nothing above the floor, which stands later.
    """
    if standing.closed_us is None:
        return None
    first = (standing.closed_us - spec.size_us) // spec.hop_us + 1
    return first * spec.hop_us - spec.before_us


class Move(NamedTuple):
    """What a new cut means for one input of a lane; ``before`` is None where none was committed.

    ``again`` and ``skipped`` count offsets, transaction markers among them.
    """

    lane: int
    input: str
    before: int | None
    after: int
    again: int
    skipped: int


def moves(standing: Standing, cut: LaneCut) -> list[Move]:
    found = []
    for name, at in standing.places.items():
        before = None if at.entry is None else at.entry.offset
        after = cut.positions[name]
        again = skipped = 0
        if before is not None and at.same_topic:
            again = max(0, min(before, at.end) - after)
            skipped = max(0, after - before)
        found.append(Move(standing.lane, name, before, after, again, skipped))
    return found


def _largest(times: Iterable[int | None]) -> int | None:
    return max((time_us for time_us in times if time_us is not None), default=None)
