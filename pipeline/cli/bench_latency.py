"""``motet bench latency`` and ``recovery``: runs under a load that waits for nobody."""

from __future__ import annotations

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
from pipeline.cli.terminal import emit, interruptible, say, warn
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.benchmark.ground import Ground
    from pipeline.benchmark.jobs import Job
    from pipeline.benchmark.loaded import Answered, Asked

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help=f"One of {JOBS}.")]
LoadOption = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        max=2,
        help="Share of the windows a second that a backlog is worked off with, measured first.",
        show_default=False,
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(min=0.1, help="Windows a second, in place of --load.", show_default=False),
]
WarmOption = Annotated[
    float, typer.Option(min=0, max=600, help="Seconds before that, which do not count.")
]


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet bench latency audio --local --load 0.5")(latency)


def latency(
    context: typer.Context,
    job: JobArgument = "audio",
    load: LoadOption = None,
    rate: RateOption = None,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="How long to measure.")] = 30.0,
    warm: WarmOption = 5.0,
    local: LocalOption = None,
    kafka: KafkaOption = None,
    broker: BrokerOption = None,
    as_json: FileOption = None,
    picture: PictureOption = None,
) -> None:
    """Send at a fixed rate and measure how long each window takes to its committed result.

    Each send has its time before the first is made, and latency counts from that time to when a
    reader of committed records sees the result: where the system stands, all sends of that time
    are late (an open loop, no coordinated omission). A window closes with its own last record.
    """
    check_broker(kafka, broker)
    sides_asked = sides(context, local, broker)
    share = check_rate(load, rate)
    from pipeline.benchmark.jobs import job_named

    wanted = job_named(job)
    demand_file("--json", as_json)
    if picture is not None:
        from pipeline.costs.picture import demand_plotting

        demand_plotting("--picture", picture)
    from pipeline.benchmark.loaded import Asked
    from pipeline.benchmark.machine import machine_facts
    from pipeline.benchmark.report import draw_latency, latency_lines

    before = machine_facts()
    told: list[dict[str, Any]] = []
    with interruptible(), ground_of(context, kafka, broker) as ground:
        for side in sides_asked:
            capacity = None if rate else capacity_of(ground, wanted, side)
            asked = Asked(wanted, side, rate or share * (capacity or 0), seconds, warm)
            say_load(asked)
            found = _measured(ground, asked)
            told.append(
                {
                    "job": job,
                    "side": "local" if side else "ray",
                    "capacity": capacity,
                    **found.as_json(asked),
                }
            )
            if not told[-1]["kept_up"]:
                warn("it did not keep up with this rate, so latencies grow with --seconds")
    answer = {
        "machine": {**before, "load_after": machine_facts()["load"]},
        "broker": broker or "kafka",
        "measured": told,
    }
    if str(as_json) != "-":
        for line in latency_lines(told):
            emit(line)
    write_json(as_json, answer)
    if picture is not None:
        draw_latency(told, picture)


def check_rate(load: float | None, rate: float | None) -> float:
    """The share of the capacity; InvalidInput where both are given."""
    if load is not None and rate is not None:
        why = "--rate says how many windows a second, too"
        raise InvalidInput(Problem("--load", f"{load:g}", why, "give one of the two"))
    return 0.5 if load is None else load


def capacity_of(ground: Ground, job: Job, local: bool) -> float:
    """Windows a second of one run over a backlog."""
    from pipeline.benchmark.ground import filled
    from pipeline.benchmark.throughput import run_over

    with filled(ground, job, job.windows) as backlog:
        found = run_over(ground, backlog, local).windows_per_second
    say(f"motet: {job.name}, {'local' if local else 'ray'}: a backlog at {found:,.0f} windows/s")
    return found


def say_load(asked: Asked) -> None:
    where = "local" if asked.local else "ray"
    say(
        f"motet: {asked.job.name}, {where}: {asked.windows_per_second:,.0f} windows/s for "
        f"{asked.warm_seconds + asked.seconds:g} s"
    )


def _measured(ground: Ground, asked: Asked) -> Answered:
    from pipeline.benchmark.loaded import OnKafka, in_memory

    if ground.connector is not None:
        with OnKafka(ground, asked) as run:
            return run.run()
    from pipeline.benchmark.order import Order
    from pipeline.benchmark.topics import (
        event_begin_us,
        input_topics,
        make_topics,
        output_topics,
    )
    from pipeline.clock import wall_us
    from pipeline.connectors.memory import MemoryConnector
    from pipeline.connectors.memory_broker import MemoryBroker
    from pipeline.local import run_local

    connector = MemoryConnector(MemoryBroker(), pending_wait_s=5.0)
    make_topics(connector, [*input_topics(asked.job, "bench"), *output_topics("bench")])
    order = Order(
        role="host",
        job=asked.job.name,
        source="bench",
        windows=asked.windows,
        begin_us=event_begin_us(asked.windows, wall_us()),
        name="bench",
        until_end=False,
        wait_ms=0,
    )
    return in_memory(asked, connector, run_local, order)
