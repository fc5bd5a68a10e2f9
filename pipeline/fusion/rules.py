"""The fusion that a pipeline file declares, by the name of its rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import InvalidInput, Problem
from pipeline.fusion.linear import Fused, LinearRule, Vectors
from pipeline.fusion.user import UserRule
from pipeline.spec.models import FusionSpec

__all__ = ["Fused", "Fuser", "Vectors"]


class Fuser:
    """Fuses the vectors of a window's stages; stateless.

    What a window fuses to depends on its own vectors alone, to the bit: not on other windows of
    the call, nor on the order of the mapping. So a replay after a crash gives the same bytes.
    """

    def __init__(
        self, spec: FusionSpec, lengths: Mapping[str, int], folder: Path | None = None
    ) -> None:
        """``lengths``: of every stage's vector; ``folder``: of the pipeline file, for user rules.

        Raises InvalidInput where a stage in ``of`` has no length, lengths are unequal and
        ``weighted_sum`` has no ``dim``, a trained head is wanted, or a class cannot be built.
        """
        why, remedy = "gives no vector, and fusion takes vectors", "name a stage that gives one"
        unknown = [stage for stage in spec.of if stage not in lengths]
        if unknown:
            raise InvalidInput(*(Problem(f"fusion.of.{s}", "", why, remedy) for s in unknown))
        if spec.head is not None:
            why, remedy = "trained heads are not in this version", "leave it out"
            raise InvalidInput(Problem("fusion.head", spec.head, why, remedy))
        self._rule: LinearRule | UserRule
        if spec.rule not in ("weighted_sum", "concat"):
            self._rule = UserRule(spec, lengths, folder)
            return
        if spec.options:
            why, remedy = f"{spec.rule} takes no options", "leave them out"
            raise InvalidInput(Problem("fusion.options", "", why, remedy))
        self._rule = LinearRule(spec, lengths)

    def fuse(self, vectors: Vectors) -> Fused:
        """``vectors`` by stage: float32, finite, of the stage's length; others are ignored."""
        return self._rule.fuse_many([vectors])[0]

    def fuse_many(self, windows: Sequence[Vectors]) -> list[Fused]:
        """Equal to ``fuse`` of each, to the bit."""
        return self._rule.fuse_many(windows)
