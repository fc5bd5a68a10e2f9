"""``motet doctor``: what it finds, what it says to do, and its exit code."""

from __future__ import annotations

import json
import socket
from importlib import metadata
from pathlib import Path

import jsonschema
import pytest
from ports import free_port

from pipeline.cli import doctor_broker, doctor_machine, doctor_packages, main
from pipeline.cli.doctor_check import error, ok, warning
from pipeline.tasks.machine import Machine

LOBBY = Path(__file__).parent / "spec" / "lobby.yaml"  # the contract's example
SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "doctor.schema.json"


@pytest.fixture
def few(monkeypatch):
    """The command with these checks alone."""

    def use(*checks):
        monkeypatch.setattr(doctor_packages, "checks", lambda: iter(checks))
        monkeypatch.setattr(doctor_machine, "checks", lambda: iter(()))
        monkeypatch.setattr(doctor_broker, "checks", lambda file, bootstrap, client: iter(()))

    return use


def test_a_warning_is_no_error(capsys, few):
    few(ok("python", "3.11"), warning("disk", "1 GiB", "free some"))
    assert main(["doctor"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "ok       python  3.11",
        "warning  disk    1 GiB",
        "                 -> free some",
    ]
    assert err.splitlines()[-1] == "1 ok, 1 warning, 0 errors"


def test_an_error_is_exit_code_1_and_the_answer_is_of_its_schema(capsys, few):
    few(ok("python", "3.11"), error("ray", "cannot be imported", "pip install ray"))
    assert main(["doctor", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    schema = json.loads(SCHEMA.read_text())
    jsonschema.validate(answer, schema)
    assert set(answer) == set(schema["properties"])
    assert not answer["ok"]
    assert [check["state"] for check in answer["checks"]] == ["ok", "error"]


def test_what_is_no_address_is_refused(capsys):
    assert main(["doctor", "--bootstrap", "here"]) == 2
    assert "bootstrap = here: it is not HOST:PORT" in capsys.readouterr().err


def test_this_environment_has_what_motet_needs():
    for check in [doctor_packages.python(), *doctor_packages.packages(), doctor_packages.crc32c()]:
        assert check.state == "ok", check


def test_ray_is_imported_in_a_process_of_its_own(monkeypatch):
    assert doctor_packages.ray() == ok("ray", f"{metadata.version('ray')} can be imported")
    monkeypatch.setattr(doctor_packages.sys, "executable", "/bin/false")
    assert doctor_packages.ray().state == "error"


def test_a_package_that_is_missing_or_too_old_says_what_to_install(monkeypatch):
    needed = ["numpy>=2.0", "orjson>=99", "no-such-package>=1", "jgo>=3; extra == 'broker'"]
    monkeypatch.setattr(metadata, "requires", lambda name: needed)
    found = {check.check: check for check in doctor_packages.packages()}
    assert found["orjson"].state == found["no-such-package"].state == "error"
    assert found["no-such-package"].remedy == "pip install 'no-such-package>=1'"
    assert "and >=99 is needed" in found["orjson"].found
    assert "numpy" not in found
    assert "packages" not in found


def test_an_extra_that_is_not_installed_is_a_warning(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda name: ["no-such>=1; extra == 'broker'"])
    whole, extra = doctor_packages.packages()
    assert (whole.state, extra.state) == ("ok", "warning")
    assert extra.remedy == "pip install 'motet[broker]' where wanted"


def test_an_old_python_is_an_error(monkeypatch):
    monkeypatch.setattr(doctor_packages.sys, "version_info", (3, 10, 1))
    assert doctor_packages.python().remedy == "use Python 3.11, 3.12 or 3.13"


@pytest.mark.parametrize(("gib", "state"), [(0.5, "error"), (2, "warning"), (16, "ok")])
def test_memory_is_what_the_machine_may_give(monkeypatch, gib, state):
    machine = Machine(2, int(gib * (1 << 30)), 0)
    monkeypatch.setattr(doctor_machine, "this_machine", lambda: machine)
    monkeypatch.setattr(doctor_machine, "_available_bytes", lambda: 64 << 30)
    assert doctor_machine.memory().state == state


@pytest.mark.parametrize(
    ("limits", "state"), [((256, 4096), "error"), ((1024, 1024), "warning"), ((9999, -1), "ok")]
)
def test_open_files_are_what_the_shell_allows(monkeypatch, limits, state):
    monkeypatch.setattr(doctor_machine.resource, "getrlimit", lambda which: limits)
    found = doctor_machine.open_files()
    assert found.state == state
    assert state == "ok" or "ulimit -n 4096" in found.remedy


def test_full_disks_are_named(monkeypatch):
    class Full:
        free = total = 100 << 20

    monkeypatch.setattr(doctor_machine.shutil, "disk_usage", lambda path: Full)
    assert {check.state for check in doctor_machine.disks()} == {"error"}
    assert doctor_machine.shared_memory().state == "warning"


def test_a_clock_that_was_never_set_is_an_error(monkeypatch):
    assert doctor_machine.wall_clock().state == "ok"
    monkeypatch.setattr(doctor_machine.clock, "wall_us", lambda: 3_600_000_000)
    assert doctor_machine.wall_clock().state == "error"


def test_a_port_that_is_taken_is_a_warning():
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = doctor_broker.page_port("127.0.0.1", server.getsockname()[1])
    assert taken.state == "warning"
    assert "address already in use" in taken.found
    assert doctor_broker.page_port("127.0.0.1", free_port()).state == "ok"


def test_a_broker_that_is_not_there_is_an_error_only_where_it_was_named():
    where = f"127.0.0.1:{free_port()}"
    [named] = doctor_broker.broker(where, {}, demanded=True)
    assert named.state == "error"
    assert "takes no connection (connection refused)" in named.found
    [default] = doctor_broker.broker(where, {}, demanded=False)
    assert default.state == "warning"
    assert "`motet kafka start`" in default.remedy


def test_a_file_with_problems_is_a_line_for_each(tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text(
        LOBBY.read_text().replace("hop: 1s", "hop: 2s").replace("slots: 4", "slot: 4")
    )
    found = list(doctor_broker.checks(broken, None, {}))
    assert {check.check for check in found} >= {"windows.hop", "slot"}
    assert {check.state for check in found} == {"error"}


def test_a_sound_file_has_its_encoders_built_and_its_broker_asked(tmp_path):
    found = list(doctor_broker.checks(LOBBY, f"127.0.0.1:{free_port()}", {}))
    states = {check.check: check.state for check in found}
    assert (states["file"], states["encoders"], states["broker"]) == ("ok", "ok", "error")


def test_what_answers_and_is_no_kafka_is_an_error(monkeypatch):
    monkeypatch.setattr(doctor_broker, "_REACH_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        [found] = doctor_broker.broker(where, {}, demanded=False)
    assert found.state == "error"
    assert f"Kafka at {where} did not answer within 0.5 s" in found.found
