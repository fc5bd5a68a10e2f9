"""Where a slot goes on: what is committed becomes the cuts that its lanes start from.

Every doubt is an error that names the way out, never a silent jump (contract section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pipeline.errors import PositionLost
from pipeline.lane.record import LaneCut
from pipeline.slot import metadata
from pipeline.slot.committer import SlotIdentity
from pipeline.slot.metadata import CutMetadata
from pipeline.slot.ports import Committed, Control, TopicPartition

REMEDY = "run `motet reset FILE` to choose where it goes on, or take a new name"


class Recovered(NamedTuple):
    """By lane, the cut that it goes on from, and the run that had it (None: nobody yet)."""

    cuts: dict[int, LaneCut]
    owners: dict[int, str | None]


def recover(
    identity: SlotIdentity,
    control: Control,
    start_positions: Callable[[list[TopicPartition]], Mapping[TopicPartition, int]],
    results_topic: str,
) -> Recovered:
    """Reads where the slot stands; the ids of all its owners must have been fenced before.

    ``start_positions`` answers for a lane that nobody has claimed yet. Lanes of a slot may differ
    in that, and in who had them: another number of slots cut them otherwise, and a run may have
    ended between two claims. Raises PositionLost.
    """
    committed = control.committed(identity.pipeline, identity.partitions())
    known = {tp: entry for tp, entry in committed.items() if entry is not None}
    claimed = {tp.partition for tp in known}
    missing = [tp for tp in identity.partitions(sorted(claimed)) if tp not in known]
    if missing:
        raise PositionLost(
            f"kafka offsets of {_name(missing[0])}: none are committed, though others of lane "
            f"{missing[0].partition} are; {REMEDY}"
        )
    loaded = {tp: metadata.load(tp, entry) for tp, entry in known.items()}
    for tp, found in loaded.items():
        _check_rules(identity, tp, found)
    _check_logs(control, known, loaded)
    new = [lane for lane in identity.lanes if lane not in claimed]
    for lane in new:
        _refuse_expired(identity, lane, control, results_topic)
    begin = start_positions(identity.partitions(new)) if new else {}
    cuts = {lane: _first(identity, lane, begin) for lane in new}
    cuts |= {lane: _cut(identity, lane, known, loaded) for lane in sorted(claimed)}
    owners = {lane: loaded[tp].owner for tp in loaded for lane in [tp.partition]}
    return Recovered(cuts, {lane: owners.get(lane) for lane in cuts})


def committed_slots(control: Control, pipeline: str, partitions: list[TopicPartition]) -> int:
    """The largest number of slots that a cut committed there was written under (0: none)."""
    committed = control.committed(pipeline, partitions)
    return max(
        (metadata.load(tp, entry).slots for tp, entry in committed.items() if entry is not None),
        default=0,
    )


def _first(identity: SlotIdentity, lane: int, begin: Mapping[TopicPartition, int]) -> LaneCut:
    positions = {
        name: begin[TopicPartition(topic, lane)] for name, topic in identity.topics.items()
    }
    return LaneCut(0, positions, dict(positions))


def _cut(
    identity: SlotIdentity,
    lane: int,
    known: Mapping[TopicPartition, Committed],
    loaded: Mapping[TopicPartition, CutMetadata],
) -> LaneCut:
    places = {name: TopicPartition(topic, lane) for name, topic in identity.topics.items()}
    shares = {(loaded[tp].cut, loaded[tp].owner, loaded[tp].floor_us) for tp in places.values()}
    if len(shares) != 1:
        raise PositionLost(
            f"kafka offsets of lane {lane}: its inputs were committed at different cuts "
            f"({sorted(cut for cut, _, _ in shares)}); {REMEDY}"
        )
    any_input = loaded[next(iter(places.values()))]
    return LaneCut(
        number=any_input.cut,
        positions={name: known[tp].offset for name, tp in places.items()},
        froms={name: loaded[tp].start for name, tp in places.items()},
        floor_us=any_input.floor_us,
        top_us=any_input.top_us,
    )


def _check_rules(identity: SlotIdentity, tp: TopicPartition, found: CutMetadata) -> None:
    if found.rules != identity.rules:
        raise PositionLost(
            f"pipeline file: it decides otherwise about records than the run that committed "
            f"{_name(tp)} (windows, inputs, types, contexts, limits on records, --from or --to: "
            f"{identity.rules} is not {found.rules}); {REMEDY}"
        )
    expected = identity.topic_ids[tp.topic]
    if found.topic_id != expected:
        raise PositionLost(
            f"topic {tp.topic}: it was recreated since the last run (id {expected} is not "
            f"{found.topic_id}); {REMEDY}"
        )


def _check_logs(
    control: Control,
    known: Mapping[TopicPartition, Committed],
    loaded: Mapping[TopicPartition, CutMetadata],
) -> None:
    beginnings = control.beginnings(list(known))
    ends = control.stable_ends(list(known))
    for tp, entry in known.items():
        # An empty rest needs no log: nothing is read again where from is the position.
        if loaded[tp].start < beginnings[tp]:
            raise PositionLost(
                f"topic {_name(tp)}: open windows need offset {loaded[tp].start}, and its log "
                f"begins at {beginnings[tp]} now (retention); {REMEDY}"
            )
        if entry.offset > ends[tp]:
            raise PositionLost(
                f"topic {_name(tp)}: committed position {entry.offset} is past its end {ends[tp]} "
                f"(truncated or recreated); {REMEDY}"
            )


def _refuse_expired(
    identity: SlotIdentity, lane: int, control: Control, results_topic: str
) -> None:
    source = f"motet/{identity.pipeline}".encode()
    last = control.last_record(TopicPartition(results_topic, lane))
    if last is not None and dict(last.headers).get("ce_source") == source:
        raise PositionLost(
            f"kafka offsets of group {identity.pipeline}: none are committed for lane {lane}, "
            f"though {results_topic} holds results of this pipeline (offsets expired?); {REMEDY}"
        )


def _name(tp: TopicPartition) -> str:
    return f"{tp.topic}[{tp.partition}]"
