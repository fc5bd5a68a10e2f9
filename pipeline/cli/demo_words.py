"""What ``motet demo`` says before it starts and when it has ended."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.cli.program import program
from pipeline.cli.terminal import counted, warn

if TYPE_CHECKING:
    from pipeline.demo.measure import Measured
    from pipeline.demo.show import Outcome
    from pipeline.spec import PipelineSpec

EJECTED = "my-demo"
RESULTS_SHOWN = 5


class How(NamedTuple):
    """How a demo runs, whatever its broker; ``seconds`` None is until Ctrl-C."""

    seconds: float | None
    browser: bool
    models: bool


@dataclass(frozen=True, slots=True)
class Needs:
    """What a kind of demo takes, as measured on two cores without a GPU.

    Memory is the PSS of all its processes; each of the pairs is without models, and with them.
    """

    what: str
    memory_gb: tuple[float, float]
    disk_gb: float
    start: tuple[str, str]


WITH_KAFKA = Needs(
    "real media through a real Kafka and a local Ray", (3.0, 4.5), 0.3, ("10 to 30 s", "20 to 40 s")
)
WITH_OWN = Needs(
    "real media through your Kafka and a local Ray", (2.6, 4.2), 0.2, ("10 to 30 s", "20 to 40 s")
)
IN_MEMORY = Needs(
    "real media through an in-memory broker, in one process",
    (0.7, 1.4),
    0.0,
    ("about 5 s", "about 20 s"),
)
MODELS = "Whisper tiny.en, EfficientNet-Lite0, MiniLM, a face cascade; and classical encoders"


def introduction(needs: Needs, seconds: float | None, models: bool) -> list[str]:
    """What it takes and how long, against what this machine has."""
    needed_gb, start = needs.memory_gb[models], needs.start[models]
    free_gb = shutil.disk_usage(tempfile.gettempdir()).free / 1e9
    memory_gb = _memory_free_gb()
    has = "" if memory_gb is None else f" ({memory_gb:.1f} GB are free here)"
    length = "until Ctrl-C" if seconds is None else f"{seconds:g} s from there"
    lines = [
        f"motet demo: {needs.what}, on this machine",
        f"  memory  about {needed_gb:g} GB{has}",
        f"  time    {start} to the first fused result, then {length}",
    ]
    if needs.disk_gb:
        disk = f"up to {needs.disk_gb:g} GB ({free_gb:.0f} GB are free here)"
        lines.insert(2, f"  disk    {disk}")
    if models:
        lines.insert(1, f"  models  {MODELS}")
    if memory_gb is not None and memory_gb < needed_gb:
        less = " and ".join(["--no-models"] * models + ["--broker memory"] * bool(needs.disk_gb))
        how = f"; {less} take less" if less else ""
        warn(f"{memory_gb:.1f} GB of memory are free, which is too tight{how}")
    return lines


def without_models(why: str) -> str:
    """The one line that says that the demo goes on with the classical encoders, and why."""
    return f"motet: without models, with the classical encoders alone: {why}"


def _memory_free_gb() -> float | None:
    """What can be had without swapping, where Linux tells."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
    return None if "MemAvailable" not in kib else kib["MemAvailable"] / 1e6


def _latency(measured: Measured, wait: str) -> list[str]:
    from pipeline.demo.measure import percentile_us

    if not measured.read_us:
        return ["latency  not taken: it ended before a window of the live streams did"]
    middle, worst = (percentile_us(measured.read_us, share) / 1e6 for share in (0.5, 0.99))
    produced = [percentile_us(measured.produced_us, share) / 1e6 for share in (0.5, 0.99)]
    return [
        f"latency  p50 {middle:.2f} s, p99 {worst:.2f} s",
        "         from the end of a window to its committed result at a reader",
        f"         (to its Kafka timestamp: {produced[0]:.2f} and {produced[1]:.2f} s);",
        f"         it includes the wait of {wait}",
    ]


def summary_lines(outcome: Outcome, spec: PipelineSpec, started_s: float) -> list[str]:
    """The figures of a run that ended well; ``started_s``: until the first fused result."""
    measured, totals = outcome.measured, outcome.totals
    seconds = measured.live_seconds()
    late = counted(totals.late, "late record")
    dead = counted(totals.dead_letter, "dead letter")
    disorder_us = max(given.out_of_orderness_us for given in spec.inputs.values())
    after_us = max(stage.after_us for stage in spec.stages.values())
    wait = f"{disorder_us // 1000} ms for records out of order"
    if after_us:
        wait += f" and {after_us / 1e6:g} s of sound after it"
    exactly = (
        "each exactly once"
        if not measured.repeated and not measured.skipped
        else f"{measured.repeated} repeated, {measured.skipped} left out"
    )
    return [
        f"fused    {measured.windows} windows of {counted(len(measured.streams), 'stream')}, "
        f"{exactly}; {measured.complete} with all inputs",
        f"rate     {measured.windows / seconds:.1f} windows/s over {seconds:.0f} s of live media",
        *_latency(measured, wait),
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
