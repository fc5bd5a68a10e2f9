"""``motet bench recovery``: how soon a run under load goes on after a part of it was killed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from pipeline.cli.bench_latency import (
    JobArgument,
    LoadOption,
    RateOption,
    WarmOption,
    capacity_of,
    check_rate,
    say_load,
)
from pipeline.cli.bench_options import (
    FileOption,
    KafkaOption,
    LocalOption,
    demand_file,
    ground_of,
    sides,
    write_json,
)
from pipeline.cli.terminal import emit, interruptible
from pipeline.errors import InvalidInput, Problem


class What(StrEnum):
    """Which process is killed on Ray; without Ray there is one, which is started again."""

    ingest = "ingest"
    fusion = "fusion"
    encoder = "encoder"


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet bench recovery audio --ray --what ingest")(recovery)


def recovery(
    context: typer.Context,
    job: JobArgument = "audio",
    what: Annotated[
        What, typer.Option(help="What is killed on Ray (local: the process, and started again).")
    ] = What.ingest,
    times: Annotated[int, typer.Option(min=1, max=100, help="How often, one after another.")] = 3,
    apart: Annotated[
        float, typer.Option(min=1, max=600, help="Seconds from one to the next, and to the end.")
    ] = 20.0,
    load: LoadOption = None,
    rate: RateOption = None,
    warm: WarmOption = 5.0,
    local: LocalOption = None,
    kafka: KafkaOption = None,
    as_json: FileOption = None,
) -> None:
    """Kill a part of a run under load (SIGKILL) and measure when it goes on.

    From the kill to the first committed result of a window whose last record was due after it;
    and to the first such window that comes as soon as before (calm). Every window must come
    exactly once. The load is 0.3 of what a backlog is worked off with, unless told otherwise.
    """
    sides_asked = sides(context, local, None)
    share = check_rate(load, rate) if load is not None or rate is not None else 0.3
    from pipeline.benchmark.jobs import job_named

    wanted = job_named(job)
    demand_file("--json", as_json)
    if what is not What.ingest and sides_asked == [True]:
        why = "without Ray there is one process"
        raise InvalidInput(Problem("--what", what.value, why, "leave it out, or measure on --ray"))
    from pipeline.benchmark.loaded import Asked
    from pipeline.benchmark.machine import machine_facts
    from pipeline.benchmark.recovery import Plan
    from pipeline.benchmark.recovery import recovery as measure
    from pipeline.benchmark.report import recovery_lines

    before = machine_facts()
    told: list[dict[str, Any]] = []
    with interruptible(), ground_of(context, kafka, None) as ground:
        for side in sides_asked:
            capacity = None if rate else capacity_of(ground, wanted, side)
            asked = Asked(wanted, side, rate or share * (capacity or 0), apart * times, warm)
            say_load(asked)
            plan = Plan("process" if side else what.value, times, apart)
            answered, killer = measure(ground, asked, plan)
            found = answered.as_json(asked)
            told.append(
                {
                    "job": job,
                    "side": "local" if side else "ray",
                    "capacity": capacity,
                    "windows_per_second": found["windows_per_second"],
                    "windows": asked.windows,
                    "latency": found["latency"],
                    "kills": [each.as_json(killer.begin_us) for each in killer.injections],
                }
            )
    answer = {"machine": {**before, "load_after": machine_facts()["load"]}, "measured": told}
    if str(as_json) != "-":
        for line in recovery_lines(told):
            emit(line)
    write_json(as_json, answer)
