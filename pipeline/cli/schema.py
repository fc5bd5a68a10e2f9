"""``motet schema``: the JSON Schema of the pipeline file, for editors."""

from __future__ import annotations

import json

import typer

from pipeline.cli.terminal import emit


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet schema > motet.schema.json")(schema)


def schema() -> None:
    """Print the JSON Schema of the pipeline file.

    An editor with YAML support completes and checks keys with the first line
    `# yaml-language-server: $schema=motet.schema.json` in the file.
    """
    from pipeline.spec import json_schema

    emit(json.dumps(json_schema(), indent=2, ensure_ascii=False))
