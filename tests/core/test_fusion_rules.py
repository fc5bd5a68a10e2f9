"""Fusion exactly as the contract's paragraph says."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InvalidInput
from pipeline.fusion.rules import Fuser
from pipeline.spec.models import FusionSpec


def spec_of(of, rule="weighted_sum", **more) -> FusionSpec:
    return FusionSpec(rule=rule, of=of, **more)


def f32(*numbers):
    return np.array(numbers, np.float32)


# The contract, by hand


def test_the_weights_of_the_contracts_example():
    """sound .3, colour .4, words .3 without words: .43 and .57, as in the result of section 4."""
    fuser = Fuser(spec_of({"sound": 0.3, "colour": 0.4, "words": 0.3}), dict.fromkeys(
        ("sound", "colour", "words"), 2))  # fmt: skip
    fused = fuser.fuse({"colour": f32(0, 5), "sound": f32(2, 0)})
    assert fused.weights == pytest.approx({"sound": 3 / 7, "colour": 4 / 7}, abs=1e-15)
    np.testing.assert_allclose(fused.vector, [3 / 7, 4 / 7], atol=1e-15)
    # sound: w1<n1, F> / |F|^2 = (3/7)^2 / ((3/7)^2 + (4/7)^2) = 9/25
    assert fused.attribution == pytest.approx({"sound": 9 / 25, "colour": 16 / 25}, abs=1e-15)


def test_a_stage_may_work_against_the_sum():
    """2 n(a) - with n(b) = -n(a) - 1 n(a): F = a, shares 2 and -1."""
    fuser = Fuser(spec_of({"a": 2.0, "b": 1.0}), {"a": 2, "b": 2})
    fused = fuser.fuse({"a": f32(0, 3), "b": f32(0, -7)})
    np.testing.assert_allclose(fused.vector, [0, 1], atol=1e-15)
    assert fused.attribution == pytest.approx({"a": 2.0, "b": -1.0}, abs=1e-15)


def test_without_normalising_the_vectors_are_as_they_are():
    fuser = Fuser(spec_of({"a": 2.0, "b": 1.0}, normalize="none"), {"a": 2, "b": 2})
    np.testing.assert_array_equal(fuser.fuse({"a": f32(1, 2), "b": f32(3, 4)}).vector, [5, 8])
    fused = fuser.fuse({"b": f32(3, 4)})
    np.testing.assert_array_equal(fused.vector, [9, 12])  # the weights keep their sum, 3
    assert fused.weights == {"b": 3.0}
    assert fused.attribution == {"b": 1.0}


def test_the_projection_is_the_contracts():
    lengths = {"sound": 3, "words": 2}
    fuser = Fuser(spec_of({"sound": 0.25, "words": 0.75}, dim=4), lengths)
    vectors = {"sound": f32(1, 2, 2), "words": f32(3, 4)}
    expected = np.zeros(4)
    for name, weight in (("sound", 0.25), ("words", 0.75)):
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        matrix = rng.standard_normal((4, lengths[name])) / np.sqrt(4)
        vector = vectors[name].astype(np.float64)
        expected += weight * matrix @ (vector / np.linalg.norm(vector))
    np.testing.assert_allclose(fuser.fuse(vectors).vector, expected, rtol=1e-13)


def test_a_dim_projects_equal_lengths_too():
    lengths = {"a": 3, "b": 3}
    with_dim = Fuser(spec_of({"a": 1.0, "b": 1.0}, dim=3), lengths)
    vectors = {"a": f32(1, 0, 0), "b": f32(0, 1, 0)}
    without = Fuser(spec_of({"a": 1.0, "b": 1.0}), lengths)
    np.testing.assert_array_equal(without.fuse(vectors).vector, [1, 1, 0])
    assert np.abs(with_dim.fuse(vectors).vector - [1, 1, 0]).max() > 0.1


def test_concat_by_hand():
    fuser = Fuser(spec_of({"b": 5.0, "a": 1.0}, rule="concat"), {"a": 2, "b": 1})
    fused = fuser.fuse({"a": f32(3, 4), "b": f32(12)})
    np.testing.assert_array_equal(fused.vector, [12, 3, 4])  # blocks in the order of `of`
    assert fused.weights == {"b": 5.0, "a": 1.0}
    assert fused.attribution == pytest.approx({"b": 144 / 169, "a": 25 / 169}, abs=1e-15)
    fused = fuser.fuse({"a": f32(3, 4)})
    np.testing.assert_array_equal(fused.vector, [0, 3, 4])
    assert fused.weights == {"a": 1.0}
    assert fused.attribution == {"a": 1.0}


def test_concat_normalises_where_it_is_told_to_and_never_projects():
    fuser = Fuser(spec_of({"a": 1.0, "b": 1.0}, rule="concat", normalize="l2", dim=9),
                  {"a": 2, "b": 1})  # fmt: skip
    fused = fuser.fuse({"a": f32(3, 4), "b": f32(-2)})
    np.testing.assert_allclose(fused.vector, [0.6, 0.8, -1], atol=1e-15)


@pytest.mark.parametrize("rule", ["weighted_sum", "concat"])
def test_no_vector_at_all(rule: str):
    fused = Fuser(spec_of({"a": 1.0}, rule=rule), {"a": 2}).fuse({})
    assert (fused.vector, fused.weights, fused.attribution, fused.failure) == (None, {}, {}, None)


@pytest.mark.parametrize("rule", ["weighted_sum", "concat"])
def test_a_sum_of_zero_attributes_nothing(rule: str):
    fuser = Fuser(spec_of({"a": 1.0, "b": 2.0}, rule=rule), {"a": 2, "b": 2})
    fused = fuser.fuse({"a": f32(0, 0), "b": f32(0, 0)})
    assert not fused.vector.any()
    assert fused.attribution == {"a": 0.0, "b": 0.0}


def test_zero_is_there_but_adds_nothing():
    fused = Fuser(spec_of({"a": 1.0, "b": 2.0}), {"a": 1, "b": 1}).fuse({"a": f32(0), "b": f32(4)})
    assert fused.weights == {"a": 1.0, "b": 2.0}
    assert fused.attribution == {"a": 0.0, "b": 1.0}


def test_other_stages_are_ignored():
    fuser = Fuser(spec_of({"a": 1.0}), {"a": 1, "z": 3})
    assert list(fuser.fuse({"z": f32(1, 2, 3), "a": f32(2)}).weights) == ["a"]


def test_what_is_too_large_for_a_number_is_a_failure_of_its_window_alone():
    fuser = Fuser(spec_of({"a": 1e300}, normalize="none"), {"a": 1})
    fine, failed = fuser.fuse_many([{"a": f32(1e-200)}, {"a": f32(1e30)}])
    assert failed.vector is None
    assert failed.failure == "the fused vector is not finite"
    assert fine.failure is None


# Refusals at start


@pytest.mark.parametrize(
    ("spec", "lengths", "line"),
    [
        (spec_of({"a": 1.0, "b": 1.0}), {"a": 64, "b": 24},
         "fusion.dim: the vectors have unequal lengths (a 64, b 24); set fusion.dim"),
        (spec_of({"a": 1.0, "b": 1.0}), {"a": 64}, "fusion.of.b: gives no vector"),
        (spec_of({"a": 1.0}, rule="late"), {"a": 64}, "fusion.head: late needs a trained head"),
        (spec_of({"a": 1.0}, options={"x": 1}), {"a": 64}, "fusion.options: weighted_sum takes no"),
    ],
)  # fmt: skip
def test_refusals(spec, lengths, line):
    with pytest.raises(InvalidInput) as caught:
        Fuser(spec, lengths)
    assert str(caught.value).startswith(line)


# Properties

STAGES = ("sound", "colour", "words", "faces")
RULES = [("weighted_sum", "l2"), ("weighted_sum", "none"), ("concat", "l2"), ("concat", "none")]


@st.composite
def cases(draw):
    rule, normalize = draw(st.sampled_from(RULES))
    weights = {s: draw(st.floats(0.01, 100)) for s in STAGES[: draw(st.integers(1, 4))]}
    lengths = {stage: draw(st.integers(1, 9)) for stage in weights}
    dim = draw(st.sampled_from([None, 1, 5, 16]))
    if dim is None and rule == "weighted_sum":
        lengths = dict.fromkeys(lengths, next(iter(lengths.values())))
    seed = draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    windows = []
    for _ in range(draw(st.integers(1, 40))):
        there = [stage for stage in weights if rng.random() < 0.7]
        rng.shuffle(there)
        scale = 10.0 ** rng.integers(-6, 6)
        windows.append({
            s: (scale * rng.standard_normal(lengths[s]) * (rng.random() < 0.9)).astype(np.float32)
            for s in there
        })  # fmt: skip
    return spec_of(weights, rule, normalize=normalize, dim=dim), lengths, windows


def same(first, second) -> bool:
    vectors = first.vector, second.vector
    if any(vector is None for vector in vectors):
        equal = vectors == (None, None)
    else:
        equal = vectors[0].tobytes() == vectors[1].tobytes()
    return equal and (first.weights, first.attribution, first.failure) == (
        second.weights, second.attribution, second.failure,
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(cases())
def test_many_is_each_alone_to_the_bit(case):
    spec, lengths, windows = case
    fuser = Fuser(spec, lengths)
    singles = [fuser.fuse(window) for window in windows]
    assert all(map(same, fuser.fuse_many(windows), singles))
    assert all(map(same, fuser.fuse_many(windows[::-1])[::-1], singles))
    assert all(map(same, Fuser(spec, lengths).fuse_many(windows), singles))


@settings(max_examples=150, deadline=None)
@given(cases())
def test_the_paragraph_as_a_naive_program(case):
    spec, lengths, windows = case
    rule, weights = spec.rule, spec.of
    for window, fused in zip(windows, Fuser(spec, lengths).fuse_many(windows), strict=True):
        if not window:
            assert fused.vector is None
            continue
        there = [stage for stage in weights if stage in window]
        n = {}
        for stage in there:
            vector = window[stage].astype(np.float64)
            norm = np.linalg.norm(vector) if spec.normalize == "l2" else 1.0
            n[stage] = vector / norm if norm else vector
        if rule == "concat":
            force = {stage: weights[stage] for stage in there}
            blocks = {s: n.get(s, np.zeros(lengths[s])) for s in weights}
            total = np.concatenate(list(blocks.values()))
            parts = {s: float(n[s] @ n[s]) for s in there}
        else:
            factor = sum(weights.values()) / sum(weights[s] for s in there)
            force = {s: weights[s] * factor for s in there}
            if spec.dim is not None:
                for s in there:
                    rng = np.random.default_rng(zlib.crc32(s.encode()))
                    matrix = rng.standard_normal((spec.dim, lengths[s])) / np.sqrt(spec.dim)
                    n[s] = matrix @ n[s]
            total = np.sum([force[s] * n[s] for s in there], axis=0)
            parts = {s: force[s] * float(n[s] @ total) for s in there}
        square = float(total @ total)
        scale = max(1e-300, float(np.abs(total).max(initial=0)))
        np.testing.assert_allclose(fused.vector, total, rtol=1e-9, atol=1e-9 * scale)
        assert fused.weights == pytest.approx(force, rel=1e-12)
        if square > 0:
            shares = {s: part / square for s, part in parts.items()}
            size = max(1.0, *map(abs, shares.values()))
            assert fused.attribution == pytest.approx(shares, rel=1e-6, abs=1e-6 * size)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_what_always_holds(case):
    spec, lengths, windows = case
    for window, fused in zip(windows, Fuser(spec, lengths).fuse_many(windows), strict=True):
        assert list(fused.weights) == [stage for stage in spec.of if stage in window]
        assert fused.weights.keys() == fused.attribution.keys()
        if fused.vector is None:
            continue
        assert np.isfinite(fused.vector).all()
        if spec.rule == "weighted_sum":
            assert sum(fused.weights.values()) == pytest.approx(sum(spec.of.values()))
        shares = fused.attribution.values()
        size = max(1.0, *map(abs, shares))
        assert sum(shares) == pytest.approx(1.0 if fused.vector.any() else 0.0, abs=1e-6 * size)
        shuffled = dict(reversed(window.items()))
        assert same(Fuser(spec, lengths).fuse(shuffled), fused)


def test_a_window_in_every_place_of_a_large_batch():
    """A product of many rows would take another kernel than one of a single row."""
    rng = np.random.default_rng(3)
    lengths = {"sound": 64, "colour": 24, "words": 300}
    fuser = Fuser(spec_of({"sound": 0.3, "colour": 0.4, "words": 0.3}, dim=128), lengths)

    def window():
        return {s: rng.standard_normal(n).astype(np.float32) for s, n in lengths.items()}

    probe, mates = window(), [window() for _ in range(99)]
    alone = fuser.fuse(probe)
    for place in (*range(20), 31, 48, 63, 64, 98, 99):
        assert same(fuser.fuse_many([*mates[:place], probe, *mates[place:]])[place], alone)
