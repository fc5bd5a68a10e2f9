"""docs/THEORY.md: the numbers of its worked examples are those that the code gives.

The example is real handwriting (scikit-learn's digits) whose left and right halves are two stages.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from documents import ROOT

from pipeline.evaluation.ablation import HeadOnSet
from pipeline.evaluation.text import Pair, scored_text
from pipeline.fusion.head_files import load_head
from pipeline.fusion.linear import LinearRule
from pipeline.fusion.rules import Fuser
from pipeline.spec.models import FusionSpec
from pipeline.training.auto import chosen
from pipeline.training.feature_set import Row, set_of
from pipeline.training.options import KINDS, TrainOptions
from pipeline.training.train import train

PAGE = (ROOT / "docs" / "THEORY.md").read_text(encoding="utf-8")
LENGTHS = {"left": 32, "right": 32}
ROW = 4  # of those unseen; both halves are there
RULES = {"gated": "gated", "attention": "attention", "late": "late"}


def halves(first: int = 0, rows: int = 600, streams: int = 30, noise: float = 2.0, seed: int = 0):
    """Written digits with noise on each pixel (0 to 16); a fifth of the rows lack one half."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    rng = np.random.default_rng(seed)
    order, found = rng.permutation(len(digits.target))[first : first + rows], []
    for at, place in enumerate(order.tolist()):
        pixels = digits.images[place] + noise * rng.standard_normal((8, 8))
        vectors = {"left": pixels[:, :4].ravel(), "right": pixels[:, 4:].ravel()}
        if rng.random() < 0.2:
            vectors.pop("left" if rng.random() < 0.5 else "right")
        vectors = {stage: vector.astype(np.float32) for stage, vector in vectors.items()}
        label = str(digits.target[place])
        found.append(Row(f"s{at % streams}", at * 10, at * 10 + 10, label, None, vectors))
    return set_of(found, LENGTHS, {"features": {}})


def fusion(kind: str, **more) -> FusionSpec:
    return FusionSpec(rule=RULES.get(kind, "concat"), of={"left": 1, "right": 1}, **more)


def table(heading: str) -> dict[str, list[str]]:
    """Cells of the first table under a heading, by its first column."""
    [section] = re.findall(
        rf"^#+ {heading}\b[^\n]*\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return {first.strip(" `"): [cell.strip() for cell in rest] for first, *rest in lines[2:]}


@pytest.fixture(scope="module")
def data():
    return halves()


@pytest.fixture(scope="module")
def unseen():
    """Other handwriting, which no head was trained on."""
    return halves(first=600)


@pytest.fixture(scope="module")
def heads(data):
    return {kind: train(fusion(kind), data, TrainOptions(kind)) for kind in KINDS}


def test_the_heads_are_as_good_and_as_large_as_the_page_says(heads):
    said_by_kind = table("Training")
    assert list(said_by_kind) == list(KINDS)
    for kind, cells in said_by_kind.items():
        told = heads[kind].told
        scores = told["metrics"]["test"]["accuracy"], *told["metrics"]["alone"].values()
        for said, found in zip(cells[:3], scores, strict=True):
            assert float(said) == pytest.approx(found, abs=0.03), kind
        parameters, flops = (int(cell.replace(",", "")) for cell in cells[3:5])
        assert (parameters, flops) == (told["cost"]["parameters"], told["cost"]["flops"]), kind


def test_the_head_that_is_chosen_and_why(heads):
    best, why = chosen(list(heads.values()), None)
    assert f"Here that is `{best.fitted.spec.kind}`" in PAGE
    top = {kind: made.told["metrics"]["validation"]["accuracy"] for kind, made in heads.items()}
    assert "within a standard error" in why
    for kind, said in re.findall(r"`(late|mlp)`(?::| has) (\.\d+)", PAGE):
        assert float(said) == pytest.approx(top[kind], abs=0.03)


def test_what_halves_are_worth_to_a_head(heads, unseen, tmp_path):
    heads["late"].save(tmp_path / "head", {})
    report = HeadOnSet(load_head(tmp_path / "head", "head"), unseen, "--features").report()
    found = {", ".join(row["stages"]) or "none": row["accuracy"] for row in report["subsets"]}
    said = table("Ablation")
    assert said.keys() == found.keys()
    for stages, [accuracy] in said.items():
        assert float(accuracy) == pytest.approx(found[stages], abs=0.03)


def test_why_a_window_got_its_label(heads, unseen, tmp_path):
    heads["late"].save(tmp_path / "head", {})
    fuser = Fuser(fusion("late", head="head"), LENGTHS, head=load_head(tmp_path / "head"))
    window = {stage: unseen.vectors[stage][ROW] for stage in LENGTHS}
    [fused] = fuser.fuse_many([window])
    said = table("Explanation")
    assert said["label"] == [fused.label]
    assert float(said["probability"][0]) == pytest.approx(fused.scores[fused.label], abs=0.01)
    for stage in LENGTHS:
        assert float(said[stage][0]) == pytest.approx(fused.attribution[stage], abs=0.05)


def test_the_sum_that_is_worked_out_by_hand():
    spec = FusionSpec(rule="weighted_sum", of={"sound": 0.6, "text": 0.4}, normalize="l2")
    rule = LinearRule(spec, {"sound": 2, "text": 2})
    sound, text = np.array([3.0, 4.0]), np.array([1.0, 0.0])
    both, alone = rule.fuse_many([{"sound": sound, "text": text}, {"sound": sound}])
    shown = ", ".join(f"{x:.2f}" for x in both.vector)
    assert f"F = ({shown})" in PAGE
    assert f"{both.attribution['sound']:.3f} and {both.attribution['text']:.3f}" in PAGE
    assert f"F = ({', '.join(f'{x:.1f}' for x in alone.vector)})" in PAGE
    assert alone.weights == {"sound": pytest.approx(1.0)}


def test_errors_of_words_and_characters_and_bleu():
    said = re.findall(r"^    (reference|heard): +(.+)$", PAGE, re.MULTILINE)
    pairs = [Pair("s", 0, dict(said)["reference"], dict(said)["heard"])]
    found = scored_text(pairs, "plain")
    for name in ("wer", "cer"):
        assert f"{name.upper()} = {found[name]['rate']:.3f}" in PAGE
    assert f"BLEU = {found['bleu']['score']:.1f}" in PAGE
    assert f"chrF = {found['chrf']['score']:.1f}" in PAGE
