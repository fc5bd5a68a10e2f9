"""Faults of brokers: killed, restarted, away, frozen, without disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress

from broker_cluster import BrokerNode
from fault_site import NAME, Site
from fault_table import Hit, NotHere
from fault_traffic import STREAMS
from kafka.admin import KafkaAdminClient
from kafka.errors import RetriableError
from kafka_user import await_that
from ray_nodes import state

from pipeline.clock import wall_us

RESULTS = f"{NAME}.results"
PREFERRED = 0  # kind of election
# What a run says where the coordinator's failover has fenced it (see OwnerPair.demand_ours).
MISCOUNTED = "fenced, though no other run"
INTERNAL_PARTITIONS = 4  # of __transaction_state and __consumer_offsets, see broker_cluster.py


def broker_killed(topic: str, key: str | None = None):
    """The leader of the topic's partition 0, or of the one that coordinates ``key``."""

    def inject(site: Site, short: bool) -> Hit:
        partition = 0 if key is None else abs(_java_hash(key)) % INTERNAL_PARTITIONS
        node = _leader(site, topic, partition)
        at_us = wall_us()
        node.end(signal.SIGKILL)
        site.watcher.await_after(STREAMS, at_us, 120)
        now = _leader(site, topic, partition)
        assert now is not node
        _start(site, node)
        proof = f"broker {node.number} gone, {now.number} leads {topic}-{partition} instead"
        return Hit(proof, at_us, at_us)

    return inject


def broker_restarted(site: Site, short: bool) -> Hit:
    """As in an upgrade: it hands over, ends, and comes back."""
    node = _leader(site, RESULTS, 0)
    at_us = wall_us()
    node.end(signal.SIGTERM)
    node.start()
    node.await_up()
    up_us = wall_us()
    _await_in_sync(site)
    return Hit(f"broker {node.number} ended and was up again", at_us, up_us)


def leaders_moved(site: Site, short: bool) -> Hit:
    """After a restart each partition goes back to its preferred leader; all brokers live."""
    _elect_preferred(site)  # faults before this one may have left others as leaders
    node = _leader(site, f"{NAME}.audio", 0)
    node.end(signal.SIGTERM)
    node.start()
    node.await_up()
    _await_in_sync(site)
    site.watcher.await_after(STREAMS, wall_us(), 120)
    before = _leader(site, f"{NAME}.audio", 0)
    at_us = wall_us()
    _elect_preferred(site)
    now = _leader(site, f"{NAME}.audio", 0)
    assert now is node
    assert before is not node
    return Hit(f"broker {now.number} leads again in place of {before.number}", at_us, at_us)


def brokers_away(site: Site, short: bool) -> Hit:
    """All of Kafka is gone for a while: nothing of the run may end meanwhile."""
    seconds = 20 if short else 600
    anew = f"^(?!.*{MISCOUNTED}).*starting it anew"
    before, miscounted = site.run.count(anew), site.run.count(MISCOUNTED)
    actors = site.ray.all_actors()
    at_us = wall_us()
    _kill_brokers(site)
    site.last(seconds)
    assert not any(node.runs for node in site.brokers.nodes)
    site.brokers.start()
    up_us = wall_us()
    site.watcher.await_after(STREAMS, at_us, 180)
    _await_in_sync(site)
    assert site.run.count(anew) == before
    went_on = f"the {len(actors)} actors of before went on"
    if site.run.count(MISCOUNTED) > miscounted:
        went_on = "an owner was started anew, since Kafka had miscounted its epoch"
    else:
        assert site.ray.all_actors() == actors, "actors were replaced"
    return Hit(f"3 processes gone for {seconds} s; {went_on}", at_us, up_us)


def brokers_away_and_death(site: Site, short: bool) -> Hit:
    """All of Kafka is gone, and the fusion actor dies: its successor waits for the brokers too."""
    seconds = 45 if short else 600  # longer than a first contact may take
    said = r"motet: fusion of .* ended"
    before = site.run.count(said)
    at_us = wall_us()
    _kill_brokers(site)
    [pid] = site.ray.actors("fusion")
    os.kill(pid, signal.SIGKILL)
    site.run.await_more(said, before)
    site.last(seconds)
    site.brokers.start()
    up_us = wall_us()
    site.watcher.await_after(STREAMS, at_us, 180)
    _await_in_sync(site)
    return Hit(f"3 brokers gone for {seconds} s, process {pid} amid it", at_us, up_us)


