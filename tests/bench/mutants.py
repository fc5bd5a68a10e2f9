"""``make mutants``: which safeguard was taken away, and what noticed.

Runs the tests that spoil the code on purpose, and shows what each of them told. Exit code 1 where
a spoilt program passes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

TESTS = Path(__file__).parents[1]
SPOILING = (
    "core/test_lane_mutants.py",
    "core/test_actors_fusion.py",
    "contract/test_kafka_connector.py",
    "sim/test_small_budgets.py",
    "sim/test_sim_mutants.py",
)


class Told:
    """A pytest plugin: the rows of the table, as the tests record them."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        told = dict(report.user_properties)
        place = report.nodeid.partition("[")[0].removeprefix("tests/")
        if "mutant" in told:
            self.rows.append((str(told["mutant"]), str(told["found"]), place))
        elif report.failed:
            self.rows.append((report.nodeid, "NOT FOUND", place))


def main(arguments: list[str]) -> int:
    told = Told()
    files = [str(TESTS / name) for name in SPOILING]
    code = pytest.main(
        ["-q", "--no-header", "-k", "without or missing", *files, *arguments], [told]
    )
    table = Table("taken away", "what noticed", "test", title=f"{len(told.rows)} mutants")
    for row in told.rows:
        table.add_row(row[0], row[1][:60], row[2])
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
