"""YAML text -> a tree of plain dicts, lists and scalars, safely.

Only plain data: no tags that build objects, no timestamps (a time stays the text it is), no
base-60 numbers. Duplicate keys are refused, and so is a text that grows when its aliases
are followed (the "billion laughs"): every bound below is far above any real pipeline file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pipeline.spec.units import Wrong

FILE_BYTES_MAX = 1 << 20
ALIASES_MAX = 100
NODES_MAX = 50_000  # after every alias was followed
DEPTH_MAX = 40

KeyPath = tuple[str | int, ...]
ReadScalar = Callable[[KeyPath, str, bool], Any]  # path, text, whether it stands without quotes

_TAG = "tag:yaml.org,2002:"
_SCALARS = {_TAG + kind for kind in ("str", "int", "float", "bool", "null")}
_QUOTED_WORD = re.compile(r"'(?!<)[^']{2,}'")


class _Loader(yaml.SafeLoader):
    """SafeLoader that gives nodes within bounds; it constructs scalars only."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._aliases = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            self._aliases += 1
            if self._aliases > ALIASES_MAX:
                raise _refusal(self, f"has over {ALIASES_MAX} aliases")
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise _refusal(self, f"is nested over {DEPTH_MAX} deep")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


_Loader.yaml_implicit_resolvers = {}  # its own, in place of YAML 1.1's


def _resolve(kind: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(_TAG + kind, re.compile(rf"(?:{pattern})\Z"), list(first))


_resolve(
    "bool",
    "yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
    "yYnNtTfFoO",
)
_resolve("null", "~|null|Null|NULL", "~nN")
_Loader.add_implicit_resolver(_TAG + "null", re.compile(r"\Z"), [""])
_resolve("int", r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+", "-+0123456789")
_resolve(  # an exponent needs no point: 1e-3 is a number, whatever YAML 1.1 says
    "float",
    r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.[0-9]+(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "-+0123456789.",
)
_resolve("merge", "<<", "<")
RESOLVERS = _Loader.yaml_implicit_resolvers  # by first character: what is no text without quotes


def _refusal(loader: _Loader, why: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=why, problem_mark=loader.get_mark())


def plain_scalar(text: str) -> Any:
    """What YAML reads where this text stands without quotes: int, float, bool, None or str."""
    loader = _Loader("")
    tag = loader.resolve(ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    node = ScalarNode(tag, text)
    return _construct(loader, node)


def read_tree(text: str, scalar: ReadScalar, report: Callable[[KeyPath, Any, Wrong], None]) -> Any:
    """The tree of a YAML text, in the text's order; what is wrong goes to ``report``.

    ``scalar(path, text, plain)`` is asked for every scalar that holds ``${``. Raises Wrong
    where nothing can be read: the text is no YAML, or over a bound.
    """
    if len(text) > FILE_BYTES_MAX:
        raise Wrong(f"is over {FILE_BYTES_MAX >> 20} MiB", "a pipeline file is a few kilobytes")
    failure: Wrong | None = None
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.YAMLError as error:
        failure = _as_wrong(error, text)
    if failure is not None:  # raised here: the cause quotes lines of the file, secrets included
        raise failure
    if root is None or loader is None:
        raise Wrong("is empty", "start with version, name, inputs, windows, stages and fusion")
    count, depth = _extent(root, {})
    if count > NODES_MAX or depth > DEPTH_MAX:
        why = f"grows over {NODES_MAX} values or {DEPTH_MAX} levels when its aliases are followed"
        raise Wrong(why, "write the values out")
    return _Builder(loader, scalar, report).build(root, ())


class _Builder:
    """Builds the tree of one document; keys are the text that stands in the file."""

    def __init__(
        self, loader: _Loader, scalar: ReadScalar, report: Callable[[KeyPath, Any, Wrong], None]
    ) -> None:
        self._loader = loader
        self._scalar = scalar
        self._report = report
        self._flattened: set[int] = set()

    def build(self, node: Node, path: KeyPath) -> Any:
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.build(item, (*path, i)) for i, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        if "${" in node.value and node.tag in _SCALARS:
            return self._scalar(path, node.value, node.style is None)
        try:
            return _construct(self._loader, node)
        except Wrong as wrong:
            self._report(path, None, wrong)
            return None

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        if id(node) not in self._flattened:  # once a node: a flattened one repeats merged keys
            self._flattened.add(id(node))
            self._refuse_duplicates(node, path)
            self._flatten(node, path)
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, ScalarNode) else None
            if key is None:
                self._report(path, None, Wrong("has a key that is no text", "give it a name"))
                continue
            tree.pop(key, None)  # a key of its own stands where it is written, not where merged
            tree[key] = self.build(value_node, (*path, key))
        return tree

    def _flatten(self, node: MappingNode, path: KeyPath) -> None:
        try:
            self._loader.flatten_mapping(node)
        except yaml.YAMLError:
            remedy = "give << a map, or an alias of one"
            self._report((*path, "<<"), None, Wrong("merges something that is no map", remedy))
            node.value = [pair for pair in node.value if pair[0].tag != _TAG + "merge"]

    def _refuse_duplicates(self, node: MappingNode, path: KeyPath) -> None:
        first_lines: dict[str, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, ScalarNode):
                continue
            key, line = key_node.value, key_node.start_mark.line + 1
            if key in first_lines:
                why = f"is there twice, in line {first_lines[key]} and in line {line}"
                self._report((*path, key), None, Wrong(why, "keep one of them"))
            first_lines.setdefault(key, line)


def _construct(loader: _Loader, node: ScalarNode) -> Any:
    """A scalar's value; Wrong where its tag is not one of plain data, or the number is absurd."""
    if node.tag not in _SCALARS:
        line = node.start_mark.line + 1 if node.start_mark else 1
        raise Wrong(f"has a tag (!) in line {line} that is not used here", "quote the text")
    value: Any = None
    absurd = False
    try:
        value = loader.construct_object(node)
    except (ValueError, KeyError, yaml.YAMLError):
        absurd = True
    if absurd:
        raise Wrong("cannot be read as its tag says", "quote it where it is text")
    return value


def _extent(node: Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many values a node stands for once aliases are followed, and how deep they go.

    An anchor stands before its aliases, so in the order of the text what an alias means is
    known when it is met: the recursion is no deeper than the text. A node inside itself
    counts as endless.
    """
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = (NODES_MAX + 1, DEPTH_MAX + 1)
    children: list[Node] = []
    if isinstance(node, MappingNode):
        children = [child for pair in node.value for child in pair]
    elif isinstance(node, SequenceNode):
        children = node.value
    extents = [_extent(child, known) for child in children]
    count = 1 + sum(extent[0] for extent in extents)
    depth = 1 + max((extent[1] for extent in extents), default=0)
    known[id(node)] = (count, depth)
    return count, depth


def _as_wrong(error: yaml.YAMLError, text: str) -> Wrong:
    """What YAML says, with line and column, without the words of the file."""
    mark = None
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        said = ", ".join(part for part in (error.context, error.problem) if part)
    elif isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        where = f" in line {line}, column {column}"
        said = "has a character that is not allowed"
    else:
        where, said = "", "cannot be read"
    said = _QUOTED_WORD.sub("'...'", " ".join(said.split()))
    remedy = "correct the text there"
    if mark is not None and "${" in "".join(text.splitlines()[mark.line : mark.line + 1]):
        remedy = 'inside { } or [ ] write "${NAME}", with quotes'
    return Wrong(f"is not YAML that can be read{where}: {said}", remedy)
