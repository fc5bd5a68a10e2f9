"""What Ray prints becomes a plain line of ours, or nothing where we have said it ourselves."""

from __future__ import annotations

import pytest
from ray._private import worker

from actors import ray_words
from actors.ray_words import CHARS_MAX, plain

DIED = (
    "\x1b[33m(raylet)\x1b[0m A worker died or was killed while executing a task by an unexpected "
    "system error. To troubleshoot the problem, check the logs for the dead worker."
)
NODE = (
    "The node with node id: 0d3f and address: 10.0.0.7 and node name: n has been marked dead "
    "because the detector has missed too many heartbeats from it. This can happen when a\t(1) "
    "raylet crashes unexpectedly (OOM, etc.)"
)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (DIED.partition(" ")[2], ""),
        (NODE, NODE.partition(". ")[0]),
        ("\x1b[36mtwo\n  lines\x1b[0m", "two lines"),
        ("x" * 1000, "x" * CHARS_MAX + " ..."),
        ("\x07bell", "\\x07bell"),
        ("", ""),
    ],
)
def test_a_message_is_its_first_sentence_on_one_line(message, line):
    assert plain(message) == line


def test_all_that_ray_prints_goes_to_us(monkeypatch, capfd):
    monkeypatch.setattr(worker, "print_to_stdstream", worker.print_to_stdstream)  # put back
    said: list[str] = []
    ray_words.take_over(said.append)
    for message in (NODE, DIED.partition(" ")[2]):
        data = {"lines": [message], "pid": "raylet", "is_err": False}
        worker.print_to_stdstream(data, ignore_prefix=False)
    assert said == [f"motet: Ray: {NODE.partition('. ')[0]}"]
    assert capfd.readouterr() == ("", "")
