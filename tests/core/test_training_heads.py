"""Every kind of head on real handwriting: learned, calibrated, repeatable, saved and read back."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import InvalidInput
from pipeline.fusion.head_files import load_head
from pipeline.fusion.head_rule import HeadRule
from pipeline.fusion.heads import HeadSpec
from pipeline.fusion.rules import Fuser
from pipeline.spec.models import FusionSpec
from pipeline.training import networks
from pipeline.training.auto import candidates, chosen
from pipeline.training.classical import fit_linear, fit_naive_bayes
from pipeline.training.curves import draw, write_events
from pipeline.training.feature_set import FeatureSet, Row, set_of
from pipeline.training.fitting import dropped
from pipeline.training.metrics import calibration_error, scored
from pipeline.training.options import KERNELS, KINDS, NETWORKS, ON_F, TrainOptions, kind_for
from pipeline.training.split import split
from pipeline.training.task import temperature
from pipeline.training.train import train

LENGTHS = {"left": 32, "right": 32}
LABELS = tuple("01234")


def handwriting(rows: int = 400, streams: int = 20, noise: float = 2.0, seed: int = 0):
    """Written digits 0 to 4, the left and the right half as two stages; some lack one."""
    from sklearn.datasets import load_digits

    digits = load_digits(n_class=5)
    rng = np.random.default_rng(seed)
    found = []
    for at, place in enumerate(rng.permutation(len(digits.target))[:rows].tolist()):
        pixels = digits.images[place] + noise * rng.standard_normal((8, 8))
        vectors = {"left": pixels[:, :4].ravel(), "right": pixels[:, 4:].ravel()}
        if rng.random() < 0.2:
            vectors.pop("left" if rng.random() < 0.5 else "right")
        vectors = {stage: vector.astype(np.float32) for stage, vector in vectors.items()}
        stream = f"s{at % streams}"
        found.append(Row(stream, at * 10, at * 10 + 10, str(digits.target[place]), None, vectors))
    return set_of(found, LENGTHS, {"features": {}})


DATA = handwriting()
CASES = [("concat", kind) for kind in KINDS] + [("weighted_sum", kind) for kind in ON_F]


def fusion(rule: str, **more) -> FusionSpec:
    return FusionSpec(rule=rule, of={"right": 0.7, "left": 0.5}, **more)


def options(kind: str, **more) -> TrainOptions:
    return TrainOptions(kind, epochs=40, hidden=16, **more)


@pytest.fixture(scope="module")
def trained():
    return {case: train(fusion(case[0]), DATA, options(case[1])) for case in CASES}


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_it_learns_and_says_how_well(trained, case):
    made = trained[case]
    measured, data = made.told["metrics"], made.told["data"]
    assert made.fitted.spec.labels == LABELS
    assert measured["test"]["accuracy"] > 0.75 > 2 * measured["majority"]
    assert measured["test"]["calibration_error"] < 0.2
    assert max(measured["alone"].values()) < measured["test"]["accuracy"] + 0.03
    assert measured["alone"].keys() == measured["without"].keys() == LENGTHS.keys()
    assert measured["alone"]["left"] == measured["without"]["right"]
    assert data["split"]["by"] == "stream"
    assert sum(data["split"][part] for part in ("train", "validation", "test")) == len(DATA)
    assert made.told["cost"]["parameters"] == sum(a.size for a in made.fitted.tensors.values())
    json.dumps(made.told, allow_nan=False)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_the_same_seed_gives_the_same_arrays_to_the_bit(trained, case):
    torch.manual_seed(12345)  # whatever ran before decides nothing
    before = torch.get_rng_state()
    again = train(fusion(case[0]), DATA, options(case[1]))
    assert torch.equal(torch.get_rng_state(), before)
    first = trained[case].fitted
    assert again.fitted.spec == first.spec
    assert {n: a.tobytes() for n, a in again.fitted.tensors.items()} == {
        n: a.tobytes() for n, a in first.tensors.items()
    }


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_what_is_saved_is_what_a_pipeline_runs(trained, case, tmp_path):
    made = trained[case]
    sha256 = made.save(tmp_path / "head", {})
    assert sorted(p.name for p in (tmp_path / "head").iterdir()) == [
        "card.json", "head.safetensors",
    ]  # fmt: skip
    rule = made.fitted.spec.rule
    spec = fusion(rule, head="head", normalize=made.fitted.spec.normalize)
    fuser = Fuser(spec, LENGTHS, head=load_head(tmp_path / "head"))
    assert fuser.head_hash == sha256
    windows = [
        {s: rows[at] for s, rows in DATA.vectors.items() if DATA.there[s][at]} for at in range(60)
    ]
    truth = [LABELS.index(label) for label in DATA.labels[:60]]
    fused = fuser.fuse_many(windows)
    scores = np.array([list(each.scores.values()) for each in fused])
    assert (scores.argmax(axis=1) == truth).mean() > 0.8  # most of them are training rows
    expected = HeadRule(made.fitted.spec, made.fitted.tensors).fuse_many(windows)
    assert fused == expected


def test_a_head_that_is_not_whole_is_refused(trained, tmp_path):
    made = trained["concat", "logistic"]
    folder = tmp_path / "head"
    made.save(folder, {})
    card = json.loads((folder / "card.json").read_text())

    def refused(why: str) -> None:
        with pytest.raises(InvalidInput, match=why):
            load_head(folder)

    for change, why in [
        ({"format": 9}, "format 9"),
        ({"head": {**card["head"], "labels": ["x", "y", "z"]}}, "arrays do not fit its card"),
        ({"head": {**card["head"], "rule": "late"}}, "arrays do not fit its card"),
        ({"head": {**card["head"], "colour": "red"}}, "arrays do not fit its card"),
        ({"tensors": {"sha256": "ab"}}, "is not the file that card.json was written with"),
    ]:
        (folder / "card.json").write_text(json.dumps({**card, **change}))
        refused(why)
    (folder / "card.json").write_text("{")
    refused("is no JSON")
    (folder / "card.json").write_text(json.dumps(card))
    load_head(folder)
    (folder / "head.safetensors").write_bytes(b"12345678")
    refused("is not the file")
    (folder / "head.safetensors").unlink()
    refused("head.safetensors cannot be read")


def test_weights_can_be_trained_and_then_stand_for_those_of_the_file(tmp_path):
    made = train(fusion("weighted_sum"), DATA, options("linear", train_weights=True))
    weights = made.fitted.spec.weights
    assert made.fitted.spec.trained_weights
    assert weights != {"left": 0.5, "right": 0.7}
    made.save(tmp_path, {})
    spec = FusionSpec(rule="weighted_sum", of={"left": 9.0, "right": 1.0}, head=".")
    window = {stage: rows[0] for stage, rows in DATA.vectors.items()}
    fused = Fuser(spec, LENGTHS, head=load_head(tmp_path)).fuse(window)
    assert fused.weights == pytest.approx(weights)
    fixed = train(fusion("weighted_sum"), DATA, options("linear"))
    fixed.save(tmp_path, {})
    with pytest.raises(InvalidInput, match=r"fusion\.of\.left is 9\.0, and was 0\.5"):
        Fuser(spec, LENGTHS, head=load_head(tmp_path))


@pytest.mark.parametrize("kind", ["gated", "attention", "mlp", "linear"])
@pytest.mark.parametrize("stages", [1, 3])
def test_a_network_and_its_head_compute_the_same(kind, stages):
    lengths = {f"s{number}": 3 + number for number in range(stages)}
    sizes = networks.Sizes(lengths, labels=4, hidden=8)
    torch.manual_seed(1)
    made = {
        "gated": networks.GatedNetwork,
        "attention": networks.AttentionNetwork,
        "mlp": lambda sizes: networks.BlockNetwork(sizes, deep=True),
        "linear": lambda sizes: networks.BlockNetwork(sizes, deep=False),
    }[kind](sizes)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter))
    rng = np.random.default_rng(2)
    vectors = {stage: rng.standard_normal((50, length)) for stage, length in lengths.items()}
    masks = rng.random((50, stages)) < 0.6
    masks[0] = False
    with torch.no_grad():
        expected = made(
            {stage: torch.from_numpy(rows).float() for stage, rows in vectors.items()},
            torch.from_numpy(masks).float(),
        )
    rule = kind if kind in ("gated", "attention") else "concat"
    spec = HeadSpec(
        kind, rule, tuple("abcd"), lengths, dict.fromkeys(lengths, 1.0), layers=made.layers
    )
    there = dict(zip(lengths, masks.T, strict=True))
    found = HeadRule(spec, made.arrays()).logits(vectors, there)
    np.testing.assert_allclose(found, expected.numpy(), rtol=2e-4, atol=2e-4)


# Parts


@pytest.mark.parametrize("labels", [2, 4])
@pytest.mark.parametrize("kind", ["logistic", "svm"])
def test_fitted_lines_are_those_of_scikit_learn(kind, labels):
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    rng = np.random.default_rng(0)
    truth = rng.integers(0, labels, 200)
    rows = rng.standard_normal((200, 5)) + truth[:, None]
    matrix, offset = fit_linear(kind, rows, truth, labels, 0.1, 0, False)
    if kind == "logistic":
        model = LogisticRegression(C=0.1, max_iter=2000).fit(rows, truth)
        logits = rows @ matrix + offset
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(scores, model.predict_proba(rows), atol=1e-9)
    else:
        model = LinearSVC(C=0.1, max_iter=20_000, random_state=0).fit(rows, truth)
        assert ((rows @ matrix + offset).argmax(axis=1) == model.predict(rows)).all()


def rings(rows: int = 400) -> FeatureSet:
    """Points near the origin against those around them: no line tells them apart."""
    rng = np.random.default_rng(0)
    found = []
    for at in range(rows):
        points = rng.standard_normal((2, 32)).astype(np.float32) * ([1] * 2 + [0.01] * 30)
        label = "in" if np.hypot(*points[0, :2]) < 1.18 else "out"
        vectors = {"left": np.float32(points[0]), "right": np.float32(points[1])}
        found.append(Row(f"s{at % 12}", at, at + 1, label, None, vectors))
    return set_of(found, LENGTHS, {"features": {}})


def test_a_kernel_tells_apart_what_no_line_can():
    data = rings()
    for stage, rows in data.vectors.items():
        data.vectors[stage] = rows[:, :2].copy()
    line, kernel = (train(fusion("concat"), data, options("svm", kernel=k)) for k in KERNELS)
    accuracies = [each.told["metrics"]["test"]["accuracy"] for each in (line, kernel)]
    assert accuracies[0] < 0.7 < 0.85 < accuracies[1], accuracies
    assert kernel.fitted.spec.layers == ("cosine",)
    summed = train(fusion("weighted_sum", normalize="none"), data, options("svm", kernel="rbf"))
    assert summed.fitted.spec.layers == ("cosine",)


def test_random_cosines_are_near_the_kernel():
    """⟨z(x), z(y)⟩ against exp(-γ ‖x - y‖²), by the arrays of a head."""
    tensors = train(fusion("concat"), rings(), options("svm", kernel="rbf")).fitted.tensors
    map_ = np.concatenate([tensors["left.matrix"], tensors["right.matrix"]])
    rows = np.random.default_rng(1).standard_normal((40, 64)) / 2
    z = np.sqrt(2 / map_.shape[1]) * np.cos(rows @ map_ + tensors["bias"])
    gamma = map_.var() / 2
    far = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    assert np.abs(z @ z.T - np.exp(-gamma * far)).max() < 0.25
    assert np.abs(z @ z.T - np.exp(-gamma * far)).mean() < 0.05


def test_naive_bayes_is_that_of_scikit_learn_and_takes_labels_that_do_not_occur():
    from sklearn.naive_bayes import GaussianNB

    rng = np.random.default_rng(0)
    truth = rng.choice([0, 2], 200)
    rows = rng.standard_normal((200, 5)) * (1 + truth[:, None]) + truth[:, None]
    matrix, offset = fit_naive_bayes(rows, truth, 3)
    found = np.concatenate([rows, rows**2], axis=1) @ matrix + offset
    model = GaussianNB(var_smoothing=1e-3).fit(rows, truth)
    expected = model.predict_joint_log_proba(rows) - np.log(model.class_prior_)
    np.testing.assert_allclose(found[:, [0, 2]], expected, rtol=1e-9)
    assert np.isfinite(found[:, 1]).all()


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
def test_a_temperature_undoes_what_logits_were_multiplied_by(factor):
    """Labels are drawn from softmax(logits), so that T = 1 is the truth."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.standard_normal((20_000, 3))
    draws = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    found, _ = temperature(logits * factor, draws)
    assert found == pytest.approx(factor, rel=0.05)


