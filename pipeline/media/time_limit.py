"""The time that decoding one record may take (``limits.decode_time``)."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.errors import UndecodableRecord


class DecodeTimeout(UndecodableRecord):
    """Decoding a record took longer than it may."""


class TimeLimit:
    """Of one record, from its making on; asked between blocks and frames.

    No decoder can be stopped within one, so blocks are small and frames are bounded by
    ``limits.pixels``; what comes out whole counts, whenever that was. ``now_us`` is the host's:
    the time that the thread that decodes has computed, so a busy machine decides nothing.
    """

    __slots__ = ("_most_us", "_now_us", "_until_us")

    def __init__(self, most_us: int, now_us: Callable[[], int]) -> None:
        self._most_us = most_us
        self._now_us = now_us
        self._until_us = now_us() + most_us

    @property
    def passed(self) -> bool:
        return self._now_us() >= self._until_us

    def check(self, what: str) -> None:
        """Raises DecodeTimeout where the time has passed; ``what`` is the record's format."""
        if self.passed:
            raise DecodeTimeout(f"{what}: {self.told}")

    @property
    def told(self) -> str:
        return (
            f"decoding took longer than limits.decode_time, {self._most_us} us of a core; "
            "send smaller or shorter records, or raise it"
        )


NO_LIMIT = TimeLimit(1, lambda: 0)  # its clock stands still
