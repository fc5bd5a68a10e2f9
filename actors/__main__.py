"""The entry point of ``motet``: the command line of ``pipeline`` with Ray behind it."""

from __future__ import annotations

import logging
import os
import signal
import sys

import actors.shadow  # noqa: F401  first: it says which file hides motet's `pipeline`


def main() -> int:
    """Runs the command line that the process was given; its exit code.

    Imports come inside: Ctrl-C in the first moments is one line too, and so is SIGTERM.
    """
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        from pipeline.heap import swell_heap

        swell_heap()
        from actors import cluster_resources, run_on_cluster
        from pipeline.cli import main as cli_main
        from pipeline.tasks.stuck import end_in_spite

        if not os.environ.get("MOTET_DEBUG"):
            # What the client library warns of is told to the user as one line, by who knows it.
            library = logging.getLogger("kafka")
            library.addHandler(logging.NullHandler())
            library.propagate = False
        code = cli_main(cluster=run_on_cluster, resources=cluster_resources)
    except KeyboardInterrupt:
        sys.stderr.write("motet: error: interrupted before it began; run the same command again\n")
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it is done, and ends as it is
    end_in_spite(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
