"""The demo's Kafka: found or started, and stopped again by the demo that started it."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from pipeline.broker import server
from pipeline.broker.data_dir import DataDir

LOCK = "demo.lock"


@contextmanager
def own_broker(say: Callable[[str], None]) -> Iterator[server.Broker]:
    """A broker of the usual data directory, answering.

    Invariant: no broker is stopped under another demo, nor one that ran before. Every demo
    holds the lock file shared while it runs; who stops the broker holds it alone.
    """
    ran_before = server.status() is not None
    broker = server.start(on_progress=say)
    with (DataDir.of(None).path / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        # Another demo may have stopped it while this one waited for the lock.
        broker = server.status() or server.start(on_progress=say)
        try:
            yield broker
        finally:
            if ran_before:
                say(f"Kafka ran before and goes on at {broker.bootstrap}")
            elif _alone(lock):
                stopped = server.stop()
                say("Kafka is stopped; its data stays" if stopped else "Kafka had ended by itself")
            else:
                say("another demo uses Kafka, so it goes on; `motet kafka stop` ends it")


def _alone(lock: TextIO) -> bool:
    fcntl.flock(lock, fcntl.LOCK_UN)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
