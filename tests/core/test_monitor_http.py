"""The monitor over HTTP on the in-memory log: answers, and who gets none."""

from __future__ import annotations

import json
import re
import socket
import threading
from importlib.resources import files

import pytest
from pipelines import CHAT, LOBBY, broker_for, connector_for, load
from shown import Shown, ask, monitor_of, port_of, snapshot

from pipeline.errors import InvalidInput
from pipeline.monitor import serve
from pipeline.monitor.access import access_for, host_name

PAGE = files("pipeline.monitor") / "page"
FILES = ["/", *(f"/{file.name}" for file in PAGE.iterdir() if file.name != "index.html")]
FIGURES = ["/metrics", "/healthz", "/readyz", "/api/pipeline"]
PATHS = [*FILES, *FIGURES, "/api/state", "/api/history", "/api/streams"]


def spec_of(**changes):
    return load(LOBBY, changes)


@pytest.fixture(scope="module")
def shown():
    view, spec = Shown(), spec_of()
    with monitor_of(spec, connector_for(broker_for(spec)), view) as monitor:
        yield monitor, view


@pytest.fixture
def view(shown):
    shown[1].now = snapshot()
    return shown[1]


@pytest.fixture
def monitor(shown, view):
    return shown[0]


def raw(monitor, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port_of(monitor)), 20) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_keeps_a_browser_safe(monitor, path):
    answer = ask(monitor, path)
    assert answer.status == 200
    policy = {part.split()[0]: part.split()[1:] for part in
              answer.headers["content-security-policy"].split(";")}  # fmt: skip
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == ["'none'"]
    assert policy["script-src"] == policy["style-src"] == ["'self'"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    head = ask(monitor, path, "HEAD")
    assert (head.status, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 0


def test_the_page_takes_nothing_from_outside(monitor):
    for path in FILES:
        text = ask(monitor, path).text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"//(?! )", text), path  # but for comments
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text)


def test_readiness_is_what_the_run_says(monitor, view):
    assert ask(monitor, "/readyz").status == 200
    view.now = snapshot(not_ready="slot 1 is read again: 20 records to go")
    answer = ask(monitor, "/readyz")
    assert (answer.status, answer.text) == (503, "slot 1 is read again: 20 records to go\n")
    assert ask(monitor, "/healthz").status == 200


def test_before_the_run_there_is_an_answer_too():
    spec = spec_of()
    with monitor_of(spec, connector_for(broker_for(spec))) as monitor:
        assert ask(monitor, "/readyz").status == 503
        assert ask(monitor, "/healthz").text == "ok\n"
        assert b"motet_build_info{" in ask(monitor, "/metrics").content
        assert json.loads(ask(monitor, "/api/state").content)["not_ready"] == "starting"


