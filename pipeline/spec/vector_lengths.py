"""Whether the vectors of a fusion can be added up as they are."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.errors import Problem
from pipeline.spec.models import FusionSpec


def unequal_lengths(fusion: FusionSpec, lengths: Mapping[str, int]) -> Problem | None:
    """The problem of ``weighted_sum`` over unequal vectors without ``dim``; None where all is well.

    ``lengths`` by stage, of those in ``fusion.of`` whose length is known.
    """
    known = {stage: lengths[stage] for stage in fusion.of if stage in lengths}
    if fusion.rule != "weighted_sum" or fusion.dim is not None or len(set(known.values())) <= 1:
        return None
    listed = ", ".join(f"{stage} {length}" for stage, length in known.items())
    why = f"the vectors have unequal lengths ({listed})"
    remedy = f"set fusion.dim to bring them to one, such as {max(known.values())}"
    return Problem("fusion.dim", "", why, remedy)
