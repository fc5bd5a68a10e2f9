"""Measures, simulates, validates and draws: ``python tests/scale WHAT``.

measure      costs of the real code on this machine -> tests/scale/costs.json (5 minutes)
table        the sizes of docs/SCALING.md -> its rows, and docs/images/scale.png
validate     real runs beside the simulation of the same set-up (tests/scale/validate.py)
growth       what grows with streams, lanes, owners and replicas
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import scale_costs

RESTART_US = 3_000_000  # F3 of docs/RELIABILITY.md: an ingest actor is killed, and results go on


def measure() -> None:
    import measure_broker
    import measure_growth
    import measure_ray
    import measure_tasks

    growth = measure_growth.measured()
    tasks = measure_tasks.measured()
    kafka = measure_broker.measured()
    calls = measure_ray.measured()
    costs = {
        "poll": kafka["poll"],
        "record": tasks["record"] + kafka["source_record"],
        "lane_round": tasks["lane_round"],
        "batch": tasks["batch"],
        "result": tasks["result"],
        **{name: calls[name] for name in ("call_out", "call_in", "call_node", "byte", "call_wall",
                                          "far_byte", "node_idle", "reference")},
        "batch_in": tasks["batch_in"],
        "window_in": tasks["window_in"],
        "encode_fixed": tasks["encode_fixed"],
        "encode_window": tasks["encode_window"],
        "fuse": tasks["fuse"],
        **{name: kafka[name] for name in ("commit", "write", "partition", "commit_wall",
                                          "broker_in", "broker_out", "broker_commit",
                                          "coordinator", "coordinator_partition")},
        "owner": growth["owner"] + calls["status_serial"],
        "status_wall": calls["status_wall"],
        "lane": growth["lane"],
        "restart_wall": RESTART_US,
        "offset_bytes": growth["offset_bytes"],
    }  # fmt: skip
    known: dict[str, float] = {}
    if scale_costs.FILE.exists():
        known = json.loads(scale_costs.FILE.read_text())["costs"]
    if "--anew" in sys.argv:
        known = {}
    # What disturbs only adds, so of several sittings the least is the best that is known.
    costs = known | {name: min(cost, known.get(name, cost)) for name, cost in costs.items()}
    told = {
        "made_by": "python tests/scale measure",
        "machine": f"{os.cpu_count()} cores, {_memory_gib()} GiB, {_processor()}, Python "
        f"{platform.python_version()}; no GPU",
        "unit": "microseconds of processor time, but for *_wall (microseconds) and *_bytes",
        "costs": {name: round(cost, 4) for name, cost in costs.items()},
    }
    if scale_costs.FILE.exists():
        told["whole"] = json.loads(scale_costs.FILE.read_text()).get("whole", {})
    scale_costs.FILE.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told, indent=1))


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    what = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if what == "measure":
        measure()
    elif what == "table":
        import scale_table

        scale_table.main()
    elif what == "validate":
        import validate

        validate.main()
    elif what == "growth":
        import measure_growth

        measure_growth.main()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
