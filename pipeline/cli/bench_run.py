"""``motet bench run``: whole pipelines over a backlog: windows a second, their cost, efficiency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.bench_options import (
    JOBS,
    BrokerOption,
    FileOption,
    KafkaOption,
    LocalOption,
    PictureOption,
    check_broker,
    demand_file,
    ground_of,
    sides,
    write_json,
)
from pipeline.cli.terminal import emit, interruptible, say

if TYPE_CHECKING:
    from pipeline.benchmark.ground import Ground
    from pipeline.benchmark.jobs import Job
    from pipeline.benchmark.throughput import Run

EXAMPLE = "Example: motet bench run audio fused --local --rounds 5 --json figures.json"


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLE)(run)


def run(
    context: typer.Context,
    named: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[JOB]...", help=f"Of {JOBS} (none: all but model).", show_default=False
        ),
    ] = None,
    local: LocalOption = None,
    kafka: KafkaOption = None,
    broker: BrokerOption = None,
    windows: Annotated[
        int | None,
        typer.Option(min=32, help="Windows of each job, a multiple of 32 (default: the job's)."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Runs of each side, in turn.")] = 3,
    efficiency: Annotated[
        bool,
        typer.Option(help="Measure the encoders alone on the same batches too."),
    ] = True,
    as_json: FileOption = None,
    picture: PictureOption = None,
) -> None:
    """Work off a backlog by whole pipelines: windows a second, CPU and memory, start to commit.

    Each run is a process of its own, reads the same records from a real Kafka (which is started
    and stopped here), exactly once, with event time. Every result is checked before a figure is
    told: each window once, whole, with the answer that its content has.
    """
    check_broker(kafka, broker)
    sides_asked = sides(context, local, broker)
    from pipeline.benchmark.jobs import JOBS as KNOWN
    from pipeline.benchmark.jobs import job_named

    usual = [name for name, job in KNOWN.items() if not job.by_name]
    jobs = [job_named(name) for name in dict.fromkeys(named or usual)]
    for job in jobs:
        job.records(windows or job.windows)
    demand_file("--json", as_json)
    if picture is not None:
        from pipeline.costs.picture import demand_plotting

        demand_plotting("--picture", picture)
    from pipeline.benchmark.machine import machine_facts
    from pipeline.benchmark.report import cost_lines, draw_rates, rate_lines

    before = machine_facts()
    told: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    with interruptible(), ground_of(context, kafka, broker) as ground:
        for job in jobs:
            made, summaries = _job(ground, job, windows or job.windows, rounds, sides_asked,
                                   efficiency)  # fmt: skip
            runs += [each.as_json() for each in made]
            told += summaries
    answer = {
        "machine": {**before, "load_after": machine_facts()["load"]},
        "broker": broker or "kafka",
        "summaries": told,
        "runs": runs,
    }
    if str(as_json) != "-":
        for line in [*rate_lines(told), "", *cost_lines(told)]:
            emit(line)
    write_json(as_json, answer)
    if picture is not None:
        draw_rates(told, picture)


def _job(
    ground: Ground, job: Job, windows: int, rounds: int, sides_asked: Sequence[bool], bare: bool
) -> tuple[list[Run], list[dict[str, Any]]]:
    """All runs of one job, and by side what they come to."""
    from pipeline.benchmark.ground import filled
    from pipeline.benchmark.machine import cores
    from pipeline.benchmark.throughput import bare_encoders, run_over, summed_up

    runs: list[Run] = []
    with filled(ground, job, windows) as backlog:
        for number in range(1, rounds + 1):
            for local in sides_asked:
                found = run_over(ground, backlog, local)
                runs.append(found)
                say(
                    f"motet: {job.name}, {found.side}, round {number} of {rounds}: "
                    f"{found.windows_per_second:,.0f} windows/s, all results right"
                )
        efficiency = bare_encoders(ground, backlog, cores()) if bare else None
    by_side = {side: [each for each in runs if each.side == side] for side in ("local", "ray")}
    return runs, [summed_up(each, efficiency) for each in by_side.values() if each]
