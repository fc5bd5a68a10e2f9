"""``make faults``: the table of faults, each on a real Kafka and a real Ray.

    python tests/faults [F7 F8 ...] [--short] [--markdown]

Exit code 1 where one missed what it promises.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parent)]

from fault_matrix import FAULTS  # noqa: E402  after the path above
from fault_table import Fault, missed, run_faults, table  # noqa: E402


def base(fault: Fault) -> str:
    """F4 of F4a."""
    return fault.name.rstrip("abcdefg")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="*", help="their names (default: all)")
    parser.add_argument("--short", action="store_true", help="outages of seconds, not of minutes")
    parser.add_argument("--markdown", action="store_true", help="the table alone")
    given = parser.parse_args()
    asked = given.faults or [f.name for f in FAULTS]
    wanted = [f for name in asked for f in FAULTS if name in (f.name, base(f))]
    unknown = {*given.faults} - {name for f in FAULTS for name in (f.name, base(f))}
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    told = (lambda _line: None) if given.markdown else lambda line: print(line, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left behind
    rows = run_faults(wanted, given.short, told)
    print(table(rows))
    return 1 if missed(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
