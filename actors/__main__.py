"""The entry point of ``motet``: the command line of ``pipeline`` with Ray behind it."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from pipeline.cli import main as cli_main

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.options import RunOptions, RunSummary


def main() -> int:
    """Runs the command line that the process was given; its exit code."""
    if not os.environ.get("MOTET_DEBUG"):
        # What the client library warns of is told to the user as one line, by the one who knows.
        library = logging.getLogger("kafka")
        library.addHandler(logging.NullHandler())
        library.propagate = False
    return cli_main(cluster=run_on_cluster)


def run_on_cluster(spec: PipelineSpec, options: RunOptions) -> RunSummary | None:
    """Runs a pipeline on Ray; Ray is imported here and not before."""
    from actors.supervisor import run

    return run(spec, options)


if __name__ == "__main__":
    sys.exit(main())
