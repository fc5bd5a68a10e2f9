"""The sizes of docs/SCALING.md: simulated, as rows of its tables, and as a picture.

python tests/scale table [--image docs/images/scale.png]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scale_costs import Costs, load
from scale_model import Result, simulate
from scale_setup import SIZES, Setup, cluster

LOSS_US = 2_000_000
# As motet was before what the simulation showed was changed, beside as it is.
BEFORE = {"spread_order": False, "ask_together": False, "restart_together": False}
LABELS = {
    "replicas": "GPUs",
    "ingest halves": "ingest",
    "fusion halves": "fusion",
    "group coordinator": "group coordinator",
    "supervisor": "supervisor",
    "cores of brokers": "brokers",
    "Ray's processes of a node": "Ray",
}


def row(result: Result) -> str:
    """One row of the table of sizes."""
    setup, used = result.setup, result.used
    cells = [
        setup.name.removesuffix(" GPUs"),
        f"{setup.lanes:,}",
        f"{setup.streams:,}",
        f"{setup.owners:,}",
        f"{result.windows_s:,.0f}",
        f"{result.p50_s:.2f}",
        f"{result.p99_s:.2f}",
        *(f"{used[name]:.2f}" for name in LABELS),
        f"{result.commits_s:,.0f}",
        f"{result.offset_bytes_s / 1e3:,.0f}",
        f"{result.status_s:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def bound(result: Result) -> tuple[str, float]:
    """What binds first beside the GPUs, and the windows a second at which it would be used up."""
    name, share = next(one for one in result.bottlenecks if one[0] != "replicas")
    return name, result.windows_s / share


def lost(costs: Costs, gpus: int, **changes: object) -> Result:
    """The size with a node that is lost; long enough to see it recover."""
    seconds = 30.0 if gpus < 256 else 22.0
    return simulate(
        costs, cluster(gpus, seconds=seconds, warm_s=1.0, node_loss_us=LOSS_US, **changes)
    )


def picture(results: list[Result], file: Path) -> None:
    """Shares of use and latencies by the number of GPUs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    gpus = [result.setup.replicas for result in results]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), dpi=110)
    for name, label in LABELS.items():
        left.plot(gpus, [result.used[name] for result in results], marker="o", label=label)
    left.set_ylabel("share of its time that it is busy")
    left.axhline(1.0, color="0.7", linewidth=1)
    left.set_ylim(0, 1.05)
    left.legend(fontsize=7, ncols=2)
    right.plot(gpus, [result.p50_s for result in results], marker="o", label="p50")
    right.plot(gpus, [result.p99_s for result in results], marker="o", label="p99")
    right.plot(gpus, [result.status_s for result in results], marker="s", linestyle="--",
               label="a round of the supervisor")  # fmt: skip
    right.set_ylabel("seconds")
    right.set_ylim(0)
    right.legend(fontsize=7)
    for side in (left, right):
        side.set_xscale("log")
        side.set_xticks(gpus, [f"{number:,}" for number in gpus])
        side.minorticks_off()
        side.set_xlabel("GPUs")
        side.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--image", type=Path)
    arguments.add_argument("--sizes", default=",".join(map(str, SIZES)))
    arguments.add_argument("--before", action="store_true", help="as it was before the changes")
    arguments.add_argument("--no-loss", action="store_true")
    arguments.add_argument("--set", default="{}", help="JSON: other values of Setup")
    given = arguments.parse_args()
    costs = load()
    changes = (BEFORE if given.before else {}) | json.loads(given.set)
    results = []
    for gpus in map(int, given.sizes.split(",")):
        setup: Setup = cluster(gpus, **changes)
        result = simulate(costs, setup)
        assert not result.lost_windows
        results.append(result)
        print(row(result), flush=True)
        name, most = bound(result)
        print(f"    first beside the GPUs: {name}, at {most:,.0f} windows/s; "
              f"{result.events:,} events", flush=True)  # fmt: skip
        if not given.no_loss and setup.nodes > 1:
            gone = lost(costs, gpus, **changes)
            assert not gone.lost_windows
            print(f"    a node lost: again after {gone.restarted_s} s, caught up after "
                  f"{gone.recovered_s} s", flush=True)  # fmt: skip
    if given.image:
        picture(results, given.image)


if __name__ == "__main__":
    main()
