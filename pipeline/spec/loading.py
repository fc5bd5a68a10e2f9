"""A pipeline file, or its text -> PipelineSpec, or one InvalidInput with all its problems."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from pipeline.errors import InvalidInput, Problem
from pipeline.spec import kafka_client
from pipeline.spec.checks import check, section
from pipeline.spec.environment import is_secret_file, read_secret, substitute
from pipeline.spec.models import PipelineSpec
from pipeline.spec.problems import BROKEN, KeyPath, Report
from pipeline.spec.secret import Secret, is_secret_name
from pipeline.spec.translate import report_errors
from pipeline.spec.units import Wrong
from pipeline.spec.yaml_tree import FILE_BYTES_MAX, read_tree

_NOTHING: Mapping[str, str] = MappingProxyType({})


def load(
    path: Path,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] = _NOTHING,
) -> PipelineSpec:
    """Reads a pipeline file; ``environ`` is the process's own where it is not given.

    ``overrides`` are dotted keys with their values as YAML (``--set windows.hop=500ms``).
    Raises InvalidInput with every problem of the file.
    """
    return loads(_read(path), folder=path.parent, environ=environ, overrides=overrides)


def loads(
    text: str,
    *,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] = _NOTHING,
) -> PipelineSpec:
    """As ``load``, from a text; ``folder`` is where secret files and user classes are found."""
    sections = [info.alias or name for name, info in PipelineSpec.model_fields.items()]
    report = Report(sections)
    reader = _Reader(os.environ if environ is None else environ, report)
    tree = reader.read(text, ())
    spec = None
    if tree is not BROKEN:
        for key, value in overrides.items():
            reader.override(tree, key, value)
        _take_secrets(tree, folder, report)
        check(tree, report)
        spec = _validated(tree, report)
    if report or spec is None:
        raise report.error()
    return _named(spec, folder)


def _read(path: Path) -> str:
    """The text of a file of at most FILE_BYTES_MAX bytes; raises InvalidInput."""
    remedy = "give the path of a pipeline file"
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        why = f"cannot be read ({error.strerror or 'unknown reason'})"
        raise InvalidInput(Problem("file", str(path), why, remedy)) from None
    if len(content) > FILE_BYTES_MAX:
        raise InvalidInput(Problem("file", str(path), f"is over {FILE_BYTES_MAX} bytes", remedy))
    text = None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    if text is None:
        why = f"is not UTF-8 in line {line}"
        raise InvalidInput(Problem("file", str(path), why, "save it as UTF-8"))
    return text


class _Reader:
    """Reads YAML texts with the environment put in; problems go to the report."""

    def __init__(self, environ: Mapping[str, str], report: Report) -> None:
        self._environ = environ
        self._report = report

    def read(self, text: str, path: KeyPath) -> Any:
        """The tree of a text that stands at ``path``; BROKEN where nothing can be read."""

        def scalar(below: KeyPath, found: str, plain: bool) -> Any:
            try:
                return substitute(found, plain, self._environ)
            except Wrong as wrong:
                self._report.add((*path, *below), found, wrong)
                return BROKEN

        def wrong_below(below: KeyPath, value: Any, wrong: Wrong) -> None:
            self._report.add((*path, *below), value, wrong)

        try:
            tree = read_tree(text, scalar, wrong_below)
        except Wrong as wrong:
            self._report.add(path, None, wrong)
            return BROKEN
        if path or isinstance(tree, dict):
            return tree
        remedy = "start with 'version: 1' and one key a line"
        self._report.add(path, None, Wrong("is not a map of keys", remedy))
        return BROKEN

    def override(self, tree: dict[str, Any], key: str, text: str) -> None:
        """Puts one value where a dotted key says, making the maps on its way."""
        parts = key.split(".")
        if not all(parts):
            self._report.add((key,), None, Wrong("is no key", "write it as windows.hop=500ms"))
            return
        at: Any = tree
        for number, part in enumerate(parts[:-1]):
            if at.get(part) is None:
                at[part] = {}
            at = at[part]
            if not isinstance(at, dict):
                why = f"{'.'.join(parts[: number + 1])} is no map"
                self._report.add((key,), None, Wrong(why, "set the whole of it, as YAML"))
                return
        self._report.forget(tuple(parts))
        at[parts[-1]] = self.read(text, tuple(parts)) if text.strip() else None


def _take_secrets(tree: dict[str, Any], folder: Path, report: Report) -> None:
    """Reads secret files where a secret is possible, and checks each setting of the client."""
    kafka, metrics = section(tree, "kafka"), section(tree, "metrics")
    client = kafka.get("client")
    if isinstance(client, dict):
        for name, value in client.items():
            path: KeyPath = ("kafka", "client", name)
            value = _secret(value, path, folder, report)
            try:
                client[name] = (
                    BROKEN if value is BROKEN else kafka_client.check_setting(name, value)
                )
            except Wrong as wrong:
                harmless = kafka_client.is_harmless(name, value)
                report.add(path, value, wrong, harmless=harmless)
                client[name] = BROKEN
    elif client is not BROKEN and client is not None:
        report.add(("kafka", "client"), client, Wrong("must be a map", "write {name: value}"))
        kafka["client"] = BROKEN
    elif client is None and "client" in kafka:
        kafka["client"] = {}
    if "token" in metrics:
        metrics["token"] = _secret(metrics["token"], ("metrics", "token"), folder, report)


def _secret(value: Any, path: KeyPath, folder: Path, report: Report) -> Any:
    if is_secret_file(value):
        try:
            return read_secret(value, folder)
        except Wrong as wrong:
            report.add(path, None, wrong)
            return BROKEN
    hidden = type(value) is str and is_secret_name(str(path[-1]))
    return Secret(value) if hidden else value


def _validated(tree: dict[str, Any], report: Report) -> PipelineSpec | None:
    try:
        return PipelineSpec.model_validate(tree)
    except ValidationError as error:
        report_errors(error, report)
    return None


def _named(spec: PipelineSpec, folder: Path) -> PipelineSpec:
    """Tells each part its name: a part is often handed on alone."""
    spec._folder = folder.absolute()  # a worker may stand in another one
    for parts in (spec.inputs, spec.stages):
        for name, part in parts.items():
            part._name = name
    return spec
