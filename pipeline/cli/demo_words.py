"""What ``motet demo`` says before it starts and when it has ended."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.program import program
from pipeline.cli.terminal import counted, warn

if TYPE_CHECKING:
    from pipeline.demo.show import Outcome
    from pipeline.spec import PipelineSpec

EJECTED = "my-demo"
RESULTS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Needs:
    """What a kind of demo takes, as measured on two cores without a GPU."""

    what: str
    memory_gb: float
    disk_gb: float
    start: str


WITH_KAFKA = Needs("real media through a real Kafka and a local Ray", 3.0, 0.3, "10 to 30 s")
WITH_OWN = Needs("real media through your Kafka and a local Ray", 2.6, 0.2, "10 to 30 s")
IN_MEMORY = Needs("real media through an in-memory broker, in one process", 0.8, 0.0, "about 5 s")


def introduction(needs: Needs, seconds: float | None) -> list[str]:
    """What it takes and how long, against what this machine has."""
    free_gb = shutil.disk_usage(tempfile.gettempdir()).free / 1e9
    memory_gb = _memory_free_gb()
    has = "" if memory_gb is None else f" ({memory_gb:.1f} GB are free here)"
    length = "until Ctrl-C" if seconds is None else f"{seconds:g} s from there"
    lines = [
        f"motet demo: {needs.what}, on this machine",
        f"  memory  about {needs.memory_gb:g} GB{has}",
        f"  time    {needs.start} to the first fused result, then {length}",
    ]
    if needs.disk_gb:
        disk = f"up to {needs.disk_gb:g} GB ({free_gb:.0f} GB are free here)"
        lines.insert(2, f"  disk    {disk}")
    if memory_gb is not None and memory_gb < needs.memory_gb:
        warn(f"{memory_gb:.1f} GB of memory are free; where it is too tight: --broker memory")
    return lines


def _memory_free_gb() -> float | None:
    """What can be had without swapping, where Linux tells."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
    return None if "MemAvailable" not in kib else kib["MemAvailable"] / 1e6


def summary_lines(outcome: Outcome, spec: PipelineSpec, started_s: float) -> list[str]:
    """The figures of a run that ended well; ``started_s``: until the first fused result."""
    from pipeline.demo.measure import percentile_us

    measured, totals = outcome.measured, outcome.totals
    seconds = measured.live_seconds()
    late = counted(totals.late, "late record")
    dead = counted(totals.dead_letter, "dead letter")
    wait_ms = max(given.out_of_orderness_us for given in spec.inputs.values()) // 1000
    middle, worst = (percentile_us(measured.read_us, share) / 1e6 for share in (0.5, 0.99))
    produced = [percentile_us(measured.produced_us, share) / 1e6 for share in (0.5, 0.99)]
    exactly = (
        "each exactly once"
        if not measured.repeated and not measured.skipped
        else f"{measured.repeated} repeated, {measured.skipped} left out"
    )
    return [
        f"fused    {measured.windows} windows of {counted(len(measured.streams), 'stream')}, "
        f"{exactly}; {measured.complete} with all inputs",
        f"rate     {measured.windows / seconds:.1f} windows/s over {seconds:.0f} s of live media",
        f"latency  p50 {middle:.2f} s, p99 {worst:.2f} s",
        "         from the end of a window to its committed result at a reader",
        f"         (to its Kafka timestamp: {produced[0]:.2f} and {produced[1]:.2f} s);",
        f"         it includes the wait of {wait_ms} ms for records out of order",
        f"records  {sum(totals.records.values())} read, {late}, {dead}",
        f"lag      {counted(outcome.lag, 'record')} at the end",
        f"start    {started_s:.1f} s to the first fused result",
    ]


def ejected_name(folder: Path = Path()) -> str:
    """A folder for --eject that is not there yet."""
    number = 1
    while (folder / (name := EJECTED if number == 1 else f"{EJECTED}-{number}")).exists():
        number += 1
    return name


def next_steps(
    spec: PipelineSpec, windows: int, bootstrap: str | None, embedded: bool
) -> list[tuple[str, str]]:
    """Three commands that work as they stand, in this order; what each is for goes before it.

    ``bootstrap`` None: nothing is left to look at. ``embedded``: Kafka is stopped by now.
    """
    motet = shlex.quote(program())
    name = ejected_name()
    steps = [
        ("the pipeline file, the media and the commands that feed it", f"demo --eject {name}"),
        ("check the file after you changed it", f"validate {name}/demo.yaml"),
    ]
    if bootstrap is None:
        steps.append(("the keys of a pipeline file, as a JSON Schema for an editor", "schema"))
    else:
        where = f'"$({motet} kafka start)"' if embedded else bootstrap
        topic = spec.outputs.results
        number = min(windows, RESULTS_SHOWN)  # it would wait for more
        look = f"tail --bootstrap {where} --topic {topic} --from-beginning --max {number}"
        steps.insert(0, ("the results, read back from Kafka (kept for an hour)", look))
    return [(what, f"{motet} {command}") for what, command in steps]
