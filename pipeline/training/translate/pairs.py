"""Sentence pairs: from CSV, JSON lines or a topic, and parted so that none is seen before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.encoders.models.translation.pieces import tidy
from pipeline.errors import InvalidInput, Problem
from pipeline.training.rows import checked, file_rows, topic_rows

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector

KEY = "--pairs"
REMEDY = "write source,target as CSV or JSON lines"
PAIRS_MIN = 50
HELD_OUT = 0.1  # of the pairs, each for validation and for the figures
CHARACTERS_MAX = 2_000  # of one sentence


class Pair(NamedTuple):
    """Tidy texts; the source without the difference of capitals, as the encoder reads it."""

    source: str
    target: str


@dataclass(frozen=True, eq=False)
class Parts:
    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]


def read_pairs(path: Path) -> list[Pair]:
    """The rows of a file. Raises InvalidInput."""
    return checked(file_rows(path, KEY, REMEDY), str(path), _pair, KEY, REMEDY)


def topic_pairs(connector: Connector, topic: str) -> list[Pair]:
    """The rows of a topic of JSON, up to its end as of now. Raises InvalidInput."""
    return checked(topic_rows(connector, topic, KEY, REMEDY), topic, _pair, KEY, REMEDY)


def _pair(row: Any) -> Pair | str:
    """A row as a pair, or what is wrong with it."""
    if not isinstance(row, dict):
        return "it is no JSON object"
    for name in Pair._fields:
        if not isinstance(row.get(name), str) or not row[name].strip():
            return f"it has no {name}"
        if len(row[name]) > CHARACTERS_MAX:
            return f"its {name} has {len(row[name])} characters, and {CHARACTERS_MAX} are the most"
    return Pair(tidy(row["source"], fold=True), tidy(row["target"], fold=False))


def digest(pairs: Sequence[Pair]) -> str:
    """SHA-256 (hex) of pairs in their order."""
    whole = hashlib.sha256()
    for pair in pairs:
        whole.update("\0".join((*pair, "")).encode("utf-8", "surrogatepass"))
    return whole.hexdigest()


def part(pairs: Sequence[Pair], seed: int) -> Parts:
    """About a tenth each for validation and for the figures; equal pairs count once.

    What shares a source or a target, also by way of others, stays in one part: no sentence that is
    measured on was seen from either side. Groups are drawn by the seed; one that is larger than
    what a part still lacks is trained on. Raises InvalidInput where that leaves a part empty.
    """
    pairs = sorted(set(pairs))
    groups = _groups(pairs)
    held: list[list[Pair]] = [[], []]
    rest: list[Pair] = []
    wanted = int(HELD_OUT * len(pairs))
    for number in np.random.default_rng(seed).permutation(len(groups)):
        group = groups[number]
        for each in held:
            if len(each) + len(group) <= wanted:
                each += group
                break
        else:
            rest += group
    if len(pairs) < PAIRS_MIN or not all(held):
        why = f"it has {len(pairs)} different pairs in {len(groups)} groups without a common text"
        remedy = f"give {PAIRS_MIN} pairs or more, most of which share no source and no target"
        raise InvalidInput(Problem(KEY, "", why, remedy))
    return Parts(sorted(rest), *map(sorted, held))


def _groups(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """The connected parts of the graph between sources and targets."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    sources, source = np.unique([pair.source for pair in pairs], return_inverse=True)
    targets, target = np.unique([pair.target for pair in pairs], return_inverse=True)
    size = len(sources) + len(targets)
    edges = (np.ones(len(pairs)), (source, len(sources) + target))
    count, of_node = connected_components(coo_array(edges, shape=(size, size)), directed=False)
    groups: list[list[Pair]] = [[] for _ in range(count)]
    for pair, node in zip(pairs, source, strict=True):
        groups[of_node[node]].append(pair)
    return groups
