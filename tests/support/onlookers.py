"""Who looks at a run from outside while it goes on, as Prometheus, a balancer or a page would."""

from __future__ import annotations

import threading

from prometheus_client.parser import text_string_to_metric_families
from shown import Events, ask

from pipeline.monitor import Monitor

LOOK_S = 0.05

Series = tuple[str, tuple[tuple[str, str], ...]]


def scraped(monitor: Monitor) -> dict[Series, float]:
    """Every sample of a scrape; the parser refuses what is no Prometheus text."""
    answer = ask(monitor, "/metrics")
    assert answer.status == 200, answer.text
    found: dict[Series, float] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            series = (sample.name, tuple(sorted(sample.labels.items())))
            assert series not in found, f"{series} is there twice"
            found[series] = sample.value
    return found


def total(found: dict[Series, float], name: str, **labels: str) -> float:
    """The sum over the series with these labels."""
    return sum(
        value
        for (of, given), value in found.items()
        if of == name and labels.items() <= dict(given).items()
    )


def grows(series: Series) -> bool:
    """Whether it is of a counter or a histogram."""
    return series[0].endswith(("_total", "_bucket", "_sum", "_count"))


class Looker(threading.Thread):
    """Scrapes and asks for readiness all the time, as Prometheus and a load balancer would.

    ``fallen``: where a counter was less than in the scrape before.
    """

    def __init__(self, monitor: Monitor) -> None:
        super().__init__(name="looker")
        self._monitor = monitor
        self._ended = threading.Event()
        self.scrapes = 0
        self.fallen: list[tuple[Series, float, float]] = []
        self.readiness: list[tuple[int, str]] = []  # each that differs from the one before
        self.failure: BaseException | None = None

    def run(self) -> None:
        before: dict[Series, float] = {}
        try:
            while not self._ended.wait(LOOK_S):
                now = scraped(self._monitor)
                self.fallen += [
                    (series, value, now.get(series, 0.0))
                    for series, value in before.items()
                    if grows(series) and now.get(series, 0.0) < value
                ]
                before, self.scrapes = now, self.scrapes + 1
                assert ask(self._monitor, "/healthz").status == 200
                ready = ask(self._monitor, "/readyz")
                if not self.readiness or self.readiness[-1] != (ready.status, ready.text):
                    self.readiness.append((ready.status, ready.text))
        except BaseException as error:
            self.failure = error

    def end(self) -> None:
        self._ended.set()
        self.join(30)
        if self.failure is not None:
            raise self.failure


class Listener(threading.Thread):
    """A reader of one stream's results as server-sent events, from before the first one on."""

    def __init__(self, monitor: Monitor, stream: str) -> None:
        super().__init__(name="listener", daemon=True)
        self._events = Events(monitor, f"/api/results?stream={stream}")
        self.got: list[dict[str, str]] = []

    def run(self) -> None:
        while True:
            event = self._events.next()
            if event.get("event") == "closed":
                break
            self.got.append(event)
        self._events.close()
