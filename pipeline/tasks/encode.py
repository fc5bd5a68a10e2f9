"""A replica of a stage, built where it runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from pipeline.clock import monotonic_us
from pipeline.encoders.base import Clip, Encoder
from pipeline.encoders.checking import stage_plan
from pipeline.encoders.decode_pool import INLINE, DecodePool
from pipeline.encoders.loading import load_encoder
from pipeline.encoders.running import EncodeTask
from pipeline.spec import PipelineSpec, is_class_path


def encode_task(
    spec: PipelineSpec,
    stage: str,
    device: torch.device,
    lengths: Mapping[str, int],
    pool: DecodePool = INLINE,
) -> EncodeTask:
    """The stage's encoder on its device; ``lengths`` of all vectors, as ``check_pipeline`` says.

    ``pool`` decodes for it; without one whoever runs a batch does, and no time limit holds.
    """
    declared = spec.stages[stage]
    encoder = load_encoder(
        declared.encoder, declared.options, device, spec.folder, key=f"stages.{stage}.encoder"
    )
    if not is_class_path(declared.encoder):
        _warm(encoder)
    return EncodeTask(encoder, stage_plan(spec, stage, lengths), pool, monotonic_us)


def _warm(encoder: Encoder) -> None:
    """Pays for lazy imports, filter banks and kernels at the start, not at the first window."""
    rate = getattr(encoder, "rate", None) or 16_000
    clip = Clip("", 0, 1_000_000, np.zeros(rate, np.float32), rate, 0)
    clip.frames, clip.times_us, clip.text = [np.zeros((8, 8, 3), np.uint8)], [0], "warm"
    encoder.encode([clip])
