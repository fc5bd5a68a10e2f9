"""The dashboard of Grafana as it is loaded: ``make dashboard`` writes dashboards/motet.json.

A test holds every metric of the catalogue against the panels and deploy/alerts.yml, and the file
against what is declared here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import flow_panels as flow
import stage_panels as stages
from panels import SOURCE, laid_out

WRITTEN = Path(__file__).with_name("dashboards") / "motet.json"
ROWS = {
    "Is it well": (flow.WELL,),
    "Pipelines side by side": (flow.PIPELINES[:3], flow.PIPELINES[3:]),
    "What comes and what goes": (flow.FLOW, flow.SOUND),
    "Latency and lag": (flow.BEHIND, flow.HELD),
    "Stages": (stages.STAGES, stages.BATCHES),
    "Commits and fates": (stages.COMMITS,),
    "Memory and trouble": (stages.MEMORY, stages.MOVES),
    "Answers and features": (stages.ANSWERS, stages.LABELS),
    "Versions": (stages.RUNS,),
}


def variables() -> list[dict[str, Any]]:
    """What is chosen at the top: where the figures come from, and which pipelines."""
    found = "label_values(motet_build_info, instance)"
    source = {
        "name": "datasource",
        "hide": 0,
        "type": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "current": {"text": "Prometheus", "value": "prometheus"},
    }
    pipelines = {
        "name": "instance",
        "hide": 0,
        "type": "query",
        "label": "Pipeline",
        "datasource": SOURCE,
        "query": {"query": found, "refId": "instance"},
        "definition": found,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
    return [source, pipelines]


def dashboard() -> dict[str, Any]:
    return {
        "uid": "motet",
        "title": "motet",
        "description": "One or more pipelines: rates, lag, latency, stages, commits, memory.",
        "tags": ["motet"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "graphTooltip": 1,
        "templating": {"list": variables()},
        "annotations": {"list": []},
        "links": [],
        "panels": laid_out(ROWS),
    }


def text() -> str:
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    WRITTEN.write_text(text())
