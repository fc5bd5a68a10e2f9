"""motet on a Ray cluster: the only package that imports ray, and nothing but Ray lives here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.host import RunControl
    from pipeline.tasks.planning import Resources
    from pipeline.tasks.totals import Totals

__all__ = ["cluster_resources", "run_on_cluster"]


def run_on_cluster(
    spec: PipelineSpec, connector: Connector, control: RunControl
) -> tuple[Totals, float]:
    """Runs a pipeline on Ray; Ray is imported here and not before."""
    from actors.supervisor import run_on_ray

    return run_on_ray(spec, connector, control)


def cluster_resources(spec: PipelineSpec) -> Resources:
    """What the cluster of ``ray.address`` has; raises Unreachable where none answers."""
    from actors.cluster import connect

    return connect(spec)