def test_calibration_error_is_how_far_confidence_is_from_being_right():
    scores = np.tile([0.8, 0.2], (10, 1))
    assert calibration_error(np.array([0] * 8 + [1] * 2), scores) == pytest.approx(0, abs=1e-12)
    assert calibration_error(np.array([0] * 5 + [1] * 5), scores) == pytest.approx(0.3)
    found = scored(np.array([0] * 5 + [1] * 5), scores)
    assert found["confusion"] == [[5, 0], [5, 0]]
    assert (found["accuracy"], found["balanced_accuracy"]) == (0.5, 0.5)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_modality_dropout_hides_as_often_as_told_and_never_all():
    masks = torch.ones(20_000, 3)
    masks[:, 2] = 0
    found = dropped(masks, 0.3, torch.Generator().manual_seed(1))
    assert found.any(dim=1).all()
    assert not found[:, 2].any()
    hidden = 1 - found[:, :2].mean(dim=0)
    # 0.3 of the rows, less those where the other one was hidden too and both came back
    np.testing.assert_allclose(hidden.numpy(), 0.3 - 0.09, atol=0.01)
    assert torch.equal(dropped(masks, 0.0, torch.Generator()), masks)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(2, 4))
def test_a_split_takes_whole_streams_and_trains_on_every_label(seed, streams, labels):
    rng = np.random.default_rng(seed)
    names = sorted(f"s{rng.integers(streams)}" for _ in range(60))
    truth = np.concatenate([np.arange(labels), rng.integers(0, labels, 60 - labels)])
    parted = split(names, truth, seed % 7)
    parts = [parted.train, parted.validation, parted.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(60))
    if parted.by == "time":
        for part, later in pairwise(parts):
            for name in set(names):
                ours, theirs = ([at for at in each if names[at] == name] for each in (part, later))
                assert not ours or not theirs or max(ours) < min(theirs)
        return
    held = [{names[at] for at in part} for part in parts]
    assert all(held)
    assert len(held[0] | held[1] | held[2]) == sum(map(len, held))
    assert set(truth[parted.train]) == set(range(labels))


