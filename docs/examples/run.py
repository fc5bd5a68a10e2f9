"""Runs one of the worked pipelines from nothing to its figures: `make example EXAMPLE=ward`.

It copies the example to build/examples/NAME, makes its media there, and runs the commands of its
README one by one, each shown as it is run. They are the commands of any user: all of them work
again in that folder. The embedded Kafka that they start is stopped at the end; its data stays.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
NAMES = sorted(path.parent.name for path in HERE.glob("*/scene.py"))
BLOCK = re.compile(r"^```\n(KAFKA=.*?)^```$", re.MULTILINE | re.DOTALL)


def say(line: str) -> None:
    sys.stderr.write(f"example: {line}\n")
    sys.stderr.flush()


def prepared(name: str, folder: Path, sizes: dict[str, tuple[int, int]] | None = None) -> str:
    """Puts the example and its media into an empty folder; gives the commands of its README.

    ``sizes``: streams, and windows of each, of the parts ``learn`` and ``told``.
    """
    if str(HERE) not in sys.path:
        sys.path.append(str(HERE))
    scene, scenes = import_module(f"{name}.scene"), import_module("scenes")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(HERE / name, folder, dirs_exist_ok=True, ignore=ignored)
    for part, (streams, windows) in (sizes or scene.SIZES).items():
        count = scenes.write(scene.scenes(part, streams, windows), part, folder)
        say(f"made {part}/: {streams} streams, {count} labelled windows")
    [commands] = BLOCK.findall((HERE / name / "README.md").read_text("utf-8"))
    return str(commands)


def run(name: str, folder: Path) -> int:
    """The exit code of the first command that fails, else 0."""
    programs = Path(sys.executable).parent
    environ = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    stop = ["motet", "kafka", "stop", "--data", "kafka"]
    if folder.exists():  # of an earlier run, whose broker may still be there
        subprocess.run(stop, cwd=folder, env=environ, check=False)
        shutil.rmtree(folder)
    began = time.monotonic()
    commands = prepared(name, folder)
    try:
        done = subprocess.run(["sh", "-exc", commands], cwd=folder, env=environ, check=False)
    finally:
        subprocess.run(stop, cwd=folder, env=environ, check=False)
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    say(f"{time.monotonic() - began:.0f} s; the largest process took {peak_gb:.1f} GB, Kafka aside")
    return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs a worked pipeline from nothing to figures.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--folder", type=Path, help="where (default: build/examples/NAME)")
    given = parser.parse_args()
    folder = given.folder or HERE.parents[1] / "build" / "examples" / given.name
    code = run(given.name, folder)
    if not code:
        say(f"all of it is in {folder}; `. .venv/bin/activate`, go there, and run what you like")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
