"""docs/PUBLISH.md says what ``motet publish`` takes: its flags, sources and numbers."""

from __future__ import annotations

import re

from documents import ROOT

from pipeline.cli.app import command_line
from pipeline.connectors import live_clock, live_connection, live_reader
from pipeline.connectors.files import (
    AUDIO_TYPES,
    FILM_TYPES,
    IMAGE_TYPES,
    STREAM_FIELDS,
    TEXT_TYPES,
)
from pipeline.connectors.live_buffer import BUFFER_BYTES

PAGE = (ROOT / "docs" / "PUBLISH.md").read_text(encoding="utf-8")
S = 1_000_000


def test_every_flag_stands_there_with_its_default() -> None:
    command = command_line().commands["publish"]
    options = {each.opts[0]: each.default for each in command.params if each.opts[0][:2] == "--"}
    rows = re.findall(r"^\| `(--[a-z-]+)` \| (.*?) \|", PAGE, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(options)
    told = {
        name: said.strip("`") for name, said in rows if said.startswith("`") and "," not in said
    }
    assert told == {
        name: str(default)
        for name, default in options.items()
        if isinstance(default, str | int) and not isinstance(default, bool)
    }


def test_every_kind_of_file_stands_there() -> None:
    taken = {*AUDIO_TYPES, *FILM_TYPES, *IMAGE_TYPES, *TEXT_TYPES}
    [table] = re.findall(r"^## Sources\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"\.[a-z0-9]+(?=[ `])", table)) >= taken
    assert all(f"`{field}`" in table for field in STREAM_FIELDS)


def test_its_numbers_are_those_of_the_code() -> None:
    said = " ".join(PAGE.split())
    first_s, most_s = live_reader._BACKOFF_S
    for words in (
        f"or {live_connection.SILENCE_S:g} s without a packet",
        f"after {first_s:g} s, {2 * first_s:g} s, {4 * first_s:g} s, ...",
        f"at most {most_s:g} s apart",
        f"older, up to {live_clock.BURST_US_MAX // S} s",
        f"more than {live_clock.BACK_US_MAX // S} s back or {live_clock.AHEAD_US_MAX // S} s ahead",
        f"or {live_clock.BEHIND_US_MAX // S} s behind for {live_clock._SPAN_US // S} s",
        f"`--buffer` | `{BUFFER_BYTES >> 20}MiB`",
        f"`--reconnect` | `{live_reader.RETRY_US // (60 * S)}m`",
    ):
        assert words in said
    assert live_reader._SETTLE_US == S // 2
    assert "the first half second" in said
