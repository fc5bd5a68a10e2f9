"""Flat cost: what a window costs against streams, partitions, overlap, inputs and record size.

Each point is a run of ``pipeline.local`` to the end of a filled broker in a process of its own
(``flat_point.py``); its figure is CPU time, which other work on the machine adds little to, and
the least of the rounds. Only one thing varies along a curve, the rest is: text, ``hash_text``, 100
streams, 4 partitions, windows of 1 s, one record a window. Memory is what the process grows by
while it runs; the records themselves lie in the broker before.

- *streams*: how many there are; at least two windows of each.
- *partitions*: lanes of the topic, in 4 slots; in memory, and on a Kafka with ``--kafka``.
- *overlap*: size over hop; each record is in so many windows.
- *inputs*: so many modalities, a stage each; the figure is of a window and input.
- *record*: sound of so many bytes a second, one record a window, and an encoder that looks at two
  samples: fetch, cut, decode, mix and commit.

    make bench-flat                            # ARGS="--only streams --rounds 1"
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline.broker import server
from pipeline.connectors.environment import CONSUMER_ENV

HERE = Path(__file__).parent
S = 1_000_000
BASE: dict[str, Any] = {"streams": 100, "partitions": 4, "hop_us": S, "inputs": 1,
                        "record_bytes": None, "records": 10_000}  # fmt: skip
BYTES_MAX = 256 << 20
Points = dict[int, dict[str, Any]]


def streams(count: int) -> dict[str, Any]:
    return {"streams": count, "records": max(10_000, 2 * count)}


def partitions(count: int) -> dict[str, Any]:
    return {"partitions": count, "streams": 512, "records": 10_240}


def overlap(times: int) -> dict[str, Any]:
    return {"hop_us": S // times, "records": max(1_000, 10_000 // times)}


def inputs(count: int) -> dict[str, Any]:
    return {"inputs": count, "records": 12_000 // count}


def record(size: int) -> dict[str, Any]:
    seconds = max(8, min(1_000, BYTES_MAX // size // 8))
    return {"record_bytes": size, "streams": 8, "records": 8 * seconds}


CURVES = {
    "streams": (streams, (10, 100, 1_000, 10_000, 100_000)),
    "partitions": (partitions, (1, 4, 16, 64, 256)),
    "overlap": (overlap, (1, 2, 4, 8, 16)),
    "inputs": (inputs, (1, 2, 3, 4, 5, 6)),
    "record": (record, (640, 6_400, 32_000, 256_000, 2_000_000, 8_000_000)),
}


def point(given: dict[str, Any], bootstrap: str | None, name: str) -> dict[str, Any]:
    order = {**BASE, **given, "bootstrap": bootstrap, "name": name}
    done = subprocess.run(
        [sys.executable, str(HERE / "flat_point.py"), json.dumps(order)],
        stdout=subprocess.PIPE,
        check=False,
        env={**os.environ, **CONSUMER_ENV, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode or not done.stdout:
        raise SystemExit(f"{name}: exit code {done.returncode}, said {done.stdout!r}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def curve(name: str, rounds: int, bootstrap: str | None = None) -> Points:
    """The least CPU time and the median memory of the rounds, which go over all points in turn."""
    make, values = CURVES[name]
    all_: dict[int, list[dict[str, Any]]] = {value: [] for value in values}
    for number in range(rounds):
        for value in values:
            title = f"flat-{name}-{value}-{number}"
            all_[value].append(point(make(value), bootstrap, title))
    found: Points = {}
    for value, points in all_.items():
        windows = points[0]["windows"]
        assert all(each["windows"] == windows for each in points), (name, value, points)
        share = windows * (value if name == "inputs" else 1)
        memories = sorted(each["memory_bytes"] for each in points)
        found[value] = {
            "windows": windows,
            "us": min(each["cpu_us"] for each in points) / share,
            "memory_mib": memories[len(memories) // 2] / (1 << 20),
        }
    return found


def shown(name: str, points: Points) -> None:
    first = next(iter(points.values()))["us"]
    print(f"\n{name:>10} {'windows':>9} {'CPU us':>9} {'times':>6} {'MiB':>8}")
    for value, each in points.items():
        times = each["us"] / first
        print(f"{value:10,} {each['windows']:9,} {each['us']:9.1f} {times:6.2f} "
              f"{each['memory_mib']:8.1f}")  # fmt: skip


def draw(curves: dict[str, Points], path: Path) -> None:
    """CPU time of a window and memory over each thing, from 0 on, so that flat looks flat.

    Over the size of a record, whose bytes all have to be read, both axes are logarithmic.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), dpi=110, layout="constrained")
    all_axes = figure.subplots(2, -(-len(curves) // 2), squeeze=False).flat
    for axes, (name, points) in zip(all_axes, curves.items(), strict=False):
        values = list(points)
        costs = [each["us"] for each in points.values()]
        axes.plot(values, costs, "o-", color="C0", label="CPU us a window (and input)")
        axes.set_xscale("log", base=10 if values[-1] > 1_000 else 2)
        axes.set_xticks(values, [f"{value:,}" for value in values], rotation=25, fontsize=8)
        axes.minorticks_off()
        axes.set_title(name)
        memory = axes.twinx()
        memory.plot(values, [each["memory_mib"] for each in points.values()], "s:", color="C1",
                    label="MiB that the process grows by")  # fmt: skip
        memory.set_ylim(0, 1.25 * max(each["memory_mib"] for each in points.values()))
        if name == "record":
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, 1.25 * max(costs))
        axes.grid(True, alpha=0.3)
    for axes in list(figure.axes)[len(curves) : -len(curves)]:
        axes.set_axis_off()
    handles = [*figure.axes[0].get_lines(), *figure.axes[-1].get_lines()]
    figure.legend(handles, [line.get_label() for line in handles], loc="outside lower center",
                  ncols=2)  # fmt: skip
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=list(CURVES), nargs="+", default=list(CURVES))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--kafka", action="store_true", help="partitions on a Kafka too")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    curves: dict[str, Points] = {}
    for name in given.only:
        curves[name] = curve(name, given.rounds)
        shown(name, curves[name])
    if given.kafka:
        with tempfile.TemporaryDirectory(prefix="motet-flat-") as place:
            broker = server.start(port=0, data_dir=Path(place))
            try:
                title = "partitions on Kafka"
                curves[title] = curve("partitions", given.rounds, broker.bootstrap)
            finally:
                server.stop(Path(place))
        shown(title, curves[title])
    load = os.getloadavg()[1] / (os.cpu_count() or 1)
    print(f"\nload of the machine: {load:.1f} a core")
    if given.json:
        given.json.write_text(json.dumps(curves, indent=1) + "\n")
    if given.picture:
        draw(curves, given.picture)


if __name__ == "__main__":
    main()
