"""Logs: one line a fact, the same ones limited and counted, secrets masked, levels changed live."""

from __future__ import annotations

import json
import logging

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pipelines import CHAT, LOBBY, broker_for, connector_for, load
from ports import free_port
from shown import Shown, ask, monitor_of

from pipeline import logs
from pipeline.cli.app import main
from pipeline.clock import monotonic_us
from pipeline.logs.repeats import KEPT_MAX, LINES_MAX, PERIOD_US, Repeats
from pipeline.spec import Secret
from pipeline.spec.secret import secrets_in

OURS = logging.getLogger("pipeline.test")


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Format and level are the process's: they are put back."""
    yield
    monkeypatch.undo()
    logs.begin()


@pytest.fixture
def json_lines(monkeypatch, capsys):
    monkeypatch.setenv("MOTET_LOG_FORMAT", "json")
    logs.begin()

    def read() -> list[dict]:
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    return read


# -- lines ------------------------------------------------------------------------------------


def test_a_line_of_json_names_where_it_comes_from(json_lines):
    logs.belongs({"pipeline": "lobby", "role": "fusion", "slot": [0, 2], "epoch": [7, 3]})
    OURS.warning("slow\n  broker %s", "b-1", extra={"facts": {"took_us": 12}})
    [line] = json_lines()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "pipeline.test",
        "message": "slow broker b-1",
        "pipeline": "lobby",
        "role": "fusion",
        "slot": [0, 2],
        "epoch": [7, 3],
        "took_us": 12,
    }


def test_people_get_a_line_of_text_and_by_default_no_news(capsys):
    logs.begin()
    logs.belongs({"role": "local"})
    OURS.info("news")
    OURS.error("motet: HTTP: gone")
    assert capsys.readouterr().err == "motet: error: HTTP: gone (role=local)\n"


def test_what_is_said_to_people_is_a_line_of_json_too(json_lines):
    assert main(["validate", "missing.yaml"]) == 2
    [line] = json_lines()
    assert (line["level"], line["logger"]) == ("error", "pipeline.cli")
    assert line["message"].startswith("file = missing.yaml: cannot be read")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("MOTET_LOG_FORMAT", "xml", "MOTET_LOG_FORMAT = xml: there is no such format; write text"),
        ("MOTET_LOG_LEVEL", "loud", "MOTET_LOG_LEVEL = loud: there is no such level; write one of"),
    ],
)
def test_an_unknown_format_or_level_is_told(monkeypatch, capsys, name, value, why):
    monkeypatch.setenv(name, value)
    assert main(["schema"]) == 2
    assert capsys.readouterr().err.startswith(f"motet: error: {why}")


def test_flags_of_a_run_are_checked_first(capsys, monkeypatch):
    monkeypatch.setenv("MOTET_LOG_FORMAT", "text")  # what the flag replaces is put back
    assert main(["run", "missing.yaml", "--log-format", "xml"]) == 2
    assert "--log-format = xml: there is no such format" in capsys.readouterr().err
    assert main(["run", "missing.yaml", "--log-format", "json"]) == 2
    assert json.loads(capsys.readouterr().err)["level"] == "error"


# -- secrets ----------------------------------------------------------------------------------

PASSWORD = 'hush"quiet\\still'


def test_no_line_shows_a_password_of_the_client_settings(json_lines, tmp_path, monkeypatch):
    monkeypatch.setenv("PASSWORD", PASSWORD)
    client = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "me",
        "sasl_plain_password": "${PASSWORD}",
    }
    kafka = {"bootstrap": f"127.0.0.1:{free_port()}", "client": client}
    file = tmp_path / "chat.yaml"
    file.write_text(yaml.safe_dump({"version": 1, **CHAT, "kafka": kafka}))
    assert main(["validate", str(file)]) == 0
    OURS.error("connecting with %s failed", PASSWORD)
    OURS.error("settings", extra={"facts": {"client": {"sasl_plain_password": PASSWORD}}})
    lines = json_lines()
    assert lines[-2]["message"] == "connecting with *** failed"
    assert lines[-1]["client"] == {"sasl_plain_password": "***"}
    assert PASSWORD not in json.dumps(lines)


