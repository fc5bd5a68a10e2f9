"""Plain values -> YAML text that ``yaml_tree`` reads back as the very same values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import yaml
from yaml.nodes import Node, ScalarNode

from pipeline.errors import InvalidInput, Problem
from pipeline.spec.problems import KeyPath, dotted
from pipeline.spec.yaml_tree import RESOLVERS

WIDTH = 100
# References to the environment, which may stand inside { }, and the line ends that YAML folds.
_QUOTED = re.compile("[$][{]|[\x85\u2028\u2029]")


class _Dumper(yaml.SafeDumper):
    """Quotes exactly the texts that the reader would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


_Dumper.yaml_implicit_resolvers = RESOLVERS


def _text(dumper: yaml.SafeDumper, text: str) -> Node:
    return ScalarNode("tag:yaml.org,2002:str", text, style='"' if _QUOTED.search(text) else None)


_Dumper.add_representer(str, _text)


def write_yaml(tree: Mapping[str, Any]) -> str:
    """A map of plain values as YAML; raises InvalidInput for a value that no file can hold.

    Tuples are written as lists, paths as text and numbers of numpy as numbers.
    """
    problems: list[Problem] = []
    plain = _plain(tree, (), problems)
    if problems:
        raise InvalidInput(*problems)
    text = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
    assert isinstance(text, str)
    return text


def _plain(value: Any, path: KeyPath, problems: list[Problem]) -> Any:
    if isinstance(value, Mapping):
        return {
            _key(k, path, problems): _plain(v, (*path, str(k)), problems) for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item, (*path, place), problems) for place, item in enumerate(value)]
    if isinstance(value, str | PurePath):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        return item()
    why = f"a pipeline file cannot hold a {type(value).__name__}"
    remedy = "give text, a number, true or false, a list or a map"
    if isinstance(value, type):
        remedy = f"name the class: {value.__module__}:{value.__qualname__}"
    problems.append(Problem(dotted(path), "", why, remedy))
    return None


def _key(key: Any, path: KeyPath, problems: list[Problem]) -> str:
    if not isinstance(key, str):
        why = f"its key {key!r} is no text"
        problems.append(Problem(dotted(path), "", why, "give keys that are text"))
    return str(key)
