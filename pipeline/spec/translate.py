"""What pydantic finds wrong, in the words of the file; and single fields of a broken file."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from pipeline.spec.models import (
    Context,
    EvaluationSpec,
    FusionSpec,
    InputSpec,
    KafkaSpec,
    LimitsSpec,
    MetricsSpec,
    OutputsSpec,
    PayloadSpec,
    PipelineSpec,
    RaySpec,
    Replicas,
    StageSpec,
    TimeSpec,
    WindowsSpec,
)
from pipeline.spec.problems import BROKEN, KeyPath, Report, suggestion
from pipeline.spec.units import Wrong

_MODELS: dict[tuple[str, ...], type] = {
    (): PipelineSpec,
    ("kafka",): KafkaSpec,
    ("inputs", "*"): InputSpec,
    ("inputs", "*", "payload"): PayloadSpec,
    ("inputs", "*", "time"): TimeSpec,
    ("windows",): WindowsSpec,
    ("stages", "*"): StageSpec,
    ("stages", "*", "replicas"): Replicas,
    ("stages", "*", "context"): Context,
    ("fusion",): FusionSpec,
    ("outputs",): OutputsSpec,
    ("limits",): LimitsSpec,
    ("metrics",): MetricsSpec,
    ("evaluation",): EvaluationSpec,
    ("ray",): RaySpec,
}
_KINDS = {
    "string_type": ("must be text", "put it in quotes"),
    "int_type": ("must be a whole number", "write it without quotes or unit"),
    "float_type": ("must be a number", "write it without quotes or unit"),
    "bool_type": ("must be true or false", "write true or false"),
    "finite_number": ("must be a finite number", "write a number such as 0.5"),
}
_MAP_KINDS = {"dict_type", "model_type", "model_attributes_type", "dataclass_type",
              "dataclass_exact_type", "model_class_type"}  # fmt: skip
_BOUNDS = {
    "greater_than": ("must be above {gt}", "give a larger number"),
    "greater_than_equal": ("must be at least {ge}", "give a larger number"),
    "less_than_equal": ("must be at most {le}", "give a smaller number"),
}


def report_errors(error: ValidationError, report: Report) -> None:
    """Every error of a validation as a problem of its key; reports nothing of pydantic's own."""
    for details in error.errors(include_url=False):
        loc = tuple(part for part in details["loc"] if part != "[key]")
        missing = details["type"] in ("missing", "extra_forbidden", "unexpected_keyword_argument")
        known = _keys_at(loc[:-1]) if missing else []
        # what stands under an unknown key here may be a secret whose key was mistyped
        unknown = missing and loc[0] in ("kafka", "metrics")
        value = None if unknown or details["type"] == "missing" else details["input"]
        report.add(loc, value, _wrong(details, loc, known))


def _wrong(details: ErrorDetails, loc: KeyPath, known: list[str]) -> Wrong:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "motet":
        return Wrong(context["why"], context["remedy"])
    if kind == "missing":
        return Wrong("is missing", f"add it: '{loc[-1]}: ...'")
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        listed = f"known here: {', '.join(known)}"
        return Wrong("is not a key of the file", suggestion(str(loc[-1]), known, listed))
    if kind in _MAP_KINDS:
        empty = details["input"] is None
        keys = ", ".join(_keys_at(loc)) or "name: value"
        return Wrong("is empty" if empty else "must be a map", f"write {{...}} with {keys}")
    if kind == "too_short":
        return Wrong("has no entry", "name at least one")
    if kind == "literal_error":
        several = " or " in context["expected"]
        remedy = "choose one of them" if several else f"write {context['expected']}"
        return Wrong(f"must be {context['expected']}", remedy)
    if kind in _BOUNDS:
        why, remedy = _BOUNDS[kind]
        return Wrong(why.format(**context), remedy)
    if kind in _KINDS:
        return Wrong(*_KINDS[kind])
    return Wrong(details["msg"][:1].lower() + details["msg"][1:], "correct it")


def field(model: type[BaseModel], attribute: str, section: Any) -> Any:
    """One field of a section that may be broken elsewhere.

    Its value; its default where the section has no such key; None where it is itself wrong
    or missing. So what is sound can be checked against the rest although the file is not.
    """
    info = model.model_fields[attribute]
    key = info.alias or attribute
    if section is None:
        section = {}
    if not isinstance(section, dict) or section.get(key) is BROKEN:
        return None
    if key not in section:
        return None if info.is_required() else info.get_default(call_default_factory=True)
    try:
        return _adapter(model, attribute).validate_python(section[key])
    except ValidationError:
        return None


@cache
def _adapter(model: type[BaseModel], attribute: str) -> TypeAdapter[Any]:
    info = model.model_fields[attribute]
    annotation: Any = info.annotation
    for metadata in info.metadata:
        annotation = Annotated[annotation, metadata]
    return TypeAdapter(annotation, config=ConfigDict(strict=True))


def _keys_at(path: KeyPath) -> list[str]:
    """The keys that the file may have at a path; none where the user names them."""
    names = ("inputs", "stages")
    pattern = tuple("*" if i == 1 and path[0] in names else str(p) for i, p in enumerate(path))
    model: Any = _MODELS.get(pattern)
    if model is None:
        return []
    if dataclasses.is_dataclass(model):
        return [item.name for item in dataclasses.fields(model)]
    return [info.alias or name for name, info in model.model_fields.items()]
