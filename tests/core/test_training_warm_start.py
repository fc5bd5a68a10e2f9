"""Training that begins with another head: what both have in common is kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sequence_rows import LENGTHS, SHAPES, vectors

from pipeline.errors import InvalidInput
from pipeline.fusion.head_files import load_head
from pipeline.spec.models import FusionSpec
from pipeline.training import networks
from pipeline.training.feature_set import Row, set_of
from pipeline.training.options import TrainOptions
from pipeline.training.sequence_networks import SequenceNetwork
from pipeline.training.train import train
from pipeline.training.warm_start import begin, check_start

NAMES = ("linear", "mlp", "gated", "attention", "lstm", "cnn")
FUSION = FusionSpec(rule="concat", of=dict.fromkeys(LENGTHS, 1.0))
FEATURES = dict.fromkeys(LENGTHS)


def network(kind: str, labels: int, seed: int, hidden: int = 8) -> networks.Network:
    torch.manual_seed(seed)
    sizes = networks.Sizes(LENGTHS, labels, hidden)
    if kind in ("lstm", "cnn"):
        return SequenceNetwork(kind, sizes, SHAPES, embedding=5)
    if kind == "gated":
        return networks.GatedNetwork(sizes)
    if kind == "attention":
        return networks.AttentionNetwork(sizes)
    return networks.BlockNetwork(sizes, deep=kind == "mlp")


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("kind", NAMES)
def test_load_is_the_inverse_of_arrays(kind, labels):
    old, new = network(kind, labels, 1), network(kind, labels, 2)
    new.load(old.arrays())
    given = {s: torch.from_numpy(r) for s, r in vectors(np.random.default_rng(0), 20).items()}
    masks = torch.ones(20, len(LENGTHS))
    with torch.no_grad():
        assert torch.allclose(new(given, masks), old(given, masks), atol=1e-6)
    for name, made in new.arrays().items():
        np.testing.assert_allclose(made, old.arrays()[name], atol=1e-7, err_msg=name)


def data(labels: str, rows: int = 60, seed: int = 0):
    """Rows whose sound goes up or down by label, the rest noise."""
    rng = np.random.default_rng(seed)
    found = []
    for at in range(rows):
        label = labels[at % len(labels)]
        row = {stage: each[0] for stage, each in vectors(rng, 1).items()}
        slope = ("abc".index(label) - 1) * np.linspace(-2, 2, 7)
        row["sound"] = row["sound"] + np.repeat(slope, 3).astype(np.float32)
        found.append(Row(f"s{at % 6}", at, at + 1, label, None, row))
    shapes = {stage: shape._asdict() for stage, shape in SHAPES.items()}
    return set_of(found, LENGTHS, {"sequences": shapes})


def options(kind: str, epochs: int = 10, **more) -> TrainOptions:
    return TrainOptions(kind, epochs=epochs, hidden=8, embedding=5, **more)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    heads = {}
    for kind in ("mlp", "lstm"):
        folder = tmp_path_factory.mktemp("heads") / kind
        how = options(kind, epochs=40, learning_rate=0.02, weight_decay=0.0)
        train(FUSION, data("abc", 180), how).save(folder, FEATURES)
        heads[kind] = load_head(folder)
    return heads


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_layers_are_shared_and_of_the_labels_those_that_both_have(old, kind):
    made = network(kind, 2, 3)
    fresh = made.arrays()
    begin(made, old[kind], ("b", "d"))
    for name, now in made.arrays().items():
        before = old[kind].tensors[name]
        if name not in made.outputs():
            np.testing.assert_allclose(now, before, atol=1e-6, err_msg=name)
    for name in made.outputs() if kind == "mlp" else ():
        np.testing.assert_allclose(made.arrays()[name][..., 0], old[kind].tensors[name][..., 1])
        np.testing.assert_allclose(made.arrays()[name][..., 1], fresh[name][..., 1])


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_a_head_that_begins_with_another_is_ahead_after_an_epoch(old, kind, tmp_path):
    """One epoch on few rows of the same task, and what the card tells of it."""
    few, more = data("abc", 30, seed=1), {"learning_rate": 1e-6, "weight_decay": 0.0}
    cold = train(FUSION, few, options(kind, 1, **more))
    warm = train(FUSION, few, options(kind, 1, **more), start=old[kind])
    losses = [each.fitted.curve.validation_loss[0] for each in (warm, cold)]
    assert losses[0] < 0.7 * losses[1], losses
    assert warm.told["training"]["init"] == old[kind].sha256
    assert "init" not in cold.told["training"]
    for name in ("sound.centre", "sound.scale"):  # its units are those that the layers know
        np.testing.assert_array_equal(warm.fitted.tensors[name], old[kind].tensors[name])
    json.dumps(warm.told, allow_nan=False)


def test_what_it_cannot_begin_with_is_refused_with_the_reason(old):
    def refused(why: str, kind: str = "mlp", fusion: FusionSpec = FUSION, features=FEATURES):
        with pytest.raises(InvalidInput) as caught:
            check_start(old["mlp"], "heads/old", kind, fusion, features, LENGTHS)
        assert str(caught.value).startswith(f"--init = heads/old: {why}"), str(caught.value)

    check_start(old["mlp"], "heads/old", "mlp", FUSION, FEATURES, LENGTHS)
    refused("it is mlp, and cnn is trained; take --head mlp", "cnn")
    refused(
        "it was trained on other features: stages.sound is 3", features={**FEATURES, "sound": 3}
    )
    other = FusionSpec(rule="concat", of=dict.fromkeys(LENGTHS, 1.0), normalize="l2")
    refused("it was trained on other features: fusion.normalize is l2", fusion=other)
    summed = FusionSpec(rule="weighted_sum", of=dict.fromkeys(LENGTHS, 1.0), dim=4)
    refused("the projections of a weighted_sum are folded into what", fusion=summed)
    with pytest.raises(InvalidInput, match=r"widths than are asked for \(.*layer0.matrix 8 x 3"):
        train(FUSION, data("abc"), TrainOptions("mlp", hidden=16), start=old["mlp"])
