"""Tables for people: columns as wide as what stands in them."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a table; numbers stand right in their column, everything else left."""
    shown = [[_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *shown, strict=True)]
    right = [
        any(isinstance(row[i], int) for row in rows)
        and all(row[i] is None or isinstance(row[i], int) for row in rows)
        for i in range(len(head))
    ]
    lines = []
    for cells in [list(head), *shown]:
        placed = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(cells, widths, right, strict=True)
        ]
        lines.append("  ".join(placed).rstrip())
    return lines


def _text(cell: object) -> str:
    return "-" if cell is None else str(cell)
