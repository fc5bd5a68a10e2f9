"""Every jar is the pinned one, or nothing is run: hashes, mirrors, no network."""

from __future__ import annotations

import gc
import hashlib
import http.server
import os
import socket
import sys
import threading
import warnings

import pytest

from pipeline.broker import jars, repository
from pipeline.broker.lock import Jar, locked, parse
from pipeline.errors import InvalidInput, MotetError, Unreachable

CONTENT = b"a small jar" * 1000


def jar_of(content: bytes = CONTENT) -> Jar:
    return Jar("org.example", "small", "1.0", hashlib.sha256(content).hexdigest(), len(content))


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A Maven repository on this machine that is set as the mirror; yields its folder."""
    root = tmp_path / "mirror"
    root.mkdir()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *args: Files(*args, directory=str(root))
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv(
        repository.MIRROR_VARIABLE, f"http://u:secret@127.0.0.1:{server.server_port}/"
    )
    monkeypatch.setenv("M2_REPO", str(tmp_path / "no-local-repository"))
    yield root
    server.shutdown()
    thread.join()
    server.server_close()
    with warnings.catch_warnings():
        # jgo leaves the answer of a 404 unread and its socket to the collector.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def publish(root, jar: Jar, content: bytes):
    path = root / jar.repository_path
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_the_lock_pins_every_jar_once():
    pinned = locked()
    assert len({j.coordinate for j in pinned}) == len({j.filename for j in pinned}) == 46
    assert {"kafka_2.13", "kafka-clients", "slf4j-simple"} <= {j.artifact for j in pinned}


@pytest.mark.parametrize(
    "line", ["org.example:small:1.0", "org.example:small:1.0 abc 12", f"small:1.0 {'0' * 64} 12"]
)
def test_a_jar_without_a_full_pin_is_no_lock(line):
    with pytest.raises(ValueError, match="not a pinned jar"):
        parse(line)


def test_fetched_once_from_the_mirror_then_kept(mirror, tmp_path):
    source, said = publish(mirror, jar_of(), CONTENT), []
    (path,) = jars.ensure_jars(said.append, cache=tmp_path / "cache", jars=[jar_of()])
    assert path.read_bytes() == CONTENT
    assert said[-1].startswith("1 of 1 jars")
    source.unlink()
    said.clear()
    assert jars.ensure_jars(said.append, cache=tmp_path / "cache", jars=[jar_of()]) == [path]
    assert said == []
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [path.name]


def test_a_jar_that_changed_on_disk_is_fetched_again(mirror, tmp_path):
    publish(mirror, jar_of(), CONTENT)
    (path,) = jars.ensure_jars(cache=tmp_path / "cache", jars=[jar_of()])
    path.write_bytes(CONTENT[:-1] + b"!")
    jars.ensure_jars(cache=tmp_path / "cache", jars=[jar_of()])
    assert path.read_bytes() == CONTENT


def test_another_hash_is_refused_and_deleted(mirror, tmp_path):
    altered = CONTENT[:-1] + b"!"
    publish(mirror, jar_of(), altered)
    with pytest.raises(MotetError) as caught:
        jars.ensure_jars(cache=tmp_path / "cache", jars=[jar_of()])
    message = str(caught.value)
    assert "org.example:small:1.0" in message
    assert hashlib.sha256(altered).hexdigest() in message
    assert jar_of().sha256 in message
    assert repository.MIRROR_VARIABLE in message
    assert "\n" not in message
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_failed_fetch_leaves_nothing_half_done(mirror, tmp_path):
    cache = tmp_path / "cache"
    abandoned, young = cache / ".fetch-old", cache / ".fetch-new"
    for scratch in (abandoned, young):
        scratch.mkdir(parents=True)
    os.utime(abandoned, (1, 1))
    several = [jar_of()._replace(artifact=f"small{n}") for n in range(24)]
    for n, jar in enumerate(several):
        publish(mirror, jar, CONTENT if n != 2 else b"x" * len(CONTENT))
    with pytest.raises(MotetError, match="small2"):
        jars.ensure_jars(cache=cache, jars=several)
    assert {p.name for p in cache.iterdir()} <= {young.name} | {j.filename for j in several}
    assert young.exists()
    assert not (cache / several[2].filename).exists()


def test_a_tampered_copy_of_a_real_jar_is_refused(tmp_path):
    pinned = next(j for j in locked() if j.artifact == "jspecify")
    real = jars.ensure_jars()[locked().index(pinned)]
    copy = tmp_path / pinned.filename
    copy.write_bytes(real.read_bytes())
    jars.verify(copy, pinned)
    with copy.open("r+b") as file:
        file.seek(100)
        file.write(bytes([file.read(1)[0] ^ 1]))
    with pytest.raises(MotetError, match="nothing was run"):
        jars.verify(copy, pinned)
    assert not copy.exists()


def test_mavens_own_repository_is_asked_first_and_never_trusted(mirror, tmp_path, monkeypatch):
    local = tmp_path / "m2"
    monkeypatch.setenv("M2_REPO", str(local))
    held = publish(local, jar_of(), CONTENT)
    (path,) = jars.ensure_jars(cache=tmp_path / "a", jars=[jar_of()])  # the mirror has nothing
    assert path.read_bytes() == CONTENT
    held.write_bytes(b"x" * len(CONTENT))
    publish(mirror, jar_of(), CONTENT)
    (path,) = jars.ensure_jars(cache=tmp_path / "b", jars=[jar_of()])
    assert path.read_bytes() == CONTENT
    assert held.exists(), "Maven's repository is read only"


def test_a_mirror_without_the_jar_says_so(mirror, tmp_path):
    with pytest.raises(Unreachable, match="it is not there") as caught:
        jars.ensure_jars(cache=tmp_path / "cache", jars=[jar_of()])
    assert "secret" not in str(caught.value)


def test_no_network_names_the_ways_out(tmp_path, monkeypatch):
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        free_port = unheard.getsockname()[1]
    monkeypatch.setenv("M2_REPO", str(tmp_path / "none"))
    monkeypatch.setenv(repository.MIRROR_VARIABLE, f"http://127.0.0.1:{free_port}")
    with pytest.raises(Unreachable, match="Connection refused") as caught:
        jars.ensure_jars(cache=tmp_path / "cache", jars=[jar_of()])
    message = str(caught.value)
    for way in ("--kafka HOST:PORT", repository.MIRROR_VARIABLE, "motet demo --broker memory"):
        assert way in message
    assert "\n" not in message


def test_a_cut_download_is_tried_again_from_nothing(tmp_path, monkeypatch, mirror):
    publish(mirror, jar_of(), CONTENT)
    send = Files.copyfile
    cut = []

    def copyfile(self, source, output):
        if cut:
            return send(self, source, output)
        cut.append(True)
        output.write(source.read(100))  # fewer bytes than Content-Length says
        self.close_connection = True
        return None

    monkeypatch.setattr(Files, "copyfile", copyfile)
    (path,) = jars.ensure_jars(cache=tmp_path / "cache", jars=[jar_of()])
    assert path.read_bytes() == CONTENT
    assert cut


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="XDG_CACHE_HOME"):
        jars.ensure_jars(cache=tmp_path / "file" / "cache", jars=[jar_of()])


def test_the_missing_resolver_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(InvalidInput, match=r"pip install 'motet\[broker\]'"):
        jars.ensure_jars(cache=tmp_path / "cache", jars=[jar_of()])


def settings_xml(home, *mirrors: str):
    (home / ".m2").mkdir(exist_ok=True)
    (home / ".m2" / "settings.xml").write_text(
        '<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0"><mirrors>'
        + "".join(f"<mirror>{m}</mirror>" for m in mirrors)
        + "</mirrors></settings>"
    )


@pytest.mark.parametrize(
    ("of", "used"),
    [
        ("*", True),
        ("external:*", True),
        ("spring, central", True),
        ("spring", False),
        ("*,!central", False),
    ],
)
def test_mavens_settings_name_the_mirror(tmp_path, of, used):
    url = "https://maven.example.org/all"
    settings_xml(
        tmp_path,
        "<mirrorOf>central</mirrorOf><url>http://0.0.0.0/</url><blocked>true</blocked>",
        f"<id>m</id><mirrorOf>{of}</mirrorOf><url>{url}/</url>",
    )
    assert repository.mirror_url({}, tmp_path) == (url if used else None)


def test_the_variable_wins_over_mavens_settings(tmp_path):
    settings_xml(tmp_path, "<mirrorOf>*</mirrorOf><url>https://maven.example.org</url>")
    env = {repository.MIRROR_VARIABLE: "https://other.example.org/x/"}
    assert repository.mirror_url(env, tmp_path) == "https://other.example.org/x"
    with pytest.raises(InvalidInput, match="https://"):
        repository.mirror_url({repository.MIRROR_VARIABLE: "/srv/jars"}, tmp_path)
