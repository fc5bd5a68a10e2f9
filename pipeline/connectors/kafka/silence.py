"""Lets go of a broker that hangs: it answers nothing, and closes nothing either.

A request's own limit counts until the whole answer is there, so it must leave time for 64 MB over
a bad line (30 s). A broker that hangs would cost a reader all of it, again and again. What tells
the two apart is whether anything comes at all.
"""

from __future__ import annotations

from typing import Any

from kafka import errors as kafka_errors

from pipeline import clock

LOOK_S = 0.5
SILENCE_S = 5.0  # a fetch is answered within 100 ms, whether there are records or not
FORGOTTEN_S = 60.0


class Silence:
    """Closes connections that were asked and have brought no byte for SILENCE_S.

    Invariant: a broker that is only slow is reached in the end: each time that it is let go it
    is given twice as long, up to the request's own limit, until a minute has passed without.
    """

    def __init__(self, manager: Any) -> None:
        """Looks from the client's own thread on, as long as there is something to look at."""
        self._manager = manager
        self._let_go: dict[Any, tuple[int, float]] = {}  # node -> how often, when last
        self._later()

    def _later(self) -> None:
        self._manager._net.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        if self._manager.closed:
            return
        now_s = clock.monotonic_us() / 1e6  # the clock that the client's own times are of
        for node, connection in list(self._manager._conns.items()):
            silent_s = _silent_s(connection, now_s)
            if silent_s > self._limit_s(node, now_s):
                times, _ = self._let_go.get(node, (0, 0.0))
                self._let_go[node] = times + 1, now_s
                told = f"no byte of an answer within {silent_s:.0f} s"
                connection.close(kafka_errors.RequestTimedOutError(told))
        self._later()

    def _limit_s(self, node: Any, now_s: float) -> float:
        times, at_s = self._let_go.get(node, (0, 0.0))
        limit_s = SILENCE_S * 2.0**times
        if times and now_s - at_s > limit_s + FORGOTTEN_S:
            del self._let_go[node]
            return SILENCE_S
        return limit_s


def _silent_s(connection: Any, now_s: float) -> float:
    """Since a connection was asked and has read nothing; 0 where nobody waits for it."""
    if not connection.connected or not connection.in_flight_requests:
        return 0.0
    asked_s = connection.in_flight_requests[0][2]
    return float(now_s - max(asked_s, connection.transport.last_read))
