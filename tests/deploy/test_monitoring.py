"""deploy/'s Prometheus and Grafana files: the metrics that they name are those that there are.

Names and labels are held against the catalogue without a server; where Prometheus is installed
(Debian's package `prometheus`), a real one loads the files and answers every expression.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_server import DEPLOY, VALUES, needs_prometheus, prometheus, served
from kafka_user import await_that
from shown import PROMISED_METRICS

from pipeline.tasks.metrics import METRICS

DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/motet.json").read_text())
ALERTS = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
RECORDED = {
    rule["record"]: rule["expr"]
    for group in yaml.safe_load((DEPLOY / "recording.yml").read_text())["groups"]
    for rule in group["rules"]
}
# Metrics of the catalogue that stand in no panel and no alert, each with the reason.
SHOWN_NOWHERE: dict[str, str] = {}

OF_THE_SCRAPE = {"job", "instance"}
SELECTOR = re.compile(r"\b([a-z][a-z0-9_:]*)\s*(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def dashboard_targets() -> list[tuple[str, str, str]]:
    """Title, expression and legend of every query."""
    return [(p["title"], t["expr"], t["legendFormat"]) for p in panels() for t in p["targets"]]


def rules() -> list[dict[str, Any]]:
    return [rule for group in ALERTS["groups"] for rule in group["rules"]]


EXPRESSIONS = [(title, expr) for title, expr, _ in dashboard_targets()]
EXPRESSIONS += [(rule["alert"], rule["expr"]) for rule in rules()]
EXPRESSIONS += list(RECORDED.items())


def kept_labels(expr: str) -> list[set[str]]:
    """The labels that each `by (...)` of an expression keeps; a quantile takes `le` away."""
    groups = re.findall(r"\bby \(([^)]*)\)", expr)
    return [{label.strip() for label in group.split(",")} - {"le"} for group in groups]


def labels_of(name: str) -> set[str]:
    """The labels of a series of that name; KeyError where there is no such metric."""
    if name == "up":
        return OF_THE_SCRAPE
    if ":" in name:
        return set.intersection(*kept_labels(RECORDED[name]))
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    if base in METRICS and METRICS[base].kind == "histogram":
        assert base != name, f"{name} is a histogram: name its _bucket, _sum or _count"
        more = {"le"} if name.endswith("_bucket") else set()
        return OF_THE_SCRAPE | set(METRICS[base].labels) | more
    return OF_THE_SCRAPE | set(METRICS[name].labels)


def check(expr: str) -> set[str]:
    """The metrics of an expression; AssertionError where a name, label or value is unknown."""
    used = {}
    for name, matchers in SELECTOR.findall(expr):
        if name.startswith("motet_") or ":" in name or name == "up":
            used[name] = labels_of(name)
            for label, _, value in MATCHER.findall(matchers):
                assert label in used[name], f"{name} has no label {label}"
                assert value in VALUES.get(label, {value}), f"{label} is never {value}"
    assert used, "no metric of motet"
    there = set.intersection(*used.values())
    for group in GROUPING.findall(expr):
        unknown = {label.strip() for label in group.split(",")} - there
        assert not unknown, f"{sorted(unknown)} are not labels of all of {sorted(used)}"
    return set(used)


@pytest.mark.parametrize(("where", "expr"), EXPRESSIONS)
def test_every_expression_names_metrics_and_labels_that_there_are(where, expr):
    assert check(expr)


@pytest.mark.parametrize(
    "expr",
    [
        "sum(motet_record_total)",
        'motet_windows_total{input="mic"}',
        "sum by (stream) (motet_records_total)",
        'motet_record_fates_total{fate="lost"}',
        "instance:motet_windows:rate1h",
        "sum by (input) (instance:motet_windows:rate5m)",
        "rate(motet_commit_seconds[1m])",
        "rate(motet_records_total_bucket[1m])",
    ],
)
def test_a_wrong_expression_is_seen(expr):
    with pytest.raises((AssertionError, KeyError)):
        check(expr)


def recorded_in(expr: str) -> set[str]:
    return {name for name in check(expr) if ":" in name}


def metrics_in(expr: str) -> set[str]:
    """The metrics of the catalogue that an expression asks, by recorded names too."""
    found = set()
    for name in check(expr) - {"up"}:
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        found |= metrics_in(RECORDED[name]) if ":" in name else {base}
    return found


def test_the_dashboard_shows_every_metric_that_is_promised():
    shown = set().union(*(metrics_in(expr) for _, expr, _ in dashboard_targets()))
    assert PROMISED_METRICS - shown == set()


def test_every_metric_stands_in_a_panel_or_an_alert_or_is_left_out_for_a_reason():
    exprs = [expr for _, expr, _ in dashboard_targets()] + [rule["expr"] for rule in rules()]
    shown = set().union(*map(metrics_in, exprs))
    assert set(METRICS) - shown == set(SHOWN_NOWHERE)


def test_every_recorded_series_is_asked_for():
    exprs = [expr for _, expr in EXPRESSIONS]
    asked = set().union(*map(recorded_in, exprs))
    assert set(RECORDED) - asked == set()


def test_the_dashboard_is_what_its_code_declares():
    """Otherwise: `make dashboard`."""
    code = "import dashboard; print(dashboard.text(), end='')"
    written = subprocess.run(
        [sys.executable, "-c", code],
        cwd=DEPLOY / "grafana",
        env={"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert written.stdout == (DEPLOY / "grafana/dashboards/motet.json").read_text()


@pytest.mark.parametrize(("title", "expr", "legend"), dashboard_targets())
def test_a_legend_names_labels_that_its_query_keeps(title, expr, legend):
    kept = set().union(*kept_labels(expr), *map(labels_of, recorded_in(expr)))
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= kept


def test_the_annotations_of_alerts_name_labels_that_their_expression_keeps():
    for rule in rules():
        kept = set().union(*kept_labels(rule["expr"])) or OF_THE_SCRAPE
        kept |= set().union(*map(labels_of, recorded_in(rule["expr"])))
        told = " ".join(rule["annotations"].values())
        assert set(re.findall(r"\$labels\.(\w+)", told)) <= kept, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_each_alert_has_its_paragraph_in_operations():
    page = (DEPLOY.parent / "docs" / "OPERATIONS.md").read_text()
    part = page.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    paragraphs = dict(re.findall(r"^### (\w+)\n\n(.+?)(?=\n### |\Z)", part, re.M | re.S))
    assert list(paragraphs) == [rule["alert"] for rule in rules()]
    for rule in rules():
        anchor = rule["annotations"]["runbook"]
        assert anchor == f"docs/OPERATIONS.md#{rule['alert'].lower()}"
        assert len(paragraphs[rule["alert"]].split()) > 20, rule["alert"]


def test_the_dashboard_is_laid_out_with_units_and_known_variables():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        own = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & own, f"{panel['title']} lies on another panel"
        assert at["x"] + at["w"] <= 24
        cells |= own
    known = {variable["name"] for variable in DASHBOARD["templating"]["list"]} | {"__rate_interval"}
    for panel in panels():
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["description"]
        for target in panel["targets"]:
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= known
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


# -- a real Prometheus ------------------------------------------------------------------------


@needs_prometheus
def test_promtool_takes_the_rules_and_each_alert_rings_when_it_should():
    cases = Path(__file__).with_name("alerts_test.yml")
    files = [DEPLOY / "recording.yml", DEPLOY / "alerts.yml"]
    for command in (["check", "rules", *files], ["test", "rules", cases]):
        done = subprocess.run(
            ["promtool", *map(str, command)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    text = cases.read_text()
    named = [rule["alert"] for rule in rules()] + list(RECORDED)
    assert [name for name in named if name not in text] == []


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory):
    """A Prometheus that has rates by now, and has evaluated the rules on them."""
    folder = tmp_path_factory.mktemp("prometheus")
    with served() as port, prometheus(folder, port) as get:
        await_that("rates", lambda: _scraped(get))
        yield get


def _scraped(get: Any) -> bool:
    found = get("query", query="rate(motet_windows_total[30s]) > 0")["result"]
    recorded = get("query", query='{__name__=~".+:.+"}')["result"]
    if {one["metric"]["__name__"] for one in recorded} != set(RECORDED):
        return False
    evaluated = [rule["lastEvaluation"] for g in get("rules")["groups"] for rule in g["rules"]]
    return bool(found) and not any(at.startswith("0001") for at in evaluated)


@needs_prometheus
def test_prometheus_answers_every_expression_of_the_dashboard(ask):
    empty = []
    for title, expr, _ in dashboard_targets():
        asked = expr.replace("$instance", ".*").replace("$__rate_interval", "30s")
        found = ask("query", query=asked)["result"]
        if not found or any(sample["value"][1] == "NaN" for sample in found):
            empty.append((title, asked))
    assert empty == []


@needs_prometheus
def test_prometheus_evaluates_every_rule(ask):
    found = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in found} == {rule["alert"] for rule in rules()} | set(RECORDED)
    assert [(rule["name"], rule.get("lastError")) for rule in found if rule["health"] != "ok"] == []


@needs_prometheus
def test_the_variable_of_the_dashboard_finds_the_pipeline(ask):
    [variable] = [v for v in DASHBOARD["templating"]["list"] if v["name"] == "instance"]
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
    found = ask("query", query=metric)["result"]
    assert {sample["metric"]["job"] for sample in found} == {"motet"}
    assert all(sample["metric"][label].startswith("127.0.0.1:") for sample in found)
