"""When garbage is looked for: seldom, hardly while a process starts, never in what that made."""

from __future__ import annotations

import gc

# Objects made between two looks, and of how many looks one goes further back. Windows on their way
# live for some tenths of a second: after 700 objects, as Python has it, each is looked through
# twice while all threads are held, 16 us a window (docs/BENCHMARKS.md), for nothing.
_RUNNING = (10_000, 5, 5)
_STARTING = 100_000


def swell_heap() -> None:
    """Called first in a process: what it imports is no garbage, and is looked through again and
    again (measured with torch: 0.4 s of the processor time of a start)."""
    gc.set_threshold(_STARTING, *_RUNNING[1:])


def settle_heap() -> None:
    """Spares what the start has made from every later collection of garbage.

    Torch and its like are a million objects that live as long as the process; a full collection
    goes through them all and holds every thread for 50 to 100 ms (measured), again and again.

    The second collection finds next to nothing, and Python remembers that: a full one waits until
    a quarter as much is new as the last one left, and of a million that would be for ever.
    """
    gc.collect()
    gc.freeze()
    gc.collect()
    gc.set_threshold(*_RUNNING)
