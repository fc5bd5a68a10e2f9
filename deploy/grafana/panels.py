"""What a dashboard of Grafana is made of: queries, panels, rows, and how they are laid out."""

from __future__ import annotations

from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
HEIGHTS = {"row": 1, "stat": 4, "timeseries": 8, "table": 5}


@dataclass(frozen=True, slots=True)
class Query:
    """A query of PromQL, and the name of its lines: labels stand as ``{{label}}``."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: ``unit`` is Grafana's name of it, ``bounds`` are its min and max.

    ``steps`` of a stat: from which value on which colour, the first from everything on.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    bounds: tuple[float | None, float | None] = (0, None)
    steps: tuple[tuple[str, float | None], ...] = ()
    stairs: bool = False
    extra: dict[str, Any] = field(default_factory=dict)

    def as_json(self, number: int, at: dict[str, int]) -> dict[str, Any]:
        instant = self.kind != "timeseries"
        targets = [
            {"refId": ref, "datasource": SOURCE, "expr": query.expr, "legendFormat": query.legend}
            | {"range": not instant, "instant": instant}
            | ({"format": "table"} if self.kind == "table" else {})
            for ref, query in zip(ascii_uppercase, self.queries, strict=False)
        ]
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": at,
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": OPTIONS[self.kind],
            "targets": targets,
            **self.extra,
        }

    def _defaults(self) -> dict[str, Any]:
        found: dict[str, Any] = {"unit": self.unit}
        if self.kind == "stat" and self.unit == "s":
            found["decimals"] = 2
        if self.kind == "stat":
            steps = [{"color": colour, "value": value} for colour, value in self.steps]
            return found | {"thresholds": {"mode": "absolute", "steps": steps}, "noValue": "-"}
        if self.kind == "timeseries":
            line: dict[str, Any] = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}
            line |= {"spanNulls": False}
            if self.stairs:
                line["lineInterpolation"] = "stepAfter"
            found |= {"custom": line}
            ends = zip(("min", "max"), self.bounds, strict=True)
            found |= {name: end for name, end in ends if end is not None}
        return found


OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "area",
        "textMode": "auto",
        "justifyMode": "auto",
        "orientation": "auto",
    },
    "table": {"showHeader": True},
}


def laid_out(rows: dict[str, tuple[tuple[Panel, ...], ...]]) -> list[dict[str, Any]]:
    """The panels of each named row, line by line, those of a line of one width."""
    found: list[dict[str, Any]] = []
    top = 0
    for title, lines in rows.items():
        row = {"id": len(found) + 1, "type": "row", "title": title, "collapsed": False}
        at = {"x": 0, "y": top, "w": COLUMNS, "h": HEIGHTS["row"]}
        found.append(row | {"gridPos": at, "panels": []})
        top += HEIGHTS["row"]
        for line in lines:
            width, high = COLUMNS // len(line), max(HEIGHTS[panel.kind] for panel in line)
            for place, panel in enumerate(line):
                at = {"x": place * width, "y": top, "w": width, "h": high}
                found.append(panel.as_json(len(found) + 1, at))
            top += high
    return found
