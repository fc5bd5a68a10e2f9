"""A JSON Schema of the pipeline file, for editors (``motet schema``)."""

from __future__ import annotations

from typing import Any

from pipeline.spec import kafka_client
from pipeline.spec.catalog import AVAILABLE, CLASS_PATTERN, RULES
from pipeline.spec.models import PipelineSpec
from pipeline.spec.units import (
    DURATION_PATTERN,
    PERCENT_PATTERN,
    SIZE_PATTERN,
    format_duration,
    format_size,
)

Schema = dict[str, Any]

_REFERENCE: Schema = {"type": "string", "pattern": r"\$\{"}
_SECRET_FILE: Schema = {
    "type": "object",
    "properties": {"file": {"type": "string", "description": "file that holds the secret"}},
    "required": ["file"],
    "additionalProperties": False,
}
_SECRET: Schema = {"anyOf": [{"type": "string"}, _SECRET_FILE]}
# pydantic leaves the bounds of a nullable number under names that JSON Schema does not have
_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
# the defaults of these follow from other keys
_DERIVED = {("WindowsSpec", "hop"), ("Replicas", "max"), ("FusionSpec", "normalize")}


def json_schema() -> Schema:
    """The schema, draft 2020-12, of the file as it is written.

    Durations and sizes are texts with a pattern, defaults are written as a user writes them,
    and whatever is no free text may also come from the environment (``${NAME}``).
    """
    root = PipelineSpec.model_json_schema(by_alias=True, mode="validation")
    models: dict[str, Schema] = root["$defs"]
    _describe_names(models)
    for name, model in [("PipelineSpec", root), *models.items()]:
        model.pop("title", None)
        model["description"] = model["description"].split("\n")[0].replace("``", "")
        for key, schema in model["properties"].items():
            model["properties"][key] = _property(name, key, schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "motet pipeline file",
        **root,
        "description": "Live topics in, fused results out: inputs, windows, stages and fusion.",
    }


def _describe_names(models: dict[str, Schema]) -> None:
    """What the models check elsewhere, said here so that an editor can complete it."""
    client = models["KafkaSpec"]["properties"]["client"]
    client |= {"additionalProperties": False, "properties": _client_settings()}
    stage, fusion = models["StageSpec"]["properties"], models["FusionSpec"]["properties"]
    class_path = {"type": "string", "pattern": f"^{CLASS_PATTERN}$"}
    for schema, names in ((stage["encoder"], AVAILABLE), (fusion["rule"], RULES)):
        del schema["type"], schema["minLength"]
        schema["anyOf"] = [{"type": "string", "enum": list(names)}, class_path]
    number = {"type": "integer", "minimum": 1}
    description = stage["replicas"].pop("description")
    stage["replicas"] = {"description": description, "anyOf": [number, stage["replicas"]]}
    models["MetricsSpec"]["properties"]["token"] |= _SECRET


def _client_settings() -> dict[str, Schema]:
    number, truth, text = {"type": "integer", "minimum": 0}, {"type": "boolean"}, {"type": "string"}
    described: list[tuple[frozenset[str], Schema]] = [
        (kafka_client.TEXT, _SECRET),
        (kafka_client.NUMBER, number),
        (kafka_client.TRUTH, truth),
        (kafka_client.VERSION, text),
    ]
    return {name: dict(schema) for names, schema in described for name in sorted(names)}


def _property(model: str, key: str, schema: Schema) -> Schema:
    """One key: its default as it is written, and a reference allowed beside its type."""
    outer: Schema = {k: schema.pop(k) for k in ("description", "default") if k in schema}
    if outer.get("default") is None or (model, key) in _DERIVED:
        outer.pop("default", None)
    else:
        outer["default"] = _as_written(schema, outer["default"])
    return {**outer, **_opened(schema)}


def _as_written(schema: Schema, default: Any) -> Any:
    pattern = schema.get("pattern", "")
    if DURATION_PATTERN in pattern:
        return format_duration(default)
    if SIZE_PATTERN in pattern:
        return format_size(default)
    return f"{default * 100:g}%" if PERCENT_PATTERN in pattern else default


def _opened(schema: Schema) -> Schema:
    """The schema with ``${NAME}`` allowed wherever a value is no free text."""
    schema = {_BOUNDS.get(k, k): v for k, v in schema.items() if k != "title"}
    if "anyOf" in schema:
        options = [_opened(option) for option in schema["anyOf"]]
        flat = [o for option in options for o in option.get("anyOf", [option])]
        closed = [option for option in flat if option != _REFERENCE]
        free = any(o.get("type") == "string" and not _is_bound(o) for o in closed)
        ends = [] if free or len(closed) == len(flat) else [_REFERENCE]
        return {**schema, "anyOf": [*closed, *ends]}
    for key in ("properties", "patternProperties"):
        if key in schema:
            schema[key] = {name: _opened(inner) for name, inner in schema[key].items()}
    if "patternProperties" in schema:
        schema["additionalProperties"] = False
        schema.pop("propertyNames", None)
    scalar = schema.get("type") in ("integer", "number", "boolean") or _is_bound(schema)
    return {"anyOf": [schema, _REFERENCE]} if scalar else schema


def _is_bound(schema: Schema) -> bool:
    return "enum" in schema or "pattern" in schema or "const" in schema
