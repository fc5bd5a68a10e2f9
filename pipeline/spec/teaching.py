"""What a file gets where its page may teach (``metrics.ingest``) and it does not say itself."""

from __future__ import annotations

from pipeline.errors import InvalidInput, Problem
from pipeline.spec.evaluation_model import EvaluationSpec
from pipeline.spec.models import PipelineSpec

SUFFIX = ".labels"
HEADS = "heads"


def labels_topic(spec: PipelineSpec) -> str | None:
    """Where labels are read from and written to: ``evaluation.labels``, or beside the results
    where the page may teach; None where there is none.
    """
    if spec.evaluation is not None:
        return spec.evaluation.labels
    return f"{spec.outputs.results}{SUFFIX}" if spec.metrics.ingest else None


def teachable(spec: PipelineSpec, heads: str | None = None) -> PipelineSpec:
    """The pipeline with a topic of labels that results are compared with, and a place for heads.

    What the file says itself stays, and all of it where the page may not teach. ``heads``: the
    place (default: beside the file). Raises InvalidInput where the topic is one of the file's.
    """
    topic = labels_topic(spec)
    if topic is None or not spec.metrics.ingest:
        return spec
    if spec.evaluation is None and topic in (*spec.topics_in(), *spec.topics_out()):
        why = "the page would write its labels there, and it is another topic of the file"
        remedy = "name one for them: evaluation: {labels: TOPIC}"
        raise InvalidInput(Problem("evaluation.labels", topic, why, remedy))
    fusion = spec.fusion
    if fusion.head is None:
        fusion = fusion.model_copy(update={"head": heads or f"{HEADS}/{spec.name}"})
    evaluation = spec.evaluation or EvaluationSpec(labels=topic)
    return spec.model_copy(update={"fusion": fusion, "evaluation": evaluation})
