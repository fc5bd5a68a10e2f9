"""How far ``run --until-end`` is: a share that never falls, and a bar on a terminal alone."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shown import snapshot

from pipeline.cli.run_progress import ReadShare
from pipeline.tasks.view import LaneView

ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def lane(number: int, position: int, end: int | None) -> LaneView:
    return LaneView(number, 0, 0, {"mic": position}, {"mic": end})


def test_it_is_the_share_of_the_records_that_were_there_at_the_start():
    share = ReadShare()
    assert share.told(snapshot(lanes=())) is None
    assert share.told(snapshot(lanes=(lane(0, 10, None),))) is None
    assert share.told(snapshot(lanes=(lane(0, 10, 20), lane(1, 0, 30)))) == 0.0
    assert share.told(snapshot(lanes=(lane(0, 20, 20), lane(1, 10, 30)))) == 0.5
    assert share.told(snapshot(lanes=(lane(0, 25, 20), lane(1, 30, 30)))) == 1.0


def test_where_there_is_nothing_to_read_it_is_done():
    assert ReadShare().told(snapshot(lanes=(lane(0, 20, 20),))) == 1.0


@given(st.lists(st.integers(0, 100), min_size=1))
def test_it_never_falls_though_an_owner_reads_again(positions):
    share, before = ReadShare(), 0.0
    for position in positions:
        now = share.told(replace(snapshot(), lanes=(lane(0, position, 80),)))
        assert now is not None
        assert before <= now <= 1.0
        before = now


PROGRAM = """
import sys
import time
from pipeline.cli.run_progress import bar_until_end
from pipeline.tasks.view import LaneView, Snapshot
from pipeline.tasks.figures import Figures

class View:
    at = 0
    def snapshot(self):
        self.at += 10
        lanes = (LaneView(0, 0, 0, {"mic": self.at}, {"mic": 1000}),)
        return Snapshot("local", 0, 0, Figures(), None, lanes)

with bar_until_end(lambda view: None, True) as show:
    show(View())
    time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def screen():
    keyboard, screen = pty.openpty()
    yield keyboard, screen
    os.close(keyboard)


def test_a_terminal_shows_how_much_is_left_and_for_how_long(screen):
    keyboard, side = screen
    command = [sys.executable, "-c", PROGRAM, "60"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(command, stderr=side, stdout=subprocess.PIPE, env=environment)
    os.close(side)
    try:
        wanted = re.compile(r"running .* +[1-9]% 0:0\d:\d\d")
        until, seen = time.monotonic() + 60, ""
        while not wanted.search(ANSI.sub("", seen)):
            assert time.monotonic() < until, seen
            if select.select([keyboard], [], [], 0.5)[0]:
                seen += os.read(keyboard, 65536).decode(errors="replace")
    finally:
        process.kill()
        process.communicate()


def test_what_is_no_terminal_shows_nothing():
    command = [sys.executable, "-c", PROGRAM, "1.2"]
    found = subprocess.run(command, capture_output=True, check=True)
    assert (found.stdout, found.stderr) == (b"", b"")
