"""Lives of a whole pipeline on a virtual clock, each decided by its seed (tests/support).

Every run of the suite looks at 400 and a few that go the ways which those leave out. ``make sim``
looks at seeds 0 to 999, ``make sim SEEDS=50000`` at 0 to 49999, ``make sim SEED=17`` at one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from sim_faults import EVERY
from simulation import simulate

MANY = os.environ.get("MOTET_SIM_SEEDS")
ONE = os.environ.get("MOTET_SIM_SEED")
CHUNK = 20
# They go every way. Where a change of the simulation makes the last test find one missing, `make
# sim` tells which seeds go it.
FEW = (*range(400), 408, 443, 469, 518, 548, 558, 789, 928, 954)
FEWEST = 40  # ways are printed, with the seeds that go them
ENOUGH = 1000  # of one after the other so many go every way

RARE = (
    *map(str, EVERY),
    "crash between steps while running",
    "crash between steps while starting",
    "crash between steps while replaying",
    "a clean end",
    "refused while running",
    "refused while starting",
    "a frozen owner woke",
    "a zombie woke",
    "a run takes over from a living one",
    "an owner restarted within its run",
    "a run takes over while an owner restarts",
    "a slot moved",
    "a slot left amid a replay",
    "a move to a new owner",
    "a move ended with its old owner",
    "a move ended with its new owner",
    "a move lost its new owner before it was given",
    "an owner that was taken for dead went on taking a slot",
    "an owner that ended was started anew",
    "messages of another epoch",
    "an acknowledgement overtook another",
    "fenced while running",
    "fenced while starting",
    "a zombie of another number of slots was fenced",
    "a zombie's commit was fenced",
    "a zombie's claim was fenced",
    "an unknown outcome was committed",
    "an unknown outcome was not committed",
    "a stale id fenced",
    "more slots",
    "fewer slots",
    "a replay with records",
    "a backlog",
    "a backlog of one input alone",
    "an input was held back",
    "an input was paused",
    "two batches went in one call",
    "silence closed a window",
    "a lull",
    "forced",
    "suspects",
    "a replica died",
    "a batch's call failed",
    "a replica that hung was killed",
    "a window lost alone as often as it may be",
    "a producer's transaction aborted",
    "a producer's transaction committed",
    "a record ahead of the log",
    "late: late",
    "dead: bad-record",
    "dead: encode-failed",
    "dead: future",
    "dead: too-large",
    "dead: undecodable",
    "an exact world",
    "a rough world",
    "totals checked",
    "a wall clock stepped",
)


def seeds() -> Sequence[int]:
    if ONE is not None:
        return [int(ONE)]
    return FEW if MANY is None else range(int(MANY))


SEEDS = seeds()
CHUNKS = [SEEDS[first : first + CHUNK] for first in range(0, len(SEEDS), CHUNK)]


@pytest.fixture(scope="module")
def lived() -> dict[int, Counter[str]]:
    """By seed, the rare paths of the lives that were looked at."""
    return {}


def live(seed: int) -> Counter[str]:
    try:
        return simulate(seed).sometimes
    except AssertionError as error:
        raise AssertionError(f"{error}\nseed {seed}; again: make sim SEED={seed}") from error


@pytest.mark.parametrize("seeds", CHUNKS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_whatever_happens_the_results_are_those_of_a_calm_read(
    seeds: Sequence[int], lived: dict[int, Counter[str]]
) -> None:
    for seed in seeds:
        lived[seed] = live(seed)


@pytest.mark.skipif(
    SEEDS != FEW and len(SEEDS) < ENOUGH, reason="fewer seeds need not go every way"
)
def test_every_rare_path_was_gone(lived: dict[int, Counter[str]]) -> None:
    """The seeds that go a way are told where ``-s`` is given."""
    gone: dict[str, list[int]] = {path: [] for path in RARE}
    for seed in SEEDS[:ENOUGH]:
        if seed not in lived:
            lived[seed] = live(seed)
        for path in RARE:
            if lived[seed][path]:
                gone[path].append(seed)
    for path in sorted(RARE, key=lambda path: len(gone[path]))[:FEWEST]:
        print(f"{path}: {len(gone[path])} seeds, {gone[path][:5]}")
    assert [path for path in RARE if not gone[path]] == []


def test_no_wall_clock_of_a_process_decides_anything() -> None:
    """Steps of an hour, forth and back, of all processes (their timeouts go by another clock)."""
    stepped = 0
    for seed in range(10):
        with_steps, without = simulate(seed), simulate(seed, clock_steps=False)
        assert with_steps.trace == without.trace, seed
        stepped += with_steps.sometimes["a wall clock stepped"]
    assert stepped


def test_a_seed_decides_everything() -> None:
    """The same steps, output and end, in another process with other hashes of strings as well."""
    seeds = (3, 11)
    here = [simulate(seed).trace for seed in seeds]
    assert here == [simulate(seed).trace for seed in seeds]
    assert len(set(here)) == len(seeds)
    script = "import sys; sys.path.append(sys.argv[1]); from simulation import simulate\n"
    script += "print(*(simulate(int(seed)).trace for seed in sys.argv[2:]), sep='\\n')"
    support = Path(__file__).parents[1] / "support"
    for hash_seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", script, str(support), *map(str, seeds)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        )
        assert there.stdout.split() == here
