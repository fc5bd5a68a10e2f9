"""A running pipeline, a real Prometheus and deploy's dashboard: the panels show what happens."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import yaml
from deploy_server import DEPLOY, TOKEN, needs_prometheus, prometheus
from kafka_user import await_that
from pipelines import LOBBY, SECOND_US, broker_for, connector_for, jpeg, load, sent, tone

from pipeline.clock import wall_us
from pipeline.local import run_local
from pipeline.monitor import serve
from pipeline.tasks.host import RunControl

SECONDS = 4
# Nothing of this happens in a calm run; the next are of a run with labels, a head or a cluster.
QUIET = {"Dead letters, 1 h", "Dead letters", "Restarts, 1 h", "Restarts so far", "Failures"}
QUIET |= {"Slots that moved", "Pause of a slot that moves", "Nodes that drain, actors that move"}
QUIET |= {"Gaps in the sound", "Overlaps in the sound"}
QUIET |= {"Accuracy", "Word error rate", "BLEU", "Drift", "Heads deployed"}
QUIET |= {"Answers and their labels", "Labels read", "Delay of labels", "Replicas"}
ALERTS = {
    rule["alert"]
    for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}


def feed(broker, begin_us: int) -> None:
    for number in range(SECONDS):
        at_us = begin_us + number * SECOND_US
        broker.append(sent("in.mic", tone(440, 1.0), at_us))
        broker.append(sent("in.cam", jpeg((number * 40, 80, 120)), at_us + 500_000))
        broker.append(sent("in.chat", b"good day", at_us))


@needs_prometheus
def test_every_panel_of_the_dashboard_shows_a_running_pipeline(tmp_path):
    spec = load(LOBBY, {"metrics.token": TOKEN})
    broker = broker_for(spec)
    connector = connector_for(broker)
    monitor = serve(spec, connector, ("127.0.0.1", 0))
    port = int(monitor.url.rstrip("/").rpartition(":")[2])
    control = RunControl(show=monitor.show)
    began_us = wall_us() - 90 * SECOND_US  # a backlog: of that one alert must know
    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(run_local, spec, connector, control)
        try:
            with prometheus(tmp_path, port) as get:

                def windows(query: str = "motet_windows_total") -> float:
                    assert not run.done(), run.result()
                    found = get("query", query=query)["result"]
                    return float(found[0]["value"][1]) if found else 0.0

                feed(broker, began_us)
                await_that("the first windows", lambda: windows() >= SECONDS - 1)
                feed(broker, began_us + SECONDS * SECOND_US)
                await_that("a rate", lambda: windows("rate(motet_windows_total[30s])") > 0)
                await_that("every panel", lambda: empty(get) <= QUIET, 20)
                await_that("the alerts", lambda: alerts(get).keys() >= ALERTS)
                behind = "MotetEventTimeBehind"
                await_that("that of the backlog", lambda: alerts(get)[behind][1] == "pending", 30)
                ready, found = windows("sum(motet_replay_records)"), alerts(get)
        finally:
            control.stop.set()
            monitor.close()
        totals, _ = run.result(60)
    assert totals.windows >= 2 * SECONDS - 1
    assert ready == 0
    calm = dict.fromkeys(ALERTS, ("ok", "inactive"))
    assert found == {**calm, behind: ("ok", "pending")}


def alerts(get) -> dict[str, tuple[str, str]]:
    """By name: whether its query was answered, and whether it rings; those evaluated so far."""
    rules = [rule for group in get("rules")["groups"] for rule in group["rules"]]
    return {
        rule["name"]: (rule["health"], rule["state"])
        for rule in rules
        if rule["type"] == "alerting" and not rule["lastEvaluation"].startswith("0001")
    }


def empty(get) -> set[str]:
    """The panels with a query whose answer is nothing, or no number."""
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "motet.json").read_text())
    found = set()
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expr = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "30s")
            samples = get("query", query=expr)["result"]
            if not any(sample["value"][1] != "NaN" for sample in samples):
                found.add(panel["title"])
    return found
