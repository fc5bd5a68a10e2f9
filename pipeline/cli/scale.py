"""``motet scale``: other numbers of replicas or owners for a pipeline, running or not."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, SetOption, load_spec
from pipeline.cli.change_told import await_run, taken_words
from pipeline.cli.run_state import UrlOption
from pipeline.cli.terminal import counted, emit
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec

EXAMPLE = "Example: motet scale lobby.yaml colour=4, or colour=1:8, or colour=file, or owners=3"
OWNERS = "owners"  # in place of a stage's name, where no stage is called so
REPLICAS_MAX = 10_000
_BOUNDS = re.compile(r"([0-9]{1,6})(?::([0-9]{1,6}))?")

WaitOption = Annotated[
    bool, typer.Option("--wait", help="Until the run has it in force, 30 s at most.")
]


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLE)(scale)


def scale(
    file: FileArgument,
    stages: Annotated[
        list[str],
        typer.Argument(
            metavar="STAGE=N...",
            help="N replicas, or MIN:MAX, or `file` for what the file says; owners=N for owners.",
        ),
    ],
    wait: WaitOption = False,
    url: UrlOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give stages other numbers of replicas, or the run other owners, without a stop.

    It holds over restarts, until the file itself says another number there, or `motet apply`.
    Where nothing runs it takes effect at the next start. Slots move to owners that come, and
    away from those that go.
    """
    from pipeline.spec.change_store import ChangeStore
    from pipeline.tasks import changing
    from pipeline.tasks.changing import record
    from pipeline.tasks.deploying import deployer

    spec = load_spec(file, sets or ())
    values: dict[str, int | None] = {}
    for given in stages:
        if given.partition("=")[0] == OWNERS and OWNERS not in spec.stages:
            values[changing.OWNERS] = _owners(spec, given.partition("=")[2])
            continue
        name, least, most = _bounds(spec, given)
        values |= {f"stages.{name}.replicas.min": least, f"stages.{name}.replicas.max": most}
    record(ChangeStore.of(spec), values, spec, deployer())
    told = await_run(spec, url, values, wait=wait)
    if as_json:
        emit(json.dumps({"values": values, **told.as_json()}))
        return
    emit(f"{_words(values)}; {taken_words(told)}")


def _bounds(spec: PipelineSpec, given: str) -> tuple[str, int, int]:
    name, _, wanted = given.partition("=")
    if name not in spec.stages:
        known = f"stages are: {', '.join(spec.stages)}"
        raise InvalidInput(Problem("STAGE=N", given[:80], "no such stage", known))
    declared = spec.stages[name]
    if wanted == "file":
        return name, declared.replicas_min, declared.replicas_max
    found = _BOUNDS.fullmatch(wanted)
    least = int(found[1]) if found else 0
    most = int(found[2] or least) if found else 0
    if not 1 <= least <= most <= REPLICAS_MAX:
        why = f"is not a number of 1 to {REPLICAS_MAX:,}, nor MIN:MAX of such"
        raise InvalidInput(Problem("STAGE=N", given[:80], why, f"write {name}=2 or {name}=1:4"))
    return name, least, most


def _owners(spec: PipelineSpec, wanted: str) -> int | None:
    if wanted == "file":
        return spec.ray.owners
    if not re.fullmatch("[0-9]{1,6}", wanted) or not 1 <= int(wanted) <= spec.slots:
        why = f"is not a number of 1 to {spec.slots}: each owner has a slot at least"
        raise InvalidInput(Problem("owners", wanted[:80], why, "write owners=2, or raise `slots`"))
    return int(wanted)


def _words(values: dict[str, int | None]) -> str:
    parts = []
    for stage in dict.fromkeys(key.split(".")[1] for key in values):
        if f"stages.{stage}.replicas.min" not in values:
            owners = values["ray.owners"]
            parts.append("owners by CPUs" if owners is None else counted(owners, "owner"))
            continue
        bounds = [values[f"stages.{stage}.replicas.{bound}"] for bound in ("min", "max")]
        least, most = bounds[0] or 0, bounds[1] or 0
        number = counted(least, "replica") if least == most else f"{least} to {most} replicas"
        parts.append(f"{stage}: {number}")
    return ", ".join(parts)
