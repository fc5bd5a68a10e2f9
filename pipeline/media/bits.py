"""Bits of a header, most significant first, with the Exp-Golomb codes of ITU-T H.264 9.1."""

from __future__ import annotations

from pipeline.errors import UndecodableRecord

_ZEROS_MAX = 32  # a code of more leading zeros is over 32 bits


class Bits:
    """Reads on from the first bit; past the end it raises UndecodableRecord."""

    __slots__ = ("_left", "_value", "_what")

    def __init__(self, data: bytes, what: str) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)
        self._what = what

    def u(self, count: int) -> int:
        """An unsigned number of ``count`` bits."""
        self._left -= count
        if self._left < 0:
            raise UndecodableRecord(f"{self._what} is cut off")
        found = self._value >> self._left
        self._value -= found << self._left  # what is left of it
        return found

    def ue(self) -> int:
        """ue(v): n zeros, a one, and n more bits."""
        zeros = self._left - self._value.bit_length()
        if zeros > _ZEROS_MAX or not self._value:
            raise UndecodableRecord(f"{self._what} cannot be read")
        return self.u(2 * zeros + 1) - 1

    def se(self) -> int:
        """se(v): 0, 1, -1, 2, -2, ..."""
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)
