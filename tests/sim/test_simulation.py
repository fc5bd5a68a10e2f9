"""Lives of a whole pipeline on a virtual clock, each decided by its seed (tests/support).

``make sim SEEDS=50000`` looks at seeds 0 to 49999, ``make sim SEED=17`` at that one alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sim_faults import EVERY
from simulation import simulate

SEEDS = int(os.environ.get("MOTET_SIM_SEEDS", "1000"))
ONE = os.environ.get("MOTET_SIM_SEED")
CHUNK = 20
ENOUGH = 1000  # so many seeds go every way

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


def chunks() -> list[range]:
    if ONE is not None:
        return [range(int(ONE), int(ONE) + 1)]
    return [range(first, min(first + CHUNK, SEEDS)) for first in range(0, SEEDS, CHUNK)]


@pytest.fixture(scope="module")
def lived() -> dict[int, Counter[str]]:
    """By seed, the rare paths of the lives that were looked at."""
    return {}


def live(seed: int) -> Counter[str]:
    try:
        return simulate(seed).sometimes
    except AssertionError as error:
        raise AssertionError(f"{error}\nseed {seed}; again: make sim SEED={seed}") from error


@pytest.mark.parametrize("seeds", chunks(), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_whatever_happens_the_results_are_those_of_a_calm_read(
    seeds: range, lived: dict[int, Counter[str]]
) -> None:
    for seed in seeds:
        lived[seed] = live(seed)


@pytest.mark.skipif(ONE is not None, reason="one seed does not go every way")
@pytest.mark.skipif(SEEDS < ENOUGH, reason="fewer seeds need not go every way")
def test_every_rare_path_was_gone(lived: dict[int, Counter[str]]) -> None:
    for seed in range(ENOUGH):
        if seed not in lived:
            lived[seed] = live(seed)
    gone: Counter[str] = Counter()
    for seed in range(ENOUGH):
        gone.update(lived[seed])
    assert {path: gone[path] for path in RARE if not gone[path]} == {}


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
