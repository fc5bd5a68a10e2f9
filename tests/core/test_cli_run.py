"""``motet run``: what its flags say before any broker is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli import main, run_span
from pipeline.cli.run import create_command
from pipeline.cli.run_span import restricted
from pipeline.spec import load

LOBBY = Path(__file__).parent / "spec" / "lobby.yaml"  # the contract's example
NOON, ONE = "2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--from", "noon"], "--from = noon: is not an RFC 3339 time; write it with its offset"),
        (["--to", "2026-02-30T00:00:00Z"], "--to = 2026-02-30T00:00:00Z: is not a time of the"),
        (["--from", NOON, "--to", ONE], f"--from, --to = {NOON}, {NOON}: the end is not after"),
        (["--from", NOON, "--to", "2026-01-31T12:00:00.9Z"], f"--from, --to = {NOON}, 2026-01-3"),
        (["--name", "Not A Name"], "--name = Not A Name: it is no name of 1 to 63 lower-case"),
        (["--set", "name=x", "--name", "-x"], "--name = -x: it is no name"),
    ],
)
def test_a_span_or_name_that_cannot_be_is_one_line_and_exit_code_2(capsys, flags, said):
    assert main(["run", str(LOBBY), "--local", *flags]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"motet: error: {said}")
    assert err.count("\n") == 1


def test_the_flags_make_the_pipeline_that_is_run():
    file_spec = load(LOBBY)
    spec = restricted(file_spec, NOON, None, "fix", start_given=False)
    assert (spec.name, spec.outputs.results) == ("fix", "lobby.results.fix")
    assert spec.span.from_us == 1_769_860_800_000_000
    assert spec.start == spec.span.from_us - 60_000_000 - spec.lane_spec().before_us
    assert restricted(file_spec, NOON, None, None, start_given=True).start == file_spec.start
    assert restricted(file_spec, None, None, None, start_given=False) is file_spec


def test_the_user_is_told_what_a_restricted_run_gives_and_where(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(run_span, "say", said.append)
    spec = load(LOBBY)
    for begin, end, name in (
        (None, None, None),
        (NOON, None, None),
        (NOON, "2026-01-31T12:10:00Z", "fix"),
        (None, None, "fix"),
    ):
        run_span.tell(restricted(spec, begin, end, name, start_given=False), spec)
    assert said == [
        f"motet: lobby: only windows from {NOON}",
        f"motet: backfill fix beside lobby: windows from {NOON} to 2026-01-31T12:10:00Z, "
        "into lobby.results.fix",
        "motet: backfill fix beside lobby: all windows, into lobby.results.fix",
    ]


def test_the_command_that_makes_missing_topics_names_the_file_and_the_backfill():
    spec = load(LOBBY)
    file = Path("lobby.yaml")
    assert create_command(file, spec, spec) == "motet topics create lobby.yaml"
    fix = restricted(spec, None, None, "fix", start_given=False)
    assert create_command(file, fix, spec) == "motet topics create lobby.yaml --name fix"
