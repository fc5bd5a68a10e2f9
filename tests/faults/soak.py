"""``make soak HOURS=0.5``: one pipeline, and faults at random times for as long as it is told.

    python tests/faults/soak.py [--hours 0.5] [--seed N] [--slack 1] [--broken 0.75]

The faults are those of the table in their short forms, drawn by the seed, which is printed. In
the last quarter nothing is broken, so that every process has a life of some length; with
``--broken 0`` nothing is broken at all, and each has one long life. At the end
the account is taken as for the table, and the growth of memory, file descriptors and threads is
printed by role. Exit code 1 where anything was lost, doubled, changed, late or out of order, where
a fault missed its limit, or where something grows.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parent)]

from fault_matrix import FAULTS  # noqa: E402  after the path above
from fault_meter import Meter, report  # noqa: E402
from fault_site import NAME, Site  # noqa: E402
from fault_table import Fault, Hit, NotHere, Row, account, hit, table  # noqa: E402

from pipeline.clock import monotonic_us  # noqa: E402

CALM_S_MEAN, CALM_S_MAX = 10.0, 60.0  # between two faults
# Not for a run that goes on: F18 mounts a disk, F24 ends a pipeline of its own for good.
APART = {"F18", "F24"}


def _nothing(_site: Site, _short: bool) -> Hit:
    raise NotHere("it is no fault")


CALM = Fault("calm", "nothing is broken", 0, _nothing)


def drawn(rng: random.Random) -> Iterator[tuple[Fault, float]]:
    """Faults without end, each with the calm before it: every one comes before any comes again."""
    while True:
        bag = [fault for fault in FAULTS if fault.name not in APART]
        rng.shuffle(bag)
        for fault in bag:
            yield fault, min(CALM_S_MAX, rng.expovariate(1 / CALM_S_MEAN))


def soak(site: Site, hours: float, seed: int, slack: float, broken: float) -> list[Row]:
    """The rows of all faults that began within the first share of the time; one where it is not 0.

    In the rest only growth is looked at. A run without faults has a row of its own.
    """
    began_us, calm = monotonic_us(), threading.Event()
    if not broken:
        site.last(hours * 3600)
        return [Row(CALM, 0, proof=f"{hours:g} h")]
    rows: list[Row] = []
    for fault, calm_s in drawn(random.Random(seed)):
        calm.wait(calm_s)
        minutes = (monotonic_us() - began_us) / 60e6
        if minutes >= hours * 60 * broken and rows:
            print(f"{minutes:6.1f} min  calm to the end", flush=True)
            site.last(max(0.0, hours * 3600 - minutes * 60))
            return rows
        print(f"{minutes:6.1f} min  {fault.name}: {fault.what}", flush=True)
        rows.append(hit(site, replace(fault, limit_s=fault.limit_s * slack), short=True))
        print("            " + " | ".join(rows[-1].cells()[2:4] + rows[-1].wrong), flush=True)
        if rows[-1].broken:
            return rows
    raise AssertionError("faults come without end")


def letters_wrong(site: Site, rows: list[Row]) -> list[str]:
    """Sound streams were never late, and only poison was dead-lettered: I6."""
    user = site.new_user()
    late = user.read(f"{NAME}.late", settled=False)
    reasons = Counter(
        dict(record.headers)["motet-reason"].decode()
        for record in user.read(f"{NAME}.dead", settled=False)
    )
    failed = sum(len(row.spoiled) for row in rows)
    wrong = [f"{len(late)} records were late"] if late else []
    if reasons["encode-failed"] != failed or set(reasons) - {"encode-failed", "undecodable"}:
        wrong.append(f"dead letters {dict(reasons)} where poison gives encode-failed {failed}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 16))
    parser.add_argument("--slack", type=float, default=1, help="limits of recovery are times this")
    parser.add_argument("--broken", type=float, default=0.75, help="share of the time with faults")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left behind
    print(f"seed {given.seed}, {given.hours:g} h", flush=True)
    site = Site()
    try:
        site.start()
        meter = Meter(site)
        meter.start()
        rows = soak(site, given.hours, given.seed, given.slack, given.broken)
        meter.end()
        print("stopping, closing what is open, and a calm run over the same records", flush=True)
        account(site, rows)
        wrong = letters_wrong(site, rows)
    finally:
        site.close()
    slopes = meter.slopes()
    print(table(rows), report(slopes), sep="\n\n")
    wrong += [f"{one.key} of {one.role} grows" for one in slopes if one.grows]
    missed = sum(not row.held for row in rows)
    windows = sum(len(seen) for seen in site.watcher.seen.values())
    faults = sum(row.fault is not CALM for row in rows)
    print(f"\n{faults} faults, {windows} windows, {missed} rows missed; seed {given.seed}")
    print("\n".join(wrong))
    return 1 if missed or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
