"""Streams that come and go leave nothing behind in a process that runs on."""

from __future__ import annotations

import gc
import random
import tracemalloc

import torch
from pipelines import CHAT, SECOND_US, broker_for, connector_for, load, sent
from sim_around import Around
from sim_host import Host
from sim_wall import Walls

from pipeline.encoders.checking import check_pipeline
from pipeline.tasks.encode import encode_task

AT_ONCE, ROUNDS, WARM = 500, 20, 6  # streams of a round, rounds, and those before the first look
KEPT_BYTES_MAX = 40  # of each stream that is gone: less than the least object


def test_ten_thousand_streams_leave_no_memory_behind(monkeypatch) -> None:
    # Caches that are bounded: at bounds that are reached here.
    monkeypatch.setattr("pipeline.media.reading._STREAMS_CACHED", 500)
    monkeypatch.setattr("pipeline.tasks.stream_watch.STREAMS_MAX", 500)
    monkeypatch.setattr("pipeline.tasks.late_watch.STREAMS_MAX", 500)
    spec = load(CHAT, {"windows.idle": "1s", "commit_interval": "100ms"})
    now_us = 1_700_000_000 * SECOND_US
    broker = broker_for(spec, 1, retention_bytes=8 << 10)
    broker.clock = lambda: now_us
    lengths = check_pipeline(spec)
    encoders = {n: encode_task(spec, n, torch.device("cpu"), lengths) for n in spec.stages}
    around = Around(
        rng=random.Random(0),
        now_us=lambda: now_us,
        walls=Walls(0, lambda: now_us, lambda _what: None, steps=False),
        pause=lambda _attempt: None,
        sometimes=lambda _what: None,
        encoders=encoders,
        lengths=lengths,
        replicas=1,
        call_batches=1,
        deaths_alone_max=1,
    )
    host = Host("h", "run", spec, connector_for(broker), around)
    while host.phase == "starting":
        host.start_step()
    held: list[int] = []
    tracemalloc.start()
    try:
        for number in range(ROUNDS):
            for stream in range(AT_ONCE):
                name = f"visitor-{number}-{stream}"
                broker.append(sent("in.chat", b"good day", now_us, stream=name))
            for _ in range(5):
                now_us += SECOND_US // 5
                host.round()
            if number + 1 >= WARM:
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert host.fusion.totals.windows > AT_ONCE * (ROUNDS - 5)
    gone = (len(held) - 1) * AT_ONCE
    assert (held[-1] - held[0]) / gone < KEPT_BYTES_MAX
