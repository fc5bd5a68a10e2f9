"""Numbers as people read them: three digits and a unit; what is not counted says so."""

from __future__ import annotations

NOT_COUNTED = "not counted"
_SI = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def scaled(number: float | None, unit: str = "") -> str:
    """``4.65 M``, ``0.386 GFLOP``: by powers of a thousand, from a thousand on."""
    if number is None:
        return NOT_COUNTED
    for least, prefix in _SI:
        if number >= 0.9995 * least:
            return f"{number / least:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}".rstrip()


def mebibytes(number: int | None) -> str:
    """``17.8 MiB``."""
    return NOT_COUNTED if number is None else f"{number / (1 << 20):.3g} MiB"
