"""Debian's rule-based translator, from where its packages were unpacked."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def translated(
    texts: Sequence[str], mode: str, share: Path, environ: Mapping[str, str]
) -> list[str]:
    """One translation a text, by ``mode`` (``spa-eng``); a word it does not know stays as it is.

    ``share``: the folder of the pair, ``usr/share/apertium``. ``environ``: with its programs.
    """
    chain = (share / "modes" / f"{mode}.mode").read_text().strip()
    chain = chain.replace("/usr/share/apertium", str(share)).replace("$1", "-n").replace("$2", "")
    lines = "".join(f"{' '.join(text.split())}\n\n" for text in texts)
    command = ["bash", "-o", "pipefail", "-c", f"apertium-destxt | {chain} | apertium-retxt"]
    done = subprocess.run(command, input=lines, env=dict(environ), capture_output=True, text=True,
                          check=True, timeout=600)  # fmt: skip
    found = done.stdout.split("\n\n")[: len(texts)]
    if len(found) != len(texts):
        raise AssertionError(f"{len(texts)} texts came back as {len(found)}")
    return [text.strip() for text in found]
