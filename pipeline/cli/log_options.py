"""``--log-format`` and ``--log-level`` of a run, and ``motet log-level`` of one that runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import logs
from pipeline.cli.arguments import FileArgument, load_spec
from pipeline.cli.run_state import UrlOption, run_address
from pipeline.cli.terminal import emit
from pipeline.errors import InvalidInput, Problem, Unreachable

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec

ANSWER_S = 5.0

LogFormatOption = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT", help="Lines on stderr as text or json (default: $MOTET_LOG_FORMAT)."
    ),
]
LogLevelOption = Annotated[
    str | None,
    typer.Option(
        metavar="LEVEL", help="debug, info, warning or error (default: $MOTET_LOG_LEVEL)."
    ),
]


def register(app: typer.Typer) -> None:
    app.command(name="log-level", epilog="Example: motet log-level lobby.yaml debug")(log_level)


def log_as(form: str | None, level: str | None) -> None:
    """What the flags say goes before the environment, for the processes of the run, too."""
    if form is not None:
        os.environ[logs.log.FORMAT] = logs.format_of(form, "--log-format")
    if level is not None:
        os.environ[logs.log.LEVEL] = logs.level_of(level, "--log-level")
    logs.begin()


def log_level(
    file: FileArgument,
    level: Annotated[
        str | None, typer.Argument(metavar="[LEVEL]", help="debug, info, warning or error.")
    ] = None,
    url: UrlOption = None,
) -> None:
    """Print the level of a run's logs, or change it while it runs, in all its processes."""
    wanted = None if level is None else logs.level_of(level, "LEVEL")
    spec = load_spec(file)
    emit(_asked(spec, run_address(spec, url), wanted))


def _asked(spec: PipelineSpec, address: str, wanted: str | None) -> str:
    """The level in force, after ``wanted`` was sent; raises Unreachable where no run answers."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    if not address.startswith(("http://", "https://")):
        why = "it is no http address"
        raise InvalidInput(Problem("--url", address, why, "write http://HOST:PORT"))
    token = spec.metrics.token
    headers = {"Origin": address} | ({} if token is None else {"Authorization": f"Bearer {token}"})
    body = None if wanted is None else wanted.encode()
    request = Request(f"{address}/api/log-level", body, headers)
    try:
        with urlopen(request, timeout=ANSWER_S) as answer:
            found: bytes = answer.read(100)
    except HTTPError as error:
        said = " ".join(error.read(200).decode("utf-8", "replace").split())
        raise Unreachable(f"{address}/api/log-level answers {error.code}: {said}") from None
    except (OSError, HTTPException, ValueError) as error:
        why = str(getattr(error, "reason", error)) or type(error).__name__
        raise Unreachable(
            f"no run answers at {address} ({why}); start it (motet run FILE), or pass --url"
        ) from None
    return found.decode("utf-8", "replace").strip()
