"""What a run says of itself over HTTP (``/api/state``), for commands that look at it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import InvalidInput, Problem, Unreachable

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec

ANSWER_S = 5.0

UrlOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Where the run answers (default: the file's metrics)."),
]


def run_address(spec: PipelineSpec, url: str | None) -> str:
    """Where the run of a file answers; ``url``: what the user says. Raises InvalidInput."""
    if url:
        return url.rstrip("/")
    host = spec.metrics.host
    if spec.metrics.port == 0:
        why = "a free port was taken, and only the run knows which"
        raise InvalidInput(Problem("metrics.port", "0", why, "pass --url with the one it said"))
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{spec.metrics.port}"


def run_state(spec: PipelineSpec, address: str, *, named: bool) -> dict[str, Any]:
    """What the run says of itself; ``named``: by --url, so it may be another pipeline's.

    Raises Unreachable where none answers.
    """
    return _asked(spec, address, "state", named)


def run_pipeline(spec: PipelineSpec, address: str, *, named: bool) -> dict[str, Any]:
    """The file that the run has, and what was changed since; raises Unreachable."""
    return _asked(spec, address, "pipeline", named)


def _asked(spec: PipelineSpec, address: str, path: str, named: bool) -> dict[str, Any]:
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    if not address.startswith(("http://", "https://")):
        why = "it is no http address"
        raise InvalidInput(Problem("--url", address, why, "write http://HOST:PORT"))
    token = spec.metrics.token
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urlopen(Request(f"{address}/api/{path}", headers=headers), timeout=ANSWER_S) as answer:
            state = json.load(answer)
        name = state["name"]
    except HTTPError as error:
        remedy = "set metrics.token as the run has it" if error.code == 401 else "correct --url"
        said = f"{error.code} {error.reason}"
        raise Unreachable(f"{address}/api/{path} answers {said}; {remedy}") from None
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        why = str(getattr(error, "reason", error)) or type(error).__name__
        raise Unreachable(
            f"no run answers at {address} ({why}); start it (motet run FILE), or pass --url"
        ) from None
    if not named and name != spec.name:
        raise Unreachable(
            f"at {address} pipeline '{name}' answers, not '{spec.name}': its run took another "
            "port, or none; set metrics.port, or pass --url"
        )
    found: dict[str, Any] = state
    return found
