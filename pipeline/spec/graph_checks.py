"""Checks of the dataflow: names, cycles, kinds, and that everything is read by somebody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.spec import graph
from pipeline.spec.catalog import BUILTIN, RULES_WITH_HEAD, check_encoder, check_rule, is_class_path
from pipeline.spec.environment import settled
from pipeline.spec.media_type import RATE_MAX, RATE_MIN, MediaType, parse_media_type
from pipeline.spec.models import EvaluationSpec, FusionSpec, InputSpec, StageSpec
from pipeline.spec.problems import KeyPath, Report, suggestion
from pipeline.spec.translate import field
from pipeline.spec.units import Wrong


@dataclass(frozen=True)
class _Flow:
    """The dataflow as far as the file says it soundly.

    ``whole`` is false where something could not be read: then "nobody reads it" is not
    known, and is not said. ``kinds`` has the inputs and built-in stages of which the kind
    is known; a class says its kinds only once it is imported.
    """

    inputs: dict[str, Any]
    stages: dict[str, Any]
    reads: dict[str, tuple[str, ...]]
    fused: tuple[str, ...]
    whole: bool
    kinds: dict[str, str]


def check_graph(tree: dict[str, Any], report: Report) -> None:
    flow = _flow(tree)
    _check_names(flow, report)
    for stage, spec in flow.stages.items():
        if isinstance(spec, dict):
            _check_encoder(stage, spec, flow, report)
            _check_context(stage, spec, flow, report)
    for cycle in graph.cycles(flow.reads):
        why = f"reads itself: {' -> '.join(cycle)}"
        report.add(("stages", cycle[0], "of"), list(flow.reads[cycle[0]]),
                   Wrong(why, "take one of these out of an 'of'"))  # fmt: skip
    _check_readers(flow, report)
    _check_fusion(tree.get("fusion"), flow, report)
    _check_evaluation(tree.get("evaluation"), flow, report)


def _flow(tree: dict[str, Any]) -> _Flow:
    inputs, stages, fusion = (tree.get(key) for key in ("inputs", "stages", "fusion"))
    whole = all(isinstance(part, dict) for part in (inputs, stages, fusion))
    inputs, stages = (part if isinstance(part, dict) else {} for part in (inputs, stages))
    of = fusion.get("of") if isinstance(fusion, dict) else None
    reads: dict[str, tuple[str, ...]] = {}
    for name, stage in stages.items():
        names = stage.get("of") if isinstance(stage, dict) else None
        listed = names if isinstance(names, list) else [names]
        reads[name] = tuple(dict.fromkeys(str(n) for n in listed if isinstance(n, str)))
        whole = whole and all(isinstance(n, str) for n in listed)
    kinds: dict[str, str] = {}
    for name, source in inputs.items():
        media = media_of(source)
        if media is not None:
            kinds[name] = media.kind
    for name, stage in stages.items():
        builtin = BUILTIN.get(_encoder(stage) or "")
        if builtin is not None:
            kinds[name] = builtin.gives
    fused = tuple(of) if isinstance(of, dict) else ()
    return _Flow(inputs, stages, reads, fused, whole and isinstance(of, dict), kinds)


def _check_names(flow: _Flow, report: Report) -> None:
    """Every name in an ``of`` is there, and says one thing."""
    known = [*flow.inputs, *flow.stages]
    for stage in flow.stages:
        if stage in flow.inputs:
            why = "an input has this name too, so 'of' could mean either"
            report.add(("stages", stage), None, Wrong(why, "rename the stage or the input"))
        for name in flow.reads[stage]:
            if name not in known:
                listed = f"there are {', '.join(known)}"
                why, remedy = f"'{name}' is no input and no stage", suggestion(name, known, listed)
                report.add(("stages", stage, "of"), _of(flow.reads[stage]), Wrong(why, remedy))


def _check_encoder(stage: str, spec: dict[str, Any], flow: _Flow, report: Report) -> None:
    encoder = _encoder(spec)
    if encoder is None:
        return
    try:
        check_encoder(encoder)
    except Wrong as wrong:
        report.add(("stages", stage, "encoder"), encoder, wrong)
    builtin = BUILTIN.get(encoder)
    if builtin is None:
        return
    for name in flow.reads[stage]:
        kind = flow.kinds.get(name)
        if kind is not None and kind not in builtin.takes:
            why = f"{encoder} takes {' or '.join(builtin.takes)}, but '{name}' gives {kind}"
            remedy = "read something else, or take another encoder"
            report.add(("stages", stage, "of"), _of(flow.reads[stage]), Wrong(why, remedy))
    options = field(StageSpec, "options", spec)
    if options and "audio" in builtin.takes and "rate" in options:
        rate = settled(options["rate"])
        sound = isinstance(rate, int) and not isinstance(rate, bool)
        if not sound or not RATE_MIN <= rate <= RATE_MAX:
            why = f"is not a whole number of Hz from {RATE_MIN} to {RATE_MAX}"
            path: KeyPath = ("stages", stage, "options", "rate")
            report.add(path, options["rate"], Wrong(why, "write a rate such as 16000"))


def _check_context(stage: str, spec: dict[str, Any], flow: _Flow, report: Report) -> None:
    names = flow.reads[stage]
    known = all(name in flow.inputs or name in flow.stages for name in names)
    if spec.get("context") and names and known and not any(n in flow.inputs for n in names):
        why = "the stage reads no input itself, so there is nothing around its window"
        remedy = "give the context to the stages that read inputs"
        report.add(("stages", stage, "context"), None, Wrong(why, remedy))


def _check_readers(flow: _Flow, report: Report) -> None:
    """What nobody reads is a mistake, most often a name that was written differently."""
    if not flow.whole:
        return
    read = {name for names in flow.reads.values() for name in names}
    for name in flow.inputs:
        if name not in read:
            why = "no stage reads this input"
            report.add(("inputs", name), None, Wrong(why, "read it in a stage's 'of', or drop it"))
    for name, stage in flow.stages.items():
        out = stage.get("out") is not None
        if name not in read and name not in flow.fused and not out:
            why = "nobody reads this stage and it has no 'out'"
            remedy = "name it in fusion.of or in a stage's 'of', give it an 'out', or drop it"
            report.add(("stages", name), None, Wrong(why, remedy))


def _check_fusion(fusion: Any, flow: _Flow, report: Report) -> None:
    if not isinstance(fusion, dict):
        return
    for name in flow.fused:
        path: KeyPath = ("fusion", "of", name)
        if name not in flow.stages:
            listed = f"the stages are {', '.join(flow.stages)}"
            remedy = suggestion(name, flow.stages, listed)
            report.add(path, fusion["of"][name], Wrong("is no stage", remedy))
        elif flow.kinds.get(name, "vector") != "vector":
            why = f"the stage gives {flow.kinds[name]}, and only vectors are fused"
            report.add(path, fusion["of"][name], Wrong(why, "fuse a stage that reads it"))
    rule = field(FusionSpec, "rule", fusion)
    if rule is None:
        return
    try:
        check_rule(rule)
    except Wrong as wrong:
        report.add(("fusion", "rule"), rule, wrong)
    if fusion.get("options") and not is_class_path(rule):
        why = f"{rule} has no options"
        report.add(("fusion", "options"), None, Wrong(why, "leave them out"))
    _check_head(rule, fusion, report)


def _check_head(rule: str, fusion: dict[str, Any], report: Report) -> None:
    """Whether the file wants one; that it is there and fits is seen where the pipeline starts."""
    head = fusion.get("head")
    if head is not None and is_class_path(rule):
        why = "a class gives its own answer, and no head reads it"
        report.add(("fusion", "head"), head, Wrong(why, "leave it out, or take a built-in rule"))
    if head is None and rule in RULES_WITH_HEAD:
        why = f"{rule} needs a trained head"
        remedy = f"name one that `motet train FILE --labels LABELS --head {rule}` makes"
        report.add(("fusion", "head"), None, Wrong(why, remedy))
    if head is None and fusion.get("abstain_below") is not None:
        why = "needs a trained head: without one there are no probabilities"
        report.add(("fusion", "abstain_below"), fusion["abstain_below"],
                   Wrong(why, "name a head in fusion.head, or leave it out"))  # fmt: skip


def _check_evaluation(evaluation: Any, flow: _Flow, report: Report) -> None:
    """A stage whose kind is known gives text; what a class gives is seen in its results."""
    name = field(EvaluationSpec, "text", evaluation) if isinstance(evaluation, dict) else None
    if name is None:
        return
    path: KeyPath = ("evaluation", "text")
    if name not in flow.stages:
        listed = f"the stages are {', '.join(flow.stages)}"
        remedy = suggestion(name, flow.stages, listed)
        report.add(path, name, Wrong("is no stage", remedy))
    elif flow.kinds.get(name, "text") != "text":
        why = f"gives {flow.kinds[name]}, not text"
        report.add(path, name, Wrong(why, "name a stage that gives text"))


def _encoder(stage: Any) -> str | None:
    encoder = field(StageSpec, "encoder", stage) if isinstance(stage, dict) else None
    return encoder if isinstance(encoder, str) else None


def media_of(source: Any) -> MediaType | None:
    """The media type of an input's map; None where that is wrong or missing."""
    text = field(InputSpec, "type", source) if isinstance(source, dict) else None
    return None if text is None else parse_media_type(text)


def _of(names: tuple[str, ...]) -> str | list[str]:
    return names[0] if len(names) == 1 else list(names)
