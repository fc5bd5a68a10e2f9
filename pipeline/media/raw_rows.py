"""The samples of many clips of raw 16-bit audio, read in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.media.clips import place
from pipeline.media.pcm import INT16_FORMATS
from pipeline.record import MediaRecord

_BYTES = 2  # a sample

_Raw = bytearray | bytes | memoryview
RowPlace = tuple[tuple[str, int], int]  # format and samples of its group, number in the group


def _int16_rows() -> Callable[[Sequence[_Raw], str, int], NDArray[np.float32]]:
    """Not before it is needed: numba is half a second and 60 MB, for pictures and texts too."""
    from pipeline.media.int16_rows import int16_rows

    return int16_rows


class RawRows:
    """Rows of samples: the same bits as ``decode_audio`` and ``assemble_audio`` give for each.

    Nothing here gives up the interpreter: waiting for it again costs more than the work itself.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[str, int], list[_Raw]] = {}
        self._read: dict[tuple[str, int], NDArray[np.float32]] = {}

    def add(
        self, records: Sequence[MediaRecord], start_us: int, rate: int, count: int
    ) -> RowPlace | None:
        """A row of ``count`` samples from ``start_us`` on; None where a record is not raw 16-bit
        mono at ``rate``, or not all records have the same byte order.
        """
        form = records[0].facts.format
        for record in records:
            facts = record.facts
            if facts.format != form or facts.rate != rate or facts.channels != 1:
                return None
        if form not in INT16_FORMATS or any(len(r.payload) % _BYTES for r in records):
            return None
        key = (form, count)
        group = self._groups.setdefault(key, [])
        places = place(records, rate, start_us)
        if places == [0] and len(records[0].payload) == count * _BYTES:
            group.append(records[0].payload)  # most windows are one record
            return key, len(group) - 1
        row = bytearray(count * _BYTES)
        # backwards, so that the first in the log lies on top
        for at, record in zip(reversed(places), reversed(records), strict=True):
            payload = record.payload
            first, last = max(at, 0), min(at + len(payload) // _BYTES, count)
            if first < last:
                part = memoryview(payload)[(first - at) * _BYTES : (last - at) * _BYTES]
                row[first * _BYTES : last * _BYTES] = part
        group.append(row)
        return key, len(group) - 1

    @staticmethod
    def prepare() -> None:
        """Called at a start, so that the first batch need not wait for it."""
        _int16_rows()

    def samples(self, row: RowPlace) -> NDArray[np.float32]:
        """A row, shape (count,); its group takes no more once one of it was asked for."""
        (form, count), number = row
        rows = self._read.get(row[0])
        if rows is None:
            raw = self._groups.pop(row[0])
            rows = self._read[row[0]] = _int16_rows()(raw, form, count)
        row_samples: NDArray[np.float32] = rows[number]
        return row_samples