def stopped_without_brokers(site: Site, short: bool) -> Hit:
    """SIGTERM while all of Kafka is gone: the run ends in time, and says what it leaves.

    Between two windows it leaves nothing, and its end is a clean one.
    """
    _kill_brokers(site)
    site.last(5)
    told_us = wall_us()
    code = site.run.end(signal.SIGTERM)
    took_s = (wall_us() - told_us) / 1e6
    said = [line for line in site.run.err.splitlines() if line.startswith("motet: error")]
    ended = f"exit code {code} after {took_s:.1f} s"
    assert took_s <= 20, ended
    assert (code, len(said)) in ((0, 0), (1, 1)), f"{ended}: {said}"
    if code:
        assert "results that are not committed" in said[0], said
    site.brokers.start()
    run = site.begin(wait=False)
    told = "it said that results are not committed" if code else "all results were committed"
    proof = f"{ended}; {told}"
    site.watcher.await_after(STREAMS, run.began_us, 180)
    _await_in_sync(site)
    return Hit(proof, run.began_us, run.began_us)


def _kill_brokers(site: Site) -> None:
    for node in site.brokers.nodes:
        node.send(signal.SIGKILL)
    for node in site.brokers.nodes:
        node.end()


def broker_frozen(site: Site, short: bool) -> Hit:
    """It answers nothing and closes nothing; then it wakes with what it had."""
    node = _leader(site, RESULTS, 0)
    at_us = wall_us()
    node.send(signal.SIGSTOP)
    site.last(12 if short else 60)
    assert state(node.pid) == "T"
    site.watcher.await_after(STREAMS, at_us, 120)
    node.send(signal.SIGCONT)
    _await_in_sync(site)
    return Hit(f"broker {node.number} in state T", at_us, at_us)


def disk_full(site: Site, short: bool) -> Hit:
    """A broker's log folder runs full: it ends, the others go on, and with room it comes back."""
    if os.geteuid() != 0:
        raise NotHere("needs root, to mount a small disk")
    node = _leader(site, RESULTS, 0)
    node.end(signal.SIGTERM)
    _onto_small_disk(node)
    try:
        _start(site, node)
        at_us = wall_us()
        ballast = _fill(node)
        await_that("the broker to end", lambda: not node.runs, 60)
        site.watcher.await_after(STREAMS, at_us, 120)
        assert "No space left on device" in node.log or "SIGBUS" in node.log, node.log[-2000:]
        os.unlink(ballast)
        _start(site, node)
    finally:
        node.end(signal.SIGTERM)
        _off_small_disk(node)
    _start(site, node)
    return Hit(f"broker {node.number} ended: no space left on device", at_us, at_us)


def _onto_small_disk(node: BrokerNode) -> None:
    kept = node.folder / "kept"
    node.data.rename(kept)
    node.data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(node.data)]
    subprocess.run(mount, check=True)
    shutil.copytree(kept, node.data, dirs_exist_ok=True)
    shutil.rmtree(kept)


def _off_small_disk(node: BrokerNode) -> None:
    kept = node.folder / "kept"
    shutil.copytree(node.data, kept)
    subprocess.run(["umount", str(node.data)], check=True)
    node.data.rmdir()
    kept.rename(node.data)


def _fill(node: BrokerNode) -> str:
    path = str(node.data / "ballast")
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return path


def _start(site: Site, node: BrokerNode) -> None:
    node.start()
    node.await_up()
    _await_in_sync(site)


def _topics(site: Site, topics: list[str]):
    """By name and partition; nothing where a broker that has just come back does not say yet."""
    found = []
    with suppress(RetriableError):
        found = site.user.admin.describe_topics(topics)
    return {one["name"]: {p["partition_index"]: p for p in one["partitions"]} for one in found}


def _leader(site: Site, topic: str, partition: int) -> BrokerNode:
    def known():
        numbers = [one[partition]["leader_id"] for one in _topics(site, [topic]).values()]
        return next((n for n in site.brokers.nodes if n.number in numbers and n.runs), None)

    node: BrokerNode = await_that(f"a leader of {topic}-{partition}", known)
    return node


def _elect_preferred(site: Site) -> None:
    """Each partition's first replica leads it, as Kafka sees to by itself from time to time."""
    admin = KafkaAdminClient(bootstrap_servers=site.brokers.bootstrap)
    try:
        admin.elect_leaders(PREFERRED, timeout_ms=30_000, raise_errors=False)
    finally:
        admin.close()


def _await_in_sync(site: Site) -> None:
    """Every replica has what its leader has: another broker may be missing now."""
    topics = [RESULTS, f"{NAME}.audio", "__transaction_state", "__consumer_offsets"]

    def in_sync() -> bool:
        found = _topics(site, topics)
        known = [len(p["isr_nodes"]) == 3 for one in found.values() for p in one.values()]
        return len(found) == len(topics) and all(known)

    await_that("replicas in sync", in_sync, 120)


def _java_hash(text: str) -> int:
    value = 0
    for unit in text.encode("utf-16-be")[1::2]:  # ASCII
        value = (31 * value + unit) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value
