"""``motet plan``: what a run would be made of, where it would go, and why not where it cannot."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, load_spec
from pipeline.cli.plan_nodes import Expected, node_lines, nodes_json
from pipeline.cli.table import table
from pipeline.cli.terminal import counted, emit, warn
from pipeline.errors import InvalidInput, MotetError, Problem, Unreachable

if TYPE_CHECKING:
    from pipeline.cli.app import Given
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.planning import OwnerPlan, Placement, Resources

CONNECT_US = 1_000_000  # a plan is worth more than the lanes in it: it does not wait for a broker
REACH_S = 3.0
STAGES = ("stage", "encoder", "replicas", "CPUs each", "GPUs each")
OWNERS = ("owner", "actors", "CPUs each", "slots", "lanes")


class _Lanes(NamedTuple):
    """``number`` None: not known, and ``why``; ``problems`` of topics keep a run from starting."""

    number: int | None
    why: str
    problems: tuple[Problem | str, ...] = ()


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet plan lobby.yaml --cluster nodes.yaml --rates rates.yaml")(
        plan
    )


def plan(
    context: typer.Context,
    file: FileArgument,
    cpus: Annotated[
        float | None,
        typer.Option(min=1, help="Plan for so many CPUs, not for those that are there."),
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(min=0, help="Plan for so many GPUs, not for those that are there."),
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="NODES", help="Plan for the nodes that this YAML file describes."),
    ] = None,
    rates: Annotated[
        Path | None,
        typer.Option(
            metavar="RATES",
            help="Expect so much: windows a second by stage, or `motet bench encode --json`.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show lanes, slots, owners, actors, CPUs, GPUs and memory as `motet run` would place them.

    Exit code 1, with what is missing, where it could not run. Starts no Ray: where the file
    names no cluster, the plan is for this machine. With rates it says how many windows a second
    that gives, and what binds.
    """
    from pipeline.cli.plan_files import read_cluster, read_rates
    from pipeline.scaling.throughput import Rates
    from pipeline.tasks.machine import this_machine
    from pipeline.tasks.planning import Resources, place

    spec = load_spec(file)
    given = read_rates(rates) if rates is not None else Rates({})
    machine = this_machine()
    resources = Resources(machine.cpus, machine.gpus)
    elsewhere = _cluster(spec)
    if cluster is not None:
        if cpus is not None or gpus is not None:
            why = "--cpus and --gpus say something else"
            raise InvalidInput(Problem("--cluster", str(cluster), why, "leave them out"))
        resources, elsewhere = Resources.of(read_cluster(cluster)), str(cluster)
    elif elsewhere is not None and (cpus is None or gpus is None):
        resources = _resources_of(context.obj, spec, elsewhere) or resources
    if cpus is not None or gpus is not None:
        resources = Resources(
            resources.cpus if cpus is None else cpus, resources.gpus if gpus is None else gpus
        )
    lanes = _lanes(spec, f"motet topics create {file}")
    placement = place(spec, resources, lanes.number)
    asked = placement.open_bytes_max or 0
    if (
        elsewhere is None
        and cpus is None
        and asked + placement.in_flight_bytes_max > machine.memory_bytes
    ):
        warn(
            f"limits: lanes and slots may hold {_size(asked + placement.in_flight_bytes_max)} and "
            f"this machine has {_size(machine.memory_bytes)}; lower limits.open_bytes or "
            "limits.in_flight_bytes, or the run may be killed for memory before it pauses"
        )
    problems = [*lanes.problems, *placement.missing]
    expected = None
    if rates is not None:
        expected = Expected(spec, resources, placement, given, lanes.number)
    if as_json:
        found = _answer(spec, resources, machine.memory_bytes, lanes, placement, problems)
        found["nodes"] = nodes_json(resources, placement)
        found["expected"] = None if expected is None else expected.as_json()
        emit(json.dumps(found))
    else:
        for line in (
            *_lines(spec, resources, lanes, placement),
            *node_lines(resources, placement),
            *(() if expected is None else expected.lines()),
        ):
            emit(line)
    if problems:
        raise MotetError("\n".join(str(problem) for problem in problems))


