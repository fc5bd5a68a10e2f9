"""``motet demo`` where the models cannot be had: it goes on without them, and says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.demo import models

MOTET = [sys.executable, "-m", "actors"]
# A site that keeps a package from being imported, as a system without its wheel does.
BLOCKER = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "faster_whisper":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def environment(folder: Path) -> dict[str, str]:
    """Ours, with a folder whose modules come before all others."""
    return {**os.environ, "PYTHONPATH": str(folder)}


def in_memory_demo(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [*MOTET, "demo", "--broker", "memory", "--seconds", "2", "--no-browser"]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=110, cwd=folder, env=environment(folder)
    )


@pytest.mark.parametrize("name", models.NEEDED)
def test_a_package_that_is_not_there_is_named(monkeypatch, name):
    monkeypatch.setattr(models, "NEEDED", (name,))
    monkeypatch.setitem(sys.modules, name, None)
    assert models.missing_package() == name


def test_where_models_cannot_be_had_it_goes_on_without_them_and_says_so_in_one_line(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    done = in_memory_demo(tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "models" in line] == [
        "motet: without models, with the classical encoders alone: faster_whisper is not there; "
        "pip install 'motet[models]' brings it"
    ]
    assert all("weights=colour:0.30,sound:0.30" in line for line in done.stdout.splitlines()[:3])
    ejected = subprocess.run(
        [*MOTET, "demo", "--eject", "mine"], cwd=tmp_path, env=environment(tmp_path), check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert "faster_whisper is not there" in ejected.stderr
    assert "speech_to_text" not in (tmp_path / "mine" / "demo.yaml").read_text()


def test_models_that_are_there_and_cannot_be_loaded_are_gone_without(tmp_path):
    """A wheel whose shared library does not load on this machine."""
    package = tmp_path / "faster_whisper"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('libfoo.so.1: cannot open')")
    done = in_memory_demo(tmp_path)
    assert done.returncode == 0, done.stderr
    [said] = [line for line in done.stderr.splitlines() if "without models" in line]
    assert said.startswith("motet: without models, with the classical encoders alone: ")
    assert "libfoo.so.1: cannot open" in said
    assert all("weights=colour:0.30,sound:0.30" in line for line in done.stdout.splitlines()[:3])
    assert "each exactly once" in done.stdout
