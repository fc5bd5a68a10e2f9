"""``--bootstrap`` and ``--client``: the way to a broker where no pipeline file names it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector

FLAG = "--client"
ClientOption = Annotated[
    list[str] | None,
    typer.Option(
        FLAG,
        metavar="KEY=VALUE",
        help="A setting of kafka-python, such as security_protocol=SASL_SSL (repeatable); a "
        "secret as '${NAME}', from the environment. It goes before the file's kafka.client.",
        show_default=False,
    ),
]


def client_settings(given: Sequence[str] | None) -> dict[str, Any]:
    """The settings as ``kafka.client`` of a file would hold them; InvalidInput with all problems.

    What comes from the environment counts as secret; a secret is shown in no error.
    """
    from pipeline.spec.environment import substitute
    from pipeline.spec.kafka_client import VERSION, check_setting, is_harmless
    from pipeline.spec.units import Wrong

    found: dict[str, Any] = {}
    problems = []
    for text in given or ():
        name, equals, value = (part.strip() for part in text.partition("="))
        if not name or not equals:
            remedy = f"write it as {FLAG} security_protocol=SASL_SSL"
            problems.append(Problem(FLAG, name, "it is not KEY=VALUE", remedy))
            continue
        try:
            read = substitute(value, True, os.environ)
            # no quotes reach us that would keep 3.7 from being read as a number
            found[name] = check_setting(name, str(read) if name in VERSION else read)
        except Wrong as wrong:
            shown = f"{name}={value}" if is_harmless(name, value) else name
            problems.append(Problem(FLAG, shown, wrong.why, wrong.remedy))
    if problems:
        raise InvalidInput(*problems)
    return found


def broker_named(bootstrap: str | None) -> tuple[str, str]:
    """The address that a command without a pipeline file goes to, and what names it."""
    from pipeline.cli.connect import BOOTSTRAP_DEFAULT, BOOTSTRAP_VARIABLE

    if bootstrap is not None:
        return bootstrap, "--bootstrap"
    found = os.environ.get(BOOTSTRAP_VARIABLE)
    return (found, f"${BOOTSTRAP_VARIABLE}") if found else (BOOTSTRAP_DEFAULT, "--bootstrap")


def connect_without_file(
    bootstrap: str | None, client: Mapping[str, Any], *, wait: bool
) -> Connector:
    """A connector to ``--bootstrap``, else $KAFKA, else the usual port of this machine."""
    from pipeline.cli.connect import connect

    where, key = broker_named(bootstrap)
    return connect(where, client, wait=wait, key=key)
