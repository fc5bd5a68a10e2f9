"""``motet run --local`` as it is lived with: live, stopped, taken over, killed, begun again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys

import pytest
from kafka_user import BEGIN_US, Command, KafkaUser, Sender, await_that, noise

from pipeline.clock import monotonic_us

pytestmark = pytest.mark.kafka

STREAMS = [f"s{number}" for number in range(8)]
STEP_US = 200_000
OUT_OF_ORDERNESS_US = 200_000
TAKEN_OVER_S_MAX = 10
LOCAL = ("--local", "--until-end")
WHOLE = {"limits": {"in_flight_bytes": "256MiB"}}
# A few windows a commit, so that a fault falls into the middle of them.
PIECES = {"commit_interval": "50ms", "limits": {"in_flight_bytes": "128KiB"}}
MOTET = [sys.executable, "-m", "actors"]


def calm_results(user: KafkaUser, motet, make_file, prefix: str, **changes) -> list[str]:
    """What one undisturbed run over the same input gives."""
    answer = motet("run", make_file(f"{prefix}-calm", **changes), *LOCAL)
    assert answer.code == 0, answer.err
    return user.results(f"{prefix}-calm")


def results_us(user: KafkaUser, name: str) -> list[tuple[int, int]]:
    """Of each result committed so far the end of its window and when it was produced."""
    return [
        (json.loads(r.value)["window"]["end_us"], r.timestamp * 1000)
        for r in user.read(f"{name}.results", settled=False)
    ]


def test_a_live_run_is_in_time_and_stopped_cleanly_and_the_next_one_goes_on(
    user, motet, start, prefix, make_file, tmp_path
):
    windows = {"size": "1s", "hop": "500ms", "idle": "1s"}
    file = make_file(prefix, windows=windows)

    def step(number: int, at_us: int) -> None:
        for stream in STREAMS[:4]:
            user.send(f"{prefix}.audio", stream, noise(number, STEP_US / 1e6), at_us)
        if number % 2:
            user.send(f"{prefix}.text", STREAMS[0], b"words %d" % number, at_us)
        user.producer.flush()

    sender = Sender(step, STEP_US)
    sender.start()
    run = start("run", file, "--local")
    await_that("results", lambda: user.count(prefix) > 12)
    run.signal(signal.SIGINT)
    assert (run.wait(), run.out) == (0, "")
    assert run.err.splitlines()[-1].startswith("motet: stopped; ")
    # The next is the command itself. It goes on until the stream has ended.
    with subprocess.Popen(
        [*MOTET, "run", file, "--local"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as last:  # fmt: skip
        before = user.count(prefix)
        await_that("results", lambda: user.count(prefix) > before + 12)
        sender.end()
        ended_us = sender.begin_us + sender.steps * STEP_US
        calm = calm_results(user, motet, make_file, prefix, windows=windows)
        await_that("the last windows", lambda: len(results_us(user, prefix)) >= len(calm))
        last.send_signal(signal.SIGTERM)
        out, err = last.communicate(timeout=30)
        assert (last.returncode, out) == (0, "")
        assert err.splitlines()[-1].startswith("motet: stopped; ")

    found = results_us(user, prefix)
    waits_us = [produced_us - end_us for end_us, produced_us in found]
    assert min(waits_us) >= OUT_OF_ORDERNESS_US - 1000  # nothing before its time
    assert min(waits_us) <= OUT_OF_ORDERNESS_US + STEP_US + 250_000 + 500_000
    silent_us = [wait for (end, _), wait in zip(found, waits_us, strict=True) if end > ended_us]
    assert min(silent_us) >= 500_000
    assert user.results(prefix) == calm
    assert not user.read(f"{prefix}.late")


def fill(user: KafkaUser, prefix: str, seconds: int) -> None:
    """Streams side by side, with some records too late and some that are unsound."""
    for second in range(seconds):
        at_us = BEGIN_US + second * 1_000_000
        for number, stream in enumerate(STREAMS):
            user.send(f"{prefix}.audio", stream, noise(100 * second + number), at_us)
            if second % 20 == 19 and number < 3:
                late_us = at_us - 15_300_000
                user.send(f"{prefix}.audio", stream, noise(second), late_us)
        if second % 7 == 3:
            user.send(f"{prefix}.audio", STREAMS[second % 8], b"odd", at_us)
    user.producer.flush()


def taken_over(first: Command, since_us: int) -> float:
    """How long after that the run ended, as one that another has taken over from."""
    code = first.wait(TAKEN_OVER_S_MAX + 5)
    took_s = (monotonic_us() - since_us) / 1e6
    assert (code, first.out) == (1, ""), first.err
    line = first.err.splitlines()[-1]
    assert line.startswith("motet: error: ")
    assert "took over" in line or "taken over" in line
    assert took_s <= TAKEN_OVER_S_MAX
    return took_s


def test_a_second_run_takes_over_from_a_busy_and_from_an_idle_one(
    user, motet, start, prefix, make_file
):
    file = make_file(prefix, **PIECES)
    fill(user, prefix, 40)
    first = start("run", file, "--local")
    await_that("results", lambda: user.count(prefix) > 12)
    since_us = monotonic_us()
    second = start("run", file, "--local", "--set", "limits.in_flight_bytes=256MiB")
    calm = calm_results(user, motet, make_file, prefix, **WHOLE)
    taken_over(first, since_us)
    last_us = BEGIN_US + 38_000_000  # what ends later stays open for idle + out_of_orderness
    await_that("the rest", lambda: max(results_us(user, prefix))[0] >= last_us)

    third = motet("run", file, *LOCAL)
    assert third.code == 0, third.err
    taken_over(second, monotonic_us())
    assert user.results(prefix) == calm


def test_kill_9_at_any_time_and_other_slots_give_the_results_of_a_calm_run(
    user, motet, start, prefix, make_file
):
    file = make_file(prefix, **PIECES)
    fill(user, prefix, 40)
    calm = calm_results(user, motet, make_file, prefix, **WHOLE)
    late, dead = (user.letters(f"{prefix}-calm.{kind}") for kind in ("late", "dead"))
    assert len(calm) == 40 * len(STREAMS)
    assert len(late) == 6
    assert len(dead) == 6
    rng = random.Random(1)
    for slots in (2, 4, 1):
        before = user.count(prefix)
        run = start("run", file, "--local", "--set", f"slots={slots}")
        least = before + rng.randrange(1, 25)
        await_that("results", lambda least=least: user.count(prefix) > least)
        run.signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL, run.err
        so_far = user.results(prefix, settled=False)
        assert len(so_far) == len(set(so_far)) < len(calm)
        assert set(so_far) <= set(calm)
    last = motet("run", file, *LOCAL, "--set", "limits.in_flight_bytes=256MiB")
    assert last.code == 0, last.err
    assert user.results(prefix) == calm
    assert user.letters(f"{prefix}.late") == late
    assert user.letters(f"{prefix}.dead") == dead
