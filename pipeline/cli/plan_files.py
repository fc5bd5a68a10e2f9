"""What ``motet plan`` is told by files: a cluster, described, and rates that were measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from pipeline.errors import InvalidInput, Problem
from pipeline.scaling.ground import Node
from pipeline.scaling.throughput import Rates
from pipeline.spec.fields import Real, Size, Text, Whole
from pipeline.spec.section import Section
from pipeline.spec.units import Wrong
from pipeline.spec.yaml_tree import FILE_BYTES_MAX, read_tree

NODES_MAX = 10_000
_Above0 = Annotated[Real, Field(gt=0)]
_Read = TypeVar("_Read", bound=BaseModel)


class NodeEntry(Section):
    """``count`` nodes that are alike; ``network``: bytes a second in one direction."""

    name: Text
    count: Whole = Field(default=1, ge=1, le=NODES_MAX)
    cpus: Annotated[Real, Field(ge=0)]
    gpus: Whole = Field(default=0, ge=0, le=64)
    gpu_memory: Size | None = None
    memory: Size | None = None
    network: Size | None = None


class ClusterFile(Section):
    nodes: list[NodeEntry] = Field(min_length=1)


class RatesFile(Section):
    """Windows a second of one replica of each stage, of an owner, and of a lane."""

    stages: dict[str, _Above0] = Field(default_factory=dict)
    owner: _Above0 | None = None
    lane: _Above0 | None = None
    window_bytes: Size | None = None


def read_cluster(path: Path) -> list[Node]:
    """The nodes of a file such as ``nodes: [{name: gpu, count: 4, cpus: 96, gpus: 8}]``.

    Raises InvalidInput.
    """
    entries = _validated("--cluster", path, ClusterFile, _tree("--cluster", path)).nodes
    nodes = [
        Node(
            entry.name if entry.count == 1 else f"{entry.name}-{number}",
            entry.cpus, entry.gpus, entry.gpu_memory, entry.memory, entry.network,
        )
        for entry in entries
        for number in range(1, entry.count + 1)
    ]  # fmt: skip
    if len(nodes) > NODES_MAX or len({node.name for node in nodes}) < len(nodes):
        why = f"two nodes have one name, or there are over {NODES_MAX:,}"
        raise InvalidInput(Problem("--cluster", str(path), why, "give each kind its own name"))
    return nodes


def read_rates(path: Path) -> Rates:
    """Of a file with ``stages: {sound: 900}``, or what ``motet bench encode FILE --json`` prints.

    Raises InvalidInput.
    """
    tree = _tree("--rates", path)
    if isinstance(tree, dict) and "encoders" in tree:
        return Rates(_of_bench(path, tree))
    found = _validated("--rates", path, RatesFile, tree)
    return Rates(dict(found.stages), found.owner, found.lane, found.window_bytes)


def _of_bench(path: Path, tree: dict[str, Any]) -> dict[str, float]:
    """Names are STAGE (ENCODER) where a pipeline file was measured."""
    try:
        return {
            str(each["name"]).partition(" (")[0]: float(each["windows_per_second"])
            for each in tree["encoders"]
        }
    except (KeyError, TypeError, ValueError):
        why = "is not what `motet bench encode FILE --json` prints"
        remedy = "write its output to a file, and name that"
        raise InvalidInput(Problem("--rates", str(path), why, remedy)) from None


def _tree(flag: str, path: Path) -> Any:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise InvalidInput(
                Problem(flag, str(path), f"is over {FILE_BYTES_MAX} bytes", "name another file")
            )
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = f"cannot be read ({getattr(error, 'strerror', None) or 'it is not UTF-8'})"
        raise InvalidInput(Problem(flag, str(path), why, "name a YAML file")) from None
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            pass  # YAML may begin so too
    wrongs: list[Wrong] = []
    tree = None
    try:
        tree = read_tree(text, lambda _, value, __: value, lambda _, __, w: wrongs.append(w))
    except Wrong as wrong:
        wrongs.append(wrong)
    if wrongs:
        raise InvalidInput(Problem(flag, str(path), wrongs[0].why, wrongs[0].remedy))
    return tree


def _validated(flag: str, path: Path, model: type[_Read], tree: Any) -> _Read:
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise InvalidInput(*(_problem(flag, path, each) for each in error.errors())) from None


def _problem(flag: str, path: Path, told: Any) -> Problem:
    key = ".".join(map(str, told["loc"])) or "file"
    context = told.get("ctx", {})
    why = context.get("why") or told["msg"][:1].lower() + told["msg"][1:]
    remedy = context.get("remedy") or "see docs/SCALING.md for the keys"
    value = "" if isinstance(told["input"], dict | list) else str(told["input"])[:60]
    return Problem(f"{flag} {path}: {key}", value, why, remedy)
