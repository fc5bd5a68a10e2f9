"""The samples of many clips of raw 16-bit audio, read in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.media.clips import place
from pipeline.media.pcm import INT16_FORMATS
from pipeline.record import MediaRecord

_BYTES = 2  # a sample

RowPlace = tuple[tuple[str, int], int]  # format and samples of its group, number in the group


def _int16_samples() -> Callable[[bytes, str], NDArray[np.float32]]:
    """Not before it is needed: numba is half a second and 60 MB, for pictures and texts too."""
    from pipeline.media.int16_rows import int16_samples

    return int16_samples


class RawRows:
    """Rows of samples: the same bits as ``decode_audio`` and ``assemble_audio`` give for each.

    The payloads are laid side by side as they are, and one call makes numbers of all of them.
    Clip by clip it would be three operations each, every one of which gives up the interpreter
    and waits for it again: that costs more than the work itself.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[str, int], list[bytearray | bytes | memoryview]] = {}
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
        _int16_samples()

    def samples(self, row: RowPlace) -> NDArray[np.float32]:
        """A row, shape (count,); its group takes no more once one of it was asked for."""
        (form, count), number = row
        rows = self._read.get(row[0])
        if rows is None:
            raw = self._groups.pop(row[0])
            int16_samples = _int16_samples()
            rows = int16_samples(b"".join(raw), form).reshape(len(raw), count)
            self._read[row[0]] = rows
        row_samples: NDArray[np.float32] = rows[number]
        return row_samples
