"""``motet plan``: the placement that a run has, and why not where it cannot have one."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from pipelines import LOBBY, load
from ports import free_port

from pipeline.cli import main, plan
from pipeline.cli.app import Given
from pipeline.tasks import machine
from pipeline.tasks.planning import Resources, place

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "plan.schema.json"
EXAMPLE = Path(__file__).parent / "spec" / "lobby.yaml"  # the contract's example


@pytest.fixture
def no_broker(monkeypatch):
    """A port at which nothing answers, and a plan that does not wait for it."""
    monkeypatch.setattr(plan, "CONNECT_US", 0)
    where = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("KAFKA", where)
    return where


def planned(capsys, *arguments: object):
    code = main(["plan", *map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    found = json.loads(out)
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    assert set(found) == set(json.loads(SCHEMA.read_text())["properties"])
    return code, found, err


def test_without_a_broker_it_is_planned_with_what_the_file_says(capsys, no_broker):
    code, found, err = planned(capsys, EXAMPLE, "--cpus", 2, "--gpus", 0)
    assert code == 0
    assert f"waiting for a broker at {no_broker} (connection refused)" in err
    assert (found["lanes"], found["open_bytes_max"], found["possible"]) == (None, None, True)
    assert found["owners"] == [{"owner": 0, "slots": [0, 1, 2, 3], "lanes": None}]
    assert (found["actors"], found["cpus_per_actor"], found["gpus"]) == (5, 0.3, 0)
    assert found["in_flight_bytes_max"] == 4 * (256 << 20)
    assert main(["plan", str(EXAMPLE), "--cpus", "2", "--gpus", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "lobby: lanes unknown, 4 slots, 5 actors on 2 CPUs and 0 GPUs"
    assert lines[1] == (
        f"lanes are unknown: no broker answers at {no_broker}; lane p will belong to slot p % 4"
    )
    assert "colour  color_histogram  1 (to 4)  0.3        0 (CPU)" in lines


def test_what_a_file_demands_and_the_machine_lacks_is_said_with_exit_code_1(
    capsys, no_broker, tmp_path
):
    path = tmp_path / "gpu.yaml"
    path.write_text(EXAMPLE.read_text().replace("num_gpus: auto", "num_gpus: 2"))
    code, found, err = planned(capsys, path, "--gpus", 1)
    assert code == 1
    said = (
        "stages.colour.num_gpus = 2: the stages demand 2 GPUs and 1 are there; lower the "
        "demand (`auto` takes what is there), or join GPU nodes"
    )
    assert found["missing"] == [said]
    assert not found["possible"]
    assert err.splitlines()[-1] == f"motet: error: {said}"
    assert planned(capsys, path, "--gpus", 2)[0] == 0


def test_a_file_that_is_wrong_is_exit_code_2(capsys, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(EXAMPLE.read_text().replace("slots: 4", "slot: 4"))
    assert main(["plan", str(path)]) == 2
    assert capsys.readouterr().out == ""


def test_another_cluster_is_not_asked_and_that_is_said(capsys, no_broker, tmp_path, monkeypatch):
    path = tmp_path / "far.yaml"
    path.write_text(EXAMPLE.read_text().replace("address: auto", "address: ray://head:10001"))
    assert main(["plan", str(path)]) == 0
    said = "ray.address = ray://head:10001: that cluster was not asked, and the plan is for this"
    assert said in capsys.readouterr().err
    assert main(["plan", str(path), "--cpus", "8", "--gpus", "0"]) == 0
    assert "ray.address" not in capsys.readouterr().err
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert main(["plan", str(EXAMPLE)]) == 0
    assert "ray.address = 10.0.0.1:6379: that cluster" in capsys.readouterr().err


def test_a_cluster_is_asked_through_what_the_entry_point_gives():
    given = Given(resources=lambda _spec: Resources(96, 8))
    assert plan._resources_of(given, load(LOBBY), "head:6379") == Resources(96, 8)


def test_more_memory_than_there_is_is_warned_of(capsys, no_broker, monkeypatch):
    small = machine.Machine(cpus=2, memory_bytes=1 << 29, gpus=0)
    monkeypatch.setattr(machine, "this_machine", lambda: small)
    assert main(["plan", str(EXAMPLE)]) == 0
    said = capsys.readouterr().err
    assert "motet: warning: limits: lanes and slots may hold 1GiB and this machine has" in said
    assert main(["plan", str(EXAMPLE), "--cpus", "64"]) == 0  # for another machine
    assert "limits:" not in capsys.readouterr().err


def test_lanes_go_to_slots_and_slots_to_owners():
    spec = load(LOBBY, {"slots": 4})
    found = place(spec, Resources(12, 0), lanes=6)
    assert [owner.lanes for owner in found.owners] == [
        {0: (0, 4), 3: (3,)}, {1: (1, 5)}, {2: (2,)},
    ]  # fmt: skip
    assert found.actors == 3 * 2 + 3
    assert found.open_bytes_max == 6 << 30
    few = place(spec, Resources(64, 0), lanes=2)
    assert [owner.lanes for owner in few.owners] == [{0: (0,)}, {1: (1,)}]
    assert few.in_flight_bytes_max == 2 * (256 << 20)


def test_gpus_that_are_hidden_are_not_there(monkeypatch, tmp_path):
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(machine, "_GPUS", tmp_path)
    monkeypatch.delenv(machine.VISIBLE, raising=False)
    assert machine.this_machine().gpus == 2
    for visible, count in (("", 0), ("-1", 0), ("1", 1), ("0,1", 2), ("0,1,2", 2)):
        monkeypatch.setenv(machine.VISIBLE, visible)
        assert machine.this_machine().gpus == count
    monkeypatch.setattr(machine, "_GPUS", tmp_path / "none")
    assert machine.this_machine().gpus == 0
    assert machine.this_machine().memory_bytes > 64 << 20


NODES = """
nodes:
  - {name: gpu, count: 2, cpus: 16, gpus: 4, gpu_memory: 80GiB, network: 3GiB}
  - {name: cpu, cpus: 32, network: 1GiB}
