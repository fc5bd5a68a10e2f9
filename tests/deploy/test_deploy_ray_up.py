"""deploy/ray-cluster.yaml: what Ray's own launcher takes, and the shell of its commands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_files import DEPLOY, ROOT, environment_of_the_image

FILE = DEPLOY / "ray-cluster.yaml"
SAID: dict[str, Any] = yaml.safe_load(FILE.read_text())
SETUP: list[str] = SAID["setup_commands"]


def test_the_launcher_of_ray_takes_it():
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(SAID)
    validate_config(prepared)
    [(_, group)] = prepared["available_node_types"].items()
    assert group["min_workers"] == group["max_workers"] == len(SAID["provider"]["worker_ips"])


@pytest.mark.parametrize(
    "slip", [{"min_worker": 2}, {"auth": {"ssh_usr": "motet"}}, {"setup_commands": "make"}]
)
def test_a_slip_is_seen(slip):
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises((jsonschema.ValidationError, TypeError)):
        validate_config(prepare_config(SAID | slip))


def test_the_files_it_sends_are_there_and_no_secret_is_sent_twice():
    sent = SAID["file_mounts"]
    assert sent["~/motet"] == "."
    assert {"deploy/secrets", "deploy/.env", ".venv"} <= set(SAID["rsync_exclude"])
    for name in re.findall(r"~/motet/(\S+)", " ".join(SETUP)):
        assert (ROOT / name).is_file()
    assert sent["~/.motet-ray-token"] == "deploy/secrets/ray-token"


def test_every_ray_process_has_the_settings_of_the_image_and_shows_the_token(tmp_path):
    """The command that writes them and what reads them, run by a shell."""
    [writes] = [line for line in SETUP if line.startswith("printf")]
    script = f"{writes}\n. ~/.motet-env; env"
    done = subprocess.run(
        ["sh", "-ec", script],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    of_ray = {k: v for k, v in environment_of_the_image().items() if k.startswith("RAY_")}
    assert of_ray.items() <= found.items()
    assert found["RAY_AUTH_MODE"] == "token"
    assert Path(found["RAY_AUTH_TOKEN_PATH"]) == tmp_path / ".motet-ray-token"
    assert found["PATH"].startswith(f"{tmp_path}/motet-env/bin:")


def test_the_commands_that_start_ray_parse():
    import ray.scripts.scripts

    for kind in ("head_start_ray_commands", "worker_start_ray_commands"):
        stop, start = SAID[kind]
        assert stop == ". ~/.motet-env; ray stop"
        assert start.startswith(". ~/.motet-env; ulimit -n 65536; ray start ")
        arguments = shlex.split(start.partition("ray start ")[2])
        command = ray.scripts.scripts.cli.commands["start"]
        with command.make_context("start", arguments) as context:
            assert context.params["head"] is (kind == "head_start_ray_commands")
            assert context.params["metrics_export_port"] == 8080
