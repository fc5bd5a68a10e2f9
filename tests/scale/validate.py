"""Real runs on this machine beside the simulation of the same set-up, and the error.

    python tests/scale/validate.py --json FILE

Both have the same log: records of a second, each closes a window, all there at the beginning. How
much of the cores other programs of the machine had meanwhile is measured, and the simulation is
given the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from measure_broker import TOPIC, broker, process_us, publish
from measure_tasks import JOB
from scale_costs import FILE, Costs, load, whole
from scale_model import simulate
from scale_setup import Device, Setup

from pipeline.connectors.kafka import KafkaConnector

sys.path.append(str(Path(__file__).parents[1] / "support"))

from ray_nodes import RayNodes, title

LANES = 6
CORES = os.cpu_count() or 1


class Case(NamedTuple):
    """``raylets`` 0: in one process. Each has four logical CPUs, so each has an owner."""

    raylets: int
    replicas: int = 1

    @property
    def name(self) -> str:
        where = f"{self.raylets} raylets" if self.raylets else "--local"
        return f"{where}, {self.replicas} replicas".replace("1 raylets", "1 raylet").replace(
            "1 replicas", "1 replica"
        )


CASES = (Case(0), Case(1), Case(2, 2), Case(3, 3))


class Tree(threading.Thread):
    """Processor time of this process's descendants and of others that are named, as it went on."""

    def __init__(self, others: dict[int, str]) -> None:
        """``others``: processes and what they are called."""
        super().__init__(daemon=True)
        self._roots = {os.getpid(): "driver", **others}
        self._names: dict[int, str] = {}
        self._spent: dict[int, int] = {}
        self._ended = threading.Event()
        self.looks: list[tuple[float, dict[int, int], int]] = []  # when, of ours, of all

    def run(self) -> None:
        while not self._ended.wait(0.25):
            self._look()

    def close(self) -> None:
        self._ended.set()
        self.join()
        self._look()

    def between(self, begin_s: float, end_s: float) -> tuple[dict[str, float], float]:
        """Seconds of ours by what the process is, and of all that the machine did."""
        first = min(self.looks, key=lambda look: abs(look[0] - begin_s))
        last = min(self.looks, key=lambda look: abs(look[0] - end_s))
        found: dict[str, float] = {}
        for pid, spent in last[1].items():
            name = self._names[pid]
            found[name] = found.get(name, 0.0) + (spent - first[1].get(pid, 0)) / 1e6
        return found, (last[2] - first[2]) / 1e6

    def _look(self) -> None:
        below: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):  # it has just ended
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    below.setdefault(parent, []).append(int(entry.name))
        todo = list(self._roots.items())
        while todo:
            pid, above = todo.pop()
            with suppress(OSError):
                self._spent[pid] = process_us(pid)
            name = _kind(title(pid)) or self._names.get(pid, above)
            self._names[pid] = name
            todo += [(child, name) for child in below.get(pid, ()) if child not in self._roots]
        self._spent[os.getpid()] = 0  # what looks is no part of the run
        fields = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]))
        busy = (sum(fields[:3]) + sum(fields[5:8])) * 10_000
        self.looks.append((time.monotonic(), dict(self._spent), busy))


def _kind(words: str) -> str | None:
    """What a process is, by its title; None: what its parent is."""
    for begin, kind in (("ray::Ingest", "ingest"), ("ray::Fusion", "fusion"),
                        ("ray::Encoder", "encoder"), ("ray::", "ray")):  # fmt: skip
        if words.startswith(begin):
            return kind
    if "validate.py" in words and "--run\0" in words:  # a raylet has --runtime-env-agent and more
        return "driver"
    return "ray" if "/ray/" in words else None


def run_one(file: Path, raylets: int) -> None:
    """In a process of its own: the run, and when it began and ended."""
    from pipeline.local import run_local
    from pipeline.spec import load as load_spec
    from pipeline.tasks.host import RunControl

    spec = load_spec(file)
    control = RunControl(until_end=True)
    began: list[float] = []

    def wait() -> None:
        control.ready.wait()
        began.append(time.monotonic())

    threading.Thread(target=wait, daemon=True).start()
    connector = KafkaConnector(str(spec.kafka.bootstrap))
    if raylets:
        from actors.supervisor import run_on_ray

        totals, seconds = run_on_ray(spec, connector, control)
    else:
        totals, seconds = run_local(spec, connector, control)
    print(json.dumps({"began": began[0], "seconds": seconds, "windows": totals.windows}))


