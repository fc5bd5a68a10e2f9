"""An environment for each peer: its own packages in front, motet's (torch, librosa) behind them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

# Exact versions: figures are of these.
PACKAGES = {
    "quix": ("quixstreams==3.28.0",),
    "bytewax": ("bytewax[kafka]==0.21.1",),
    "ray-data": ("pandas==2.3.3", "confluent-kafka==2.12.2"),
}
PROGRAMS = Path(__file__).parent
_MARK = "motet-behind.pth"


def python_of(peer: str, folder: Path) -> Path:
    """The interpreter of ``peer``'s environment below ``folder``, made where it is not there.

    ``subprocess.CalledProcessError`` where its packages cannot be had.
    """
    place = folder / peer
    python = place / "bin" / "python"
    mark = (
        place
        / "lib"
        / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        / "site-packages"
        / _MARK
    )
    if not mark.exists():
        venv.create(place, with_pip=shutil.which("uv") is None, clear=True)
        install = [str(python), "-m", "pip", "install", "-q"]
        if uv := shutil.which("uv"):
            install = [uv, "pip", "install", "-q", "--python", str(python)]
        subprocess.run([*install, *PACKAGES[peer]], check=True)
        # Read after the environment's own packages; also motet itself, which is installed in place.
        here = Path(__file__).parents[3]
        mark.write_text(f"{sysconfig.get_path('purelib')}\n{here}\n")
    return python


def program_of(peer: str) -> Path:
    return PROGRAMS / f"{peer.replace('-', '_')}_job.py"
