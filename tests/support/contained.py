"""A process as a pod has it, without a container runtime: what deploy/kuberay promises of one.

A root that is read-only (every file system of this machine), a `/tmp` and a `/dev/shm` of its own,
secrets below `/run/secrets`, no capabilities and none to be had, process ids of its own, and no
variable of the environment but those of image and manifest. The network and the user are those of
this machine: what is started must be told ports of its own. Needs root, for the mounts.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from ray_nodes import children

_MOUNTS = r"""
set -e
cd /
mount -t tmpfs tmpfs /run
cp -r "$POD/run/." /run/
mount -t tmpfs -o size="$SHM" tmpfs /dev/shm
mount --bind "$POD/tmp" /tmp
grep -E ' (ext4|xfs|btrfs|overlay) ' /proc/self/mounts | cut -d' ' -f2 | while read -r at; do
    [ "$at" = /tmp ] || mount -o remount,bind,ro "$at"
done
mount -o remount,bind,ro /run
unset POD SHM
"$@" &
wait $!
"""
_ISOLATED = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
_CONFINED = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]


def possible() -> bool:
    tools = all(shutil.which(tool) for tool in ("unshare", "nsenter", "setpriv", "bash"))
    if not tools or os.geteuid() != 0:
        return False
    done = subprocess.run([*_ISOLATED, "true"], capture_output=True, check=False, timeout=30)
    return done.returncode == 0


class Contained:
    """One container of a pod; ``again`` starts it anew in the same pod, with its `/tmp`."""

    def __init__(
        self,
        folder: Path,
        command: list[str],
        environ: dict[str, str],
        files: dict[str, str],
        shared_bytes: int,
    ) -> None:
        """``files``: what is mounted, by its path below `/run`; ``shared_bytes``: of `/dev/shm`."""
        self._folder, self._command = folder, command
        (folder / "tmp").mkdir(parents=True)
        for name, text in files.items():
            path = folder / name.removeprefix("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (folder / "run").mkdir(exist_ok=True)
        path_ = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        own = {"PATH": path_, "HOME": "/nonexistent", "POD": str(folder), "SHM": str(shared_bytes)}
        self._environ = {**environ, **own}
        self.again()

    def again(self) -> None:
        command = [*_ISOLATED, "bash", "-c", _MOUNTS, "pod", *_CONFINED, *self._command]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def said(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    @property
    def ended(self) -> int | None:
        return self._process.poll()

    def terminate(self) -> None:
        """SIGTERM to the container's own process, as kubelet sends it."""
        [init] = children(self._process.pid)
        main = min(children(init))  # the first; what Ray left behind hangs there too
        os.kill(main, signal.SIGTERM)

    def also(self, command: list[str], limit_s: float) -> int:
        """Another process in the same container, as a hook or `kubectl exec`; its exit code."""
        [init] = children(self._process.pid)
        inside = ["nsenter", f"--target={init}", "--mount", "--pid", *_CONFINED, *command]
        environ = {k: v for k, v in self._environ.items() if k not in ("POD", "SHM")}
        with (self._folder / "log").open("ab") as log:
            done = subprocess.run(
                inside, env=environ, stdout=log, stderr=log, timeout=limit_s, check=False
            )
        return done.returncode

    def wait(self, limit_s: float) -> int:
        return self._process.wait(limit_s)

    def kill(self) -> None:
        """The container with everything in it, at once."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self.wait(60)
