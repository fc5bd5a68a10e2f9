"""Networks trained on a CUDA device: as good as those of the CPU, and run without one."""

from __future__ import annotations

import numpy as np
import pytest
from on_gpu import NEEDS_GPU

from pipeline.spec.models import FusionSpec
from pipeline.training.feature_set import Row, set_of
from pipeline.training.options import NETWORKS, TrainOptions
from pipeline.training.train import train

pytestmark = NEEDS_GPU


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_learns_on_a_gpu_what_it_learns_on_a_cpu(kind: str):
    rng = np.random.default_rng(0)
    rows = []
    for at in range(400):
        label = at % 3
        vectors = {"a": rng.standard_normal(8) + label, "b": rng.standard_normal(5) - label}
        kept = {stage: vector.astype(np.float32) for stage, vector in vectors.items()}
        rows.append(Row(f"s{at % 20}", at, at + 1, str(label), None, kept))
    data = set_of(rows, {"a": 8, "b": 5}, {})
    fusion = FusionSpec(rule="concat", of={"a": 1.0, "b": 1.0})
    options = TrainOptions(kind, epochs=30, hidden=16)
    here, there = (train(fusion, data, options, device=device) for device in ("cpu", "cuda"))
    scores = [made.told["metrics"]["test"]["accuracy"] for made in (here, there)]
    assert min(scores) > 0.8 > 2 * here.told["metrics"]["majority"]
    assert scores[0] == pytest.approx(scores[1], abs=0.05)
    for name, array in there.fitted.tensors.items():
        assert array.shape == here.fitted.tensors[name].shape
        assert np.isfinite(array).all()
