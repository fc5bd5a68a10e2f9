"""Arguments that several commands take, and their parsing into the units of the core."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.terminal import say
from pipeline.errors import InvalidInput, Problem, not_utf8
from pipeline.logs import belongs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.connectors.files import SourceFile
    from pipeline.spec import PipelineSpec

# readable=False: a file that may not be read is told of as one that is not there
FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The pipeline file.", readable=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object for scripts.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file (repeatable)."),
]
WaitOption = Annotated[
    bool, typer.Option("--wait", help="Wait for the broker without end, not for 30 s.")
]


def load_spec(path: Path, sets: Sequence[str] = ()) -> PipelineSpec:
    """The pipeline file with ``KEY=VALUE`` overrides; raises InvalidInput with every problem."""
    from pipeline.spec import load
    from pipeline.spec.secret import secrets_in

    unusable = [given for given in sets if not all(given.strip().partition("=")[:2])]
    if unusable:
        remedy = "write it as --set windows.hop=500ms"
        raise InvalidInput(*(Problem("--set", s, "it is not KEY=VALUE", remedy) for s in unusable))
    pairs = (given.partition("=") for given in sets)
    try:
        spec = load(path, overrides={key.strip(): value for key, _, value in pairs})
    except InvalidInput as error:
        raise InvalidInput(*(_with_path(problem, path) for problem in error.problems)) from None
    belongs({"pipeline": spec.name}, secrets_in([spec.kafka.client, spec.metrics.token]))
    return spec


def _with_path(problem: Problem | str, path: Path) -> Problem | str:
    """What is wrong with the text as a whole has no key: it is told with the path."""
    if isinstance(problem, Problem) and problem.key == "file" and not problem.value:
        return problem._replace(value=str(path))
    return problem


def demand_utf8(arguments: Sequence[str]) -> None:
    """Names of streams and files go into records, whose text is UTF-8; raises InvalidInput."""
    remedy = "rename the file or the stream; a terminal should speak UTF-8, too"
    problems = [not_utf8("argument", text, remedy) for text in arguments]
    if found := list(filter(None, problems)):
        raise InvalidInput(*found)


def expanded(sources: Sequence[str]) -> list[SourceFile]:
    """The files that SOURCE... names, folders walked; says what is left out. InvalidInput."""
    from pipeline.connectors.files import expand

    files, skipped = expand(sources)
    if skipped:
        say(f"motet: files of other kinds left out: {len(skipped)}, such as {skipped[0]}")
    return files


def duration_us(flag: str, text: str) -> int:
    """``1s``, ``200ms`` as microseconds; raises InvalidInput that names the flag."""
    from pipeline.spec.units import Wrong, parse_duration

    try:
        return parse_duration(text)
    except Wrong as wrong:
        raise InvalidInput(Problem(flag, text, wrong.why, wrong.remedy)) from None


def time_us(flag: str, text: str) -> int:
    """An RFC 3339 time as microseconds since the epoch; raises InvalidInput."""
    from pipeline.spec.units import Wrong, parse_rfc3339_us

    try:
        return parse_rfc3339_us(text)
    except Wrong as wrong:
        raise InvalidInput(Problem(flag, text, wrong.why, wrong.remedy)) from None
