"""``python fuzzing.py MEDIA FIRST COUNT FILE``: damaged records in a process of their own.

``FILE`` says which record it is at, so who waits for it knows the one that ended it. At its end it
prints what became of them and by how much its memory grew.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from decoding import decoded, sound_payloads
from mutations import mutated_record

from pipeline.clock import thread_us
from pipeline.encoders.quiet import QUIET
from pipeline.errors import UndecodableRecord
from pipeline.media.reading import Reader, ReadingRules
from pipeline.media.time_limit import DecodeTimeout, TimeLimit
from pipeline.record import MediaRecord
from pipeline.spec.media_type import parse_media_type

DECODE_TIME_US = 2_000_000
RAW = {
    "audio/L16;rate=16000;channels=1": bytes(range(256)) * 20,
    "audio/x-raw;format=F32LE;rate=48000;channels=2": bytes(4_000),
}
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def sources() -> dict[str, list[bytes]]:
    """Sound payloads by media type."""
    found: dict[str, list[bytes]] = {media: [payload] for media, payload in RAW.items()}
    for media, payload in sound_payloads():
        found.setdefault(media, []).append(payload)
    return found


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


def fuzz(media: str, first: int, count: int, at: Path) -> dict[str, Any]:
    """What became of the records ``first`` to ``first + count - 1``."""
    sound = sources()
    others = [payload for payloads in sound.values() for payload in payloads]
    rules = {"in": ReadingRules(parse_media_type(media))}
    readers = [Reader(rules), Reader(rules)]  # the second has seen other records before
    became: Counter[str] = Counter()
    slowest_us, grown_from = 0, 0
    with at.open("r+b", buffering=0) as place:
        for number in range(first, first + count):
            place.seek(0)
            place.write(b"%12d" % number)
            rng = random.Random(f"{media} {number}")
            record = mutated_record(rng, rng.choice(sound[media]), others)
            began_us = thread_us()
            read = readers[0].read("in", record)
            if number % 2:
                assert Reader(rules).read("in", record) == read, f"{number}: two readers differ"
            else:
                assert readers[1].read("in", record) == read, f"{number}: two readers differ"
            became[_decoded(read) if isinstance(read, MediaRecord) else read.reason] += 1
            slowest_us = max(slowest_us, thread_us() - began_us)
            if number == first + count // 3:
                grown_from = resident_bytes()
    return {
        "became": dict(sorted(became.items())),
        "slowest_us": slowest_us,
        "resident_bytes": resident_bytes(),
        "grown_bytes": resident_bytes() - grown_from,
    }


def _decoded(record: MediaRecord) -> str:
    limit = TimeLimit(DECODE_TIME_US, thread_us)
    try:
        with QUIET:
            decoded(record.facts, record.payload, limit)
    except DecodeTimeout:
        return "took too long"
    except UndecodableRecord:
        return "not decoded"
    return "decoded"


if __name__ == "__main__":
    media, first, count, at = sys.argv[1:]
    began = time.monotonic()
    told = fuzz(media, int(first), int(count), Path(at))
    print(json.dumps(told | {"seconds": round(time.monotonic() - began, 1)}))
