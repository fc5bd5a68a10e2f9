"""Faults of the network to the brokers, and deaths at points of a transaction."""

from __future__ import annotations

import os
import signal

import kafka_gate
from fault_site import Site
from fault_table import Hit
from fault_traffic import STREAMS
from kafka_gate import Side, Trap
from kafka_user import await_that
from ray_nodes import lives

from pipeline.broker.probe import cluster_id
from pipeline.clock import wall_us


def killed_at(api: int, side: Side, lost: bool = False):
    """The fusion actor dies just before this frame of its transaction goes on (or is lost)."""

    def inject(site: Site, short: bool) -> Hit:
        said = r"motet: fusion of .* ended"
        before = site.run.count(said)
        pid = site.ray.actors("fusion")[0]
        trap = Trap(api, side, lambda: os.kill(pid, signal.SIGKILL), lost)
        at_us = wall_us()
        site.gate.trap(trap)
        await_that("the trap to spring", trap.sprung.is_set, 30)
        await_that(f"fusion {pid} gone", lambda: not lives(pid), 30)
        site.run.await_more(said, before)
        return Hit(f"process {pid} gone at that frame", at_us, at_us)

    return inject


def killed_in_recovery(site: Site, short: bool) -> Hit:
    """The fusion actor is killed, and its successor while it fences."""
    said = r"motet: (fusion|owner) of .* ended"
    before = site.run.count(said)
    first = site.ray.actors("fusion")[0]
    killed: list[int] = []

    def kill_next() -> None:
        for pid in site.ray.actors("fusion"):
            if pid != first:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    trap = site.gate.trap(Trap(kafka_gate.INIT_PRODUCER_ID, "answer", kill_next))
    at_us = wall_us()
    os.kill(first, signal.SIGKILL)
    await_that("the trap to spring", trap.sprung.is_set, 60)
    assert killed, "no successor was there"
    site.run.await_more(said, before + 1)
    return Hit(f"processes {first} and {killed[0]} gone", at_us, at_us)


def network_cut(site: Site, short: bool) -> Hit:
    """Every connection ends, and none is let in."""
    before = site.gate.refused
    at_us = wall_us()
    site.gate.cut()
    site.last(8 if short else 60)
    refused = site.gate.refused - before
    site.gate.heal()
    healed_us = wall_us()
    assert refused > 0
    return Hit(f"{refused} connections ended or refused", at_us, healed_us)


def half_open(side: Side):
    """Connections stay, and nothing comes through in one direction."""

    def inject(site: Site, short: bool) -> Hit:
        at_us = wall_us()
        before = site.gate.hold(side)
        site.last(10 if short else 60)
        held = site.gate.held(side) - before
        site.gate.heal()
        healed_us = wall_us()
        assert held > 0
        return Hit(f"{held} connections waited with their {side}s", at_us, healed_us)

    return inject


def commit_answer_lost(site: Site, short: bool) -> Hit:
    """The broker commits, and the answer never comes."""
    before = site.metric("motet_commits_total")
    trap = site.gate.trap(Trap(kafka_gate.END_TXN, "answer", lost=True))
    at_us = wall_us()
    await_that("the trap to spring", trap.sprung.is_set, 30)
    await_that("commits to go on", lambda: site.metric("motet_commits_total") > before, 120)
    return Hit("the answer to EndTxn was swallowed", at_us, at_us)


def network_slow(site: Site, short: bool) -> Hit:
    """100 ms each way and 3 Mbit/s a connection: slower, and nothing else."""
    before = site.run.count("starting it anew")
    at_us = wall_us()
    site.gate.delay_s, site.gate.bytes_per_s = 0.1, 3e6 / 8
    site.last(8 if short else 60)
    asked_us = wall_us()
    assert cluster_id("127.0.0.1", site.gate.ports[0], 10) is not None
    took_ms = (wall_us() - asked_us) / 1000
    assert took_ms >= 400  # two questions, there and back
    site.watcher.await_after(STREAMS, asked_us, 120)  # it goes on while all is slow
    assert site.run.count("starting it anew") == before
    site.gate.heal()
    return Hit(f"two questions took {took_ms:.0f} ms; no actor was restarted", at_us, at_us)
