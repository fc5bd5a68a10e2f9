"""deploy/probe.py, run as the image runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from deploy_files import DEPLOY


def probed(
    folder: Path, port: int, target: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    """`motet-probe TARGET`, with another port of motet; `folder` is for a copy that says so."""
    source = (DEPLOY / "probe.py").read_text()
    first, _, rest = source.partition("\n")
    assert first == "#!/opt/motet/bin/python -IS"
    asked = rest.replace("PORT = 9464", f"PORT = {port}")
    assert asked != rest
    (folder / "probe.py").write_text(asked)
    command = [sys.executable, "-IS", str(folder / "probe.py"), target]
    own = {k: v for k, v in os.environ.items() if k != "METRICS_TOKEN_FILE"} | environ
    return subprocess.run(command, env=own, capture_output=True, text=True, timeout=30, check=False)
