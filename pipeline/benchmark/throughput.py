"""How many windows a second a backlog is worked off with, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.benchmark.checking import ResultCheck
from pipeline.benchmark.ground import RUN_S, START_S, Filled, Ground, run_name, watched
from pipeline.benchmark.order import Order
from pipeline.benchmark.percentiles import median
from pipeline.benchmark.processes import cpu_of
from pipeline.benchmark.topics import output_topics, read_committed
from pipeline.errors import MotetError

MILLION = 1_000_000
BARE_WINDOWS = 512
BARE_S = 3.0


class Run(NamedTuple):
    """One run over a backlog; start-up is apart. ``side``: local or ray.

    ``cpu_seconds`` of all processes of the run while it ran; ``cpu_by_process`` by kind.
    ``broker_cpu_seconds``: of a broker of our own, None of another.
    """

    job: str
    side: str
    windows: int
    records: int
    payload_bytes: int
    seconds: float
    start_seconds: float
    cpu_seconds: float
    cpu_by_process: dict[str, float]
    broker_cpu_seconds: float | None
    memory_bytes: int

    @property
    def windows_per_second(self) -> float:
        return self.windows / self.seconds

    def as_json(self) -> dict[str, Any]:
        return {
            **self._asdict(),
            "windows_per_second": self.windows_per_second,
            "records_per_second": self.records / self.seconds,
            "bytes_per_second": self.payload_bytes / self.seconds,
            "cpu_seconds_per_million": self.cpu_seconds / self.windows * MILLION,
            "memory_gib_seconds_per_million": self.memory_bytes
            / (1 << 30) * self.seconds / self.windows * MILLION,
        }  # fmt: skip


def run_over(ground: Ground, backlog: Filled, local: bool) -> Run:
    """One run over what is there; MotetError where a result is wrong, missing or repeated."""
    with run_name(ground) as name, watched() as (mark, processes):
        with ground.part(backlog.order(ground, name, local), mark) as part:
            ready = part.wait_for("ready", START_S)
            broker_s = cpu_of(ground.broker_pid) if ground.broker_pid else None
            done = part.wait_for("done", RUN_S)
            if broker_s is not None and ground.broker_pid:
                broker_s = cpu_of(ground.broker_pid) - broker_s
        from_us, to_us = ready["at_us"], ready["at_us"] + round(done["seconds"] * 1e6)
        if not processes.names():
            raise MotetError("no process of the run was found in /proc; its costs are not known")
        if not local and "raylet" not in processes.names():
            ground.say(
                "motet: warning: a Ray that ran already was joined; what its processes spend is "
                "not counted (unset RAY_ADDRESS for one of the run's own)"
            )
        run = Run(
            job=backlog.job.name,
            side="local" if local else "ray",
            windows=done["windows"],
            records=done["records"],
            payload_bytes=backlog.payload_bytes,
            seconds=done["seconds"],
            start_seconds=(from_us - part.began_us) / 1e6,
            cpu_seconds=processes.cpu_s(from_us, to_us),
            cpu_by_process=processes.cpu_by_name(from_us, to_us),
            broker_cpu_seconds=broker_s,
            memory_bytes=processes.peak_bytes,
        )
        _demand_right(ground, backlog, name, run, done)
    return run


def _demand_right(
    ground: Ground, backlog: Filled, name: str, run: Run, done: dict[str, Any] | Any
) -> None:
    what = f"{run.job}, {run.side}"
    if ground.connector is None:
        if done["problems"]:
            raise MotetError(f"{what}: the results are wrong: {'; '.join(done['problems'])}")
    else:
        check = ResultCheck(backlog.job, backlog.begin_us, backlog.windows)
        results = read_committed(ground.connector, output_topics(name)[0], backlog.windows)
        for record in results:
            check.take(record.value or b"{}")
        check.demand(what)
    if (done["windows"], done["late"], done["dead_letter"]) != (backlog.windows, 0, 0):
        raise MotetError(f"{what}: the summary says {dict(done)}, of {backlog.windows} windows")


class Efficiency(NamedTuple):
    """Windows a second of the encoders alone on the same batches: one process on one core, and
    ``cores`` of them side by side. ``cpu_s``: CPU time of a window in the one process.
    """

    one_core: float
    all_cores: float
    cores: int
    cpu_s: float

    def as_json(self, windows_per_second: float, cpu_seconds_per_million: float) -> dict[str, Any]:
        return {
            "bare_one_core": self.one_core,
            "bare_all_cores": self.all_cores,
            "cores": self.cores,
            "bare_cpu_seconds_per_million": self.cpu_s * MILLION,
            "of_cpu": self.cpu_s * MILLION / cpu_seconds_per_million,
            "of_one_core": windows_per_second / self.one_core,
            "of_all_cores": windows_per_second / self.all_cores,
        }


def bare_encoders(ground: Ground, backlog: Filled, cores: int) -> Efficiency:
    """Decoding, encoding and checking of the same records in the batches of a run, nothing else."""
    ground.say(f"motet: {backlog.job.name}: the encoders alone, one process, then {cores}")
    [one] = _bare(ground, backlog, 1)
    all_ = _bare(ground, backlog, cores) if cores > 1 else [one]
    return Efficiency(
        one_core=_rate(one),
        all_cores=sum(map(_rate, all_)),
        cores=cores,
        cpu_s=one["cpu_s"] / one["windows"],
    )


def _rate(told: dict[str, Any]) -> float:
    return float(told["windows"]) / float(told["seconds"])


def _bare(ground: Ground, backlog: Filled, processes: int) -> list[dict[str, Any]]:
    """So many processes, which begin together."""
    order = Order(
        role="bare",
        job=backlog.job.name,
        source="bench",
        windows=min(BARE_WINDOWS, backlog.windows),
        begin_us=backlog.begin_us,
        seconds=BARE_S,
    )
    parts = [ground.part(order, "bare") for _ in range(processes)]
    try:
        for part in parts:
            part.wait_for("ready", START_S)
        for part in parts:
            part.go()
        return [dict(part.wait_for("done", START_S)) for part in parts]
    finally:
        for part in parts:
            part.__exit__(None, None, None)


def summed_up(runs: Sequence[Run], efficiency: Efficiency | None) -> dict[str, Any]:
    """Of the rounds of one job and side: medians, the range, and the share of bare encoders."""
    told = [run.as_json() for run in runs]
    rates = sorted(run.windows_per_second for run in runs)
    rate = median(rates)
    middle = {
        key: median(each[key] for each in told)
        for key in (
            "records_per_second",
            "bytes_per_second",
            "start_seconds",
            "cpu_seconds_per_million",
            "memory_bytes",
            "memory_gib_seconds_per_million",
        )
    }
    return {
        "job": runs[0].job,
        "side": runs[0].side,
        "rounds": len(runs),
        "windows": runs[0].windows,
        "windows_per_second": rate,
        "windows_per_second_min": rates[0],
        "windows_per_second_max": rates[-1],
        **middle,
        "efficiency": None
        if efficiency is None
        else efficiency.as_json(rate, middle["cpu_seconds_per_million"]),
    }
