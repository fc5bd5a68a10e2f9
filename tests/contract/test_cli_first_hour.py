"""What happens around the errors: Ctrl-C, a page whose port comes free, a full disk."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from kafka_user import await_that

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
        assert time.monotonic() - began_s < 20  # and not the client's 30 s
    assert waiting.err.splitlines()[-1].startswith("motet: error: interrupted before it was done")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("run {file} --local --wait", 0, "motet: stopped before it began; nothing was read"),
        ("run {file}", 0, "motet: stopped before it began; nothing was read"),
        ("tail {file} --wait", 1, "motet: error: interrupted before it was done; run the same"),
    ],
)
def test_what_waits_for_a_broker_ends_in_a_line_by_either_signal(
    start, make_file, prefix, kafka, command, code, said, number
):
    file = make_file(prefix)
    file.write_text(file.read_text().replace(kafka, "127.0.0.1:1"))
    waiting = start(*command.format(file=file).split())
    await_that("that it waits", lambda: "waiting for a broker" in waiting.err)
    waiting.signal(number)
    assert waiting.wait() == code
    assert waiting.err.splitlines()[-1].startswith(said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_the_first_moments_is_no_traceback(tmp_path, number):
    """While it imports: the signal comes at the entry point's first line."""
    code = (
        "import sys, signal, importlib.abc\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background
        "class Asked(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == 'typer': signal.raise_signal({int(number)})\n"
        "sys.meta_path.insert(0, Asked())\n"
        "from actors.__main__ import main\n"
        "sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "motet: error: interrupted before it began; run the same command again\n"
    )


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