def test_enough_streams_are_split_about_as_told():
    names = [f"s{number % 50:02}" for number in range(1000)]
    names.sort()
    truth = np.random.default_rng(0).integers(0, 3, 1000)
    parted = split(names, truth, 0)
    assert parted.by == "stream"
    for part, share in ((parted.train, 0.6), (parted.validation, 0.2), (parted.test, 0.2)):
        assert len(part) / 1000 == pytest.approx(share, abs=0.04)
        for label in range(3):
            assert (truth[part] == label).sum() / (truth == label).sum() == pytest.approx(
                share, abs=0.06
            )


# What is warned of, and what is refused


def test_learning_by_heart_is_warned_of():
    data = handwriting(rows=120, noise=0)
    rng = np.random.default_rng(0)
    shuffled = set_of(
        [
            Row(data.streams[at], at * 10, at * 10 + 10, str(rng.integers(3)), None,
                {s: rows[at] for s, rows in data.vectors.items()})
            for at in range(len(data))
        ],
        LENGTHS, {},
    )  # fmt: skip
    made = train(fusion("concat"), shuffled, options("logistic", modality_dropout=0.0))
    assert any(line.startswith("over-fitting: ") for line in made.warnings), made.warnings
    assert any(line.startswith("it is no better than") for line in made.warnings), made.warnings


