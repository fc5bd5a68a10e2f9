"""Checks across the keys of a file, made on its tree: they run on a file that is broken too.

Each check looks at what it needs by ``translate.field`` and stays silent where that is
itself wrong: then the problem is reported already, once.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from pipeline.spec.environment import typed
from pipeline.spec.graph_checks import check_graph, media_of
from pipeline.spec.models import (
    EvaluationSpec,
    InputSpec,
    LimitsSpec,
    MetricsSpec,
    OutputsSpec,
    StageSpec,
    WindowsSpec,
)
from pipeline.spec.problems import KeyPath, Report, holds_broken
from pipeline.spec.translate import field
from pipeline.spec.units import Wrong, format_duration

SIZE_HOPS_MAX = 1_000
SPAN_HOPS_MAX = 100_000

Tree = dict[str, Any]


def check(tree: Tree, report: Report) -> None:
    """All that no key can be told alone (contract section 2)."""
    _check_windows(tree, report)
    _check_topics(tree, report)
    _check_gating(tree, report)
    for name, source in section(tree, "inputs").items():
        _check_json(("inputs", name), source, report)
    _check_metrics(tree, report)
    check_graph(tree, report)


def section(tree: Tree, key: str) -> Tree:
    """A map of the tree; empty where it is missing or something else."""
    value = tree.get(key)
    return value if isinstance(value, dict) else {}


def _check_windows(tree: Tree, report: Report) -> None:
    windows = tree.get("windows")
    size_us = field(WindowsSpec, "size_us", windows)
    hop_us = field(WindowsSpec, "hop_us", windows)
    span_us = field(LimitsSpec, "record_span_us", tree.get("limits"))
    hop_us = size_us if hop_us == 0 else hop_us
    if hop_us is None:
        return
    hop = format_duration(hop_us)
    if size_us is not None and hop_us > size_us:
        why = f"is longer than windows.size ({format_duration(size_us)}): samples would be lost"
        report.add(("windows", "hop"), hop, Wrong(why, "make hop at most size"))
    elif size_us is not None and size_us > SIZE_HOPS_MAX * hop_us:
        why = f"is over {SIZE_HOPS_MAX:,} hops of {hop}: each record would be in as many windows"
        remedy = f"make windows.hop at least {format_duration(-(-size_us // SIZE_HOPS_MAX))}"
        report.add(("windows", "size"), format_duration(size_us), Wrong(why, remedy))
    if span_us is not None and span_us > SPAN_HOPS_MAX * hop_us:
        why = f"is over {SPAN_HOPS_MAX:,} hops of {hop}: one record would open as many windows"
        remedy = f"make it at most {format_duration(SPAN_HOPS_MAX * hop_us)}, or the hop longer"
        report.add(("limits", "record_span"), format_duration(span_us), Wrong(why, remedy))


def _check_topics(tree: Tree, report: Report) -> None:
    """No topic twice: not among the inputs, not among what is written, not across the two."""
    owners: dict[str, KeyPath] = {}
    inputs, outputs, stages = (section(tree, key) for key in ("inputs", "outputs", "stages"))
    named: list[tuple[KeyPath, Any]] = [
        (("inputs", name, "topic"), field(InputSpec, "topic", source))
        for name, source in inputs.items()
        if isinstance(source, dict)
    ]
    named += [
        (("outputs", key), field(OutputsSpec, key, outputs))
        for key in OutputsSpec.model_fields
        if key in outputs
    ]
    named += [
        (("stages", name, "out"), field(StageSpec, "out", stage))
        for name, stage in stages.items()
        if isinstance(stage, dict)
    ]
    if "labels" in (evaluation := section(tree, "evaluation")):
        named.append((("evaluation", "labels"), field(EvaluationSpec, "labels", evaluation)))
    for path, topic in named:
        if topic is None:
            continue
        first = owners.setdefault(topic, path)
        if first == path:
            continue
        other = ".".join(map(str, first))
        if path[0] not in ("inputs", "evaluation") and first[0] == "inputs":
            why = f"is the topic of {other} too: the pipeline would read what it writes"
        else:
            why = f"is the topic of {other} too"
        report.add(path, topic, Wrong(why, "give each its own topic"))


def _check_gating(tree: Tree, report: Report) -> None:
    inputs = section(tree, "inputs")
    gating = [field(InputSpec, "gating", source) for source in inputs.values()]
    if inputs and all(value is False for value in gating):
        why = "no input gates, so no window would ever close"
        report.add(("inputs",), None, Wrong(why, "leave out 'gating: false' for at least one"))


def _check_json(path: KeyPath, source: Any, report: Report) -> None:
    """Bytes in JSON have to be base64; a time in JSON needs a value that is JSON."""
    media = media_of(source)
    if media is None or media.kind == "text":
        return
    payload, time = source.get("payload"), source.get("time")
    if isinstance(payload, dict) and typed(payload.get("base64", False)) is False:
        why = f"JSON cannot hold {media.kind} as it is"
        report.add((*path, "payload", "base64"), False, Wrong(why, "write base64: true"))
    if isinstance(time, dict) and payload is None:
        why = f"the value of a record is {media.kind}, not JSON, without payload: {{json: ...}}"
        report.add((*path, "time"), None, Wrong(why, "leave it out, or say where the payload is"))


def _check_metrics(tree: Tree, report: Report) -> None:
    metrics = tree.get("metrics")
    keys = ("host", "token", "public", "ingest")
    host, token, public, ingest = (field(MetricsSpec, key, metrics) for key in keys)
    given = metrics.get("token") if isinstance(metrics, dict) else None
    if host is None or token or holds_broken(given) or _is_loopback(host):
        return
    if ingest is True:
        why = f"whoever reaches {host} could send records into the inputs"
        remedy = "set metrics.token, or leave it out, or bind to 127.0.0.1"
        report.add(("metrics", "ingest"), True, Wrong(why, remedy))
    if public is False:
        why = "others could read what the pipeline hears and sees"
        remedy = "set metrics.token, or metrics.public: true, or bind to 127.0.0.1"
        report.add(("metrics", "host"), host, Wrong(why, remedy))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
