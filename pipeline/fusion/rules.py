"""The fusion that a pipeline file declares, by the name of its rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import InvalidInput, Problem
from pipeline.fusion.drift import Reference, references_of
from pipeline.fusion.head_files import LoadedHead, load_head
from pipeline.fusion.head_rule import HeadRule
from pipeline.fusion.linear import Fused, LinearRule, Vectors
from pipeline.fusion.user import UserRule
from pipeline.spec.catalog import RULES, RULES_WITH_HEAD
from pipeline.spec.head_card import KEY, features_of, misfit
from pipeline.spec.head_store import VERSIONS, head_folder
from pipeline.spec.models import FusionSpec, PipelineSpec

__all__ = ["Fused", "Fuser", "Vectors", "head_in_force"]


def head_in_force(spec: PipelineSpec) -> LoadedHead | None:
    """The head that is in force for a file; None where none is. Raises InvalidInput."""
    folder, named = head_folder(spec), str(spec.fusion.head)
    if folder is None:
        return None
    loaded = load_head(folder, named)
    if folder.parent.name == VERSIONS and folder.name != loaded.sha256:
        why = f"{folder} was changed, and no version may be"
        raise InvalidInput(Problem(KEY, named, why, "deploy that head again"))
    return loaded


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
        head: LoadedHead | None = None,
    ) -> None:
        """``lengths``: of every stage's vector; ``folder``: of the pipeline file.

        ``head`` makes labels of them; without one it is the rule's own vector. ``features``: as
        ``features_of`` tells them, which a head has to have been trained on. Raises InvalidInput
        where a stage in ``of`` has no length, lengths are unequal and ``weighted_sum`` has no
        ``dim``, the rule needs a head, one does not fit, or a class cannot be built.
        """
        why, remedy = "gives no vector, and fusion takes vectors", "name a stage that gives one"
        unknown = [stage for stage in spec.of if stage not in lengths]
        if unknown:
            raise InvalidInput(*(Problem(f"fusion.of.{s}", "", why, remedy) for s in unknown))
        self.head_hash: str | None = None
        self.references: Mapping[str, Reference] = {} if head is None else references_of(head.card)
        self._rule: LinearRule | UserRule | HeadRule
        if spec.rule in RULES and spec.options:
            why, remedy = f"{spec.rule} takes no options", "leave them out"
            raise InvalidInput(Problem("fusion.options", "", why, remedy))
        if head is not None:
            self._rule = _head_rule(spec, lengths, head, features)
            self.head_hash = head.sha256
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
        return cls.under(spec, lengths, head_in_force(spec))

    @classmethod
    def under(
        cls, spec: PipelineSpec, lengths: Mapping[str, int], head: LoadedHead | None
    ) -> Fuser:
        """That of a pipeline file with this head, which need not be the one in force."""
        return cls(spec.fusion, lengths, spec.folder, features_of(spec), head)

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
