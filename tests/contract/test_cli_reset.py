"""``motet reset``: where a stopped pipeline goes on, said first, and then kept."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections import Counter
from contextlib import closing

import pytest
from kafka import TopicPartition as KafkaPartition
from kafka.structs import OffsetAndMetadata
from kafka_user import (
    BEGIN_US,
    LOCAL,
    PARTITIONS,
    STREAMS,
    KafkaUser,
    Sender,
    await_that,
    noise,
    rfc3339,
    windows_of,
)

from pipeline.clock import wall_us
from pipeline.connectors.kafka import KafkaConnector
from pipeline.slot import metadata
from pipeline.slot.ports import Committed, TopicPartition
from pipeline.spec import load

pytestmark = pytest.mark.kafka


def seen(user: KafkaUser, name: str) -> Counter[tuple[str, int, int]]:
    """How often each window lies in the results: stream, start and end in ms from the beginning."""
    found: Counter[tuple[str, int, int]] = Counter()
    for record in user.read(f"{name}.results"):
        value = json.loads(record.value)
        start_us, end_us = value["window"]["start_us"], value["window"]["end_us"]
        found[value["stream"], (start_us - BEGIN_US) // 1000, (end_us - BEGIN_US) // 1000] += 1
        assert value["coverage"] == {"mic": 1.0}
    return found


def each(*spans: tuple[int, int]) -> Counter[tuple[str, int, int]]:
    return Counter((stream, *span) for stream in STREAMS for span in spans)


SECONDS = [(1000 * n, 1000 * (n + 1)) for n in range(9)]


def test_after_the_windows_changed_it_goes_on_and_emits_nothing_again(
    user, motet, prefix, make_file
):
    file = make_file(prefix)
    user.send_sound(prefix, range(3))
    assert windows_of(motet("run", file, *LOCAL)) == 3 * len(STREAMS)
    make_file(prefix, create=False, windows={"size": "500ms"})
    assert motet("run", file, *LOCAL).code == 2
    code, out, err = motet("reset", file, "--yes")
    assert code == 0, err
    assert "the file decides otherwise about records than the last run (lane 0, 1, 2, 3)" in out
    assert "0 records read again, 0 records skipped" in out
    assert out.count(f"  {rfc3339(BEGIN_US + 3_000_000)}\n") == 2 * PARTITIONS
    assert "no window that ends at or before the time in the last column is emitted any more" in out
    assert err.endswith(f"{prefix}: 4 lanes moved; `motet run {file}` goes on\n")
    assert windows_of(motet("run", file, *LOCAL)) == 0
    user.send_sound(prefix, range(3, 4))
    assert windows_of(motet("run", file, *LOCAL)) == 2 * len(STREAMS)
    assert seen(user, prefix) == each(*SECONDS[:3], (3000, 3500), (3500, 4000))
    assert user.read(f"{prefix}.late") == []


def test_the_records_of_the_windows_that_were_open_are_read_again(
    user, motet, run_until, prefix, make_file
):
    file = make_file(prefix)
    user.send_sound(prefix, range(4))
    run_until(file, 3 * len(STREAMS))  # the last windows stay open
    assert seen(user, prefix) == each(*SECONDS[:3])
    make_file(prefix, create=False, windows={"size": "500ms"})
    code, out, err = motet("reset", file, "--yes")
    assert code == 0, err
    assert f"{len(STREAMS)} records read again, 0 records skipped" in out
    assert windows_of(motet("run", file, *LOCAL)) == 2 * len(STREAMS)
    assert seen(user, prefix) == each(*SECONDS[:3], (3000, 3500), (3500, 4000))


def test_where_nothing_is_in_the_way_nothing_is_moved(user, motet, prefix, make_file):
    file = make_file(prefix)
    code, out, err = motet("reset", file, "--yes")
    assert (code, out) == (0, "")
    assert err == (
        f"motet: {prefix}: it never ran, so nothing is moved; `motet run {file}` starts it\n"
    )
    user.send_sound(prefix, range(2))
    assert windows_of(motet("run", file, *LOCAL)) == 2 * len(STREAMS)
    before = user.committed(prefix)
    code, out, err = motet("reset", file, "--yes")
    assert (code, out) == (0, "")
    assert "nothing is in the way of going on, so nothing is moved" in err
    assert user.committed(prefix) == before


def test_to_a_place_in_the_topics_windows_come_again(user, motet, prefix, make_file):
    file = make_file(prefix)
    user.send_sound(prefix, range(2))
    newest = max(record.timestamp for record in user.read(f"{prefix}.audio"))
    await_that("a later timestamp", lambda: wall_us() > (newest + 1) * 1000)
    time = rfc3339((newest + 1) * 1000)
    user.send_sound(prefix, range(2, 4))
    assert windows_of(motet("run", file, *LOCAL)) == 4 * len(STREAMS)

    code, out, err = motet("reset", file, "--to", "earliest", "--yes")
    assert code == 0, err
    assert f"{4 * len(STREAMS)} records read again, 0 records skipped" in out
    assert "EMITTED AGAIN" in out
    assert windows_of(motet("run", file, *LOCAL)) == 4 * len(STREAMS)
    assert seen(user, prefix) == each(*2 * SECONDS[:4])

    assert motet("reset", file, "--to", time, "--yes").code == 0
    assert windows_of(motet("run", file, *LOCAL)) == 2 * len(STREAMS)
    assert seen(user, prefix) == each(*2 * SECONDS[:2], *3 * SECONDS[2:4])

    assert motet("reset", file, "--to", "earliest", "--yes").code == 0
    code, out, err = motet("reset", file, "--to", "latest", "--yes")
    assert code == 0, err
    assert f"0 records read again, {4 * len(STREAMS)} records skipped" in out
    assert windows_of(motet("run", file, *LOCAL)) == 0
    assert user.read(f"{prefix}.late") == []


def test_a_pipeline_that_never_ran_begins_where_it_was_reset_to(user, motet, prefix, make_file):
    file = make_file(prefix)
    user.send_sound(prefix, range(2))
    assert motet("reset", file, "--to", "latest", "--yes").code == 0
    user.send_sound(prefix, range(2, 3))
    assert windows_of(motet("run", file, *LOCAL)) == len(STREAMS)


@pytest.mark.parametrize("loss", ["offsets", "one offset", "foreign offset"])
def test_after_offsets_are_gone_or_another_tools_nothing_is_emitted_again(
    user, kafka, motet, prefix, make_file, loss
):
    file = make_file(prefix)
    user.send_sound(prefix, range(2))
    assert windows_of(motet("run", file, *LOCAL)) == 2 * len(STREAMS)
    text = TopicPartition(f"{prefix}.text", 1)
    if loss == "offsets":
        user.admin.delete_groups([prefix])
    elif loss == "one offset":
        user.admin.delete_group_offsets(prefix, [KafkaPartition(*text)])
    else:
        user.admin.alter_group_offsets(
            prefix, {KafkaPartition(*text): OffsetAndMetadata(0, "", -1)}
        )
    assert motet("run", file, *LOCAL).code == 2
    code, out, err = motet("reset", file, "--yes")
    assert code == 0, err
    if loss == "offsets":
        assert "its offsets are gone, though the results topic holds its windows" in out
    else:
        assert "unchanged: 3 other lanes" in out
    user.send_sound(prefix, range(2, 4))
    assert windows_of(motet("run", file, *LOCAL)) == 2 * len(STREAMS)
    assert seen(user, prefix) == each(*SECONDS[:4])


@pytest.mark.parametrize("loss", ["recreated", "retention"])
def test_after_a_topic_is_gone_it_goes_on_with_what_is_there(
    user, motet, run_until, prefix, make_file, loss
):
    file = make_file(prefix)
    user.send_sound(prefix, range(2))
    run_until(file, len(STREAMS))
    if loss == "retention":
        user.truncate(f"{prefix}.audio")
    else:
        user.admin.delete_topics([f"{prefix}.audio"])
        await_that("deleted", lambda: f"{prefix}.audio" not in user.admin.list_topics())
        assert motet("topics", "create", file, "--partitions", PARTITIONS).code == 0
        user.send_sound(prefix, range(1))  # of a window that was emitted
    assert motet("run", file, *LOCAL).code == 2
    code, out, err = motet("reset", file, "--yes")
    assert code == 0, err
    why = {"retention": "retention passed what open windows need of", "recreated": "no offset of"}
    assert why[loss] in out
    user.send_sound(prefix, range(2, 3))
    assert windows_of(motet("run", file, *LOCAL)) == len(STREAMS)
    assert seen(user, prefix) == each(SECONDS[0], SECONDS[2])
    late = user.read(f"{prefix}.late")
    assert len(late) == (len(STREAMS) if loss == "recreated" else 0)


def test_a_run_that_commits_is_not_moved_under_and_one_that_is_idle_ends(
    user, motet, start, prefix, make_file
):
    file = make_file(prefix)
    user.send_sound(prefix, range(2))
    idle = start("run", file, "--local")
    await_that("results", lambda: len(user.results(prefix, settled=False)) == 2 * len(STREAMS))
    code, _, err = motet("reset", file, "--to", "earliest", "--yes")
    assert code == 0, err
    assert idle.wait(30) == 1
    assert "another `motet run` of the same name took over" in idle.err


def test_it_asks_and_without_a_terminal_it_does_not_go_on(user, motet, prefix, make_file):
    file = make_file(prefix)
    user.send_sound(prefix, range(1))
    code, out, err = motet("reset", file, "--to", "latest")
    assert code == 2
    assert "lane  input  from  to  again  skipped  windows after" in out
    assert err.splitlines()[-1] == (
        f"motet: error: reset = {file}: there is no terminal to ask on, and nothing was moved; "
        "pass --yes"
    )
    assert user.committed(prefix) == {}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_user_is_asked_and_no_is_no(user, motet, prefix, make_file, monkeypatch):
    file = make_file(prefix)
    for answered, code, said in (
        ("\n", 1, "motet: nothing was moved"),
        ("y\n", 0, "4 lanes moved"),
    ):
        monkeypatch.setattr(sys, "stdin", Terminal(answered))
        found = motet("reset", file, "--to", "latest")
        assert found.code == code
        assert f"move {prefix}? [y/N]:" in found.err
        assert "a run of it that is still there, on any machine, ends" in found.err
        assert said in found.err
        assert bool(user.committed(prefix)) == (code == 0)


def test_a_run_that_is_at_work_is_not_moved_under(user, motet, start, prefix, make_file):
    file = make_file(prefix)

    def step(number: int, at_us: int) -> None:
        user.send(f"{prefix}.audio", "s0", noise(number, 0.1), at_us)
        user.producer.flush()

    sender = Sender(step, 100_000)
    sender.start()
    live = start("run", file, "--local")
    try:
        await_that("results", lambda: user.count(prefix) > 0)
        assert motet("lag", file).code == 0
        code, out, err = motet("reset", file, "--to", "earliest", "--yes")
    finally:
        sender.end()
    assert (code, out) == (2, "")
    assert err == (
        f"motet: {prefix}: looking for 1 s whether it runs\n"
        f"motet: error: name = {prefix}: it runs: its offsets moved while they were looked at; "
        "stop its `motet run` (Ctrl-C or SIGTERM) and reset it then\n"
    )
    live.signal(signal.SIGTERM)
    assert live.wait() == 0, live.err


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("yesterday", "--to = yesterday: is not an RFC 3339 time; write it with its offset, such"),
        ("1900-01-01T00:00:00Z", "--to = 1900-01-01T00:00:00Z: is before 1970; give a time that"),
        ("12", "--to = 12: is not an RFC 3339 time"),
    ],
)
def test_a_place_that_is_none_is_refused(motet, prefix, make_file, to, said):
    code, out, err = motet("reset", make_file(prefix, create=False), "--to", to)
    assert (code, out) == (2, "")
    assert err.startswith(f"motet: error: {said}")


def test_what_is_committed_is_a_cut_of_every_input_with_the_next_number(
    user, kafka, motet, prefix, make_file
):
    file = make_file(prefix)
    user.send_sound(prefix, range(2))
    assert windows_of(motet("run", file, *LOCAL)) == 2 * len(STREAMS)
    spec = load(file)
    partitions = [TopicPartition(t, lane) for t in spec.topics_in() for lane in range(PARTITIONS)]
    with closing(KafkaConnector(kafka).control()) as control:
        before = control.committed(prefix, partitions)
        assert motet("reset", file, "--to", "earliest", "--yes").code == 0
        after = control.committed(prefix, partitions)
    for at in partitions:
        entry = after[at]
        assert isinstance(entry, Committed)
        found, old = metadata.load(at, entry), metadata.load(at, before[at])
        assert (entry.offset, found.start, found.floor_us, found.top_us) == (0, 0, None, None)
        assert found.cut == max(
            metadata.load(TopicPartition(t, at.partition), before[t, at.partition]).cut + 1
            for t in spec.topics_in()
        )
        assert (found.slots, found.rules, found.topic_id) == (old.slots, old.rules, old.topic_id)
        assert found.owner.startswith("reset-")
