"""Nodes of a plan, and the throughput that follows from rates: as lines, and for ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.cli.table import table

if TYPE_CHECKING:
    from pipeline.scaling.layout import Layout
    from pipeline.scaling.throughput import Limit, Rates
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.planning import Placement, Resources

NODES = ("node", "CPUs", "GPUs", "owners", "replicas")
NODES_SHOWN = 40
SHOWN = 16  # of a name: Ray's ids are long


def node_lines(resources: Resources, placement: Placement) -> list[str]:
    """What each node gets; none where no nodes are known."""
    if not resources.nodes:
        return []
    rows = []
    for node in resources.nodes[:NODES_SHOWN]:
        on = placement.layout.on(node.name)
        owners = [n for n, name in enumerate(placement.layout.owners) if name == node.name]
        replicas = [f"{number} {stage}" for stage, number in on.items() if stage]
        rows.append(
            (
                node.name[:SHOWN],
                f"{node.cpus:g}",
                node.gpus,
                " ".join(map(str, owners)) or "-",
                ", ".join(replicas) or "-",
            )
        )
    lines = ["", *table(NODES, rows)]
    more = len(resources.nodes) - NODES_SHOWN
    return [*lines, f"and {more} more nodes"] if more > 0 else lines


def nodes_json(resources: Resources, placement: Placement) -> list[dict[str, Any]]:
    found = []
    for node in resources.nodes:
        on = placement.layout.on(node.name)
        found.append(
            {
                "node": node.name,
                "cpus": node.cpus,
                "gpus": node.gpus,
                "owners": [n for n, at in enumerate(placement.layout.owners) if at == node.name],
                "replicas": {stage: number for stage, number in on.items() if stage},
            }
        )
    return found


class Expected:
    """The limits of a run with ``replicas.min`` and with ``replicas.max`` of every stage."""

    def __init__(
        self,
        spec: PipelineSpec,
        resources: Resources,
        placement: Placement,
        rates: Rates,
        lanes: int | None,
    ) -> None:
        from pipeline.scaling.throughput import limits
        from pipeline.tasks.planning import layout

        self.unknown = [name for name in spec.stages if name not in rates.stages]
        places = resources.places
        self.least = limits(places, placement.layout, rates, lanes)
        self._most_layout: Layout = layout(spec, resources, len(placement.owners), most=True)
        self.most = limits(places, self._most_layout, rates, lanes)

    def lines(self) -> list[str]:
        lines = [""]
        for words, found in (("replicas.min", self.least), ("replicas.max", self.most)):
            if found:
                first = found[0]
                lines.append(
                    f"expected with {words}: {first.windows_s:.4g} windows a second; "
                    f"{first.what} binds ({first.how})"
                )
        for stage, (count, why) in self._most_layout.lacking.items():
            lines.append(f"with replicas.max {count} of {stage} find no place: {why}")
        if self.unknown:
            lines.append(f"no rate is given for: {', '.join(self.unknown)}")
        return lines

    def as_json(self) -> dict[str, Any]:
        return {"min": _json(self.least), "max": _json(self.most), "unknown": self.unknown}


def _json(found: tuple[Limit, ...]) -> dict[str, Any]:
    return {
        "windows_per_second": found[0].windows_s if found else None,
        "binds": found[0].what if found else None,
        "limits": [
            {"what": one.what, "windows_per_second": one.windows_s, "how": one.how} for one in found
        ],
    }
