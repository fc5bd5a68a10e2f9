"""The fusion that a pipeline file declares, by the name of its rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import InvalidInput, Problem
from pipeline.fusion.head_files import LoadedHead, load_head
from pipeline.fusion.head_rule import HeadRule
from pipeline.fusion.linear import Fused, LinearRule, Vectors
from pipeline.fusion.user import UserRule
from pipeline.spec.catalog import RULES, RULES_WITH_HEAD
from pipeline.spec.head_card import KEY, features_of, misfit
from pipeline.spec.models import FusionSpec, PipelineSpec

__all__ = ["Fused", "Fuser", "Vectors"]


class Fuser:
    """Fuses the vectors of a window's stages; stateless.

    What a window fuses to depends on its own vectors alone, to the bit: not on other windows of
    the call, nor on the order of the mapping. So a replay after a crash gives the same bytes.
    """

    def __init__(
        self,
        spec: FusionSpec,
        lengths: Mapping[str, int],
        folder: Path | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> None:
        """``lengths``: of every stage's vector; ``folder``: of the pipeline file.

        ``features``: as ``features_of`` tells them, which a head has to have been trained on.
        Raises InvalidInput where a stage in ``of`` has no length, lengths are unequal and
        ``weighted_sum`` has no ``dim``, a head is missing or does not fit, or a class cannot be
        built.
        """
        why, remedy = "gives no vector, and fusion takes vectors", "name a stage that gives one"
        unknown = [stage for stage in spec.of if stage not in lengths]
        if unknown:
            raise InvalidInput(*(Problem(f"fusion.of.{s}", "", why, remedy) for s in unknown))
        self.head_hash: str | None = None
        self._rule: LinearRule | UserRule | HeadRule
        if spec.rule in RULES and spec.options:
            why, remedy = f"{spec.rule} takes no options", "leave them out"
            raise InvalidInput(Problem("fusion.options", "", why, remedy))
        if spec.head is not None:
            loaded = load_head((folder or Path()) / spec.head, spec.head)
            self._rule = _head_rule(spec, lengths, loaded, features)
            self.head_hash = loaded.sha256
        elif spec.rule in RULES_WITH_HEAD:
            why = f"{spec.rule} needs a trained head"
            remedy = f"name one that `motet train FILE --labels LABELS --head {spec.rule}` made"
            raise InvalidInput(Problem(KEY, "", why, remedy))
        else:
            self._rule = (
                LinearRule(spec, lengths) if spec.rule in RULES else UserRule(spec, lengths, folder)
            )

    @classmethod
    def of(cls, spec: PipelineSpec, lengths: Mapping[str, int]) -> Fuser:
        """That of a pipeline file; ``lengths`` as ``check_pipeline`` gave them."""
        return cls(spec.fusion, lengths, spec.folder, features_of(spec))

    def fuse(self, vectors: Vectors) -> Fused:
        """``vectors`` by stage: float32, finite, of the stage's length; others are ignored."""
        return self._rule.fuse_many([vectors])[0]

    def fuse_many(self, windows: Sequence[Vectors]) -> list[Fused]:
        """Equal to ``fuse`` of each, to the bit."""
        return self._rule.fuse_many(windows)


def _head_rule(
    spec: FusionSpec,
    lengths: Mapping[str, int],
    loaded: LoadedHead,
    features: Mapping[str, Any] | None,
) -> HeadRule:
    """Raises InvalidInput, with the reason, where the head was made for something else."""
    wrong = misfit(loaded.card, spec, features, lengths)
    if wrong is not None:
        raise InvalidInput(wrong)
    return HeadRule(loaded.under(spec.of), loaded.tensors, spec.abstain_below)
