"""t(B): measured to the microsecond on a clock that the test moves, and the batch that follows."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.costs import timing
from pipeline.costs.curve import Curve, measured_curve, sizes
from pipeline.costs.picture import Line, demand_plotting, draw_curves
from pipeline.errors import InvalidInput

CPU = torch.device("cpu")


class Machine:
    """Takes ``alpha_us + beta_us * B`` for a batch, twice that at its first."""

    def __init__(self, alpha_us: int, beta_us: int) -> None:
        self.alpha_us, self.beta_us = alpha_us, beta_us
        self.now_us = 0
        self.ran: list[tuple[int, ...]] = []
        self.known: set[int] = set()

    def time_us(self, size: int) -> int:
        return self.alpha_us + self.beta_us * size

    def run(self, items) -> None:
        known = len(items) in self.known
        self.known.add(len(items))
        self.ran.append(tuple(items))
        self.now_us += self.time_us(len(items)) * (1 if known else 2)


def measure(machine: Machine, batch_max: int, time_us: int) -> Curve:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing.clock, "monotonic_us", lambda: machine.now_us)
        return measured_curve(machine.run, list(range(batch_max)), CPU, time_us)


times_us = st.integers(200, 20_000)
untimed = settings(deadline=None)  # the machine that this runs on is noisy


@untimed
@given(times_us, times_us, st.integers(1, 100))
def test_it_is_what_the_machine_takes_and_warming_up_is_not_in_it(alpha_us, beta_us, batch_max):
    machine = Machine(alpha_us, beta_us)
    curve = measure(machine, batch_max, 1 << 40)
    assert curve.times_us == {size: machine.time_us(size) for size in sizes(batch_max)}
    assert curve.loop_us == machine.time_us(1)
    assert (curve.complete, curve.rounds) == (True, 9)
    assert curve.best == batch_max  # alpha is above zero: the largest has the most items a second
    for size in curve.times_us:
        assert curve.speedup(size) == pytest.approx(
            size * machine.time_us(1) / machine.time_us(size)
        )


@untimed
@given(times_us, times_us, st.integers(0, 10**7))
def test_it_ends_about_when_its_time_is_up(alpha_us, beta_us, limit_us):
    machine = Machine(alpha_us, beta_us)
    curve = measure(machine, 64, limit_us)
    assert 1 in curve.times_us
    assert list(curve.times_us) == sizes(64)[: len(curve.times_us)]
    assert curve.complete == (64 in curve.times_us)
    # the first batch, and the loop of the first round, are due in any case
    largest = max(curve.times_us)
    due_us = 4 * machine.time_us(1) + largest * machine.time_us(1)
    assert machine.now_us <= limit_us + due_us + 10 * 5_000 + 2 * machine.time_us(largest)


def test_rounds_take_other_items_where_there_are_others():
    machine = Machine(6_000, 1)
    measure(machine, 8, 1 << 40)
    for size in (1, 2, 4):
        batches = {ran for ran in machine.ran if len(ran) == size}
        assert len(batches) > 1
    assert set(itertools.chain(*machine.ran)) == set(range(8))


def test_short_calls_are_repeated_for_five_milliseconds():
    machine = Machine(0, 1_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing.clock, "monotonic_us", lambda: machine.now_us)
        machine.run([0])
        assert timing.took_us(lambda: machine.run([0]), CPU) == 1_000
    assert len(machine.ran) == 6


# -- the batch that is chosen -----------------------------------------------------------------


@untimed
@given(times_us, times_us, st.integers(1, 10**6), st.integers(0, 8))
def test_the_batch_is_the_largest_that_keeps_the_target(alpha_us, beta_us, target_us, rung):
    """Twice t(B) is within it (docs/PIPELINE.md, `latency_target`)."""
    machine = Machine(alpha_us, beta_us)
    curve = Curve({size: machine.time_us(size) for size in sizes(1 << rung)}, 1.0, 1, True)
    fitting = [size for size, t_us in curve.times_us.items() if 2 * t_us <= target_us]
    assert curve.chosen(target_us) == max(fitting, default=1)


@untimed
@given(st.integers(1, 300), st.data(), st.integers(1, 10**6))
def test_a_batch_is_chosen_whatever_the_curve_is_like(batch_max, data, target_us):
    found = {size: data.draw(st.floats(1, 10**6)) for size in sizes(batch_max)}
    chosen = Curve(found, 1.0, 1, True).chosen(target_us)
    assert chosen in found
    assert chosen == 1 or 2 * found[chosen] <= target_us + 1


def test_without_a_target_it_is_the_largest():
    assert Curve({1: 1.0, 2: 1.5, 3: 9.0}, 1.0, 1, True).chosen(None) == 3


@untimed
@given(st.integers(1, 5_000))
def test_sizes_are_powers_of_two_and_the_largest(batch_max):
    found = sizes(batch_max)
    assert found[0] == 1
    assert found[-1] == batch_max
    assert all(b == 2 * a for a, b in itertools.pairwise(found[:-1]))
    assert sorted(set(found)) == found


# -- the picture ------------------------------------------------------------------------------


def test_the_picture_shows_each_curve_in_a_colour_of_its_own(tmp_path: Path):
    lines = [
        Line(f"encoder {n}", Curve({1: 900.0, 2: 1000.0 * n}, 800.0, 3, True), 1 + n % 2)
        for n in (1, 2, 3)
    ]
    path = tmp_path / "curves.png"
    draw_curves(lines, "a title", 4_000, path)
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert picture.shape[1] > 1000
    for color in ((31, 119, 180), (255, 127, 14), (44, 160, 44)):  # matplotlib's first three
        assert (picture == color).all(axis=2).sum() > 200


def test_without_matplotlib_the_error_names_the_command(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InvalidInput, match="not installed; pip install matplotlib") as found:
        demand_plotting("--picture", tmp_path / "curves.png")
    assert str(found.value).startswith(f"--picture = {tmp_path / 'curves.png'}: it is drawn by")


@pytest.mark.parametrize(
    ("name", "said"),
    [("curves.bmp", "is no kind of picture that is drawn; end it in .png, .svg or .pdf"),
     ("none/curves.png", "there is no folder")],
)  # fmt: skip
def test_a_picture_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, name, said
):
    with pytest.raises(InvalidInput, match=said):
        demand_plotting("--picture", tmp_path / name)