def real(case: Case, bootstrap: str, pid: int, folder: Path, turn: int) -> dict[str, float]:
    """Windows a second, and the processor time of a window over all processes, and of others."""
    name = f"scale{case.raylets}x{turn}"
    control = KafkaConnector(bootstrap).control()
    for topic in ("results", "late", "dead"):
        control.create_topic(f"{name}.{topic}", LANES, 1, {})
    control.close()
    file = folder / f"{name}.yaml"
    file.write_text(
        JOB.format(name=name, bootstrap=bootstrap, topic=TOPIC, replicas=case.replicas, slots=LANES)
    )
    nodes = RayNodes(0, (4,) * case.raylets) if case.raylets else None
    tree = Tree({pid: "kafka"})
    try:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if nodes is not None:
            nodes.start()
            environment["RAY_ADDRESS"] = nodes.address
        tree.start()
        command = [sys.executable, __file__, "--run", str(file), str(case.raylets)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
        tree.close()
    finally:
        if nodes is not None:
            nodes.cleanup()
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    ours, all_ = tree.between(told["began"], told["began"] + told["seconds"])
    return {
        "windows_s": told["windows"] / told["seconds"],
        "cpu_us": sum(ours.values()) / told["windows"] * 1e6,
        "others": max(0.0, all_ - sum(ours.values())) / told["seconds"],
        **{f"{kind}_us": spent / told["windows"] * 1e6 for kind, spent in ours.items()},
        "windows": told["windows"],
    }


def setup_of(case: Case, costs: Costs, windows: int) -> Setup:
    """The set-up of a case as the simulation has it."""
    owners = max(1, case.raylets)
    return Setup(
        name=case.name,
        nodes=max(1, case.raylets),
        cores=CORES,
        brokers=1,
        broker_cores=CORES,
        owners=owners,
        slots=LANES,
        lanes=LANES,
        streams=32,
        replicas=case.replicas,
        device=Device(costs.encode_fixed, costs.encode_window, on_cores=True),
        rate=0.0,
        windows=windows,
        in_flight_bytes=4 << 30,
        one_machine=True,
        one_process=not case.raylets,
    )


def modelled(case: Case, costs: Costs, windows: int, others: float) -> dict[str, float]:
    """``others``: cores that other programs had."""
    own = costs
    if not case.raylets:
        own = costs._replace(call_out=0.0, call_in=0.0, call_node=0.0, byte=0.0, node_idle=0.0,
                             call_wall=0.0, driver_idle=0.0)  # fmt: skip
    slower = CORES / max(0.2, CORES - others)
    setup = setup_of(case, own, windows)
    device = Device(own.encode_fixed * slower, own.encode_window * slower, on_cores=True)
    result = simulate(own.slower(slower), setup._replace(device=device))
    each = {f"{kind}_us": spent / windows * 1e6 / slower for kind, spent in result.worked_s.items()}
    return {"windows_s": result.windows_s, "cpu_us": sum(each.values()), **each}


def fit(runs: list[dict[str, float]]) -> None:
    """From runs on one raylet: how much more parts cost in a whole run than alone (``whole``), and
    what the driver and a node of Ray take in each second, whatever the windows."""
    kept = json.loads(FILE.read_text())
    told = {key: median(run.get(key, 0.0) for run in runs) for key in runs[0]}
    idle = {name: round(told[f"{kind}_us"] * told["windows_s"])
            for name, kind in (("driver_idle", "driver"), ("node_idle", "ray"))}  # fmt: skip
    costs = load(alone=True)._replace(**idle)
    factors = {"ingest": 1.0, "fusion": 1.0, "kafka": 1.0}
    for _ in range(8):
        model = modelled(CASES[1], whole(costs, factors), int(told["windows"]), told["others"])
        for kind in factors:
            factors[kind] *= told[f"{kind}_us"] / model[f"{kind}_us"]
    kept["costs"].update(idle)
    kept["whole"] = {kind: round(factor, 3) for kind, factor in factors.items()}
    FILE.write_text(json.dumps(kept, indent=1) + "\n")
    print(kept["whole"])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--records", type=int, default=19_200)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--cases", default="0,1,2,3", help="numbers of raylets")
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--fit", type=Path, help="take factors from one raylet there")
    given = arguments.parse_args()
    if given.fit:
        fit(json.loads(given.fit.read_text())[CASES[1].name]["real"])
        return
    costs = load()
    wanted = [case for case in CASES if str(case.raylets) in given.cases.split(",")]
    found: dict[str, dict[str, Any]] = {case.name: {"real": [], "model": []} for case in wanted}
    with broker() as (bootstrap, pid):
        connector = KafkaConnector(bootstrap)
        control = connector.control()
        control.create_topic(TOPIC, LANES, 1, {})
        control.close()
        publish(connector, TOPIC, given.records, LANES)
        with (
            tempfile.TemporaryDirectory() as place
        ):  # not counted: the broker compiles what it runs
            real(Case(0), bootstrap, pid, Path(place), given.rounds)
        for turn in range(given.rounds):
            for case in wanted:
                with tempfile.TemporaryDirectory() as place:
                    told = real(case, bootstrap, pid, Path(place), turn)
                model = modelled(case, costs, int(told["windows"]), told["others"])
                found[case.name]["real"].append(told)
                found[case.name]["model"].append(model)
                print(f"{case.name:24} real {told['windows_s']:6.0f}/s {told['cpu_us']:6.0f} us, "
                      f"model {model['windows_s']:6.0f}/s {model['cpu_us']:6.0f} us "
                      f"({model['windows_s'] / told['windows_s'] - 1:+.0%}, "
                      f"{model['cpu_us'] / told['cpu_us'] - 1:+.0%}), "
                      f"others {told['others']:.2f} cores", flush=True)  # fmt: skip
                kinds = [key for key in (told | model) if key.endswith("_us") and key != "cpu_us"]
                print("   ", ", ".join(f"{key[:-3]} {told.get(key, 0):.0f}/{model.get(key, 0):.0f}"
                                       for key in kinds), flush=True)  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run_one(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