def _lanes(spec: PipelineSpec, create: str) -> _Lanes:
    """Asks the broker, where one answers soon; a plan can do without."""
    from pipeline.cli.connect import await_broker, topics_of
    from pipeline.tasks.starting import check_topics

    try:
        await_broker(spec.kafka.bootstrap, wait=False, limit_us=CONNECT_US)
        from pipeline.connectors.kafka import KafkaConnector

        connector = KafkaConnector(spec.kafka.bootstrap, dict(spec.kafka.client), REACH_S)
        with closing(connector.control()) as control:
            topics_of(control, spec.topics_in())
            return _Lanes(check_topics(spec, control, create).lanes, "")
    except Unreachable:
        return _Lanes(None, f"no broker answers at {spec.kafka.bootstrap}")
    except InvalidInput as error:
        return _Lanes(None, "the topics are not as they must be", error.problems)


def _resources_of(given: Given, spec: PipelineSpec, address: str) -> Resources | None:
    """What a cluster has, asked through what the entry point gave; None where it gave nothing."""
    if given.resources is not None:
        return given.resources(spec)
    warn(
        f"ray.address = {address}: that cluster was not asked, and the plan is for this machine; "
        "pass --cpus and --gpus as it has them"
    )
    return None


def _cluster(spec: PipelineSpec) -> str | None:
    """The address of a cluster that a run would join."""
    if spec.ray.address != "auto":
        return spec.ray.address
    return os.environ.get("RAY_ADDRESS") or None


def _lines(
    spec: PipelineSpec, resources: Resources, lanes: _Lanes, placement: Placement
) -> list[str]:
    known = lanes.number is not None
    shown = counted(lanes.number, "lane") if lanes.number is not None else "lanes unknown"
    lines = [
        f"{spec.name}: {shown}, {counted(spec.slots, 'slot')}, {counted(placement.actors, 'actor')}"
        f" on {resources.cpus:g} CPUs and {resources.gpus:g} GPUs",
    ]
    if not known:
        lines.append(f"lanes are unknown: {lanes.why}; lane p will belong to slot p % {spec.slots}")
    lines.append("")
    lines += table(OWNERS, _owner_rows(placement, known))
    lines.append("")
    lines += table(
        STAGES,
        [
            (
                stage.name,
                stage.encoder,
                f"{stage.replicas}"
                + (f" (to {stage.replicas_max})" if stage.replicas_max > stage.replicas else ""),
                f"{placement.cpus_per_actor:g}",
                f"{stage.gpus_per_replica:.3g}" if stage.gpus_per_replica else "0 (CPU)",
            )
            for stage in placement.stages
        ],
    )
    open_bytes = "unknown" if placement.open_bytes_max is None else _size(placement.open_bytes_max)
    lines += [
        "",
        f"GPUs in use: {placement.gpus:.3g} of {resources.gpus:g}",
        f"memory at most, beside the processes: {_size(placement.in_flight_bytes_max)} in flight "
        f"(limits.in_flight_bytes a slot), {open_bytes} open (limits.open_bytes a lane)",
        "with `--local`: one process, the same stages as threads",
    ]
    return lines


def _owner_rows(placement: Placement, known: bool) -> list[tuple[object, ...]]:
    return [
        (
            owner.number,
            "ingest, fusion",
            f"{placement.cpus_per_actor:g}",
            " ".join(map(str, owner.lanes)),
            " ".join(map(str, _lanes_of(owner))) if known else "unknown",
        )
        for owner in placement.owners
    ]


def _lanes_of(owner: OwnerPlan) -> list[int]:
    return sorted(lane for lanes in owner.lanes.values() for lane in lanes)


def _size(size_bytes: int) -> str:
    from pipeline.spec import format_size

    step = 1 << 30 if size_bytes >= 8 << 30 else 1 << 20
    return format_size(max(step, size_bytes // step * step))


def _answer(
    spec: PipelineSpec,
    resources: Resources,
    memory_bytes: int,
    lanes: _Lanes,
    placement: Placement,
    problems: list[Problem | str],
) -> dict[str, Any]:
    return {
        "name": spec.name,
        "possible": not problems,
        "missing": [str(problem) for problem in problems],
        "resources": {"cpus": resources.cpus, "gpus": resources.gpus, "memory_bytes": memory_bytes},
        "lanes": lanes.number,
        "slots": spec.slots,
        "owners": [
            {
                "owner": owner.number,
                "slots": list(owner.lanes),
                "lanes": _lanes_of(owner) if lanes.number is not None else None,
            }
            for owner in placement.owners
        ],
        "stages": [asdict(stage) for stage in placement.stages],
        "actors": placement.actors,
        "cpus_per_actor": placement.cpus_per_actor,
        "gpus": placement.gpus,
        "in_flight_bytes_max": placement.in_flight_bytes_max,
        "open_bytes_max": placement.open_bytes_max,
    }
