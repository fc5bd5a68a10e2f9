"""Every kind of head: any stage missing, attribution that adds up, and bits that stay."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_heads import HIDDEN, QUERIES, SHAPES, STAGES, random_head

from pipeline.fusion.head_rule import HeadRule
from pipeline.fusion.heads import HeadSpec
from pipeline.fusion.shapley import EXACT_MAX, coalitions
from pipeline.fusion.user import shapley

shapes = pytest.mark.parametrize("shape", SHAPES, ids="-".join)


@st.composite
def cases(draw, shape):
    stages = STAGES[: draw(st.integers(1, 4))]
    lengths = {stage: draw(st.integers(1, 9)) for stage in stages}
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = draw(st.integers(2, 5))
    spec, tensors = random_head(shape, rng, lengths, labels, draw(st.sampled_from(["l2", "none"])))
    windows = []
    for _ in range(draw(st.integers(1, 40))):
        there = [stage for stage in stages if rng.random() < 0.7]
        rng.shuffle(there)
        windows.append({
            s: (rng.standard_normal(lengths[s]) * (rng.random() < 0.95)).astype(np.float32)
            for s in there
        })  # fmt: skip
    return spec, tensors, windows


def logits_of(spec, tensors, window) -> np.ndarray:
    """The logits of one window, by the call that training and evaluation make."""
    zeros = {stage: np.zeros((1, length)) for stage, length in spec.lengths.items()}
    vectors = zeros | {stage: np.float64(vector)[None] for stage, vector in window.items()}
    masks = {stage: np.array([stage in window]) for stage in spec.lengths}
    return HeadRule(spec, tensors).logits(vectors, masks)[0]


@shapes
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_attribution_is_the_exact_shapley_value_and_adds_up(shape, data):
    spec, tensors, windows = data.draw(cases(shape))
    rule = HeadRule(spec, tensors)
    for window in windows[:6]:
        [fused] = rule.fuse_many([window])
        assert fused.failure is None
        if not window:
            assert (fused.label, fused.scores, fused.attribution) == (None, {}, {})
            continue
        assert set(fused.attribution) == set(fused.weights) == set(window)
        label = spec.labels.index(fused.label)
        worths = {
            frozenset(some): float(logits_of(spec, tensors, {s: window[s] for s in some})[label])
            for size in range(len(window) + 1)
            for some in itertools.combinations(window, size)
        }
        difference = worths[frozenset(window)] - worths[frozenset()]
        assert math.fsum(fused.attribution.values()) == pytest.approx(difference, abs=1e-9)
        expected = shapley(tuple(window), worths)
        assert fused.attribution == pytest.approx(expected, abs=1e-9)


@shapes
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_scores_are_probabilities_and_the_label_is_the_likeliest(shape, data):
    spec, tensors, windows = data.draw(cases(shape))
    bar = data.draw(st.floats(0, 1))
    bold = HeadRule(spec, tensors).fuse_many(windows)
    for window, fused, timid in zip(
        windows, bold, HeadRule(spec, tensors, bar).fuse_many(windows), strict=True
    ):
        if not window:
            continue
        assert list(fused.scores) == list(spec.labels)
        assert math.fsum(fused.scores.values()) == pytest.approx(1, abs=1e-12)
        best = max(fused.scores.values())
        assert fused.scores[fused.label] == best
        assert timid.label == (fused.label if best >= bar else None)
        assert (timid.scores, timid.attribution) == (fused.scores, fused.attribution)


@shapes
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_many_is_each_alone_to_the_bit(shape, data):
    spec, tensors, windows = data.draw(cases(shape))
    rule = HeadRule(spec, tensors)
    singles = [rule.fuse_many([window])[0] for window in windows]
    assert rule.fuse_many(windows) == singles
    assert rule.fuse_many(windows[::-1])[::-1] == singles
    assert rule.fuse_many([*windows, *windows[:5]])[: len(windows)] == singles


@shapes
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_the_order_of_stages_decides_nothing(shape, data):
    spec, tensors, windows = data.draw(cases(shape))
    turned = {**spec.as_json(), "lengths": dict(reversed(spec.lengths.items()))}
    turned["weights"] = dict(reversed(spec.weights.items()))
    again = HeadRule(HeadSpec.of(json.loads(json.dumps(turned))), tensors)
    swapped = [dict(reversed(window.items())) for window in windows]
    assert again.fuse_many(swapped) == HeadRule(spec, tensors).fuse_many(windows)


@shapes
def test_what_is_not_finite_fails_its_window_alone(shape):
    spec, tensors = random_head(shape, np.random.default_rng(0), {"a": 2, "b": 3})
    tensors = tensors | {"a.matrix": tensors["a.matrix"] * 1e280}
    fine = {"b": np.float32([1, 2, 3])}
    large = {"a": np.float32([1e30, 1e30])}
    rule = HeadRule(spec, tensors)
    good, bad = rule.fuse_many([fine, large])
    assert good == rule.fuse_many([fine])[0]
    if shape[0] in ("gated", "attention"):  # tanh bounds what a stage can say
        assert bad.failure is None
        return
    assert bad.failure == "the head's scores are not finite"
    assert (bad.label, bad.scores, bad.vector) == (None, {}, None)


@shapes
def test_with_many_stages_attribution_is_sampled_and_adds_up_all_the_same(shape):
    rng = np.random.default_rng(3)
    lengths = {f"s{number}": 2 for number in range(8)}
    spec, tensors = random_head(shape, rng, lengths)
    window = {stage: rng.standard_normal(2).astype(np.float32) for stage in lengths}
    [fused] = HeadRule(spec, tensors).fuse_many([window])
    place = spec.labels.index(fused.label)
    gained = logits_of(spec, tensors, window)[place] - logits_of(spec, tensors, {})[place]
    assert math.fsum(fused.attribution.values()) == pytest.approx(gained, abs=1e-9)
    [again] = HeadRule(spec, tensors).fuse_many([dict(reversed(window.items()))])
    assert again == fused


# The formulas, by hand


def plain(spec, tensors, stage, window):
    rows = np.float64(window[stage])
    if f"{stage}.centre" in tensors:
        rows = (rows - tensors[f"{stage}.centre"]) * tensors[f"{stage}.scale"]
    return rows @ tensors[f"{stage}.matrix"] + tensors[f"{stage}.offset"]


def softmax(scores):
    powers = np.exp(np.array(scores) - np.max(scores, axis=0))
    return powers / powers.sum(axis=0)


WINDOW = {"sound": np.float32([1, -2, 0.5]), "words": np.float32([0.3, 4])}
LENGTHS = {"sound": 3, "words": 2, "colour": 4}


def head(rule, kind):
    return random_head((rule, kind), np.random.default_rng(5), LENGTHS)


def test_weighted_sum_reads_f_as_the_contract_has_it():
    """A head whose stages share one matrix is a map of F, with the weights in force."""
    spec, tensors = random_head(
        ("weighted_sum", "linear"), np.random.default_rng(5), dict.fromkeys(LENGTHS, 2)
    )
    shared = tensors["sound.matrix"]
    for stage in LENGTHS:
        tensors |= {f"{stage}.matrix": shared, f"{stage}.offset": np.zeros(3)}
    window = {"sound": np.float32([1, -2]), "words": np.float32([0.3, 4])}
    total = sum(spec.weights.values())
    scale = total / (spec.weights["sound"] + spec.weights["words"])
    weights = {stage: spec.weights[stage] * scale for stage in window}
    f = sum(weights[stage] * np.float64(window[stage]) for stage in window)
    expected = (f @ shared + tensors["bias"]) / spec.temperature
    np.testing.assert_allclose(logits_of(spec, tensors, window), expected, rtol=1e-12)
    [fused] = HeadRule(spec, tensors).fuse_many([window])
    assert fused.weights == pytest.approx(weights, rel=1e-12)


def test_concat_adds_one_map_a_block_and_reports_the_weights_as_given():
    spec, tensors = head("concat", "linear")
    expected = tensors["bias"] + sum(plain(spec, tensors, s, WINDOW) for s in WINDOW)
    np.testing.assert_allclose(
        logits_of(spec, tensors, WINDOW), expected / spec.temperature, rtol=1e-12
    )
    [fused] = HeadRule(spec, tensors).fuse_many([WINDOW])
    assert fused.weights == {stage: spec.weights[stage] for stage in ("sound", "words")}


def test_gates_depend_on_the_input_and_add_up_to_one():
    spec, tensors = head("gated", "gated")
    t = {stage: np.tanh(plain(spec, tensors, stage, WINDOW)) for stage in WINDOW}
    mean = (t["sound"] + t["words"]) / 2
    scores = [
        t[s] @ tensors[f"{s}.query"] + mean @ tensors[f"{s}.context"] + tensors[f"{s}.gate"][0]
        for s in WINDOW
    ]
    gates = dict(zip(WINDOW, softmax(scores), strict=True))
    z = sum(gates[stage] * t[stage] for stage in WINDOW)
    expected = z @ tensors["layer0.matrix"] + tensors["layer0.offset"]
    np.testing.assert_allclose(
        logits_of(spec, tensors, WINDOW), expected / spec.temperature, rtol=1e-12
    )
    louder = {**WINDOW, "sound": WINDOW["sound"] * 3}
    first, second = HeadRule(spec, tensors).fuse_many([WINDOW, louder])
    assert first.weights == pytest.approx(gates, rel=1e-12)
    assert second.weights != pytest.approx(first.weights, rel=1e-3)
    assert math.fsum(second.weights.values()) == pytest.approx(1, abs=1e-12)


def test_queries_attend_to_one_token_a_stage():
    spec, tensors = head("attention", "attention")
    tokens = np.stack([np.tanh(plain(spec, tensors, stage, WINDOW)) for stage in WINDOW])
    attention = softmax(tokens @ tensors["queries"])  # (stages, queries)
    values = (tokens @ tensors["values"]).reshape(2, QUERIES, HIDDEN // QUERIES)
    answers = np.einsum("sq,sqv->qv", attention, values).ravel()
    z = answers @ tensors["layer0.matrix"] + tensors["layer0.offset"]
    expected = np.maximum(z, 0) @ tensors["layer1.matrix"] + tensors["layer1.offset"]
    np.testing.assert_allclose(
        logits_of(spec, tensors, WINDOW), expected / spec.temperature, rtol=1e-12
    )
    [fused] = HeadRule(spec, tensors).fuse_many([WINDOW])
    assert list(fused.weights.values()) == pytest.approx(attention.mean(axis=1), rel=1e-12)


@pytest.mark.parametrize("combine", ["mean", "product"])
def test_late_joins_what_experts_say_alone(combine):
    spec, tensors = head("late", combine)
    p = {stage: softmax(plain(spec, tensors, stage, WINDOW)) for stage in WINDOW}
    w, prior = spec.weights, np.exp(tensors["prior"])
    if combine == "mean":
        expected = sum(w[s] * p[s] for s in WINDOW) / sum(w[s] for s in WINDOW)
    else:
        expected = prior ** (1 - sum(w[s] for s in WINDOW)) * np.prod(
            [p[s] ** w[s] for s in WINDOW], axis=0
        )
        expected /= expected.sum()
    found = softmax(logits_of(spec, tensors, WINDOW) * spec.temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    nothing = softmax(logits_of(spec, tensors, {}) * spec.temperature)
    np.testing.assert_allclose(nothing, prior, rtol=1e-10)


def test_two_independent_experts_are_bayes_rule():
    """Product of experts with weights of 1: p(y|a) p(y|b) / p(y), normalised."""
    spec, tensors = head("late", "product")
    spec = HeadSpec.of({**spec.as_json(), "weights": dict.fromkeys(LENGTHS, 1.0)})
    p = [softmax(plain(spec, tensors, stage, WINDOW)) for stage in WINDOW]
    expected = p[0] * p[1] / np.exp(tensors["prior"])
    found = softmax(logits_of(spec, tensors, WINDOW) * spec.temperature)
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-10)


# Shapley values


@pytest.mark.parametrize("stages", range(1, 12))
def test_coalitions_add_up_for_any_worths(stages):
    asked = coalitions(stages)
    assert not asked.masks[0].any()
    assert asked.masks[-1].all()
    assert len(np.unique(asked.masks, axis=0)) == len(asked.masks)
    assert len(asked.masks) <= 2**stages
    worths = np.random.default_rng(stages).standard_normal(len(asked.masks))
    shares = asked.shares @ worths
    assert shares.sum() == pytest.approx(worths[-1] - worths[0], abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, EXACT_MAX), st.integers(0, 2**32))
def test_up_to_six_stages_they_are_exact(stages, seed):
    asked = coalitions(stages)
    worths = np.random.default_rng(seed).standard_normal(len(asked.masks))
    names = tuple("abcdef"[:stages])
    by_subset = {
        frozenset(name for name, has in zip(names, mask, strict=True) if has): worth
        for mask, worth in zip(asked.masks.tolist(), worths.tolist(), strict=True)
    }
    expected = list(shapley(names, by_subset).values())
    np.testing.assert_allclose(asked.shares @ worths, expected, atol=1e-12)


def test_above_six_they_are_sampled_and_exact_for_a_sum():
    """A worth that is a sum has its terms as Shapley values, whatever permutations are drawn."""
    asked = coalitions(9)
    assert len(asked.masks) < 2**9
    terms = np.arange(9) - 3.5
    np.testing.assert_allclose(asked.shares @ (asked.masks @ terms), terms, atol=1e-12)
    assert coalitions(9).masks.tobytes() == asked.masks.tobytes()
