"""Pictures decoded ahead, by a pool, against decoding and encoding in turn; both in one run.

JPEG records of 1280x720 go through a replica's loop in batches of 16, two in flight as the
dispatcher has them, to EfficientNet-Lite0 (`image_embedding`, which needs `motet[models]`) on one
thread of the CPU. *In turn* decodes a batch in the thread that then runs the network; *ahead* is
what a replica does. Sides take turns, the ratio is the median over rounds, and the outputs must
be the same to the bit. On two cores at most (d + n) / max(d / 2, n) can come of it, where d is
what decoding takes and n what the network takes.

    python tests/bench/decode_bench.py --rounds 5 --json FILE
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import queue
import statistics
import sys
import threading
import time
from pathlib import Path

import torch
from PIL import Image

from pipeline.batching.batch import StageJob
from pipeline.batching.pace import BatchPace
from pipeline.clock import monotonic_us, thread_us
from pipeline.demo import __path__ as demo_path
from pipeline.encoders.decode_pool import INLINE, DecodePool, decode_threads
from pipeline.encoders.models.image import ImageEmbedding
from pipeline.encoders.plan import StagePlan
from pipeline.encoders.running import EncodeTask
from pipeline.media.facts import read_facts
from pipeline.record import MediaRecord
from pipeline.slot.ports import LogRecord
from pipeline.spec.media_type import parse_media_type
from pipeline.tasks.micro_batcher import MicroBatcher, Outcome

BATCH, IN_FLIGHT = 16, 2
SECOND_US = 1_000_000


def jobs(count: int) -> list[StageJob]:
    payloads = []
    for path in sorted((Path(demo_path[0]) / "media" / "frames").glob("*.jpg")):
        sink = io.BytesIO()
        with Image.open(path) as picture:
            picture.convert("RGB").resize((1280, 720)).save(sink, "JPEG", quality=90)
        payloads.append(sink.getvalue())
    found = []
    for number in range(count):
        payload, at_us = payloads[number % len(payloads)], number * SECOND_US
        facts = read_facts(parse_media_type("image/jpeg"), payload, 1 << 26)
        log = LogRecord("cam", 0, number, at_us, b"s", payload, [])
        record = MediaRecord("cam", "s", at_us, at_us + 1, facts, payload, log)
        found.append(StageJob("s", at_us, at_us + SECOND_US, [record]))
    return found


def through(encoder: ImageEmbedding, pool: DecodePool, work: list[StageJob]) -> list[bytes]:
    """The outputs of all windows, in their order."""
    task = EncodeTask(encoder, StagePlan("seen", ("cam",)), pool)
    batcher = MicroBatcher(task.finish, BatchPace(BATCH, None), monotonic_us, task.begin)
    threading.Thread(target=batcher.serve, daemon=True).start()
    replies: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    batches = [work[first : first + BATCH] for first in range(0, len(work), BATCH)]
    outputs: list[bytes] = []
    for place in range(len(batches) + IN_FLIGHT):
        if place >= IN_FLIGHT:
            outcome = replies.get()
            if isinstance(outcome, BaseException):
                raise outcome
            outputs += [result.output.tobytes() for result in outcome[0]]
        if place < len(batches):
            batcher.put(batches[place], replies.put)
    batcher.close()
    return outputs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=128)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    encoder, work = ImageEmbedding(torch.device("cpu")), jobs(given.windows)
    threads = decode_threads(os.cpu_count() or 1)
    pool = DecodePool(threads, thread_us)
    sides = {"in turn": INLINE, f"ahead, {threads} threads": pool}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    expected = through(encoder, INLINE, work)
    same = True
    for _ in range(given.rounds):
        for name, side in sides.items():
            began = time.perf_counter()
            same = through(encoder, side, work) == expected and same
            rates[name].append(len(work) / (time.perf_counter() - began))
    pool.close()
    in_turn, ahead = rates.values()
    ratio = statistics.median(b / a for a, b in zip(in_turn, ahead, strict=True))
    for name, found in rates.items():
        print(f"{name:24}{statistics.median(found):10.1f} windows/s")
    print(f"ahead : in turn = {ratio:.2f}; outputs {'the same' if same else 'DIFFER'}")
    if given.json is not None:
        report = {"machine": platform.platform(), "rates": rates, "ratio": ratio, "same": same}
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
