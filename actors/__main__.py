"""The entry point of ``motet``: the command line of ``pipeline`` with Ray behind it."""

from __future__ import annotations

import logging
import os
import sys

import actors.shadow  # noqa: F401  first: it says which file hides motet's `pipeline`


def main() -> int:
    """Runs the command line that the process was given; its exit code.

    Imports come inside: Ctrl-C in the first moments is one line too.
    """
    try:
        from actors import cluster_resources, run_on_cluster
        from pipeline.cli import main as cli_main

        _with_consumer_environment()
    except KeyboardInterrupt:
        sys.stderr.write("motet: error: interrupted before it began\n")
        return 1
    if not os.environ.get("MOTET_DEBUG"):
        # What the client library warns of is told to the user as one line, by the one who knows.
        library = logging.getLogger("kafka")
        library.addHandler(logging.NullHandler())
        library.propagate = False
    return cli_main(cluster=run_on_cluster, resources=cluster_resources)


def _with_consumer_environment() -> None:
    """Starts this process anew with the malloc settings of consumers, which are read at start.

    ``motet run --local`` consumes in this very process; on a cluster actors get them from Ray.
    """
    from pipeline.connectors.environment import CONSUMER_ENV

    wanted = dict(CONSUMER_ENV)
    if "run" in sys.argv[1:2] and not wanted.keys() & os.environ.keys():
        os.execve(sys.executable, [*sys.orig_argv], {**os.environ, **wanted})


if __name__ == "__main__":
    sys.exit(main())
