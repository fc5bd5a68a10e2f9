"""Faults of what comes in and of those who work on it: poison, silence, overload, lost logs."""

from __future__ import annotations

import signal
from collections import Counter

from fault_site import NAME, Site
from fault_table import Hit
from fault_traffic import RATE, STREAMS
from kafka import KafkaConsumer
from kafka_user import BEGIN_US, KafkaUser, await_that, noise
from ray_nodes import resident_bytes

from pipeline.clock import wall_us

BUDGET_BYTES = 2 * (256 << 10)  # limits.in_flight_bytes of two slots
BAD_RECORDS = 10


def encoder_slow(site: Site, short: bool) -> Hit:
    """A stage can do a fifth of its work: reading pauses, memory stays, nothing is dropped."""
    [ingest] = site.ray.actors("ingest")
    before, resident = site.run.count("starting it anew"), resident_bytes(ingest)
    paused: list[float] = []
    in_flight: list[float] = []

    def look() -> None:
        paused.append(site.metric("motet_paused_partitions"))
        in_flight.append(site.metric("motet_in_flight_bytes"))

    (site.words / "slow").touch()
    site.last(20 if short else 300, look)
    (site.words / "slow").unlink()
    healed_us = wall_us()
    site.await_calm()
    grown = resident_bytes(ingest) / resident - 1
    assert max(paused) > 0, "nothing was paused"
    assert max(in_flight) <= BUDGET_BYTES + (64 << 10), max(in_flight)
    assert site.run.count("starting it anew") == before
    assert grown < 0.1, f"the ingest actor grew by {grown:.0%}"
    proof = f"{max(paused):g} partitions paused, {max(in_flight) / 1024:.0f} KiB in flight at most"
    # it never stopped: what counts is when it has caught up
    return Hit(f"{proof}, memory {grown:+.0%}", healed_us, healed_us)


def clock_steps(site: Site, short: bool) -> Hit:
    """The wall clocks of the driver and all actors jump an hour ahead, then an hour back."""
    at_us = wall_us()
    said: list[float] = []
    for step_s in (3600, -3600, 0):
        site.clock.write_text(str(step_s))

        def lag_s(step_s: int = step_s) -> float | None:
            # how far event time lags behind the clock, as the ingest half of two inputs sees it
            found = site.metric("motet_event_time_lag_seconds") / 2
            return found if abs(found - step_s) < 600 else None

        said.append(await_that("the run to see it", lag_s, 60))
        site.watcher.await_after(STREAMS, wall_us(), 120)
    site.clock.unlink()
    seen = ", ".join(f"{one:+.0f}" for one in said[:2])
    return Hit(f"event time lagged by {seen} s, said the run", at_us, at_us)


def group_storm(site: Site, short: bool) -> Hit:
    """Strangers join and leave the pipeline's consumer group again and again."""
    rounds = 3 if short else 60
    at_us = wall_us()
    for _number in range(rounds):
        stranger = KafkaConsumer(
            bootstrap_servers=site.brokers.bootstrap, group_id=NAME,
            enable_auto_commit=False, auto_offset_reset="latest",
        )  # fmt: skip
        try:
            # A member that leads the group before it knows the topic assigns nothing, and
            # kafka-python may then stay in that assignment for good.
            await_that("known", lambda one=stranger: one.partitions_for_topic(f"{NAME}.audio"), 60)
            stranger.subscribe([f"{NAME}.audio"])
            await_that("joined", lambda one=stranger: one.poll(200) or one.assignment(), 60)
        finally:
            stranger.close()
        site.watcher.await_after(STREAMS, wall_us() - 2_000_000, 60)
    return Hit(f"{rounds} strangers joined, were assigned, and left", at_us, at_us)


def poison(site: Site, short: bool) -> Hit:
    """Records that cannot be read, a text that kills who reads it, and one that never ends."""
    user = site.new_user()
    before = Counter(_reasons(user))
    (site.words / "armed").touch()
    at_us = wall_us()
    for number in range(BAD_RECORDS):
        site.traffic.sound(STREAMS[number % 8], b"odd")  # half a sample
    site.traffic.say("s1", b"deadly")
    expected = Counter({"undecodable": BAD_RECORDS, "encode-failed": 1})
    if not short:
        site.traffic.say("s2", b"endless")
        expected["encode-failed"] += 1

    def found() -> bool:
        return Counter(_reasons(user)) - before == expected

    await_that("the dead letters", found, 300)
    (site.words / "armed").unlink()
    site.await_calm()
    failed = {at for at, result in site.watcher.values.items() if result["failed"]}
    spoiled = {at for at in failed if at[1] > at_us}
    assert len(spoiled) == expected["encode-failed"], spoiled
    proof = f"dead letters {dict(expected)}; {len(spoiled)} windows without that stage, no other"
    return Hit(proof, at_us, at_us, spoiled=frozenset(spoiled))


def _reasons(user: KafkaUser) -> list[str]:
    records = user.read(f"{NAME}.dead", settled=False)
    return [dict(record.headers)["motet-reason"].decode() for record in records]


def straggler(site: Site, short: bool) -> Hit:
    """One stream falls silent and comes back with all it had: it alone waits, and loses nothing."""
    at_us = wall_us()
    site.traffic.silent.add("s3")
    site.last(5 if short else 30)
    others = [stream for stream in STREAMS if stream != "s3"]
    site.watcher.await_after(others, wall_us(), 30)
    behind_s = (wall_us() - site.watcher.newest_us("s3")) / 1e6
    site.traffic.silent.clear()
    back_us = wall_us()
    assert behind_s > (4 if short else 29), f"only {behind_s:.1f} s behind"
    site.await_calm()
    assert site.new_user().read(f"{NAME}.late", settled=False) == [], "records were late"
    return Hit(f"s3 was {behind_s:.0f} s behind, the others went on", at_us, back_us, ["s3"])


def log_lost(site: Site, short: bool) -> Hit:
    """Retention overtakes a reader that is held up: it stops, and never jumps."""
    waits_for_nobody = {"size": "250ms", "idle": "0ms"}  # only sound is sent here
    file = site.write("lost", metrics={"port": 0}, windows=waits_for_nobody)
    site.create_topics(file)
    user, at_us = site.new_user(), wall_us()
    run = site.command("run", file, "--local")
    for number in range(40):
        user.send("lost.audio", "s", noise(number, 0.25, RATE), BEGIN_US + number * 250_000)
    user.producer.flush()
    await_that("results", lambda: user.read("lost.results", settled=False), 120)
    run.signal(signal.SIGSTOP)
    for number in range(40, 400):
        user.send("lost.audio", "s", noise(number, 0.25, RATE), BEGIN_US + number * 250_000)
    user.producer.flush()
    user.truncate("lost.audio")
    run.signal(signal.SIGCONT)
    code = run.wait(120)
    [line] = [line for line in run.err.splitlines() if line.startswith("motet: error")]
    assert code == 2, run.err
    assert "`motet reset FILE`" in line
    said = line.removeprefix("motet: error: ").partition(":")
    return Hit(f"exit code 2; it said of {said[0]}:{said[2].partition(':')[0]}", at_us, at_us)
