"""The samples of a window of raw 16-bit audio, laid out before they are made floats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.media.clips import place
from pipeline.media.pcm import INT16_FORMATS
from pipeline.record import MediaRecord

_BYTES = 2  # a sample
_DTYPES = {name: np.dtype(kind) for name, kind in INT16_FORMATS.items()}


def raw_row(
    records: Sequence[MediaRecord], start_us: int, rate: int, count: int
) -> NDArray[np.int16] | None:
    """``count`` samples from ``start_us`` on, to be read only, in the records' byte order: those
    of ``decode_audio`` and ``assemble_audio`` once they are floats.

    None where a record is not raw 16-bit mono at ``rate``, or not all have the same byte order.
    Nothing here gives up the interpreter: waiting for it again costs more than the work itself.
    """
    form = records[0].facts.format
    dtype = _DTYPES.get(form)
    if dtype is None:
        return None
    for record in records:
        facts = record.facts
        if (
            facts.format != form
            or facts.rate != rate
            or facts.channels != 1
            or len(record.payload) % _BYTES
        ):
            return None
    first = records[0]
    if len(records) == 1 and first.ts_us == start_us and len(first.payload) == count * _BYTES:
        return np.frombuffer(first.payload, dtype)  # most windows are one record
    size = count * _BYTES
    row = memoryview(bytearray(size))
    places = place(records, rate, start_us)
    # backwards, so that the first in the log lies on top
    for index in range(len(records) - 1, -1, -1):
        payload, begin = records[index].payload, places[index] * _BYTES
        end = begin + len(payload)
        if begin < 0 or end > size:
            inside = slice(max(-begin, 0), max(size - begin, 0))
            payload, begin, end = memoryview(payload)[inside], max(begin, 0), min(end, size)
        if begin < end:
            row[begin:end] = payload
    return np.frombuffer(row, dtype)
