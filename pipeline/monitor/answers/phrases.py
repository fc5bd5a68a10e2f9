"""Numbers and names as words."""

from __future__ import annotations

from collections.abc import Sequence


def span(seconds: float) -> str:
    """``850 ms``, ``8.2 s``, ``42 s``, ``3 min``, ``5 h``."""
    if seconds < 0.0005:
        return "0 s"
    if seconds < 1:
        return f"{max(1, round(seconds * 1000))} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def size(count_bytes: float) -> str:
    """``12 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if count_bytes < 1024:
            return f"{count_bytes:.0f} {unit}"
        count_bytes /= 1024
    return f"{count_bytes:.1f} GiB"


def number(value: float) -> str:
    """``0.4``, ``12``, ``4,700``."""
    return f"{value:.1f}" if 0 < value < 10 else f"{value:,.0f}"


def share(value: float) -> str:
    """``45 %``."""
    return f"{100 * value:.0f} %"


def many(count: int, noun: str) -> str:
    """``1 window``, ``4,000 windows``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def names(found: Sequence[str], most: int = 4) -> str:
    """``mic``, ``mic and camera``, ``a, b, c, d and 3 more``."""
    shown = list(found[:most])
    if len(found) > most:
        return f"{', '.join(shown)} and {len(found) - most:,} more"
    return " and ".join([*([", ".join(shown[:-1])] if shown[1:] else []), *shown[-1:]])
