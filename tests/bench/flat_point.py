"""One point of the flat-cost curves, in a process of its own: ``flat_point.py JSON``.

Prints ``{"windows", "cpu_us", "memory_bytes"}``: CPU time of this process from when all of the run
has begun to its end, and how far its memory grew meanwhile. The run is ``pipeline.local``; the
broker is the one in memory (or a Kafka), filled before. Every result is counted.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import torch

from pipeline.connectors.kafka import KafkaConnector
from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.costs.memory import PeakMemory
from pipeline.local import run_local
from pipeline.slot.ports import OutRecord
from pipeline.spec import PipelineSpec, loads
from pipeline.tasks.host import RunControl
from pipeline.tasks.results import rfc3339

S = 1_000_000
BEGIN_US = 1_790_000_000 * S
KEPT_BYTES = 1 << 20  # of each output partition in memory: results are counted, not kept


def file(given: dict) -> str:
    """A pipeline of ``inputs`` inputs: text, or sound of ``record_bytes`` a second."""
    names = [f"in{number}" for number in range(given["inputs"])]
    media, stage = "text/plain", "hash_text, options: {dim: 64}"
    if given["record_bytes"] is not None:
        rate, channels = sound_of(given["record_bytes"])
        media = f"audio/x-raw;format=S16LE;rate={rate};channels={channels}"
        stage = f"'flat_encoder:Ends', options: {{rate: {rate}}}"
    inputs = "".join(f"  {n}: {{topic: {given['name']}.{n}, type: '{media}'}}\n" for n in names)
    stages = "".join(f"  s{n}: {{encoder: {stage}, of: {n}}}\n" for n in names)
    of = ", ".join(f"s{n}: 1" for n in names)
    return (
        f"version: 1\nname: {given['name']}\ninputs:\n{inputs}"
        f"windows: {{size: 1s, hop: {given['hop_us'] / 1000:g}ms}}\n"
        f"stages:\n{stages}fusion: {{rule: concat, of: {{{of}}}}}\n"
        f"outputs: {{results: {given['name']}.results, late: {given['name']}.late, "
        f"dead_letter: {given['name']}.dead-letter}}\n"
    )


def sound_of(record_bytes: int) -> tuple[int, int]:
    """Rate and channels of a second of S16LE with so many bytes; at most 1 MHz."""
    samples = record_bytes // 2
    channels = -(-samples // S)
    return samples // channels, channels


def records(given: dict, spec: PipelineSpec):
    """In time order, a second of all streams after the other; as ``motet publish`` lays them."""
    value = b"a door opens and a bell rings " * 2
    if given["record_bytes"] is not None:
        rate, channels = sound_of(given["record_bytes"])
        value = bytes(2 * rate * channels)
    step_us = S if given["record_bytes"] is not None else S - 1
    for number in range(given["records"]):
        second, stream = divmod(number, given["streams"])
        at_us = BEGIN_US + second * S + (0 if given["record_bytes"] is not None else step_us)
        headers = (("ce_time", rfc3339(at_us)),)
        key, lane = b"s%d" % stream, stream % given["partitions"]
        for entry in spec.inputs.values():
            yield OutRecord(entry.topic, lane, key, value, headers, at_us)


def measured(given: dict) -> dict:
    spec = loads(file(given), folder=Path(__file__).parent, environ={})
    memory = given["bootstrap"] is None
    connector = (
        MemoryConnector(MemoryBroker(), pending_wait_s=5.0)
        if memory
        else KafkaConnector(given["bootstrap"])
    )
    with closing(connector.control()) as control, closing(connector.publisher()) as publisher:
        config = {"max.message.bytes": str(16 << 20)}
        for topic in spec.topics_in():
            control.create_topic(topic, given["partitions"], 1, config)
        for topic in spec.topics_out():
            kept = {"retention.bytes": str(KEPT_BYTES)} if memory else {}
            control.create_topic(topic, given["partitions"], 1, config | kept)
        for record in records(given, spec):
            publisher.send(record)
        publisher.flush()
    run = RunControl(until_end=True)
    begun: list = []

    def note() -> None:
        run.ready.wait()
        begun.append((time.process_time_ns(), PeakMemory(torch.device("cpu"))))

    noting = threading.Thread(target=note)
    noting.start()
    totals, _ = run_local(spec, connector, run)
    cpu_ns = time.process_time_ns()
    noting.join()
    [(from_ns, peak)] = begun
    assert totals.late == 0, totals
    assert totals.dead_letter == 0, totals
    return {
        "windows": totals.windows,
        "cpu_us": (cpu_ns - from_ns) / 1000,
        "memory_bytes": peak.peak_bytes(),
    }


if __name__ == "__main__":
    print(json.dumps(measured(json.loads(sys.argv[1]))))
