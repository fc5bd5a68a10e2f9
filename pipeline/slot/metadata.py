"""The commit metadata string: what recovery needs beside the offset (design, the commit cut)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PositionLost
from pipeline.slot.ports import Committed, TopicPartition

FORMAT_VERSION = 1
METADATA_CHARS_MAX = 4096  # offset.metadata.max.bytes of the broker
_KINDS = {
    "cut": int,
    "owner": str,
    "from": int,
    "floor": int | None,
    "top": int | None,
    "slots": int,
    "hash": str,
    "topic": str,
}


@dataclass(frozen=True, slots=True)
class CutMetadata:
    """One partition's share of a committed cut; its size does not grow with streams or windows.

    ``owner`` is the run that committed; ``start`` the least offset to be read again (``from``
    on the wire); ``topic_id`` tells a recreated topic from the one that was read.
    """

    cut: int
    owner: str
    start: int
    floor_us: int | None
    top_us: int | None
    slots: int
    rules: str
    topic_id: str

    def dump(self) -> str:
        text = json.dumps(
            {
                "v": FORMAT_VERSION,
                "cut": self.cut,
                "owner": self.owner,
                "from": self.start,
                "floor": self.floor_us,
                "top": self.top_us,
                "slots": self.slots,
                "hash": self.rules,
                "topic": self.topic_id,
            },
            separators=(",", ":"),
        )
        if len(text) > METADATA_CHARS_MAX:
            raise ValueError(f"commit metadata has {len(text)} characters, over the broker's 4096")
        return text


def load(partition: TopicPartition, committed: Committed) -> CutMetadata:
    """Reads what was committed for a partition; anything that is not ours raises PositionLost."""
    where = f"{partition.topic}[{partition.partition}]"
    try:
        raw = json.loads(committed.metadata)
        version = raw["v"]
        if version == FORMAT_VERSION:
            return _of(raw)
    except (ValueError, KeyError, TypeError) as error:
        raise PositionLost(
            f"kafka offsets of {where} = {committed.offset}: they were committed without motet's "
            "metadata (an offset reset by another tool?); run `motet reset FILE` or take a new name"
        ) from error
    raise PositionLost(
        f"kafka offsets of {where}: commit format {version} is not {FORMAT_VERSION}; "
        "run the motet version that wrote it or `motet reset FILE`, or take a new name"
    )


def _of(raw: dict[str, Any]) -> CutMetadata:
    """Raises KeyError where something is not there, TypeError where it is of another kind."""
    for name, kinds in _KINDS.items():
        if not isinstance(raw[name], kinds) or isinstance(raw[name], bool):
            raise TypeError(f"{name} is {raw[name]!r}")
    return CutMetadata(
        cut=raw["cut"],
        owner=raw["owner"],
        start=raw["from"],
        floor_us=raw["floor"],
        top_us=raw["top"],
        slots=raw["slots"],
        rules=raw["hash"],
        topic_id=raw["topic"],
    )
