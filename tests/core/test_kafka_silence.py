"""When a connection that says nothing is let go: by the clock alone, without a broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.connectors.kafka import silence
from pipeline.connectors.kafka.silence import FORGOTTEN_S, LOOK_S, SILENCE_S, Silence


class Client:
    """A client with one connection, looked at as its own thread would, in time that is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.closed = False
        self._conns: dict[int, Any] = {}
        self._net = SimpleNamespace(call_later=self._call_later)
        self.let_go_s: list[float] = []
        clock = SimpleNamespace(monotonic_us=lambda: round(self.now_s * 1e6))
        monkeypatch.setattr(silence, "clock", clock)
        Silence(self)

    def _call_later(self, _delay_s: float, look: Any) -> None:
        self.look = look

    def ask(self) -> None:
        """A connection, anew where it was let go, on which an answer is waited for."""
        reads = SimpleNamespace(last_read=self.now_s)
        self._conns[1] = SimpleNamespace(
            connected=True, in_flight_requests=[(1, None, self.now_s)], transport=reads,
            close=self._let_go,
        )  # fmt: skip

    def _let_go(self, _error: Exception) -> None:
        self.let_go_s.append(self.now_s)
        self._conns[1].connected = False

    def wait(self, seconds: float, every_s: float = LOOK_S, read: bool = False) -> None:
        for _ in range(round(seconds / every_s)):
            self.now_s += every_s
            if read:
                self._conns[1].transport.last_read = self.now_s
            self.look()

    def silent_s(self) -> float:
        """How long it bears that nothing comes."""
        self.ask()
        began_s, before = self.now_s, len(self.let_go_s)
        while len(self.let_go_s) == before:
            self.wait(LOOK_S)
        return self.now_s - began_s


@pytest.fixture
def client(monkeypatch):
    return Client(monkeypatch)


def test_a_broker_that_hangs_is_let_go_and_a_slow_one_gets_more_time_each_time(client):
    waits = [client.silent_s() for _ in range(3)]
    for waited_s, limit_s in zip(waits, (SILENCE_S, 2 * SILENCE_S, 4 * SILENCE_S), strict=True):
        assert limit_s < waited_s <= limit_s + 2 * LOOK_S


def test_after_a_good_minute_it_is_as_at_first(client):
    client.silent_s()
    client.ask()
    client.wait(FORGOTTEN_S + 2 * SILENCE_S + 1, read=True)
    assert client.silent_s() <= SILENCE_S + 2 * LOOK_S


def test_an_answer_that_takes_long_to_come_is_no_silence(client):
    client.ask()
    client.wait(600, read=True)
    assert client.let_go_s == []


def test_one_that_nobody_has_asked_may_be_silent(client):
    client.ask()
    client._conns[1].in_flight_requests.clear()
    client.wait(600)
    assert client.let_go_s == []


def test_it_looks_no_more_once_the_client_is_closed(client):
    client.closed = True
    look, client.look = client.look, None
    look()
    assert client.look is None
