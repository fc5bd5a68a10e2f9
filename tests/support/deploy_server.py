"""A /metrics with a value for every metric of the catalogue, and a real Prometheus that asks it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from kafka_user import await_that

from pipeline.monitor.exposition import CONTENT_TYPE, exposition
from pipeline.tasks.figures import Figures
from pipeline.tasks.metrics import METRICS

DEPLOY = Path(__file__).parents[2] / "deploy"
TOKEN = "a-token"
VALUES = {
    "fate": {"fused", "late", "dead_letter"},
    "outcome": {"committed", "retried"},
    "state": {"ready", "wanted"},
}


def grown(times: int) -> Figures:
    """A value for every metric of the catalogue, several series where it has labels."""
    figures = Figures()
    for name, metric in METRICS.items():
        values = [tuple(_value(label, place) for label in metric.labels) for place in range(3)]
        for place, labels in enumerate(dict.fromkeys(values)):
            if metric.kind == "counter":
                figures.count(name, (10 + place) * times, *labels)
            elif metric.kind == "gauge":
                figures.gauge(name, 1 + place, *labels)
            else:
                figures.observe(name, 0.03 * (1 + place), *labels, times=9 * times)
    return figures


def _value(label: str, place: int) -> str:
    values = sorted(VALUES.get(label, {"a", "b"}))
    return values[place % len(values)]


class Metrics(BaseHTTPRequestHandler):
    """/metrics and /healthz, for whoever has the token; the figures grow with every scrape."""

    scrapes = 0

    def do_GET(self) -> None:
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.send_error(401)
            return
        if self.path == "/healthz":
            body = b"ok"
        elif self.path == "/metrics":
            type(self).scrapes += 1
            body = exposition(grown(self.scrapes))
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="no prometheus and promtool here: apt-get install prometheus",
)


def configured(folder: Path, port: int) -> Path:
    """deploy's configuration of Prometheus: addresses, secrets and intervals alone are others."""
    (folder / "token").write_text(TOKEN + "\n")
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    for rules in config["rule_files"]:
        (folder / rules).write_bytes((DEPLOY / rules).read_bytes())
    config["global"].update(scrape_interval="500ms", scrape_timeout="400ms")
    config["global"].update(evaluation_interval="500ms")
    [job] = [job for job in config["scrape_configs"] if job["job_name"] == "motet"]
    assert job["authorization"]["type"] == "Bearer"
    job["authorization"]["credentials_file"] = str(folder / "token")
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    config["scrape_configs"] = [job]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@contextmanager
def prometheus(folder: Path, port: int) -> Iterator[Callable[..., Any]]:
    """A Prometheus that scrapes the port; what is given asks its API: ``get(path, **query)``."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        own = f"127.0.0.1:{taken.getsockname()[1]}"
    command = ["prometheus", f"--config.file={configured(folder, port)}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={own}"]

    def get(path: str, **query: str) -> Any:
        url = f"http://{own}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def listens() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return bool(get("status/buildinfo"))
        except OSError:
            return False

    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            await_that("Prometheus", listens)
            yield get
        finally:
            process.terminate()
