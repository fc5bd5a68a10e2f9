"""What a command costs before it works: held by what is imported, not by a clock.

A budget in seconds (0.3 s for ``motet --help``, 1 s for ``validate``) cannot be tested on a busy
machine. What breaks it in practice is one import at the wrong place, and that can.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import __version__
from pipeline.cli.app import command_line

LOBBY = Path(__file__).parent / "spec" / "lobby.yaml"  # the contract's example

# What may be there: an allow-list, so that a new dependency has to be thought of.
LIGHT = {
    "actors", "pipeline", "typer", "click", "shellingham", "colorama", "annotated_doc",
    "annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection",
    "yaml", "cython_runtime",
}  # fmt: skip

# Each line runs in the same process; the first that imports too much is named.
RUN_ALL = """
import json, sys
from actors import __main__, cluster_resources, run_on_cluster
from pipeline.cli import main as cli_main
light, lines = map(json.loads, sys.argv[1:])
for line in lines:
    code = cli_main(line)
    tops = {name.partition(".")[0] for name in sys.modules} - {"__main__", "__mp_main__"}
    outside = {top for top in tops if not top.startswith("_") and top not in light}
    heavy = sorted(outside - sys.stdlib_module_names)
    heavy = [top for top in heavy if getattr(sys.modules.get(top), "__file__", None)
             or hasattr(sys.modules.get(top), "__path__")]
    if code or heavy:
        sys.exit(f"motet {' '.join(line)}: exit code {code}, imports {heavy}")
"""


def run_all(lines: list[list[str]]) -> str:
    """The stdout of command lines that run one after another in a fresh process."""
    command = [sys.executable, "-c", RUN_ALL, json.dumps(sorted(LIGHT)), json.dumps(lines)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def every_command() -> Iterator[list[str]]:
    """The path of every command of the app, the root first; a group is not one."""

    def below(command: object, path: list[str]) -> Iterator[list[str]]:
        inner = getattr(command, "commands", {})
        if not inner or not path:
            yield path
        for name in sorted(inner):
            yield from below(inner[name], [*path, name])

    yield from below(command_line(), [])


def test_the_help_of_every_command_imports_nothing_heavy_and_shows_an_example():
    commands = list(every_command())
    assert ["run"] in commands
    assert ["kafka", "start"] in commands
    out = run_all([["--version"], *([*path, "--help"] for path in commands)])
    version, *helps = out.split("Usage: ")
    assert version == f"motet {__version__}\n"
    assert len(helps) == len(commands)
    examples = ["Example: motet" in text for text in helps]
    assert [path for path, has in zip(commands, examples, strict=True) if not has] == []


def test_schema_and_validate_import_nothing_heavy():
    run_all([["schema"], ["validate", str(LOBBY)], ["validate", str(LOBBY), "--json"]])


def test_the_import_of_something_heavy_is_seen():
    """The test above can fail: what typer would draw in with rich is named."""
    code = RUN_ALL.replace("from actors", "import numpy\nfrom actors")
    command = [sys.executable, "-c", code, json.dumps(sorted(LIGHT)), json.dumps([["--version"]])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "motet --version: exit code 0, imports ['numpy'" in done.stderr


@pytest.mark.parametrize("line", ["run", "publish --to", "tail"])
def test_a_file_that_is_not_there_is_told_before_anything_heavy(line, tmp_path):
    missing = str(tmp_path / "missing.yaml")
    source = [str(LOBBY), "--stream", "s"] if line.startswith("publish") else []
    arguments = [*line.split(), missing, *source]
    code = RUN_ALL.replace("if code or heavy", "assert code == 2, code\n    if heavy")
    command = [sys.executable, "-c", code, json.dumps(sorted(LIGHT)), json.dumps([arguments])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert f"file = {missing}: cannot be read" in done.stderr