def test_secrets_are_found_in_any_tree():
    tree = {"a": [Secret("one"), {"b": (Secret("two"), "open")}], "c": 3, "d": None}
    assert [*secrets_in(tree)] == ["one", "two"]


# -- limits -----------------------------------------------------------------------------------


def test_the_same_line_is_logged_ten_times_and_then_counted(json_lines, monkeypatch):
    now_us = monotonic_us()
    monkeypatch.setattr(logs.log.clock, "monotonic_us", lambda: now_us)
    for number in range(LINES_MAX + 25):
        OURS.warning("broker %d is away", number)
    OURS.warning("another line")
    lines = json_lines()
    assert [line["message"] for line in lines[:-1]] == [f"broker {n} is away" for n in range(10)]
    now_us += PERIOD_US
    OURS.warning("later")
    told, later = json_lines()
    assert (told["message"], told["repeated"]) == ("broker 0 is away", 25)
    assert later["message"] == "later"


def test_debug_lines_are_not_limited(json_lines):
    logs.set_level("debug")
    for _ in range(3 * LINES_MAX):
        OURS.debug("committed")
    assert len(json_lines()) == 3 * LINES_MAX


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, PERIOD_US)), max_size=200))
def test_every_line_is_let_through_or_counted_once(steps):
    repeats, now_us, through, missed = Repeats(), 0, 0, 0
    for key, pause_us in steps:
        now_us += pause_us // 20
        missed += sum(each.lines for each in repeats.over(now_us))
        through += repeats.lets(key, key, now_us)
    assert through + missed + sum(each.lines for each in repeats.rest()) == len(steps)


def test_lines_that_are_all_different_take_bounded_memory():
    repeats = Repeats()
    for number in range(5 * KEPT_MAX):
        repeats.over(number)
        assert repeats.lets(number, None, number)
    assert len(repeats._counted) <= KEPT_MAX


# -- levels -----------------------------------------------------------------------------------


@pytest.fixture
def monitor():
    spec = load(LOBBY)
    with monitor_of(spec, connector_for(broker_for(spec)), Shown()) as found:
        yield found


def test_the_level_is_asked_and_changed_over_http(monitor, tmp_path, capsys):
    file = tmp_path / "lobby.yaml"
    file.write_text(yaml.safe_dump({"version": 1, **LOBBY, "kafka": {"bootstrap": "127.0.0.1:1"}}))
    url = monitor.url.rstrip("/")
    assert main(["log-level", str(file), "--url", url]) == 0
    assert capsys.readouterr().out == "warning\n"
    assert main(["log-level", str(file), "debug", "--url", url]) == 0
    assert (capsys.readouterr().out, logs.level()) == ("debug\n", "debug")
    assert OURS.isEnabledFor(logging.DEBUG)
    assert ask(monitor, "/api/log-level").text == "debug\n"


def test_a_page_of_somebody_else_cannot_change_it(monitor):
    answer = ask(monitor, "/api/log-level", "POST", Origin="http://evil.example")
    assert (answer.status, logs.level()) == (403, "warning")


def test_an_unknown_level_is_refused(monitor, tmp_path, capsys):
    file = tmp_path / "lobby.yaml"
    file.write_text(yaml.safe_dump({"version": 1, **LOBBY, "kafka": {"bootstrap": "127.0.0.1:1"}}))
    assert main(["log-level", str(file), "loud"]) == 2
    assert "LEVEL = loud: there is no such level; write one of debug" in capsys.readouterr().err
    assert main(["log-level", str(file), "--url", "http://127.0.0.1:1"]) == 3
    assert "no run answers at http://127.0.0.1:1 (" in capsys.readouterr().err
