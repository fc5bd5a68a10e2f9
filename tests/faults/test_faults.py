"""The short form of the fault table: the most telling faults, one after the other in one run.

``make faults`` runs all of them, for as long as they last in earnest (docs/RELIABILITY.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from fault_matrix import FAULTS
from fault_site import Site
from fault_table import Fault, Row, account, hit, table

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(600)]

SLOWER = 6  # a machine that runs the rest of the suite beside it
QUICK = [replace(fault, limit_s=fault.limit_s * SLOWER) for fault in FAULTS if fault.quick]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    pytest.importorskip("ray")
    with closing(Site()) as site:
        site.start()
        yield site


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """What came of the faults so far."""
    return []


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.name)
def test_a_fault_happens_and_the_run_goes_on(site: Site, rows: list[Row], fault: Fault) -> None:
    rows.append(hit(site, fault, short=True))
    assert rows[-1].held, rows[-1]
    assert rows[-1].proof


def test_no_window_was_lost_doubled_or_changed(site: Site, rows: list[Row]) -> None:
    assert len(rows) == len(QUICK) >= 5
    account(site, rows)
    print(table(rows))
    assert all(row.held for row in rows)
