"""Heads with random arrays that fit a pipeline file, as folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from random_heads import random_head

from pipeline.encoders.checking import check_pipeline
from pipeline.fusion.head_files import save_head
from pipeline.spec import PipelineSpec
from pipeline.spec.head_card import features_of


def made_head(folder: Path, spec: PipelineSpec, seed: int, labels: int = 2) -> str:
    """Writes one for the rule ``concat``; gives its hash, which is another one for each seed."""
    found = check_pipeline(spec)
    lengths = {stage: found[stage] for stage in spec.fusion.of}
    rng = np.random.default_rng(seed)
    shape = ("concat", "linear")
    head, tensors = random_head(shape, rng, lengths, labels, spec.fusion.normalize)
    told = {"metrics": {"test": {"accuracy": seed / 100}}, "trained": "2026-01-31T12:00:00Z"}
    return save_head(folder, head, tensors, features_of(spec), told)
