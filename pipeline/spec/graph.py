"""The dataflow as a graph of names: cycles, order, and what a stage reads through others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

Reads = Mapping[str, Collection[str]]  # stage -> names that it reads, inputs or stages


def cycles(reads: Reads) -> list[tuple[str, ...]]:
    """Every knot of stages once, as one way around it: ``("a", "b", "a")``."""
    found: list[tuple[str, ...]] = []
    done: set[str] = set()
    for root in reads:
        trail: list[str] = []
        pending = [(root, iter(reads[root]))] if root not in done else []
        trail.extend(name for name, _ in pending)
        while pending:
            following = next((n for n in pending[-1][1] if n in reads and n not in done), None)
            if following is None:
                pending.pop()
                done.add(trail.pop())
            elif following in trail:
                found.append((*trail[trail.index(following) :], following))
            else:
                pending.append((following, iter(reads[following])))
                trail.append(following)
    return found


def order(reads: Reads) -> tuple[str, ...]:
    """Stages, each after those that it reads; the first in the file's order that is ready."""
    waiting = dict.fromkeys(reads)  # a set that keeps the file's order
    ordered: list[str] = []
    while waiting:
        ready = next((s for s in waiting if waiting.keys().isdisjoint(reads[s])), None)
        if ready is None:
            raise ValueError(f"a cycle among {', '.join(waiting)}")
        del waiting[ready]
        ordered.append(ready)
    return tuple(ordered)


def sources(reads: Reads, stage: str) -> frozenset[str]:
    """Names that are no stages and that ``stage`` reads, directly or through stages."""
    return frozenset(reached(reads, [stage]) - reads.keys())


def reached(reads: Reads, names: Iterable[str]) -> set[str]:
    """The names, and all inputs and stages that they read, directly or through stages."""
    seen: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending.extend(reads.get(name, ()))
    return seen
