"""What a soak draws and how it measures growth, without anything that runs."""

from __future__ import annotations

import random
from itertools import islice

import numpy as np
import pytest
from fault_matrix import FAULTS
from fault_meter import report, settled, slope
from soak import APART, drawn


def lives(*levels: float, per_h: float, noise: float = 1.0) -> list[np.ndarray]:
    """Half an hour of each, looked at every 10 s."""
    rng = np.random.default_rng(1)
    hours = np.arange(0, 0.5, 1 / 360)
    return [
        np.column_stack([hours, level + per_h * hours + rng.normal(0, noise, len(hours))])
        for level in levels
    ]


def test_growth_is_found_whatever_the_levels_of_the_processes_are():
    found = slope("ingest", "memory", lives(100, 400, per_h=80))
    assert found.per_h == pytest.approx(80, abs=3)
    assert (found.lives, round(found.hours, 2)) == (2, 0.5)
    assert found.grows
    assert "GROWS" in report([found])


@pytest.mark.parametrize("per_h", [0, 5])
def test_noise_and_a_little_growth_are_no_finding(per_h):
    found = slope("ingest", "memory", lives(100, 400, per_h=per_h))
    assert not found.grows
    assert "flat" in report([found])


@pytest.mark.parametrize(
    ("minutes", "judged"), [(3, None), (6, (0, 6)), (20, (10, 20))], ids=["short", "middle", "long"]
)
def test_of_a_long_life_the_later_half_is_judged_and_of_a_short_one_nothing(minutes, judged):
    [life] = lives(100, per_h=0)
    part = settled(life[life[:, 0] <= minutes / 60])
    if judged is None:
        assert not len(part)
    else:
        assert (part[0, 0] * 60, part[-1, 0] * 60) == pytest.approx(judged, abs=0.2)


def test_a_role_of_which_no_process_lived_long_is_called_that():
    found = slope("fusion", "threads", [])
    assert not found.grows
    assert "no life long enough" in report([found])


def test_every_fault_comes_before_any_comes_again_and_a_seed_says_which():
    count = len(FAULTS) - len(APART)
    first = [fault.name for fault, _ in islice(drawn(random.Random(3)), 2 * count)]
    again = [fault.name for fault, _ in islice(drawn(random.Random(3)), 2 * count)]
    assert first == again
    assert len(set(first[:count])) == len(set(first[count:])) == count
    assert not APART & set(first)
