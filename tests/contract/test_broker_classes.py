"""An archive of the embedded Kafka's classes: its first life writes it, the next begin with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.broker import server
from pipeline.broker.class_archive import ClassArchive
from pipeline.broker.jars import cache_dir, ensure_jars, jar_paths

pytestmark = pytest.mark.kafka

JAVA, KAFKA = "java.jsa", "kafka.jsa"


@pytest.fixture
def classes(tmp_path, monkeypatch):
    """The folder of archives in a cache that has nothing but the jars."""
    ensure_jars()
    jars = cache_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cäche"))
    cache_dir().parent.mkdir(parents=True)
    cache_dir().symlink_to(jars)
    return cache_dir().parent / "classes"


def life(data: Path) -> tuple[set[str], list[str]]:
    """A start and a stop: the archives that the process had mapped, and what was said."""
    said: list[str] = []
    broker = server.start(0, data, on_progress=said.append)
    try:
        maps = Path(f"/proc/{broker.pid}/maps").read_text()
    finally:
        server.stop(data)
    assert not (data / "classes.jsa").exists()
    return {name for name in (JAVA, KAFKA) if name in maps}, said


def test_the_first_life_writes_what_the_next_begin_with_where_it_is_whole(classes, tmp_path):
    mapped, said = life(tmp_path / "data")
    assert mapped == {JAVA}
    assert said[0].startswith("making an archive of Java's classes, once")
    [folder] = classes.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [JAVA, KAFKA]
    mapped, said = life(tmp_path / "data")
    assert mapped == {JAVA, KAFKA}
    assert not any("archive" in line for line in said)
    (folder / KAFKA).write_bytes((folder / KAFKA).read_bytes()[:5000])
    assert KAFKA not in life(tmp_path / "data")[0]


def test_where_the_cache_cannot_be_written_kafka_starts_without(classes, tmp_path):
    classes.write_text("a file, where the folder should be")
    mapped, said = life(tmp_path / "data")
    assert mapped == set()
    assert "there is no archive of classes" in said[1]


def test_of_many_versions_the_oldest_go(classes):
    for number in range(5):
        (classes / f"version-{number}").mkdir(parents=True)
    archive = ClassArchive.of(jar_paths())
    archive.prepare(print)
    assert archive.folder in classes.iterdir()
    assert len(list(classes.iterdir())) == 3
