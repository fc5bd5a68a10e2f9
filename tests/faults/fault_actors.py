"""Faults of processes and nodes: killed, frozen, told to end, moved."""

from __future__ import annotations

import os
import re
import signal

from fault_site import Site
from fault_table import Hit
from fault_traffic import STREAMS
from kafka_user import await_that
from ray_nodes import lives, state

from pipeline.clock import wall_us

GONE_S_MAX = 60.0
ZOMBIE_S_MAX = 10.0


def actor_killed(role: str):
    def inject(site: Site, short: bool) -> Hit:
        return _killed(site, role, site.ray.actors(role)[0])

    return inject


def _killed(site: Site, role: str, pid: int) -> Hit:
    said = rf"motet: {role} of .* ended"
    before = site.run.count(said)
    at_us = wall_us()
    os.kill(pid, signal.SIGKILL)
    await_that(f"{role} {pid} gone", lambda: not lives(pid), 30)
    line = site.run.await_more(said, before)
    return Hit(f"process {pid} gone; {_said(line)}", at_us, at_us)


def encoder_killed(alone: bool):
    """One of a stage's two encoders, or the only one of the other stage."""

    def inject(site: Site, short: bool) -> Hit:
        words = int((site.words / "process").read_text())
        others = [pid for pid in site.ray.actors("encoder") if pid != words]
        return _killed(site, "encoder", words if alone else others[0])

    return inject


def _said(line: str) -> str:
    what = line.partition("(")[0].removeprefix("motet: ").strip()
    return f"the run said that the {what}"


def driver_killed(site: Site, short: bool) -> Hit:
    """A service manager starts it again; nothing of the first one may go on."""
    actors = site.ray.all_actors()
    at_us = wall_us()
    code = site.run.end(signal.SIGKILL)
    await_that("actors gone", lambda: not any(map(lives, actors)), GONE_S_MAX)
    gone_s = (wall_us() - at_us) / 1e6
    run = site.begin(wait=False)
    proof = f"exit code {code}; its {len(actors)} actors gone after {gone_s:.1f} s"
    return Hit(proof, run.began_us, run.began_us)


def driver_stopped(site: Site, short: bool) -> Hit:
    actors = site.ray.all_actors()
    at_us = wall_us()
    code = site.run.end(signal.SIGTERM)
    took_s = (wall_us() - at_us) / 1e6
    assert (code, took_s <= 20) == (0, True), f"exit code {code} after {took_s:.1f} s"
    await_that("actors gone", lambda: not any(map(lives, actors)), GONE_S_MAX)
    run = site.begin(wait=False)
    proof = f"exit code 0 after {took_s:.1f} s; no actor left"
    return Hit(proof, run.began_us, run.began_us)


def rescaled(*counts: int):
    """The driver is killed with its transactions open, and started with other slots."""

    def inject(site: Site, short: bool) -> Hit:
        wanted = counts[:1] if short else counts
        for count in wanted:
            actors = site.ray.all_actors()
            site.run.end(signal.SIGKILL)
            await_that("actors gone", lambda old=actors: not any(map(lives, old)), GONE_S_MAX)
            run = site.begin("--set", f"slots={count}", wait=False)
            site.watcher.await_after(STREAMS, run.began_us, 120)
            site.await_readable(20)
            site.await_calm()
        moved = {value.slots for value in _cuts(site)}
        assert moved == {wanted[-1]}, f"committed under {moved} slots"
        path = " -> ".join(map(str, (2, *wanted)))
        proof = f"slots {path}; the cuts in Kafka say {wanted[-1]}"
        return Hit(proof, run.began_us, run.began_us)

    return inject


def _cuts(site: Site):
    from pipeline.slot import metadata
    from pipeline.slot.ports import Committed

    committed = site.user.committed("faults")
    return [
        metadata.load(at, Committed(entry.offset, entry.metadata))
        for at, entry in committed.items()
    ]


def node_killed(site: Site, short: bool) -> Hit:
    node = site.ray.holder("fusion", "ingest", "encoder")
    before = site.run.count("starting it anew")
    at_us = wall_us()
    pids = site.ray.kill(node)
    await_that("the node's processes gone", lambda: not any(map(lives, pids)), 30)
    line = site.run.await_more("starting it anew", before)
    site.ray.forget(node)
    site.watcher.await_after(STREAMS, at_us, 120)
    site.ray.add(2)
    proof = f"raylet and {len(pids) - 1} workers gone; {_said(line)}"
    return Hit(proof, at_us, at_us)


def node_frozen(site: Site, short: bool) -> Hit:
    """Others take over; then it goes on, and what it still has to say must not count."""
    node = site.ray.holder("fusion", "ingest", "encoder")
    before = site.run.count("starting it anew")
    at_us = wall_us()
    zombies = [pid for pid in site.ray.workers(node) if pid in site.ray.all_actors()]
    pids = site.ray.send(node, signal.SIGSTOP)
    _await_stopped(pids)
    site.run.await_more("starting it anew", before)
    site.watcher.await_after(STREAMS, at_us, 120)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    woken_us = wall_us()

    def gone() -> bool:
        site.ray.reap()
        return not any(map(lives, zombies))

    await_that("the zombies gone", gone, GONE_S_MAX)
    gone_s = (wall_us() - woken_us) / 1e6
    assert gone_s <= ZOMBIE_S_MAX, f"the zombies ended after {gone_s:.1f} s"
    site.ray.forget(node)
    site.ray.add(2)
    proof = f"{len(pids)} processes stopped; {len(zombies)} actors woken, gone in {gone_s:.1f} s"
    return Hit(proof, at_us, at_us)


def _await_stopped(pids: list[int]) -> None:
    await_that("all to be stopped", lambda: all(state(pid) == "T" for pid in pids), 30)


def zombie_run(site: Site, short: bool) -> Hit:
    """A whole run is frozen, another takes over, and the first one wakes up in its middle."""
    frozen, pids = site.run, [site.run.process.pid, *site.ray.all_actors()]
    at_us = wall_us()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    _await_stopped(pids)
    began_us = wall_us()
    other = site.command("run", site.file, "--local", "--set", "metrics.port=0")
    site.watcher.await_after(STREAMS, at_us, 120)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    woken_us = wall_us()
    code = frozen.process.wait(60)
    gone_s = (wall_us() - woken_us) / 1e6
    assert code == 1, frozen.err[-1500:]
    assert re.search("took over|taken over", frozen.err), frozen.err[-1500:]
    assert gone_s <= ZOMBIE_S_MAX, f"the zombie ended after {gone_s:.1f} s"
    site.await_calm()
    other.signal(signal.SIGTERM)
    assert other.wait(60) == 0, other.err
    site.begin()
    return Hit(f"{len(pids)} processes woken; exit code 1 after {gone_s:.1f} s", at_us, began_us)


def head_killed(site: Site, short: bool) -> Hit:
    """Ray's head is Ray itself: all of it dies, and a service manager starts both again."""
    head = site.ray.nodes[0]
    pids = [head.all_processes["gcs_server"][0].process.pid, *site.ray.workers(head)]
    at_us = wall_us()
    os.kill(pids[0], signal.SIGKILL)
    site.ray.kill(head)
    code = site.run.process.wait(90)
    ended_s = (wall_us() - at_us) / 1e6
    assert code != 0
    site.ray.close()
    site.ray.start()
    run = site.begin(wait=False)
    proof = f"GCS and raylet gone; exit code {code} after {ended_s:.1f} s"
    return Hit(proof, run.began_us, run.began_us)
