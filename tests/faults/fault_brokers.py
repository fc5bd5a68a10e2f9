"""Faults of brokers: killed, restarted, away, frozen, without disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

from broker_cluster import BrokerNode
from fault_site import NAME, Site
from fault_table import Hit, NotHere
from fault_traffic import STREAMS
from kafka_user import await_that
from ray_nodes import state

from pipeline.clock import wall_us

RESULTS = f"{NAME}.results"
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


def brokers_away(site: Site, short: bool) -> Hit:
    """All of Kafka is gone for a while: nothing of the run may end meanwhile."""
    seconds = 20 if short else 600
    before, actors = site.run.count("starting it anew"), site.ray.all_actors()
    at_us = wall_us()
    for node in site.brokers.nodes:
        node.send(signal.SIGKILL)
    for node in site.brokers.nodes:
        node.end()
    site.last(seconds)
    assert not any(node.runs for node in site.brokers.nodes)
    site.brokers.start()
    up_us = wall_us()
    site.watcher.await_after(STREAMS, at_us, 180)
    _await_in_sync(site)
    assert site.ray.all_actors() == actors, "actors were replaced"
    assert site.run.count("starting it anew") == before
    proof = f"3 processes gone for {seconds} s; the {len(actors)} actors of before went on"
    return Hit(proof, at_us, up_us)


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
    found = site.user.admin.describe_topics(topics)
    return {one["name"]: {p["partition_index"]: p for p in one["partitions"]} for one in found}


def _leader(site: Site, topic: str, partition: int) -> BrokerNode:
    def known():
        number = _topics(site, [topic])[topic][partition]["leader_id"]
        return next((n for n in site.brokers.nodes if n.number == number and n.runs), None)

    node: BrokerNode = await_that(f"a leader of {topic}-{partition}", known)
    return node


def _await_in_sync(site: Site) -> None:
    """Every replica has what its leader has: another broker may be missing now."""
    topics = [RESULTS, f"{NAME}.audio", "__transaction_state", "__consumer_offsets"]

    def in_sync() -> bool:
        found = _topics(site, topics)
        return all(len(p["isr_nodes"]) == 3 for one in found.values() for p in one.values())

    await_that("replicas in sync", in_sync, 120)


def _java_hash(text: str) -> int:
    value = 0
    for unit in text.encode("utf-16-be")[1::2]:  # ASCII
        value = (31 * value + unit) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value