def test_few_streams_are_split_by_time_and_that_is_said():
    made = train(fusion("concat"), handwriting(streams=2), options("logistic"))
    assert made.told["data"]["split"]["by"] == "time"
    assert made.warnings[0].startswith("too few streams")


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([("s", "a")] * 5 + [("t", "b")] * 4, "9 windows have a label and a vector, and 10"),
        ([("s", "a")] * 20, "all windows have the label a"),
        ([(f"s{n}", f"l{n}") for n in range(12)], "12 rows of 12 streams leave none to hold out"),
        ([("s", None)] * 20, "0 windows have a label"),
    ],
)
def test_a_set_that_is_no_good_is_refused(rows, why):
    made = [
        Row(stream, at, at + 1, label, None, {"left": np.ones(32, np.float32)})
        for at, (stream, label) in enumerate(rows)
    ]
    with pytest.raises(InvalidInput, match=f"--features: {why}"):
        train(fusion("concat"), set_of(made, LENGTHS, {}), options("logistic"))


def test_a_stage_that_never_gave_a_vector_is_learned_around():
    rows = [
        Row(f"s{at % 5}", at, at + 1, "ab"[at % 2], None,
            {"left": np.full(32, at % 2, np.float32)})
        for at in range(60)
    ]  # fmt: skip
    for kind in KINDS:
        made = train(fusion("concat"), set_of(rows, LENGTHS, {}), options(kind))
        assert made.told["metrics"]["test"]["accuracy"] == 1, kind


