"""``motet heads``: which trained head a pipeline runs, changed without stopping it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, SetOption, load_spec
from pipeline.cli.run_state import UrlOption, run_address, run_state
from pipeline.cli.table import table
from pipeline.cli.terminal import emit, printable, stopping
from pipeline.errors import InvalidInput, MotetError, Problem, Unreachable

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.deploying import Change, Version

WAIT_S_MAX = 30.0
LOOK_S = 0.2
COLUMNS = ("head", "kind", "labels", "held out", "trained", "deployed", "by", "")

app = typer.Typer(
    help="The trained heads of a pipeline: deploy, list, roll back.",
    epilog="Example: motet heads list lobby.yaml",
    rich_markup_mode=None,
)

TakenOption = Annotated[
    bool, typer.Option("--wait", help="Until every slot of the run has it, 30 s at most.")
]


@app.callback()
def heads() -> None:
    """The trained heads of a pipeline: deploy, list, roll back."""


@app.command(epilog="Example: motet heads deploy lobby.yaml heads/new --wait")
def deploy(
    file: FileArgument,
    head: Annotated[
        Path | None,
        typer.Argument(metavar="HEAD", help="The head's folder, as `motet train` wrote it."),
    ] = None,
    none: Annotated[
        bool, typer.Option("--none", help="No head: results give the vector until one comes.")
    ] = False,
    wait: TakenOption = False,
    url: UrlOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a head in force: a run of the file takes it over between two windows, without a stop.

    It is copied to the folder that fusion.head names. Where nothing runs it takes effect at the
    next start. A head that is for other features is refused, and nothing is changed.
    """
    from pipeline.tasks import deploying

    if (head is None) != none:
        why = "both are given" if none else "neither is given"
        raise InvalidInput(Problem("HEAD, --none", "", why, "name a head's folder, or no head"))
    spec = load_spec(file, sets or ())
    run = _Run.of(spec, url, wait)
    change = deploying.deploy(spec, head, _lengths(spec), deploying.deployer())
    _tell(spec, change, run, as_json)


