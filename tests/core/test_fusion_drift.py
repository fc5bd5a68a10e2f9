"""Vectors unlike those of training: the distance, what is told of it, and which head it follows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_heads import made_head
from pipelines import CHAT, SECOND_US, load

from pipeline.errors import InvalidInput
from pipeline.fusion.drift import NUMBERS_MAX, REMEMBERED, Drift, Reference, distance, references_of
from pipeline.fusion.head_files import load_head
from pipeline.fusion.rules import Fuser
from pipeline.spec.models import FusionSpec
from pipeline.spec.sequence import SequenceShape
from pipeline.tasks.drift_watch import METRIC, TOLD_EVERY
from pipeline.tasks.fusion import FusionTask
from pipeline.tasks.messages import Opened, Settled
from pipeline.training.prepared import Examples
from pipeline.training.reference import LEVEL_MIN, reference
from pipeline.training.split import Split

LENGTHS = {"words": 8}


@given(st.floats(-4, 4), st.floats(1.0, 5.0))
@settings(max_examples=25, deadline=None)
def test_the_distance_is_that_of_hellinger(mean, spread):
    x, step = np.linspace(-60, 60, 24_001, retstep=True)

    def density(middle: float, width: float) -> np.ndarray:
        return np.exp(-(((x - middle) / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi))

    apart = (np.sqrt(density(0, 1)) - np.sqrt(density(mean, spread))) ** 2
    found = distance(np.array([mean]), np.array([mean**2 + spread**2]))
    assert found == pytest.approx(0.5 * apart.sum() * step, abs=1e-6)


def test_what_varies_less_is_no_drift_and_what_varies_more_is():
    assert distance(np.zeros(3), np.full(3, 0.01)) == 0.0
    assert distance(np.zeros(3), np.full(3, 9.0)) > LEVEL_MIN
    assert distance(np.zeros(0), np.zeros(0)) == 0.0


def windows(rng, count, shift=0.0, length=8):
    return [{"words": (rng.standard_normal(length) + shift).astype(np.float32)}
            for _ in range(count)]  # fmt: skip


def learned(rng, count=2_000, length=8, level=LEVEL_MIN) -> Reference:
    rows = np.stack([window["words"] for window in windows(rng, count, length=length)])
    return Reference.of_rows(rows.astype(np.float64), length, level)


def test_it_is_told_once_enough_has_come_and_forgets_what_was():
    rng = np.random.default_rng(0)
    drift = Drift({"words": learned(rng)}, "none")
    drift.take(windows(rng, REMEMBERED - 1))
    assert drift.scores() == {}
    drift.take([*windows(rng, 1), {}, {"other": np.zeros(3, np.float32)}])
    assert drift.scores()["words"] < 0.3
    for _ in range(8):
        drift.take(windows(rng, REMEMBERED // 8, shift=1.5))
    assert drift.scores()["words"] > 1.0
    for _ in range(40):
        drift.take(windows(rng, REMEMBERED // 8))
    assert drift.scores()["words"] < 0.3


def test_how_windows_are_batched_hardly_matters():
    rng = np.random.default_rng(1)
    known = {"words": learned(rng)}
    given_windows = windows(rng, 512, shift=0.7)
    found = []
    for size in (1, 8, 64):
        drift = Drift(known, "none")
        for first in range(0, 512, size):
            drift.take(given_windows[first : first + size])
        found.append(drift.scores()["words"])
    assert found == pytest.approx([found[0]] * 3, rel=0.05)


def test_numbers_that_never_varied_and_steps_of_sequences():
    rows = np.random.default_rng(0).standard_normal((50, 12))
    rows[:, 1::3] = 5.0
    made = Reference.of_rows(rows, 3)
    assert made.mean.shape == (3,)
    assert made.moments(rows)[0] == pytest.approx(np.zeros(3), abs=1e-12)
    assert made.moments(rows)[1] == pytest.approx([1.0, 0.0, 1.0])
    assert made.far(made.moments(rows + [0.0, 7.0, 0.0] * 4)) == pytest.approx(0.0, abs=1e-12)
    wide = Reference.of_rows(np.ones((4, 3 * NUMBERS_MAX)), 3 * NUMBERS_MAX)
    assert wide.mean.shape == (NUMBERS_MAX,)


def test_vectors_are_compared_as_the_head_reads_them():
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((500, 8))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    drift = Drift({"words": Reference.of_rows(unit, 8, LEVEL_MIN)}, "l2")
    drift.take([{"words": (100 * row).astype(np.float32)} for row in rows])
    assert drift.scores()["words"] < 0.1


# -- training -------------------------------------------------------------------------------


def test_the_card_tells_what_was_learned_from_and_how_far_a_stream_is():
    rng = np.random.default_rng(3)
    streams = np.repeat([f"s{n}" for n in range(8)], 40)
    offsets = np.repeat(rng.standard_normal((8, 4)), 40, axis=0)
    rows = offsets + rng.standard_normal((320, 4))
    there = np.ones(320, np.bool_)
    examples = Examples(
        {"a": rows, "tokens": rows, "never": rows},
        {"a": there, "tokens": there, "never": ~there},
        np.zeros(320, np.intp),
    )
    parted = Split("stream", np.arange(200), np.arange(200, 260), np.arange(260, 320))
    fusion = FusionSpec(rule="concat", of={"a": 1.0, "tokens": 1.0, "never": 1.0})
    shapes = {"tokens": SequenceShape(4, 9, True)}
    told = reference(fusion, examples, parted, streams, shapes)
    assert told.keys() == {"a"}
    assert told["a"]["mean"] == pytest.approx(rows[:200].mean(axis=0), rel=1e-4)
    assert told["a"]["spread"] == pytest.approx(rows[:200].std(axis=0), rel=1e-4)
    read = references_of({"reference": told, "head": {"lengths": {"a": 4}}})["a"]
    farthest = max(read.far(read.moments(rows[streams == name])) for name in set(streams))
    assert read.level >= farthest - 1e-3  # also of held-out streams one after another
    assert read.level > LEVEL_MIN
    json.dumps(told, allow_nan=False)


# -- while it runs --------------------------------------------------------------------------


@pytest.fixture
def spec(tmp_path):
    return load(CHAT, {"fusion.head": "heads/mood"}, tmp_path)


def head(folder, spec, seed, **reference_of):
    """A head's folder, whose card tells of ``words``."""
    before = made_head(folder, spec, seed)
    card = json.loads((folder / "card.json").read_text())
    card["reference"] = {"words": {"width": 8, "level": LEVEL_MIN, "mean": [0.0] * 8,
                                   "spread": [1.0] * 8, **reference_of}}  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card))
    return load_head(folder), before


