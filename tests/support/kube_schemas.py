"""The schemas of tests/deploy/schemas: what Kubernetes, KubeRay and others take, no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

SCHEMAS = Path(__file__).parents[1] / "deploy" / "schemas"


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / name).read_text())
    return found


_FILES = {name: _read(name) for name in ("kubernetes.json", "operators.json")}
_REGISTRY: Registry[Any] = Registry().with_resources(
    (name, Resource.from_contents(contents, DRAFT7)) for name, contents in _FILES.items()
)


def wrong_in(one: dict[str, Any]) -> list[str]:
    """What is wrong in a Kubernetes object, each with its path."""
    kind = f"{one['apiVersion']}/{one['kind']}"
    [file] = [name for name, contents in _FILES.items() if kind in contents["$defs"]]
    schema = {"$ref": f"{file}#/$defs/{kind.replace('/', '~1')}"}
    return _problems(jsonschema.Draft7Validator(schema, registry=_REGISTRY), one)


def wrong_in_compose(compose: dict[str, Any]) -> list[str]:
    return _problems(jsonschema.Draft7Validator(_read("compose.json")), compose)


def _problems(validator: Any, one: Any) -> list[str]:
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        for error in validator.iter_errors(one)
    ]
