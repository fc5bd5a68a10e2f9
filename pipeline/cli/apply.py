"""``motet apply``: a pipeline file that was changed, for the run that goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, SetOption, load_spec
from pipeline.cli.change_told import await_run, taken_words
from pipeline.cli.run_state import UrlOption, run_address, run_pipeline
from pipeline.cli.scale import WaitOption
from pipeline.cli.terminal import emit
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet apply lobby.yaml --wait")(apply)


def apply(
    file: FileArgument,
    wait: WaitOption = False,
    url: UrlOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put what a changed file says into the run of that pipeline, without a stop.

    That is replicas, batch_max, latency_target and timeout of stages, and fusion.head. Whatever
    else differs is refused, with the way to do it, and then nothing is changed (exit code 2).
    """
    from pipeline.spec.change_store import ChangeStore
    from pipeline.tasks.changing import changed_keys, record_file
    from pipeline.tasks.deploying import deployer

    spec = load_spec(file, sets or ())
    address = run_address(spec, url)
    running = run_pipeline(spec, address, named=url is not None)
    if running["host"] != "ray":
        why = "the run is in one process, where nothing is changed while it runs"
        raise InvalidInput(Problem("apply", str(file), why, "stop it and start it again"))
    values = changed_keys(spec, running["file"] | running["values"])
    if "fusion.head" in values:
        _check_head(spec)
    store = ChangeStore(Path(running["changes"]))
    if not store.path.parent.parent.is_dir():
        why = f"the run looks for changes at {store.path}, which is not on this machine"
        raise InvalidInput(Problem("apply", str(file), why, "call it where that folder is"))
    if values:
        record_file(store, spec, deployer())
    told = await_run(spec, url, values, wait=wait)
    if as_json:
        emit(json.dumps({"values": values, **told.as_json()}))
    elif not values:
        emit(f"{spec.name}: the run has what the file says; nothing was changed")
    else:
        shown = ", ".join(f"{key} = {value}" for key, value in values.items())
        emit(f"{spec.name}: {shown}; {taken_words(told)}")


def _check_head(spec: PipelineSpec) -> None:
    """It is whole and fits the file; raises InvalidInput."""
    from pipeline.encoders.checking import check_pipeline
    from pipeline.fusion.rules import Fuser

    Fuser.of(spec, check_pipeline(spec))
