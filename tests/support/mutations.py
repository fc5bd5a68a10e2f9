"""Records as a broken or hostile sender might make them, from sound ones; a seed decides all."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Sequence

from coded import with_ogg_checksums

from pipeline.slot.ports import LogRecord

_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_HEAD_BYTES = 96  # where the headers of most formats lie
_TIMES = (b"", b"yesterday", b"2026-02-30T00:00:00Z", b"9999-12-31T23:59:59.999999Z", b"\xff\xfe")
_DURATIONS = (b"0", b"-1", b"1e6", b"9" * 4_000, b"1", b"\x00")
_TYPES = (
    b"",
    b"image/png",
    b"audio/L16;rate=0;channels=1",
    b"audio/x-raw;format=F32LE;rate=1;channels=255",
    b"text/plain;" + b"a=b;" * 400,
    b"\xff",
)


def mutated_payload(rng: random.Random, payload: bytes, others: Sequence[bytes]) -> bytes:
    """One to four changes; ``others`` are payloads that pieces may be taken from.

    Half of what has checksums gets those of what it holds now, so that decoders look further.
    """
    data = bytearray(payload)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(_CHANGES)(rng, data, others)
    found = bytes(data)
    if rng.random() < 0.5:
        found = with_ogg_checksums(_with_png_checksums(found))
    return found


def mutated_record(rng: random.Random, payload: bytes, others: Sequence[bytes]) -> LogRecord:
    """The payload changed, or what goes with it, or both."""
    headers: list[tuple[str, bytes]] = []
    key: bytes | None = b"s"
    stamp_us = 1_700_000_000_000_000
    if rng.random() < 0.2:
        headers += [("ce_time", rng.choice(_TIMES)), ("ce_mediadur", rng.choice(_DURATIONS))]
    if rng.random() < 0.1:
        headers.append(("content-type", rng.choice(_TYPES)))
    if rng.random() < 0.05:
        key = rng.choice((None, b"", b"\xff", b"k" * 1_000_000, b"<script>\r\n"))
    if rng.random() < 0.02:
        stamp_us = rng.choice((-1_000, 0, 2**62))
    rng.shuffle(headers)
    return LogRecord("in", 0, 0, stamp_us, key, mutated_payload(rng, payload, others), headers)


def _with_png_checksums(data: bytes) -> bytes:
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    found, at = bytearray(data), 8
    while at + 12 <= len(found):
        end = at + 8 + int.from_bytes(found[at : at + 4], "big")
        if end + 4 > len(found):
            break
        found[end : end + 4] = struct.pack(">I", zlib.crc32(found[at + 4 : end]))
        at = end + 4
    return bytes(found)


def _place(rng: random.Random, data: bytearray) -> int:
    """Anywhere; half of the time near the start, where the headers are."""
    reach = min(len(data), _HEAD_BYTES) if rng.random() < 0.5 else len(data)
    return rng.randrange(max(1, reach))


def _flip(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    for _each in range(rng.choice((1, 1, 3, 30))):
        if data:
            data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _extreme(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """A number at its limits, in either byte order."""
    form = rng.choice((">I", "<I", ">H", "<H", "B"))
    width = struct.calcsize(form)
    value = rng.choice(_EXTREMES) & ((1 << 8 * width) - 1)
    at = _place(rng, data)
    data[at : at + width] = struct.pack(form, value)


def _cut(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    del data[_place(rng, data) :]


def _drop(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, data)
    del data[at : at + rng.choice((1, 4, 100, 4_000))]


def _repeat(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, data)
    piece = data[at : at + rng.choice((1, 8, 200, 5_000))]
    data[at:at] = piece * rng.choice((1, 2, 20))


def _noise(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, data)
    data[at : at + rng.choice((0, 16, 500))] = rng.randbytes(rng.choice((1, 16, 500)))


def _splice(rng: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    other = rng.choice(others)
    at, start = _place(rng, data), rng.randrange(len(other))
    data[at:] = other[start : start + rng.choice((50, 2_000, len(other)))]


def _blank(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, data)
    count = min(rng.choice((8, 300)), len(data) - at)
    data[at : at + count] = bytes([rng.choice((0, 0xFF))]) * count


_CHANGES: tuple[Callable[[random.Random, bytearray, Sequence[bytes]], None], ...] = (
    _flip,
    _flip,
    _extreme,
    _extreme,
    _cut,
    _drop,
    _repeat,
    _noise,
    _splice,
    _blank,
)
