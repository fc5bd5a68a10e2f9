"""tests/support/kustomized.py against the real kustomize in kubectl: the same objects."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
import yaml
from deploy_files import DEPLOY
from kustomized import built

FOLDERS = ["overlays/cpu", "overlays/gpu", "overlays/dev", "overlays/autoscale", "backfill"]


def sorted_by_name(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(objects, key=lambda one: (one["kind"], one["metadata"]["name"]))


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
@pytest.mark.parametrize("folder", FOLDERS)
def test_kubectl_makes_the_same_of_it(folder):
    path = DEPLOY / "kuberay" / folder
    command = ["kubectl", "kustomize", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no key that is deprecated
    real = [one for one in yaml.safe_load_all(done.stdout) if one]
    assert sorted_by_name(built(path)) == sorted_by_name(real)


def test_what_is_not_understood_is_refused(tmp_path):
    (tmp_path / "kustomization.yaml").write_text("namePrefix: a-\n")
    with pytest.raises(AssertionError, match="namePrefix"):
        built(tmp_path)
