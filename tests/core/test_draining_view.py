"""Nodes that will go, as `/api/state` has them."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
from pipelines import LOBBY, load
from shown import snapshot

from pipeline.monitor.sampler import Recent, Sample
from pipeline.monitor.state import StateWriter
from pipeline.tasks.view import DrainingView

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "schemas" / "state.schema.json").read_text("utf-8")
)


def test_nodes_that_will_go_are_shown_with_what_stands_there_still():
    nodes = (
        DrainingView("10.0.0.7 (3f2a81c0)", 1_790_000_000_000_000, 1, 2),
        DrainingView("10.0.0.8 (4f2a81c0)", None, 0, 0),
    )
    now = Sample(1_000_000, snapshot(draining=nodes))
    state = StateWriter(load(LOBBY)).state(Recent(now, now, now), [])
    state = json.loads(json.dumps(state))
    jsonschema.validate(state, SCHEMA)
    first, second = state["draining"]
    assert first == {
        "node": "10.0.0.7 (3f2a81c0)",
        "by": "2026-09-21T14:13:20.000Z",
        "owners": 1,
        "replicas": 2,
    }
    assert (second["by"], second["owners"], second["replicas"]) == (None, 0, 0)
    before = StateWriter(load(LOBBY)).state(None, [])
    assert before["draining"] == []