@app.command(epilog="Example: motet heads rollback lobby.yaml --to 3fa9c1")
def rollback(
    file: FileArgument,
    to: Annotated[
        str | None, typer.Option(metavar="HASH", help="A version, by how its hash begins.")
    ] = None,
    wait: TakenOption = False,
    url: UrlOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the head in force that was deployed before, or the version that is named.

    A second rollback undoes the first.
    """
    from pipeline.tasks.deploying import deployer, roll_back

    spec = load_spec(file, sets or ())
    run = _Run.of(spec, url, wait)
    change = roll_back(spec, to, _lengths(spec), deployer())
    _tell(spec, change, run, as_json)


@app.command("list", epilog="Example: motet heads list lobby.yaml")
def list_(file: FileArgument, sets: SetOption = None, as_json: JsonOption = False) -> None:
    """Show the heads that were deployed, the newest last; <- marks the one in force.

    Held out: accuracy on the rows that `motet train` held out.
    """
    from pipeline.tasks.deploying import versions

    spec = load_spec(file, sets or ())
    found = [_version(each) for each in versions(spec)]
    if as_json:
        emit(json.dumps({"folder": spec.fusion.head, "versions": found}, ensure_ascii=False))
        return
    for line in table(COLUMNS, [_row(each) for each in found]):
        emit(line)


# -- how --------------------------------------------------------------------------------------


def _lengths(spec: PipelineSpec) -> dict[str, int]:
    from pipeline.encoders.checking import check_pipeline

    return check_pipeline(spec)


class _Run(NamedTuple):
    """Where the run of the file would answer; ``address`` None: only the run knows."""

    address: str | None
    named: bool  # by --url
    wait: bool

    @classmethod
    def of(cls, spec: PipelineSpec, url: str | None, wait: bool) -> _Run:
        """Raises InvalidInput where it is not known and --wait needs it."""
        unknown = spec.metrics.port == 0 and url is None and not wait
        return cls(None if unknown else run_address(spec, url), url is not None, wait)


class _Answer(NamedTuple):
    """``running``: None where it is not known; ``taken``: every slot of the run has the head."""

    words: str
    running: bool | None = None
    taken: bool = False


def _tell(spec: PipelineSpec, change: Change, run: _Run, as_json: bool) -> None:
    """What was done, and whether the run has it; raises MotetError where it does not take it."""
    answer = _answer(spec, change, run)
    if as_json:
        told = {"running": answer.running, "taken": answer.taken}
        emit(json.dumps({"folder": spec.fusion.head, **change._asdict(), **told}))
        return
    before = "" if change.previous is None else f", before it {_short(change.previous)}"
    if change.previous == change.sha256:
        before = " already"
    emit(f"{spec.fusion.head}: {_short(change.sha256)} is in force{before}; {answer.words}")


def _answer(spec: PipelineSpec, change: Change, run: _Run) -> _Answer:
    if run.address is None:
        return _Answer("a run takes it over within seconds, else the next start does")
    try:
        head = _awaited(spec, change, run, run.address)
    except Unreachable as error:
        return _Answer(f"it takes effect at the next start: {error}", running=False)
    if head is None:
        words = f"the run at {run.address} began without fusion.head: start it anew"
        return _Answer(words, running=True)
    if _has(head, change):
        return _Answer(f"every slot of the run at {run.address} has it", running=True, taken=True)
    if head["trouble"] and run.wait:
        raise MotetError(f"the run at {run.address} does not take it: {head['trouble']}")
    if run.wait:
        raise MotetError(
            f"the run at {run.address} did not take it over within {WAIT_S_MAX:g} s, though it "
            "is in force; see that the run reads the same folder"
        )
    return _Answer(f"the run at {run.address} takes it over within seconds", running=True)


def _awaited(spec: PipelineSpec, change: Change, run: _Run, address: str) -> dict[str, Any] | None:
    """What the run says of its head; with --wait once it has this one, or the time is up."""
    with stopping() as stop:
        for _ in range(round(WAIT_S_MAX / LOOK_S) if run.wait else 1):
            head: dict[str, Any] | None
            head = run_state(spec, address, named=run.named)["fusion"]["head"]
            if head is None or _has(head, change) or stop.wait(LOOK_S if run.wait else 0):
                break
        if stop.is_set():
            raise KeyboardInterrupt
    return head


def _has(head: dict[str, Any], change: Change) -> bool:
    return bool(head["sha256"] == change.sha256 and head["everywhere"])


def _short(sha256: str | None) -> str:
    return "no head" if sha256 is None else f"head {sha256[:12]}"


def _version(each: Version) -> dict[str, Any]:
    from pipeline.spec import format_rfc3339

    card = each.card or {}
    head = card.get("head", {})
    return {
        "sha256": each.sha256,
        "kind": head.get("kind"),
        "rule": head.get("rule"),
        "labels": head.get("labels", []),
        "accuracy": card.get("metrics", {}).get("test", {}).get("accuracy"),
        "trained": card.get("trained"),
        "deployed": [
            {"at": None if one.at_us is None else format_rfc3339(one.at_us), "by": one.by}
            for one in each.deployed
        ],
        "in_force": each.in_force,
    }


def _row(told: dict[str, Any]) -> list[object]:
    labels, deployed = told["labels"], told["deployed"][-1:] or [{"at": None, "by": None}]
    shown = ", ".join(labels[:4]) + (f" and {len(labels) - 4} more" if len(labels) > 4 else "")
    at = deployed[0]["at"]
    return [
        "none" if told["sha256"] is None else told["sha256"][:12],
        told["kind"],
        printable(shown) or "-",
        None if told["accuracy"] is None else f"{told['accuracy']:.3f}",
        told["trained"],
        None if at is None else f"{at[:19]}Z",
        printable(deployed[0]["by"] or "-"),
        "<-" if told["in_force"] else "",
    ]
