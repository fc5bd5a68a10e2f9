"""Fusion rules of the user's, and the Shapley value."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidInput
from pipeline.fusion.rules import Fuser
from pipeline.fusion.user import shapley
from pipeline.spec.models import FusionSpec

MODULE = """
import numpy as np

class Largest:
    def __init__(self, *, stages, lengths, floor=0.0):
        self.stages, self.lengths, self.floor = stages, lengths, floor
    def fuse(self, vectors):
        return np.maximum(self.floor, np.max(list(vectors.values()), axis=0))

class Weighing(Largest):
    def fuse(self, vectors):
        weights = {stage: float(np.abs(v).sum()) for stage, v in vectors.items()}
        return sum(weights[s] * v for s, v in vectors.items()), weights

class Own(Largest):
    def attribute(self, vectors, fused):
        return {stage: 0.5 for stage in vectors}

class Sum(Largest):
    def fuse(self, vectors):
        return sum({"a": 2.0, "b": 3.0, "c": 0.5}[s] * v.astype(float) for s, v in vectors.items())

class Failing(Largest):
    def fuse(self, vectors):
        raise RuntimeError("no\\nidea")

class Nan(Largest):
    def fuse(self, vectors):
        return [float("nan")]

class Foreign(Largest):
    def fuse(self, vectors):
        return [1.0], {"elsewhere": 1.0}

class Mute:
    def __init__(self, stages, lengths): pass
"""
LENGTHS = {"a": 2, "b": 2, "c": 2}


@pytest.fixture
def fuser(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "fusion_rules_of_mine.py").write_text(MODULE)

    def make(name: str, of=("a", "b", "c"), **options) -> Fuser:
        spec = FusionSpec(
            rule=f"fusion_rules_of_mine:{name}", of=dict.fromkeys(of, 1.5), options=options
        )
        return Fuser(spec, dict.fromkeys(of, 2), tmp_path)

    yield make
    sys.modules.pop("fusion_rules_of_mine", None)


def f32(*numbers):
    return np.array(numbers, np.float32)


def test_a_rule_is_built_with_stages_lengths_and_options(fuser):
    fused = fuser("Largest", floor=0.5).fuse({"b": f32(1, 0), "a": f32(0, 0)})
    np.testing.assert_array_equal(fused.vector, [1, 0.5])
    assert fused.vector.dtype == np.float64
    assert fused.weights == {"a": 1.5, "b": 1.5}


def test_attribution_is_the_shapley_value_of_the_share(fuser):
    """F(a) = (1, 0), F(b) = (0, 2), F(ab) = (1, 2), |F|^2 = 5: worth 1/5, 4/5 and 1."""
    fused = fuser("Largest").fuse({"a": f32(1, 0), "b": f32(0, 2)})
    assert fused.attribution == pytest.approx({"a": 0.2, "b": 0.8})


def test_a_plain_sum_has_the_shares_of_weighted_sum(fuser):
    vectors = {"a": f32(1, 2), "b": f32(-3, 1), "c": f32(4, 4)}
    ours = fuser("Sum").fuse(vectors)
    spec = FusionSpec(rule="weighted_sum", of={"a": 2.0, "b": 3.0, "c": 0.5}, normalize="none")
    theirs = Fuser(spec, LENGTHS).fuse(vectors)
    np.testing.assert_allclose(ours.vector, theirs.vector)
    assert ours.attribution == pytest.approx(theirs.attribution)


def test_a_rule_may_give_weights(fuser):
    fused = fuser("Weighing").fuse({"c": f32(1, 1), "a": f32(0, -1)})
    assert list(fused.weights.items()) == [("a", 1.0), ("c", 2.0)]
    np.testing.assert_array_equal(fused.vector, [2, 1])
    assert sum(fused.attribution.values()) == pytest.approx(1)


def test_a_rule_may_give_its_own_attribution(fuser):
    assert fuser("Own").fuse({"a": f32(1, 0), "b": f32(1, 0)}).attribution == {"a": 0.5, "b": 0.5}
    many = [f"s{n}" for n in range(20)]
    fused = fuser("Own", many).fuse(dict.fromkeys(many, f32(1, 2)))
    assert len(fused.attribution) == 20


def test_nothing_and_zero(fuser):
    assert fuser("Failing").fuse({}).failure is None  # it is never asked about nothing
    assert fuser("Largest").fuse({"a": f32(0, 0)}).attribution == {"a": 0.0}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Failing", "RuntimeError: no idea"),
        ("Nan", "ValueError: fuse gives no finite 1-D vector"),
        ("Foreign", "ValueError: its numbers by stage"),
    ],
)
def test_what_a_rule_does_wrong_is_its_windows_failure(fuser, name: str, told: str):
    fused = fuser(name).fuse({"a": f32(1, 1)})
    assert fused.vector is None
    assert fused.failure.startswith(told)


@pytest.mark.parametrize(
    ("name", "more", "line"),
    [
        ("Nothing", {}, "fusion.rule = fusion_rules_of_mine:Nothing: module fusion_rules_of_mine"),
        ("Mute", {}, "fusion.rule = fusion_rules_of_mine:Mute: it has no fuse; define"),
        ("Largest", {"flor": 1}, "fusion.options.flor: is no option of fusion_rules_of_mine:La"),
        ("Largest", {"of": [f"s{n}" for n in range(11)]}, "fusion.rule = fusion_rules_of_mine:La"),
    ],
)
def test_refusals(fuser, name: str, more: dict, line: str):
    with pytest.raises(InvalidInput) as caught:
        fuser(name, **more)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@given(st.data())
def test_shapley_is_the_mean_over_all_orders(data):
    stages = ("a", "b", "c", "d")[: data.draw(st.integers(1, 4))]
    subsets = [
        frozenset(s) for n in range(len(stages) + 1) for s in itertools.combinations(stages, n)
    ]
    worth = {subset: data.draw(st.floats(-10, 10)) for subset in subsets}
    orders = list(itertools.permutations(stages))
    expected = dict.fromkeys(stages, 0.0)
    for order in orders:
        for place, stage in enumerate(order):
            gain = worth[frozenset(order[: place + 1])] - worth[frozenset(order[:place])]
            expected[stage] += gain / len(orders)
    values = shapley(stages, worth)
    assert values == pytest.approx(expected, abs=1e-9)
    whole = worth[frozenset(stages)] - worth[frozenset()]
    assert sum(values.values()) == pytest.approx(whole, abs=1e-9)
