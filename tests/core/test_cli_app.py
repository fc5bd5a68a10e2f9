"""The command itself: what it imports, how it says what went wrong, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from ports import free_port

from pipeline.cli import connect, main, terminal
from pipeline.cli.app import command_line
from pipeline.cli.errors import guarded
from pipeline.errors import InvalidInput, MotetError, Problem, Unreachable


def test_no_command_shows_the_help_as_an_error_of_usage(capsys):
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage: motet" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "no such command 'nonsense'; `motet --help` shows what it takes"),
        (["tale"], "no such command 'tale'; did you mean 'tail', 'scale'? `motet --help`"),
        (["topics"], "missing command; `motet topics --help` shows what it takes"),
        (["validate"], "missing argument 'FILE'"),
        (["publish", "--flag"], "no such option: --flag"),
        (["run", "x", "--lokal"], "no such option: --lokal; did you mean --local? `motet run --he"),
        (["tail", "--max=x", "--topic", "t"], "--max = x: it is no whole number; `motet tail "),
        (["tail", "--topic", "t", "--max", "0"], "--max = 0: it must be 1 or more; `motet tail -"),
        (["find", "x.yaml", "a", "--limit", "5000"], "--limit = 5000: it must be 1000 or less; `m"),
        (["tail"], "FILE: neither a file nor a topic is named; give a pipeline FILE or --topic T"),
        (
            ["tail", "--topic", "t", "--bootstrap", "here"],
            "--bootstrap = here: it is not HOST:PORT",
        ),
        (["run", "missing.yaml", "--local"], "file = missing.yaml: cannot be read"),
        (["tail", "--topic", "a b"], "--topic = a b: is not a topic name that Kafka takes; use 1"),
        (["publish", "--topic", "a/b", "--stream", "s", "n.txt"], "--topic = a/b: is not a topic"),
        (
            ["publish", "--topic", "t", "--stream", "", "n.txt"],
            "--stream: a stream id has 1 to 256",
        ),
        (["run", "x.yaml", "--set", "=3"], "--set = =3: it is not KEY=VALUE; write it as --set"),
        (["kafka", "start", "--data", __file__], f"--data = {__file__}: it is a file, no folder"),
        (["run", "x.yaml", "--set", "hop"], "--set = hop: it is not KEY=VALUE; write it as --set"),
        (
            ["run", "x.yaml", "--start"],
            "--start needs a value: --start W (where a pipeline that never ran begins: earliest, "
            "latest or an RFC 3339 time); `motet run --help` shows what it takes",
        ),
        (["run", "x.yaml", "--local=3"], "option '--local' does not take a value; `motet run --h"),
        (
            ["topics", "create", "x.yaml", "--partitions"],
            "--partitions needs a value: --partitions ",
        ),
        (["tail", "--max", "x", "--topic", "t"], "--max = x: it is no whole number; `motet tail "),
    ],
)
def test_a_mistake_of_usage_is_one_line_and_exit_code_2(capsys, arguments, said):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"motet: error: {said}")
    assert err.count("\n") == 1


def options() -> list[tuple[list[str], str]]:
    """Every option of every command that takes a value."""
    found, left = [], [([], command_line())]
    while left:
        path, command = left.pop()
        left += [([*path, name], inner) for name, inner in getattr(command, "commands", {}).items()]
        for option in command.params:
            takes_value = option.param_type_name == "option" and not option.is_flag
            found += [(path, option.opts[0])] if takes_value else []
    return found


def test_an_option_without_its_value_names_the_help_of_its_command_and_what_it_takes(capsys):
    assert len(options()) > 40
    for path, option in options():
        assert main([*path, option]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith(f"motet: error: {option} needs a value: {option} ")
        assert line.endswith(f"; `motet {' '.join(path)} --help` shows what it takes")


def test_what_is_wrong_with_the_text_of_a_file_names_the_file(capsys, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("a: [1\n")
    assert main(["run", str(path), "--local"]) == 2
    assert capsys.readouterr().err.startswith(f"motet: error: file = {path}: is not YAML that can")


def test_a_kafka_that_is_not_there_is_started_by_the_command_that_is_named(capsys, tmp_path):
    assert main(["kafka", "status", "--data", str(tmp_path / "k")]) == 3
    assert capsys.readouterr().err.endswith(
        f"; `motet kafka start --data {tmp_path / 'k'}` starts it\n"
    )


def raising(error: BaseException):
    def command() -> None:
        raise error

    return command


def test_every_problem_of_an_input_is_a_line_of_its_own(capsys):
    problems = [Problem("a.b", "1", "is wrong", "do this"), Problem("c", "", "is gone", "do that")]
    assert guarded(raising(InvalidInput(*problems))) == 2
    assert capsys.readouterr().err == (
        "motet: error: a.b = 1: is wrong; do this\nmotet: error: c: is gone; do that\n"
    )


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MotetError("broke"), 1, "broke"),
        (Unreachable("no broker"), 3, "no broker"),
        (KeyError("x"), 1, "unexpected KeyError: 'x'; MOTET_DEBUG=1 shows the traceback"),
        (ValueError("two\nlines"), 1, "unexpected ValueError: two; MOTET_DEBUG=1 shows the"),
        (KeyboardInterrupt(), 1, "interrupted before it was done"),
        (
            SystemExit(3),
            1,
            "unexpected SystemExit: 3 (a class of yours, or a library of it, called",
        ),
    ],
)
def test_the_exit_code_is_that_of_the_error(capsys, monkeypatch, error, code, said):
    monkeypatch.delenv("MOTET_DEBUG", raising=False)
    assert guarded(raising(error)) == code
    err = capsys.readouterr().err
    assert err.startswith(f"motet: error: {said}")
    assert err.count("\n") == 1


def test_an_argument_that_is_not_utf8_is_named_and_nothing_is_done(capsys):
    assert main(["publish", "--topic", "t", "--stream", "x\udcff", "n.txt"]) == 2
    assert capsys.readouterr().err.startswith(
        "motet: error: argument = x\\udcff: it is not UTF-8; "
    )


def test_a_traceback_is_shown_where_it_is_asked_for(capsys, monkeypatch):
    monkeypatch.setenv("MOTET_DEBUG", "1")
    assert guarded(raising(MotetError("broke"))) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last):")
    assert err.endswith("motet: error: broke\n")


def test_a_reader_that_goes_away_is_no_error():
    read, write = os.pipe()
    os.close(read)
    code = "from pipeline.cli import main; raise SystemExit(main(['schema']))"
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_broker_that_does_not_answer_is_told_at_once_and_given_up_with_exit_code_3(capsys):
    where = f"127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable) as error:
        connect.await_broker(where, wait=False, limit_us=0)
    assert capsys.readouterr().err.startswith(
        f"motet: waiting for a broker at {where} (connection refused), for "
    )
    assert error.value.exit_code == 3
    assert f"kafka.bootstrap = {where}: no broker answers there" in str(error.value)
    assert "`motet kafka start`" in str(error.value)
    assert "--wait" in str(error.value)


def test_a_host_that_has_no_address_is_unreachable_too():
    with pytest.raises(Unreachable, match="no broker answers"):
        connect.await_broker("no-such-host.invalid:9092", wait=False, limit_us=0)


def test_with_wait_it_goes_on_once_the_broker_is_there(monkeypatch):
    said, waits = [], threading.Event()

    def say(line: str) -> None:
        said.append(line)
        waits.set()

    monkeypatch.setattr(connect, "say", say)
    monkeypatch.setattr(connect, "TRY_S", 0.01)
    port = free_port()
    waiting = threading.Thread(
        target=connect.await_broker,
        args=(f"127.0.0.1:{port}",),
        kwargs={"wait": True, "limit_us": 0},
    )
    waiting.start()
    assert waits.wait(10)
    with socket.create_server(("127.0.0.1", port)):
        waiting.join(10)
    assert not waiting.is_alive()
    assert said == [f"motet: waiting for a broker at 127.0.0.1:{port} (connection refused)"]


def test_one_of_several_addresses_is_enough():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        addresses = f"127.0.0.1:{free_port()},127.0.0.1:{port}"
        connect.await_broker(addresses, wait=False, limit_us=0)


@pytest.mark.parametrize(
    ("text", "address"),
    [("kafka:9092", ("kafka", 9092)), ("[::1]:19092", ("::1", 19092))],
)
def test_addresses_are_read(text, address):
    assert connect.address(text) == address


@pytest.mark.parametrize("text", ["kafka", ":9092", "kafka:", "kafka:x", "kafka:0", "kafka:70000"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InvalidInput, match="it is not HOST:PORT"):
        connect.address(text)


def test_signals_that_come_together_are_one_and_a_later_one_interrupts(monkeypatch):
    now_us = [7_000_000]
    monkeypatch.setattr(terminal.clock, "monotonic_us", lambda: now_us[0])
    with terminal.stopping() as stop:
        assert not stop.is_set()
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set()
        now_us[0] += terminal.TOGETHER_US
        signal.raise_signal(signal.SIGTERM)  # as `timeout` sends it once more, to the group
        now_us[0] += 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
