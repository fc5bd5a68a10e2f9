"""What happens around the errors: Ctrl-C, a page whose port comes free, settings of the client."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka_user import await_that
from ports import free_port

from pipeline.broker import server, settings

pytestmark = pytest.mark.kafka


def test_the_page_is_told_once_its_port_is_ours_and_not_before(start, make_file, prefix):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        live = start("run", make_file(prefix, metrics={"port": port}), "--local")
        await_that("what it waits for", lambda: "waiting for records" in live.err)
        assert f"metrics.port = {port}: the port is taken" in live.err
        assert "live page" not in live.err
    await_that("the page", lambda: "live page" in live.err)
    assert live.err.count(f"motet: live page at http://127.0.0.1:{port}/") == 1
    live.signal(signal.SIGTERM)
    assert live.wait() == 0, live.err


@pytest.mark.parametrize("command", ["tail --topic t", "publish --topic t --stream s {file}"])
def test_ctrl_c_ends_a_command_at_once_that_waits_for_the_first_answer(start, tmp_path, command):
    (tmp_path / "n.txt").write_text("a note\n")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        where = f"127.0.0.1:{mute.getsockname()[1]}"
        arguments = command.format(file=tmp_path / "n.txt").split()
        waiting = start(*arguments, "--bootstrap", where)
        await_that("its patience", lambda: "no answer yet" in waiting.err)
        began_s = time.monotonic()
        waiting.signal(signal.SIGINT)
        assert waiting.wait() == 1
        assert time.monotonic() - began_s < 5  # and not the client's 30 s
    assert waiting.err.splitlines()[-1].startswith("motet: error: interrupted before it was done")


@pytest.fixture(scope="module")
def sasl_broker(tmp_path_factory):
    """A real Kafka with a second listener that wants a name and a password."""
    port = free_port()
    patch = pytest.MonkeyPatch()
    render = settings.render_properties

    def with_sasl(*arguments):
        text = render(*arguments)
        listener = f"SASL_PLAINTEXT://127.0.0.1:{port}"
        text = text.replace("\nlisteners=", f"\nlisteners={listener},")
        text = text.replace("\nadvertised.listeners=", f"\nadvertised.listeners={listener},")
        return (
            f"{text}\nsasl.enabled.mechanisms=PLAIN\n"
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,"
            "SASL_PLAINTEXT:SASL_PLAINTEXT\n"
            "listener.name.sasl_plaintext.plain.sasl.jaas.config="
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            'user_ada="0123";\n'
        )

    patch.setattr(settings, "render_properties", with_sasl)
    data = tmp_path_factory.mktemp("sasl") / "data"
    try:
        broker = server.start(0, data)
        admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        admin.create_topics([NewTopic("hall.text", 1, 1)])
        admin.close()
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(data)
        patch.undo()


def test_a_cluster_that_wants_a_password_is_reached_without_a_file(
    sasl_broker, motet, monkeypatch, tmp_path
):
    monkeypatch.setenv("PASSWORD", "0123")  # digits stay text
    (tmp_path / "n.txt").write_text("a note\n")
    given = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "ada",
        "sasl_plain_password": "${PASSWORD}",
    }
    client = [part for k, v in given.items() for part in ("--client", f"{k}={v}")]
    where = ["--bootstrap", sasl_broker, *client]
    sent = motet("publish", "--topic", "hall.text", "--stream", "s", *where, tmp_path / "n.txt")
    assert sent.code == 0, sent.err
    read = motet("tail", "--topic", "hall.text", "--from-beginning", "--until-end", *where)
    assert read.code == 0, read.err
    assert read.out
    made = motet("init", tmp_path / "hall", *where, "--from-topics", "hall.text")
    assert made.code == 0, made.err
    doctor = motet("doctor", *where).out
    assert f"a Kafka answers at {sasl_broker}" in doctor
    monkeypatch.setenv("PASSWORD", "4711")
    refused = motet("doctor", *where)
    assert refused.code == 1
    assert f"Kafka at {sasl_broker} did not answer" in refused.out
    assert "4711" not in refused.out + refused.err


def test_ctrl_c_in_the_first_moments_is_no_traceback(tmp_path):
    """While it imports: the signal comes at the entry point's first line."""
    code = (
        "import sys, signal, importlib.abc\n"
        "class Asked(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'typer': signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Asked())\n"
        "from actors.__main__ import main\n"
        "sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "motet: error: interrupted before it began\n"


@pytest.mark.parametrize("command", ["--version", "schema"])
def test_a_stdout_that_was_closed_before_takes_nothing(command):
    shell = f'exec "$0" -m actors {command} >&-'
    done = subprocess.run(["sh", "-c", shell, sys.executable], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_demo_that_cannot_be_written_leaves_the_folder_as_it_was(tmp_path):
    """The disk is full from the second kilobyte of any file on."""
    limited = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from pipeline.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", limited, "demo", "--eject", str(tmp_path / "lobby")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"motet: error: --eject = {tmp_path / 'lobby'}: it cannot be written (")
    assert line.endswith("); name another folder")
    assert len(line) < 300
    assert list((tmp_path / "lobby").iterdir()) == []