"""
RATES = "{stages: {sound: 900, colour: 120, words: 50000}, owner: 4000, window_bytes: 64KiB}"


def test_a_cluster_that_is_described_is_laid_out_and_what_binds_is_named(
    capsys, no_broker, tmp_path
):
    (tmp_path / "nodes.yaml").write_text(NODES)
    (tmp_path / "rates.yaml").write_text(RATES)
    flags = ("--cluster", tmp_path / "nodes.yaml", "--rates", tmp_path / "rates.yaml")
    code, found, err = planned(capsys, EXAMPLE, *flags)
    assert code == 0, err
    assert found["resources"] | {"memory_bytes": 0} == {"cpus": 64, "gpus": 8, "memory_bytes": 0}
    by_node = {node["node"]: node for node in found["nodes"]}
    assert by_node.keys() == {"gpu-1", "gpu-2", "cpu"}
    assert by_node["gpu-1"]["owners"] == [0, 2], "near the GPUs, and spread"
    assert by_node["cpu"]["replicas"] == {}
    assert sum(n for node in found["nodes"] for n in node["replicas"].values()) == 3
    least, most = found["expected"]["min"], found["expected"]["max"]
    assert (least["windows_per_second"], least["binds"]) == (120, "stages.colour")
    assert (most["windows_per_second"], most["binds"]) == (480, "stages.colour")
    assert [limit["what"] for limit in least["limits"]][:2] == ["stages.colour", "stages.sound"]
    assert main(["plan", str(EXAMPLE), *map(str, flags)]) == 0
    out = capsys.readouterr().out
    assert "gpu-1  16       4  0 2" in out
    assert "expected with replicas.max: 480 windows a second; stages.colour binds (4" in out


def test_rates_are_taken_from_what_bench_prints(capsys, no_broker, tmp_path):
    told = {"encoders": [{"name": "sound (log_mel)", "windows_per_second": 777.0}]}
    (tmp_path / "bench.json").write_text(json.dumps(told))
    flags = ("--cpus", 4, "--gpus", 0, "--rates", tmp_path / "bench.json")
    code, found, _ = planned(capsys, EXAMPLE, *flags)
    assert code == 0
    assert found["expected"]["min"]["windows_per_second"] == 777
    assert found["expected"]["unknown"] == ["colour", "words"]
    assert found["nodes"] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nodes: [{name: a, cpus: 4, gpu_memory: 80GB}]", "nodes.0.gpu_memory = 80GB: 'GB' is no"),
        ("nodes: [{name: a}]", "nodes.0.cpus: field required"),
        ("nodes: [{name: a, cpus: 1}, {name: a, cpus: 2}]", "two nodes have one name"),
        ("nodes: {", "nodes.yaml"),
    ],
)
def test_a_description_that_is_wrong_is_told_by_its_key(capsys, tmp_path, text, said):
    path = tmp_path / "nodes.yaml"
    path.write_text(text)
    assert main(["plan", str(EXAMPLE), "--cluster", str(path)]) == 2
    assert said in capsys.readouterr().err


def test_a_described_cluster_and_flags_are_not_mixed(capsys, tmp_path):
    (tmp_path / "nodes.yaml").write_text(NODES)
    flags = ["--cluster", str(tmp_path / "nodes.yaml"), "--cpus", "3"]
    assert main(["plan", str(EXAMPLE), *flags]) == 2
    assert "--cpus and --gpus say something else" in capsys.readouterr().err
