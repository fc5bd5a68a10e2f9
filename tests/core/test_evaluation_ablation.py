"""A head on a set: what each stage is worth to it, and what noise does."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import InvalidInput
from pipeline.evaluation.ablation import NOISE_LEVELS, HeadOnSet
from pipeline.evaluation.report import write_report
from pipeline.fusion.head_files import load_head
from pipeline.spec.models import FusionSpec
from pipeline.training.feature_set import Row, set_of
from pipeline.training.options import TrainOptions
from pipeline.training.train import train

LENGTHS = {"good": 4, "bad": 3}


def examples(rows: int = 300, seed: int = 0):
    """Two labels that ``good`` tells apart and ``bad`` does not; some rows lack one."""
    rng = np.random.default_rng(seed)
    found = []
    for at in range(rows):
        label = int(rng.integers(2))
        vectors = {
            "good": (rng.normal(size=4) + 3 * label).astype(np.float32),
            "bad": rng.normal(size=3).astype(np.float32),
        }
        if at % 10 == 0:
            del vectors["bad"]
        found.append(Row(f"s{at % 12}", at * 10, at * 10 + 10, f"n{label}", None, vectors))
    return set_of(found, LENGTHS, {"features": {}})


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    fusion = FusionSpec(rule="concat", of={"good": 1, "bad": 1})
    trained = train(fusion, examples(), TrainOptions("linear", epochs=40))
    folder = tmp_path_factory.mktemp("head")
    trained.save(folder, {})
    return load_head(folder)


def test_a_stage_that_tells_labels_apart_is_worth_more_than_one_that_does_not(head, tmp_path):
    found = HeadOnSet(head, examples(seed=1), "--features").report()
    accuracy = {tuple(row["stages"]): row["accuracy"] for row in found["subsets"]}
    assert accuracy.keys() == {("bad", "good"), ("good",), ("bad",), ()}
    assert found["accuracy"] == accuracy["bad", "good"] > 0.97
    assert accuracy["good",] > 0.95
    assert 0.35 < accuracy["bad",] < 0.65
    low, high = found["accuracy_interval"]
    assert low <= found["accuracy"] <= high
    assert found["auc"] > 0.99
    assert (found["rows"], found["streams"], found["unknown_labels"]) == (300, 12, 0)
    noise = {row["stage"]: row["accuracy"] for row in found["noise"]}
    assert noise.keys() == {None, "good", "bad"}
    assert all(len(row) == len(NOISE_LEVELS) for row in noise.values())
    assert noise["good"][0] == noise["bad"][0] == found["accuracy"]
    assert noise["good"][-1] < noise["bad"][-1] - 0.1
    assert HeadOnSet(head, examples(seed=1), "--features").report() == found
    _, page = write_report(tmp_path, "a head", {"labels": found})
    assert page.read_text().count("data:image/png;base64,") == 3


def test_rows_with_labels_that_the_head_never_learned_are_counted_and_left_out(head):
    rows = [Row(f"s{at}", 0, 1, name, None, {"good": np.zeros(4, np.float32)})
            for at, name in enumerate(["n0", "bird", None])]  # fmt: skip
    found = HeadOnSet(head, set_of(rows, LENGTHS, {"features": {}}), "--features").report()
    assert (found["rows"], found["unknown_labels"]) == (1, 1)
    with pytest.raises(InvalidInput, match=r"no row has a label that the head knows \(n0, n1\)"):
        HeadOnSet(head, set_of(rows[1:], LENGTHS, {"features": {}}), "--features")
