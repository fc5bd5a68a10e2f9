"""What a user installs: the wheel, in an environment and a folder that know no repository.

The build needs no network: it calls the hook of the build backend, as pip and uv do. The
fresh environment sees the dependencies of this one, but not its editable motet.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

pytestmark = pytest.mark.early

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("pipeline", "actors")
NOT_SHIPPED = ("__pycache__", ".pyc")
BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
SECONDS = 3
LEVELS = 20 * np.log10([0.5 / np.sqrt(2), 0.5])  # RMS and peak of the tone

OWN_PIPELINE = 'raise RuntimeError("the user\'s own pipeline.py was imported")\n'
LOUDNESS = """
import numpy as np

class Loudness:
    takes, gives, length = "audio", "vector", 2

    def __init__(self, device, floor_db=-60.0):
        self.floor = 10 ** (floor_db / 20)

    def encode(self, batch):
        levels = [(np.sqrt(np.mean(c.samples**2)), np.abs(c.samples).max()) for c in batch]
        return [20 * np.log10(np.maximum(level, self.floor)) for level in levels]
"""
STUDIO = """
version: 1
name: ${NAME}
kafka: {bootstrap: "${KAFKA}"}
inputs: {mic: {topic: "${NAME}.audio", type: "audio/L16;rate=16000;channels=1"}}
windows: {size: 1s}
stages: {loud: {encoder: "loudness:Loudness", of: mic, options: {floor_db: -50}}}
fusion: {rule: weighted_sum, of: {loud: 1}}
outputs: {results: "${NAME}.results", late: "${NAME}.late", dead_letter: "${NAME}.dead"}
"""


class Installed(NamedTuple):
    """An environment that has the wheel, and a folder of a user's own."""

    bin: Path
    folder: Path
    environ: dict[str, str]

    def run(self, *command: object, **environ: str) -> subprocess.CompletedProcess[str]:
        """A program of the environment, in the user's folder."""
        program, *rest = map(str, command)
        return subprocess.run(
            [str(self.bin / program), *rest], cwd=self.folder, env={**self.environ, **environ},
            capture_output=True, text=True, timeout=250, check=False,
        )  # fmt: skip

    def motet(self, *arguments: object) -> str:
        """The stdout of a command that must end well."""
        done = self.run("motet", *arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what a checkout holds, so that the build leaves nothing behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / package, source / package, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(out)], cwd=source, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    home, folder = tmp_path_factory.mktemp("fresh"), tmp_path_factory.mktemp("user")
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=100)
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PIP_", "VIRTUAL_ENV", "MOTET"))
    }
    install = [home / "bin" / "python", "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    install += ["--disable-pip-version-check", wheel]
    subprocess.run([*map(str, install)], cwd=folder, env=environ, check=True, timeout=100)
    # A line of a .pth is a folder to look in, last; the .pth files in that folder (the editable
    # motet's is one) are not read.
    site = home / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    (folder / "pipeline.py").write_text(OWN_PIPELINE)
    (folder / "loudness.py").write_text(LOUDNESS)
    (folder / "studio.yaml").write_text(STUDIO)
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(SECONDS * 16_000) / 16_000)
    soundfile.write(folder / "talk.wav", tone, 16_000)
    return Installed(home / "bin", folder, environ)


def test_the_wheel_has_every_file_of_the_packages(wheel):
    def shipped(names: list[str]) -> set[str]:
        return {name for name in names if not any(part in name for part in NOT_SHIPPED)}

    files = [p for package in PACKAGES for p in (REPOSITORY / package).rglob("*") if p.is_file()]
    ours = shipped([path.relative_to(REPOSITORY).as_posix() for path in files])
    with zipfile.ZipFile(wheel) as archive:
        there = shipped(archive.namelist())
    assert {"pipeline/broker/kafka.lock", "pipeline/demo/lobby.yaml", "pipeline/py.typed"} <= ours
    assert ours - there == set(), "add them to [tool.setuptools.package-data] in pyproject.toml"
    assert {name for name in there - ours if ".dist-info/" not in name} == set()


def test_what_is_imported_is_the_wheel(installed, tmp_path):
    code = "import actors, pipeline; print(pipeline.__file__); print(actors.__file__)"
    done = installed._replace(folder=tmp_path).run("python", "-c", code)
    assert done.returncode == 0, done.stderr
    for path in done.stdout.split():
        assert Path(path).is_relative_to(installed.bin.parent)


@pytest.fixture(scope="module")
def published(installed: Installed, kafka: str) -> Installed:
    """From an empty broker to sound in a topic, every step with the installed command."""
    own = installed._replace(environ={**installed.environ, "KAFKA": kafka, "NAME": "wheel"})
    assert "pipeline 'wheel' is valid" in own.motet("validate", "studio.yaml")
    own.motet("topics", "create", "studio.yaml", "--partitions", "2")
    own.motet("validate", "studio.yaml", "--connect")
    own.motet("publish", "--to", "studio.yaml", "--stream", "desk", "talk.wav")
    return own


def check_run(published: Installed, name: str, *how: str) -> None:
    """A pipeline of this name over what is published, and its results."""
    command = ("run", "studio.yaml", "--until-end", "--set", f"name={name}", *how)
    summary = json.loads(published.motet(*command))
    assert (summary["windows"], summary["dead_letter"]) == (SECONDS, 0)
    lines = published.motet("tail", "studio.yaml", "--from-beginning", "--until-end", "--json")
    found = [json.loads(line) for line in lines.splitlines()]
    results = [result for result in found if result["model"].startswith(f"{name}@")]
    assert len(results) == SECONDS
    expected = np.array(LEVELS) / np.hypot(*LEVELS)  # normalize: l2
    for result in results:
        assert (result["stream"], result["weights"]) == ("desk", {"loud": 1.0})
        np.testing.assert_allclose(result["output"]["vector"], expected, atol=1e-3)


@pytest.mark.kafka
def test_a_users_class_runs_from_the_wheel_beside_a_pipeline_py_of_their_own(published):
    check_run(published, "local", "--local")


@pytest.mark.kafka
@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.long
def test_it_runs_on_ray_too_where_workers_start_in_that_folder(published):
    check_run(published, "on-ray")


def test_try_runs_from_the_wheel(installed):
    tried = json.loads(installed.motet("try", "loudness:Loudness", "talk.wav", "--json"))
    vectors = [window["output"]["vector"] for window in tried["windows"]]
    np.testing.assert_allclose(vectors, [LEVELS] * SECONDS, atol=0.01)


def test_a_pipeline_py_that_comes_first_on_the_path_is_named_and_not_run(installed):
    module = ("python", "-m", "actors", "--version")
    for command, environ in ((module, {}), (("motet", "--version"), {"PYTHONPATH": "."})):
        done = installed.run(*command, **environ)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(
            f"motet: error: import pipeline = {installed.folder / 'pipeline.py'}: it hides"
        )
        assert done.stderr.count("\n") == 1
    assert installed.run("python", "-P", *module[1:]).stdout.startswith("motet ")
