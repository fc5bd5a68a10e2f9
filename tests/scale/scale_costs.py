"""What the parts of motet cost on the machine that ``costs.json`` names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).with_name("costs.json")


class Costs(NamedTuple):
    """Processor time in microseconds, unless a name says otherwise. ``window`` counts a record too:
    in the job that is measured each record closes one window.

    Ingest half: ``poll`` for each poll, ``record`` for each record with its window from the socket
    to the dispatcher, ``lane_round`` for each lane in each round, ``batch`` for a batch out and
    back, ``result`` for each window that came back.
    Ray: ``call_out`` and ``call_in`` at caller and callee, ``call_node`` at Ray's own processes,
    ``byte`` for each byte of an argument, on all sides together, ``far_byte`` more in Ray's
    processes where it goes to another node, ``node_idle`` of theirs in each second; ``call_wall``:
    how long an idle call is under way, the time of processors included.
    Replica: ``batch_in`` for each call and ``window_in`` for each window in it, ``encode_fixed``
    and ``encode_window`` as t(B).
    Fusion half: ``fuse`` for each window, ``commit`` for each transaction, ``write`` for each
    record in it, ``partition`` for each partition's offset; ``commit_wall``: how long a
    transaction takes beside processor time.
    Kafka: ``broker_in`` and ``broker_out`` for each record, ``broker_commit`` for each transaction,
    of which ``coordinator`` is in the threads that have the group, with each partition's offset
    ``coordinator_partition``.
    Supervisor: ``owner`` for each owner and ``lane`` for each lane of one round of statuses with
    its snapshot, ``reference`` for each reference of one look at what has ended; ``status_wall``:
    how long one owner is waited for; ``driver_idle`` of its process in each second.
    ``restart_wall``: from an owner's end to its going on, without replay.
    """

    poll: float
    record: float
    lane_round: float
    batch: float
    result: float
    call_out: float
    call_in: float
    call_node: float
    byte: float
    call_wall: float
    batch_in: float
    encode_fixed: float
    encode_window: float
    fuse: float
    commit: float
    write: float
    partition: float
    commit_wall: float
    broker_in: float
    broker_out: float
    broker_commit: float
    coordinator: float
    coordinator_partition: float
    owner: float
    lane: float
    reference: float
    restart_wall: float
    window_in: float = 0.0
    far_byte: float = 0.0
    node_idle: float = 0.0
    status_wall: float = 0.0
    driver_idle: float = 0.0
    window_bytes: int = 32_000
    offset_bytes: float = 250  # of one partition's committed offset with its metadata

    def slower(self, by: float) -> Costs:
        """All processor times so many times as long: where others have a part of the cores."""
        whole = {"window_bytes", "offset_bytes", "call_wall", "commit_wall", "restart_wall",
                 "status_wall"}  # fmt: skip
        return self._replace(
            **{name: cost * by for name, cost in self._asdict().items() if name not in whole}
        )


INGEST = ("poll", "record", "lane_round", "batch", "result")
FUSION = ("fuse", "commit", "write", "partition")
KAFKA = ("broker_in", "broker_out", "broker_commit", "coordinator", "coordinator_partition")


def whole(costs: Costs, factors: Mapping[str, float]) -> Costs:
    """What parts cost in a whole run, by what they cost alone.

    ``factors``: of ``ingest``, ``fusion`` and ``kafka``. Alone a part has the interpreter and the
    caches for itself; in a run its threads wait for each other, and garbage is collected.
    """
    kinds = {"ingest": INGEST, "fusion": FUSION, "kafka": KAFKA}
    told = costs._asdict()
    scaled = {
        name: told[name] * factors.get(k, 1.0) for k, names in kinds.items() for name in names
    }
    return costs._replace(**scaled)


def load(file: Path = FILE, *, alone: bool = False) -> Costs:
    """As in a whole run, or ``alone``. Raises TypeError where the file lacks a cost."""
    told: dict[str, Any] = json.loads(file.read_text())
    costs = Costs(**told["costs"])
    return costs if alone else whole(costs, told.get("whole", {}))