def test_metrics_are_prometheus_text(monitor):
    answer = ask(monitor, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'motet_records_total{input="mic"} 7.0' in answer.text.splitlines()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:80", "LOCALHOST", "[::1]:9464"])
def test_own_hosts_are_answered(monitor, host):
    assert ask(monitor, "/healthz", Host=host).status == 200


@pytest.mark.parametrize("path", [*PATHS, "/api/results", "/api/media", "/nothing"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:9464", "10.0.0.7", ""])
def test_foreign_hosts_are_refused(monitor, path, host):
    assert ask(monitor, path, Host=host).status == 403


def test_two_hosts_and_none_are_refused(monitor):
    two = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert raw(monitor, two).startswith(b"HTTP/1.1 403")
    assert raw(monitor, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_only_get_and_head(monitor, method):
    answer = ask(monitor, "/api/state", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_what_is_no_request_is_refused_as_text(monitor):
    for request in (b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 70_000):
        answer = raw(monitor, request)
        assert b"text/plain" in answer
        assert b"<" not in answer.split(b"\r\n\r\n", 1)[1]


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/nothing", 404, "/api/state"),
        ("/api/results?last=x", 400, "last = x"),
        ("/api/media?stream=s&start_us=0&input=smell", 400, "mic, cam, chat"),
        ("/api/media?stream=s&start_us=now&input=mic", 400, "start_us = now"),
        ("/api/media?stream=s&start_us=0&input=mic", 404, "not found"),
    ],
)
def test_a_wrong_question_says_why(monitor, path, status, word):
    answer = ask(monitor, path)
    assert answer.status == status
    assert word in answer.text


def test_a_token_is_demanded_of_every_request():
    spec = spec_of(**{"metrics.token": "s3&cret"})
    with monitor_of(spec, connector_for(broker_for(spec)), Shown()) as monitor:
        for path in (*PATHS, "/api/results", "/nothing"):
            assert ask(monitor, path).status == 401
        assert ask(monitor, "/metrics?token=other").status == 401
        assert ask(monitor, "/metrics", Authorization="Basic s3&cret").status == 401
        assert ask(monitor, "/metrics", Authorization="Bearer s3&cret").status == 200
        assert ask(monitor, "/metrics?token=s3%26cret").status == 200
        for path in FILES:
            text = ask(monitor, f"{path}?token=s3%26cret").text
            named = re.findall(r"\"\./([^\"]+)\"", text)
            assert all(name.endswith("?token=s3%26cret") for name in named), path
            alone = (".css", "elements.js", "speak-clock.js", "speak-worklet.js")
            assert named or path.endswith(alone), path
        assert monitor.page_url == f"{monitor.url}?token=s3%26cret"


def test_others_need_a_token_or_public():
    spec = spec_of()
    connector = connector_for(broker_for(spec))
    with pytest.raises(InvalidInput, match=r"metrics\.host = 0\.0\.0\.0: .*metrics\.token"):
        serve(spec, connector, ("0.0.0.0", 0))
    public = spec_of(**{"metrics.host": "0.0.0.0", "metrics.public": True})
    with monitor_of(public, connector, Shown()) as monitor:
        assert monitor.url.startswith("http://127.0.0.1:")
        own = socket.gethostname()
        for host in ("10.1.2.3:9464", own, "[2001:db8::1]"):
            assert ask(monitor, "/healthz", Host=host).status == 200
        assert ask(monitor, "/healthz", Host="evil.example").status == 403


def test_a_port_that_is_taken_says_what_to_set(monitor):
    spec = spec_of()
    taken = port_of(monitor)
    with pytest.raises(InvalidInput, match=rf"metrics\.port = {taken}: the port is taken; .*set"):
        serve(spec, connector_for(broker_for(spec)), ("127.0.0.1", taken))


def test_a_run_that_takes_over_has_the_port_once_it_is_free(monkeypatch):
    monkeypatch.setattr("pipeline.monitor.monitor.PORT_RETRY_S", 0.05)
    spec, said = spec_of(), []
    connector = connector_for(broker_for(spec))
    first = serve(spec, connector, ("127.0.0.1", 0))
    second = serve(spec, connector, ("127.0.0.1", port_of(first)), say=said.append)
    try:
        second.show(Shown(snapshot(not_ready="the second")))
        assert len(said) == 1
        assert f"metrics.port = {port_of(first)}: the port is taken" in said[0]
        assert ask(first, "/readyz").text == "starting\n"
        first.close()
        while second._server is None:
            threading.Event().wait(0.01)
        assert ask(second, "/readyz").text == "the second\n"
    finally:
        second.close()


def test_without_the_page_nothing_of_the_streams_is_served():
    spec = spec_of()
    monitor = serve(spec, connector_for(broker_for(spec)), ("127.0.0.1", 0), page=False)
    try:
        paths = (*PATHS, "/api/results", "/api/media")
        found = {path for path in paths if ask(monitor, path).status != 404}
        assert found == set(FIGURES)
        told = json.loads(ask(monitor, "/api/pipeline").text)
        assert told["file"]["windows.size"] == 1_000_000
        assert told["changes"].endswith("/.motet/lobby.json")
    finally:
        monitor.close()


def test_an_address_of_another_machine_says_what_to_set():
    spec = load(CHAT, {"metrics.public": True})
    with pytest.raises(InvalidInput, match=r"metrics\.host = 192\.0\.2\.1: "):
        serve(spec, connector_for(broker_for(spec)), ("192.0.2.1", 0))


@pytest.mark.parametrize(
    ("header", "name"),
    [("[::1]:9464", "::1"), ("LocalHost.:80", "localhost"), ("a.b:1:2", "a.b"), ("", "")],
)
def test_a_host_header_is_read_without_its_port(header, name):
    assert host_name(header) == name


def test_connections_are_bounded(monitor, monkeypatch):
    held = []
    try:
        for _ in range(129):
            connection = socket.create_connection(("127.0.0.1", port_of(monitor)), 20)
            held.append(connection)
        assert held[-1].recv(100).startswith(b"HTTP/1.1 503")
    finally:
        for connection in held:
            connection.close()


def test_the_access_of_a_name():
    public = spec_of(**{"metrics.host": "motet.internal", "metrics.public": True})
    access = access_for(public.metrics, "motet.internal")
    assert access.knows_host("motet.internal:9464")
    assert not access.knows_host("10.0.0.1")
