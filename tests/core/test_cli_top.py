"""``motet top``: a run in the terminal, as a person and as a script see it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest
import yaml
from pipelines import LOBBY, broker_for, connector_for, load
from shown import Shown, monitor_of, port_of, snapshot

from pipeline.cli.app import main
from pipeline.cli.top_lines import fitted

ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture
def view():
    return Shown()


@pytest.fixture
def file(tmp_path, view):
    spec = load(LOBBY, {})
    with monitor_of(spec, connector_for(broker_for(spec)), view) as monitor:
        metrics = {"host": "127.0.0.1", "port": port_of(monitor)}
        tree = {"version": 1, "kafka": {"bootstrap": "127.0.0.1:1"}, **LOBBY, "metrics": metrics}
        path = tmp_path / "lobby.yaml"
        path.write_text(yaml.safe_dump(tree))
        yield path


def test_what_is_no_terminal_gets_the_figures_once_and_plainly(file, view, capsys):
    view.now = snapshot(warnings=("mic: \x1b[31mred",))
    assert main(["top", str(file)]) == 0
    out = capsys.readouterr().out
    lines = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    assert lines[0][0].startswith("lobby on local: ready, since 2026-")
    assert "3 windows, 7 records, 2 late, 0 dead letters, 4 commits" in out
    assert ["mic", "0.0", "3", "1.2 s", "5", "2", "0", "in.mic"] in lines
    sound = next(line for line in lines if line[0] == "sound")
    assert sound[-3:] == ["0", "1 x cuda:0", "log_mel"]
    assert "50%" in sound
    assert ["1", "1", "0", "0", "chat: behind"] in lines
    assert "restarted: encoder 1x, died" in out
    titles = ("verdict: ", "bottleneck: ", "why no window: ", "why small batches: ")
    told = [next(line for line in out.splitlines() if line.startswith(t)) for t in titles]
    assert all(line.endswith(".") for line in told)
    assert "\x1b" not in out


def test_sentences_are_broken_where_there_is_room_and_cut_where_there_is_none():
    said = "bottleneck: There is none: what comes is taken as it comes."
    row = "mic     3.2          0  312 ms     976     0     0  lobby.audio"
    found = fitted(["short", said, row], 40, 6)
    assert found[0] == "short"
    assert " ".join(line.strip() for line in found[1:3]) == said
    assert found[3] == f"{row[:39]}…"
    assert all(len(line) <= 40 for line in found)
    assert fitted(["short", said, row], 40, 3) == ["short", f"{said[:39]}…", f"{row[:39]}…"]
    assert fitted(["short", said, row], 40, 2) == ["short", "... 2 more"]
    assert fitted([said], 200, 1) == [said]


def test_a_script_gets_the_state_as_the_page_does(file, capsys):
    assert main(["top", str(file), "--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert (state["name"], state["totals"]["windows"]) == ("lobby", 3)


def test_where_no_run_answers_it_says_how_to_start_one(file, capsys):
    address = "http://127.0.0.1:1"
    assert main(["top", str(file), "--url", address]) == 3
    err = capsys.readouterr().err
    assert err.startswith(f"motet: error: no run answers at {address} (")
    assert err.endswith("; start it (motet run FILE), or pass --url\n")


def test_the_run_of_another_pipeline_is_not_shown_as_this_one(file, capsys):
    file.write_text(file.read_text().replace("name: lobby", "name: hall"))
    assert main(["top", str(file)]) == 3
    assert "pipeline 'lobby' answers, not 'hall'" in capsys.readouterr().err


def test_on_a_terminal_it_is_drawn_anew_until_q_is_pressed(file, view):
    keyboard, screen = pty.openpty()
    command = [sys.executable, "-m", "actors", "top", str(file)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "60", "LINES": "12"}
    process = subprocess.Popen(
        command, stdin=screen, stdout=screen, stderr=subprocess.PIPE, env=environment
    )
    os.close(screen)
    try:
        seen = read_until(keyboard, "q ends it")
        assert "lobby on local" in seen
        assert all(len(line) <= 60 for line in ANSI.sub("", seen).split("\r\n"))
        assert re.search(r"\.\.\. \d+ more", seen)  # twelve lines are too few for all
        view.now = snapshot(not_ready="slot 3 has no owner")
        read_until(keyboard, "not ready: slot 3 has no owner")
        os.write(keyboard, b"q")
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.communicate()
        os.close(keyboard)


def read_until(keyboard: int, wanted: str, limit_s: float = 30.0) -> str:
    """What was drawn up to and with a text."""
    until, seen = time.monotonic() + limit_s, b""
    while wanted not in ANSI.sub("", seen.decode(errors="replace")):
        assert time.monotonic() < until, seen
        if select.select([keyboard], [], [], 0.5)[0]:
            seen += os.read(keyboard, 65536)
    return seen.decode(errors="replace")
