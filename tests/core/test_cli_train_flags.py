"""Flags of ``motet train`` that would change nothing are refused, whatever is trained."""

from __future__ import annotations

import inspect
import re

import pytest

from pipeline.cli.train import train
from pipeline.cli.train_effect import (
    _ACTS_ON,
    BLOCKS,
    TRANSLATE,
    demand_effect,
    demand_rule,
    demand_weighted_sum,
)
from pipeline.errors import InvalidInput
from pipeline.training.options import KINDS, ON_SEQUENCES, kinds_for

EVERYWHERE = {"context", "file", "task", "out", "seed", "device", "sets", "wait", "as_json"}
WAYS = (*KINDS, *ON_SEQUENCES, "auto", BLOCKS, TRANSLATE)


def test_every_flag_says_what_it_acts_on():
    flags = set(inspect.signature(train).parameters)
    assert set(_ACTS_ON) | EVERYWHERE == flags
    assert not set(_ACTS_ON) & EVERYWHERE
    for name, acts in _ACTS_ON.items():
        assert acts, name
        assert acts < set(WAYS), name


@pytest.mark.parametrize(
    ("trained", "flag", "told"),
    [
        (TRANSLATE, {"weight_decay": ("--weight-decay", 0.1)},
         "--weight-decay = 0.1: it does nothing for --task translate; leave it out"),
        (BLOCKS, {"kernel": ("--kernel", "rbf")}, "for --fine-tune; leave it out, or take --head"),
        (BLOCKS, {"train_weights": ("--train-weights", True)}, "--train-weights: it does nothing"),
        ("svm", {"epochs": ("--epochs", 5)}, "--epochs = 5: it does nothing for --head svm"),
        ("late", {"modality_dropout": ("--modality-dropout", 0.1)}, "for --head late"),
        ("mlp", {"embedding": ("--embedding", 8)}, "take --head cnn or lstm"),
        ("mlp", {"blocks": ("--blocks", 2)}, "leave it out, or add --fine-tune"),
        ("linear", {"pairs": ("--pairs", "p.csv")}, "leave it out, or add --task translate"),
        ("gated", {"budget_ms": ("--budget-ms", 1.0)}, "or take --head auto"),
    ],
)  # fmt: skip
def test_a_flag_without_effect_is_named_with_what_is_trained(trained, flag, told):
    with pytest.raises(InvalidInput) as refused:
        demand_effect(flag, trained)
    assert told in str(refused.value)


def test_all_of_them_are_named_at_once_and_others_pass():
    given = {"hidden": ("--hidden", 8), "kernel": ("--kernel", "rbf"), "seed": ("--seed", 1),
             "balanced": ("--balanced", True)}  # fmt: skip
    with pytest.raises(InvalidInput) as refused:
        demand_effect(given, "logistic")
    assert [str(each).split(" ")[0] for each in refused.value.problems] == ["--hidden", "--kernel"]
    demand_effect(given, "auto")
    demand_effect({"seed": ("--seed", 1)}, TRANSLATE)


@pytest.mark.parametrize(
    ("kind", "rule", "fine"),
    [("linear", "weighted_sum", True), ("mlp", "concat", False), ("auto", "gated", False)],
)
def test_weights_are_learned_where_the_rule_has_some(kind, rule, fine):
    given = {"train_weights": ("--train-weights", True)}
    if fine:
        demand_weighted_sum(given, kind, rule)
    else:
        with pytest.raises(InvalidInput, match="has no weights to learn"):
            demand_weighted_sum(given, kind, rule)
    demand_weighted_sum({}, kind, rule)


def test_the_kinds_that_a_file_takes_as_it_is():
    on_f = ["linear", "mlp", "logistic", "svm", "naive_bayes"]
    assert kinds_for("weighted_sum", sequences=True) == on_f
    assert kinds_for("concat", sequences=True) == [*on_f, "lstm", "cnn"]
    assert kinds_for("concat") == on_f
    assert kinds_for("gated") == ["gated"]
    assert kinds_for("mine:Rule", sequences=True) == []


@pytest.mark.parametrize(
    ("kind", "rule", "told"),
    [
        ("gated", "concat", "--head = gated: it is for the rule gated, and fusion.rule is concat"),
        ("lstm", "weighted_sum", "it is for the rule concat, and fusion.rule is weighted_sum"),
        ("linear", "mine:Rule", "fusion.rule = mine:Rule: it is a class of yours"),
        (None, "mine:Rule", "write rule: concat or rule: weighted_sum"),
    ],
)
def test_a_head_that_the_file_would_not_take_is_refused_before_anything_is_read(kind, rule, told):
    with pytest.raises(InvalidInput, match=re.escape(told)):
        demand_rule(kind, rule)
    demand_rule(None, "gated")
    demand_rule("svm", "weighted_sum")
