"""The pipeline that gives what a stage's last blocks read: as the file has it, up to that stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.errors import InvalidInput, Problem
from pipeline.spec.graph import reached
from pipeline.spec.own_files import resolved
from pipeline.spec.problems import suggestion
from pipeline.training.fine_tune.blocks import Blocks
from pipeline.training.fine_tune.pictures import LastBlocks
from pipeline.training.fine_tune.texts import LastLayers

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec

TUNABLE: dict[str, type[Blocks]] = {"image_embedding": LastBlocks, "text_embedding": LastLayers}
KEY = "--fine-tune"


def parted(spec: PipelineSpec, stage: str, blocks: int) -> tuple[PipelineSpec, Blocks]:
    """The file with what the blocks read in the stage's place and nothing after it; the blocks.

    Raises InvalidInput where the stage is none, or its encoder cannot be trained further.
    """
    found = spec.stages.get(stage)
    if found is None:
        remedy = suggestion(stage, spec.stages, f"take one of {', '.join(spec.stages)}")
        raise InvalidInput(Problem(KEY, stage, "it is no stage of the file", remedy))
    made = TUNABLE.get(found.encoder)
    if made is None:
        why = f"its encoder {found.encoder} has no blocks that can be trained here"
        remedy = f"take a stage of {' or '.join(TUNABLE)}"
        raise InvalidInput(Problem(KEY, stage, why, remedy))
    options = resolved(found.encoder, found.options, spec.folder)
    trained = _built(made, stage, options, blocks)
    before = found.model_copy(
        update={"encoder": made.encoder, "options": {**options, "blocks": blocks}, "out": None}
    )
    needed = reached({name: each.of for name, each in spec.stages.items()}, [stage])
    stages = {name: each for name, each in spec.stages.items() if name in needed}
    update = {"rule": "concat", "of": {stage: 1.0}, "head": None, "dim": None, "normalize": "none"}
    fusion = spec.fusion.model_copy(update=update)
    only = {"stages": {**stages, stage: before}, "fusion": fusion}
    return spec.model_copy(update=only), trained


def _built(made: type[Blocks], stage: str, options: dict[str, Any], blocks: int) -> Blocks:
    """An error in the stage's options is told with the stage before it."""
    try:
        return made(options, blocks)
    except InvalidInput as error:
        told = [p for p in error.problems if isinstance(p, Problem)]
        raise InvalidInput(*(
            p._replace(key=f"stages.{stage}.{p.key}") if p.key.startswith("options.") else p
            for p in told
        )) from error  # fmt: skip