# Choosing


def test_auto_tries_every_kind_and_takes_the_cheapest_of_the_best(trained):
    found = [trained["concat", kind] for kind in KINDS]
    assert [each.kind for each in candidates(options("linear"), 2)] == list(KINDS)
    assert [each.kind for each in candidates(options("linear"), 1)] == list(ON_F)
    best, why = chosen(found, None)
    validation = {each: each.told["metrics"]["validation"]["accuracy"] for each in found}
    top = max(validation.values())
    assert top - validation[best] < 0.1
    cheaper = [
        each for each in found
        if each.told["cost"]["flops"] < best.told["cost"]["flops"] and validation[each] == top
    ]  # fmt: skip
    assert not cheaper
    assert why
    slow, why = chosen(found, 1e-9)
    assert why.startswith("none is within 1e-09 ms")
    times = [each.told["cost"]["ms_per_window"] for each in found]
    assert slow.told["cost"]["ms_per_window"] == min(times)


def test_kinds_and_rules():
    assert kind_for(None, "late") == "late"
    assert kind_for(None, "concat") == "linear"
    with pytest.raises(InvalidInput, match="did you mean 'logistic'"):
        kind_for("logstic", "concat")
    assert set(NETWORKS) < set(KINDS)
    made = train(fusion("concat"), DATA, options("gated"))
    assert (made.fitted.spec.rule, made.fitted.spec.normalize) == ("gated", "none")


# Curves


def test_curves_are_drawn_and_written_for_tensorboard(trained, tmp_path):
    pytest.importorskip("matplotlib")
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    curve = trained["concat", "mlp"].fitted.curve
    assert draw(curve, tmp_path / "curves.png", "mlp")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 5  # something is drawn
    write_events(curve, tmp_path / "events")
    read = events.EventAccumulator(str(tmp_path / "events")).Reload()
    found = [event.value for event in read.Scalars("loss/validation")]
    assert found == pytest.approx(curve.validation_loss, rel=1e-6)
    assert found[curve.best] == min(found)
    assert trained["concat", "svm"].fitted.curve is None