def test_what_a_card_tells_of_training_decides_nothing(spec, tmp_path):
    loaded, before = head(tmp_path / "one", spec, 1)
    assert loaded.sha256 == before


@pytest.mark.parametrize(
    "wrong",
    [{"mean": [0.0] * 7}, {"spread": ["x"] * 8}, {"width": 3}, {"width": 0}, {"level": 0.0},
     {"mean": [float("nan")] * 8}],
)  # fmt: skip
def test_a_card_that_tells_nonsense_is_refused_before_it_could_end_a_run(spec, tmp_path, wrong):
    with pytest.raises(InvalidInput, match="its arrays do not fit its card"):
        head(tmp_path / "one", spec, 1, **wrong)


def test_a_swap_begins_anew_with_what_the_next_head_was_trained_on(spec, tmp_path):
    first, _ = head(tmp_path / "one", spec, 1)
    second, _ = head(tmp_path / "two", spec, 2, mean=[1.0] * 8)
    task = FusionTask(spec, LENGTHS, [0], fuser=Fuser.under(spec, LENGTHS, first))
    rng = np.random.default_rng(0)
    number = 0

    def play(count: int) -> None:
        nonlocal number
        for window in windows(rng, count, shift=1.0):
            start_us = number * SECOND_US
            opened = Opened(0, number, "s", start_us, start_us + SECOND_US, ("chat",), (), {},
                            ("words",))  # fmt: skip
            settled = Settled(0, number, "words", window["words"], None, (), ())
            task.on_messages(0, [opened, settled])
            number += 1

    play(REMEMBERED - TOLD_EVERY)
    assert (METRIC, ("words",)) not in task.figures.gauges
    play(TOLD_EVERY)
    assert task.figures.value(METRIC, "words") > 1.0
    task.swap(Fuser.under(spec, LENGTHS, second))
    assert (METRIC, ("words",)) not in task.figures.gauges
    play(REMEMBERED)
    assert 0.0 < task.figures.value(METRIC, "words") < 0.5
    task.swap(Fuser.under(spec, LENGTHS, None))
    play(REMEMBERED)
    assert (METRIC, ("words",)) not in task.figures.gauges
