"""Which keys of a pipeline file may change while it runs, and what comes of a change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.clock import wall_us
from pipeline.errors import InvalidInput, Problem
from pipeline.spec import PipelineSpec
from pipeline.spec.change_store import Change, ChangeStore, in_force
from pipeline.spec.secret import masked
from pipeline.spec.stage_models import Replicas

STAGE_KEYS = ("replicas.min", "replicas.max", "batch_max", "latency_target", "timeout")
HEAD = "fusion.head"
OWNERS = "ray.owners"
# What decides about records, beside what the stages say of their context (``decision_hash``).
DECIDES = ("inputs", "windows", "limits.record_bytes", "limits.record_span", "limits.pixels")
_ATTRIBUTES = {"latency_target": "latency_target_us", "timeout": "timeout_us"}


def resolved(spec: PipelineSpec) -> dict[str, Any]:
    """The file by dotted keys, as JSON may show it: durations in microseconds, secrets masked."""
    shown: dict[str, Any] = json.loads(json.dumps(masked(spec.model_dump(by_alias=True))))
    return _flat("", shown)


def live_values(spec: PipelineSpec) -> dict[str, Any]:
    """Of the keys that may change while it runs, what the file says."""
    return {key: value for key, value in resolved(spec).items() if is_live(key, spec)}


def is_live(key: str, spec: PipelineSpec) -> bool:
    if key in (HEAD, OWNERS):
        return True
    part, _, rest = key.partition(".")
    stage, _, name = rest.partition(".")
    return part == "stages" and stage in spec.stages and name in STAGE_KEYS


def changed_keys(new: PipelineSpec, running: Mapping[str, Any]) -> dict[str, Any]:
    """What a file has otherwise than a run (``resolved``): keys that may change while it runs.

    Raises InvalidInput where others differ too, naming each and the way to change it.
    """
    mine = resolved(new)
    differ = sorted(k for k in {*mine, *running} if mine.get(k) != running.get(k))
    refused = [key for key in differ if not is_live(key, new)]
    if refused:
        raise InvalidInput(*(_refusal(key, mine.get(key)) for key in refused))
    return {key: mine[key] for key in differ if key in mine}


def _refusal(key: str, value: Any) -> Problem:
    context = key.startswith("stages.") and ".context" in key
    if context or any(key == name or key.startswith(f"{name}.") for name in DECIDES):
        why = "decides about windows and records: it cannot change while they are open"
        remedy = "stop the run, `motet reset FILE`, and start it again; or give it a new name"
    elif key in ("name", "start", "version"):
        why, remedy = "is another pipeline", "start it beside this one with `motet run FILE`"
    else:
        why = "is taken when a run starts"
        remedy = "stop the run and start it again: what was committed stays, and it goes on there"
    return Problem(key, "" if value is None else str(value)[:80], why, remedy)


def record(store: ChangeStore, values: Mapping[str, Any], file: PipelineSpec, by: str) -> None:
    """Some keys have other values than the file says, until the file itself says another."""
    said = live_values(file)
    store.add(Change(wall_us(), by, dict(values), {key: said.get(key) for key in values}))


def record_file(store: ChangeStore, file: PipelineSpec, by: str) -> None:
    """What the file says is in force, and nothing that was changed before."""
    said = live_values(file)
    store.add(Change(wall_us(), by, said, said, whole=True))


def at_start(spec: PipelineSpec, store: ChangeStore) -> tuple[PipelineSpec, dict[str, Any]]:
    """A file with what was changed since, and that: of keys whose values in the file are the same
    as when they were changed. Raises InvalidInput.
    """
    said = live_values(spec)
    values = {
        key: found.value
        for key, found in in_force(store.changes()).items()
        if key in said and said[key] == found.file and said[key] != found.value
    }
    return changed(spec, values), values


def changed(spec: PipelineSpec, values: Mapping[str, Any]) -> PipelineSpec:
    """The file with other values of keys that may change while it runs."""
    stages = {}
    for name, stage in spec.stages.items():
        update: dict[str, Any] = {}
        bounds = {"min": stage.replicas_min, "max": stage.replicas_max}
        for key in STAGE_KEYS:
            dotted = f"stages.{name}.{key}"
            if dotted not in values:
                continue
            if key.startswith("replicas."):
                bounds[key.removeprefix("replicas.")] = values[dotted]
                update["replicas"] = Replicas(**bounds) if bounds["min"] <= bounds["max"] else None
            else:
                update[_ATTRIBUTES.get(key, key)] = values[dotted]
        if update.get("replicas", ...) is None:
            update["replicas"] = Replicas(min=bounds["min"], max=bounds["min"])
        stages[name] = stage.model_copy(update=update) if update else stage
    fusion = spec.fusion
    if HEAD in values and values[HEAD] != fusion.head:
        fusion = fusion.model_copy(update={"head": values[HEAD]})
    ray = spec.ray
    if OWNERS in values:
        ray = ray.model_copy(update={"owners": values[OWNERS]})
    return spec.model_copy(update={"stages": stages, "fusion": fusion, "ray": ray})


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and value:
        found: dict[str, Any] = {}
        for key, each in value.items():
            found |= _flat(f"{prefix}.{key}" if prefix else str(key), each)
        return found
    return {prefix: value}
