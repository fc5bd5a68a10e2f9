"""What `kubectl kustomize` makes of a folder, as far as deploy/kuberay uses it, without kubectl.

Resources, components, JSON patches, images, ConfigMaps from files with the hash in their names.
Anything else in a kustomization is refused, not passed over. test_deploy_kustomize.py holds it
against the real one, where that is installed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
_KEYS = {
    "apiVersion",
    "kind",
    "resources",
    "components",
    "configMapGenerator",
    "images",
    "patches",
    "configurations",  # where custom resources name ConfigMaps; here every `configMap.name` counts
}
_LETTERS = str.maketrans("013ae", "ghkmt")  # the hash shall spell no words


def built(folder: Path) -> list[Manifest]:
    """The objects, with the generated names put in wherever they are named."""
    objects, renamed = _accumulated(folder, [])
    for node in (node for found in objects for node in _nodes(found)):
        named = node.get("configMap")
        if isinstance(named, dict) and named.get("name") in renamed:
            named["name"] = renamed[named["name"]]
    return objects


def _accumulated(folder: Path, onto: list[Manifest]) -> tuple[list[Manifest], dict[str, str]]:
    """A kustomization on top of ``onto``: a component changes what is there, others begin anew."""
    said = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = said.keys() - _KEYS
    assert not unknown, f"{folder}: {sorted(unknown)} is not understood"
    objects, renamed = onto, {}
    for name in said.get("resources", []):
        path = folder / name
        if path.is_dir():
            found, more = _accumulated(path, [])
            renamed |= more
        else:
            found = [one for one in yaml.safe_load_all(path.read_text()) if one]
            found = json.loads(json.dumps(found))  # no two places share what an alias named
        objects = objects + found
    for name in said.get("components", []):
        objects, more = _accumulated(folder / name, objects)
        renamed |= more
    for asked in said.get("configMapGenerator", []):
        made = _config_map(folder, asked)
        renamed[asked["name"]] = made["metadata"]["name"]
        objects = [*objects, made]
    for patch in said.get("patches", []):
        text = patch.get("patch") or (folder / patch["path"]).read_text()
        chosen = [one for one in objects if _is_target(one, patch["target"])]
        assert chosen, f"{folder}: nothing is {patch['target']}"
        for one in chosen:
            for operation in yaml.safe_load(text):
                _apply(one, operation)
    for image in said.get("images", []):
        for node in (node for one in objects for node in _nodes(one)):
            for container in [*node.get("containers", []), *node.get("initContainers", [])]:
                if container["image"].partition(":")[0] == image["name"]:
                    name = image.get("newName", image["name"])
                    container["image"] = f"{name}:{image['newTag']}"
    return objects, renamed


def _config_map(folder: Path, asked: dict[str, Any]) -> Manifest:
    data = {Path(name).name: (folder / name).read_text() for name in asked["files"]}
    hashed = {"kind": "ConfigMap", "name": "", "data": data}  # kustomize hashes it without a name
    # as Go's json.Marshal: sorted keys, nothing between, and HTML's signs escaped
    text = json.dumps(hashed, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    digest = hashlib.sha256(text.encode()).hexdigest()[:10].translate(_LETTERS)
    metadata = {"name": f"{asked['name']}-{digest}", "namespace": asked["namespace"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _is_target(one: Manifest, target: dict[str, str]) -> bool:
    return (one["kind"], one["metadata"]["name"]) == (target["kind"], target["name"])


def _apply(one: Manifest, operation: dict[str, Any]) -> None:
    """One operation of RFC 6902: ``add`` at the end of a list or as a key, or ``replace``."""
    *way, last = [step.replace("~1", "/") for step in operation["path"].split("/")[1:]]
    at: Any = one
    for step in way:
        at = at[int(step)] if isinstance(at, list) else at[step]
    value = json.loads(json.dumps(operation["value"]))
    if isinstance(at, list):
        assert (operation["op"], last) == ("add", "-"), operation
        at.append(value)
    else:
        assert operation["op"] == ("replace" if last in at else "add"), operation
        at[last] = value


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a value."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)
