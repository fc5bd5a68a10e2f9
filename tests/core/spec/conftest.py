"""A loader of small variations of the contract's example file."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import InvalidInput, Problem
from pipeline.spec import PipelineSpec, loads

EXAMPLE = Path(__file__).parent / "lobby.yaml"
TREE = yaml.safe_load(EXAMPLE.read_text())
DROP = object()


def with_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The example as a tree with dotted keys set (DROP takes one out)."""
    tree = copy.deepcopy(TREE)
    for key, value in changes.items():
        *way, last = key.split(".")
        at = tree
        for part in way:
            at = at.setdefault(part, {})
        if value is DROP:
            del at[last]
        else:
            at[last] = value
    return tree


@pytest.fixture
def drop() -> object:
    return DROP


@pytest.fixture
def example() -> Path:
    return EXAMPLE


@pytest.fixture
def lobby(tmp_path: Path) -> Callable[..., PipelineSpec]:
    """``lobby({"windows.hop": "500ms"})``: the example with changes, loaded."""

    def load(
        changes: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        folder: Path = tmp_path,
    ) -> PipelineSpec:
        text = yaml.safe_dump(with_changes(changes or {}), sort_keys=False)
        return loads(text, folder=folder, environ=environ or {})

    return load


@pytest.fixture
def problems(lobby: Callable[..., PipelineSpec]) -> Callable[..., dict[str, Problem]]:
    """The problems of the example with changes, by key; a file without any fails the test."""

    def find(changes: Mapping[str, Any], **kwargs: Any) -> dict[str, Problem]:
        with pytest.raises(InvalidInput) as caught:
            lobby(changes, **kwargs)
        found = {}
        for problem in caught.value.problems:
            assert isinstance(problem, Problem)
            assert problem.why
            assert problem.remedy
            assert "\n" not in str(problem)
            assert problem.key not in found, "one problem a key"
            found[problem.key] = problem
        return found

    return find
